//! Bytes that no client sends, and bytes in pieces.

use super::super::super::methods::queue;
use super::*;
use proptest::prelude::*;

#[test]
fn framing_that_is_lost_ends_the_connection() {
    let too_large = [&[1, 0, 1][..], &131_073u32.to_be_bytes()].concat();
    let mut bad_end = raw(frame::METHOD, 1, &[0, 60, 0, 80]);
    *bad_end.last_mut().unwrap() = 0;
    let cases = [
        (raw(9, 0, b""), "501 0.0 FRAME_ERROR - unknown frame type 9"),
        (
            too_large,
            "501 0.0 FRAME_ERROR - frame of 131081 bytes is larger than the negotiated 131072",
        ),
        (
            bad_end,
            "501 0.0 FRAME_ERROR - frame ends with octet 0x00 instead of 0xce",
        ),
    ];
    for (bytes, expected) in cases {
        let mut world = World::with_channel();
        world.bytes(&bytes);
        assert_eq!(world.said(), [format!("0 connection.close {expected}")]);
        assert_eq!(world.asked(), [Request::Disconnect]);
        // Nothing can be understood any more, not even close-ok.
        world.say(0, &connection::CloseOk {});
        assert!(!world.closed());
        world.wait(limits::CLOSE_MS);
        assert!(world.closed());
    }
}

#[test]
fn a_bad_end_of_a_body_frame_is_found() {
    let mut world = World::with_channel();
    world.say(1, &publish_to_q());
    world.raw(frame::HEADER, 1, &header(60, 2, &[0, 0]));
    let mut body = raw(frame::BODY, 1, b"hi");
    *body.last_mut().unwrap() = b'!';
    world.bytes(&body);
    assert_eq!(
        world.said(),
        ["0 connection.close 501 0.0 FRAME_ERROR - frame ends with octet 0x21 instead of 0xce"]
    );
    assert_eq!(world.asked(), [Request::Disconnect]);
}

#[test]
fn methods_that_do_not_exist_or_are_malformed() {
    let cases: [(&[u8], &str); 5] = [
        (
            &[0, 60, 0, 99],
            "540 60.99 NOT_IMPLEMENTED - unknown method 99 of class 60",
        ),
        (
            &[1, 0, 0, 1],
            "540 256.1 NOT_IMPLEMENTED - unknown method 1 of class 256",
        ),
        (
            &[0, 60, 0, 80, 0],
            "502 60.80 SYNTAX_ERROR - malformed fields in method 80 of class 60",
        ),
        (
            &[0, 90, 0, 10, 0],
            "502 90.10 SYNTAX_ERROR - malformed fields in method 10 of class 90",
        ),
        (
            &[0, 60, 0],
            "502 0.0 SYNTAX_ERROR - method frame without class and method",
        ),
    ];
    for (payload, expected) in cases {
        let mut world = World::with_channel();
        world.raw(frame::METHOD, 1, payload);
        world.expect_close(expected);
    }
}

#[test]
fn heartbeats_have_a_form() {
    for (channel, payload) in [(1, &b""[..]), (0, b"x")] {
        let mut world = World::with_channel();
        world.raw(frame::HEARTBEAT, channel, payload);
        world.expect_close("501 0.0 FRAME_ERROR - a heartbeat has no payload and belongs to channel 0");
    }
}

#[test]
fn deep_tables_do_not_reach_the_stack() {
    let mut inside = Vec::new();
    for _ in 0..15_000 {
        let mut outer = b"A".to_vec();
        outer.extend_from_slice(&u32::try_from(inside.len()).unwrap().to_be_bytes());
        outer.extend_from_slice(&inside);
        inside = outer;
    }
    let arguments = [b"\x01a", &inside[..]].concat();
    let declare = queue::Declare {
        arguments: &arguments,
        ..queue::Declare::default()
    };
    let mut world = World::with_channel();
    world.say(1, &declare);
    world.expect_close("502 50.10 SYNTAX_ERROR - arguments: tables and arrays are nested more than 64 deep");
}

/// What happens on an open connection with channels 1 and 2: outputs, words, and whether it is paused.
fn run(chunks: &[&[u8]]) -> (Vec<Request>, Vec<SessionOutput>, BytesMut, bool) {
    let mut world = World::with_channel();
    world.open_channel(2);
    for chunk in chunks {
        world.bytes(chunk);
    }
    let output = world.session.take_output();
    (world.asked(), world.outputs, output, world.session.paused())
}

/// A peer's frames, most of them sound.
fn frames() -> impl Strategy<Value = Vec<u8>> {
    let method = |method: &dyn Fn(&mut BytesMut, u16)| {
        let mut out = BytesMut::new();
        method(&mut out, 1);
        out.to_vec()
    };
    let whole = |channel: u16, body: Vec<u8>| {
        let mut out = BytesMut::new();
        frame::method(&mut out, channel, &publish_to_q());
        frame::content(&mut out, channel, &[0, 0], &body, 64);
        out.to_vec()
    };
    let frame = prop_oneof![
        8 => (1u16..4, prop::collection::vec(any::<u8>(), 0..200)).prop_map(move |(channel, body)| whole(channel, body)),
        4 => Just(method(&|out, n| frame::method(out, n, &basic::Ack { delivery_tag: 1, multiple: true }))),
        2 => Just(method(&|out, n| frame::method(out, n, &queue::Declare { queue: "q", ..queue::Declare::default() }))),
        1 => Just(method(&|out, n| frame::method(out, n, &channel::Close::default()))),
        1 => Just(method(&|out, n| frame::method(out, n, &channel::CloseOk {}))),
        1 => Just(method(&|out, n| frame::method(out, n, &channel::Open {}))),
        1 => Just(method(&|out, _| frame::method(out, 0, &connection::Close::default()))),
        1 => Just(raw(frame::HEARTBEAT, 0, b"")),
        2 => (1u8..4, 0u16..4, prop::collection::vec(any::<u8>(), 0..40)).prop_map(|(kind, n, payload)| raw(kind, n, &payload)),
        1 => (1u16..3, 0u64..300).prop_map(|(n, size)| raw(frame::HEADER, n, &header(60, size, &[0, 0]))),
        1 => prop::collection::vec(any::<u8>(), 0..20),
    ];
    prop::collection::vec(frame, 0..12).prop_map(|frames| frames.concat())
}

fn cut<'a>(bytes: &'a [u8], at: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut cuts: Vec<_> = at.iter().map(|index| index.index(bytes.len() + 1)).collect();
    cuts.sort_unstable();
    let mut chunks = Vec::new();
    let mut start = 0;
    for end in cuts.into_iter().chain([bytes.len()]) {
        chunks.push(&bytes[start..end]);
        start = end;
    }
    chunks
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn pieces_make_no_difference(bytes in frames(), at in prop::collection::vec(any::<prop::sample::Index>(), 0..10)) {
        let whole = run(&[&bytes]);
        prop_assert_eq!(&run(&cut(&bytes, &at)), &whole);
        let single: Vec<_> = bytes.chunks(1).collect();
        prop_assert_eq!(&run(&single), &whole);
    }

    #[test]
    fn any_bytes_on_a_fresh_connection_are_survived(mut bytes in prop::collection::vec(any::<u8>(), 0..300), greet: bool) {
        if greet {
            bytes.splice(0..0, *frame::PROTOCOL_HEADER);
        }
        let mut world = World::new();
        world.bytes(&bytes);
        let said = world.session.take_output();
        let mut pieces = World::new();
        for byte in bytes.chunks(1) {
            pieces.bytes(byte);
        }
        prop_assert_eq!(said, pieces.session.take_output());
        prop_assert_eq!(world.outputs, pieces.outputs);
    }
}
