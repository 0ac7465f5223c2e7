//! Deadlines and heartbeats.

use super::*;

fn deadline(world: &World) -> Option<(u64, &'static str)> {
    world
        .session
        .deadline()
        .map(|deadline| (deadline.at.0 / 1_000_000, deadline.reason))
}

#[test]
fn a_handshake_ends_in_time() {
    let mut world = World::new();
    assert_eq!(deadline(&world), Some((10_000, "amqp handshake")));
    world.wait(5_000);
    world.bytes(frame::PROTOCOL_HEADER);
    world.start_ok(&[]);
    world.wait(4_999);
    assert!(!world.closed());
    world.wait(1);
    assert!(world.closed());
    assert_eq!(deadline(&world), None);
}

#[test]
fn a_close_that_is_not_answered_ends_in_time() {
    let mut world = World::open();
    world.input(SessionInput::Shutdown);
    assert_eq!(deadline(&world), Some((limits::CLOSE_MS, "amqp close-ok")));
    world.wait(limits::CLOSE_MS - 1);
    assert!(!world.closed());
    world.wait(1);
    assert!(world.closed());
    assert_eq!(world.asked(), [Request::Disconnect]);
}

#[test]
fn heartbeats_are_sent_when_nothing_else_is() {
    let mut world = World::new().handshake(10);
    assert_eq!(deadline(&world), Some((5_000, "amqp heartbeat to send")));
    world.wait(4_999);
    assert_eq!(world.said(), [""; 0]);
    world.wait(1);
    assert_eq!(world.said(), ["0 heartbeat"]);
    world.wait(3_000);
    world.raw(frame::HEARTBEAT, 0, b"");
    world.open_channel(1);
    world.wait(4_000);
    assert_eq!(world.said(), [""; 0], "channel.open-ok was sign of life enough");
    world.wait(1_000);
    assert_eq!(world.said(), ["0 heartbeat"]);
}

#[test]
fn a_silent_peer_is_given_up_after_two_intervals() {
    let mut world = World::new().handshake(10);
    for _ in 0..4 {
        assert!(!world.closed());
        world.wait(5_000);
    }
    assert!(world.closed());
    assert_eq!(world.asked(), [Request::Disconnect]);
}

#[test]
fn any_bytes_are_a_sign_of_life() {
    let mut world = World::new().handshake(10);
    for byte in raw(frame::HEARTBEAT, 0, b"") {
        world.wait(19_000);
        world.bytes(&[byte]);
        assert!(!world.closed());
    }
}

#[test]
fn without_heartbeats_nothing_is_due() {
    let mut world = World::new().handshake(0);
    assert_eq!(deadline(&world), None);
    world.wait(1_000_000);
    assert!(!world.closed());
}

#[test]
fn a_blocked_publisher_is_not_taken_for_dead() {
    let mut world = World::new().handshake(10);
    world.open_channel(1);
    world.input(SessionInput::Replies(vec![Reply::Blocked { reason: "disk" }]));
    world.publish(1, &[0, 0], b"x");
    for _ in 0..20 {
        world.wait(5_000);
        world.said();
        assert!(!world.closed());
    }
    world.wait(3_000);
    world.input(SessionInput::Replies(vec![Reply::Unblocked]));
    world.said();
    world.wait(19_999);
    world.said();
    assert!(!world.closed(), "it has its time to speak again");
    world.wait(1);
    assert!(world.closed(), "what it takes says nothing any more");
}

#[test]
fn a_blocked_publisher_that_takes_nothing_is_given_up() {
    let mut world = World::new().handshake(10);
    world.open_channel(1);
    world.input(SessionInput::Replies(vec![Reply::Blocked { reason: "disk" }]));
    world.publish(1, &[0, 0], b"x");
    for _ in 0..4 {
        assert!(!world.closed());
        world.wait(5_000);
    }
    assert!(world.closed());
}

#[test]
fn a_peer_that_takes_no_output_is_given_up() {
    let mut world = World::new().handshake(10);
    world.open_channel(1);
    let message = Message::new("", b"q", &[0, 0], &vec![1; limits::OUTPUT_BYTES_MAX]);
    world.reply(
        1,
        ChannelReply::Deliver {
            consumer: "c".into(),
            tag: 1,
            redelivered: false,
            message,
        },
    );
    let output = world.session.take_output();
    world.wait(19_000);
    // Slow, but alive.
    world.session.sent(world.now, 1000);
    world.wait(19_000);
    assert!(!world.closed());
    world.wait(1_000);
    assert!(world.closed());
    assert!(output.len() > 1000);
}

#[test]
fn ticks_are_no_ops_at_other_times() {
    let mut world = World::with_channel();
    for _ in 0..10 {
        world.wait(1);
    }
    assert_eq!((world.said(), world.asked(), world.closed()), (vec![], vec![], false));
}

#[test]
fn silence_is_counted_from_the_open_connection_on() {
    let mut world = World::new();
    world.bytes(frame::PROTOCOL_HEADER);
    world.start_ok(&[]);
    world.input(SessionInput::Authenticated(Ok(())));
    world.tune_ok(10, 4096, 1);
    world.say(0, &connection::Open { virtual_host: "/" });
    world.said();
    world.wait(9_000);
    world.input(SessionInput::Replies(vec![Reply::Connected]));
    world.wait(0);
    assert!(!world.closed());
    assert_eq!(deadline(&world), Some((9_500, "amqp heartbeat to send")));
}
