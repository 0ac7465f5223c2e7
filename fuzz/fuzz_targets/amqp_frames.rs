#![no_main]
//! Frames and methods from anywhere.

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use waystation_protocols::amqp::frame::{self, ContentHeader, Frame};
use waystation_protocols::amqp::methods::Method;
use waystation_protocols::amqp::{Client, ClientConfig};

fuzz_target!(|bytes: &[u8]| {
    let mut rest = bytes;
    while let Ok(Some((frame, used))) = Frame::parse(rest, 1 << 17) {
        match frame.kind {
            frame::METHOD => method(frame.payload),
            frame::HEADER => _ = ContentHeader::parse(frame.payload),
            _ => {}
        }
        rest = &rest[used..];
    }
    let mut client = Client::new(ClientConfig::default());
    client.receive(bytes);
    while client.poll().is_some() {}
});

fn method(payload: &[u8]) {
    let Some((&[c1, c0, m1, m0], fields)) = payload.split_first_chunk() else {
        return;
    };
    let (class, id) = (u16::from_be_bytes([c1, c0]), u16::from_be_bytes([m1, m0]));
    let Ok(Some(method)) = Method::decode(class, id, fields) else {
        return;
    };
    assert_eq!(method.ids(), (class, id));
    let mut written = BytesMut::new();
    method.encode(&mut written);
    let again = Method::decode(class, id, &written[4..]).expect("what is written is well-formed");
    assert_eq!(again, Some(method), "{}", method.name());
}
