//! Priorities, delays, counted returns: what is not first in, first out.

use super::*;

fn with_priority(key: &str, body: &str, priority: u8) -> R {
    let properties = OwnedProperties {
        priority: Some(priority),
        ..OwnedProperties::default()
    };
    publish_with("", key, body, &properties)
}

fn delayed(body: &str, delay: Value) -> R {
    let properties = OwnedProperties {
        headers: Some(table(&[("x-delay", delay)])),
        ..OwnedProperties::default()
    };
    publish_with("later", "q", body, &properties)
}

/// A broker with a queue bound to an exchange that delays.
fn delaying(config: Config, arguments: &[(&str, Value)]) -> Broker {
    let mut broker = Broker::start(config, Folder::default());
    broker.open(A);
    broker.ask(
        A,
        exchange_with(
            "later",
            "x-delayed-message",
            &[("x-delayed-type", Value::from("direct"))],
        ),
    );
    broker.ask(A, queue_with("q", arguments));
    broker.ask(A, bind("later", "q", "q"));
    broker
}

#[test]
fn higher_priorities_come_first_and_equals_in_order() {
    // G5
    let mut broker = Broker::with(&[A]);
    broker.ask(A, queue_with("q", &[("x-max-priority", Value::I32(5))]));
    for (body, priority) in [("a", 0), ("b", 3), ("c", 9), ("d", 3), ("e", 5)] {
        broker.ask(A, with_priority("q", body, priority));
    }
    broker.ask(A, publish("", "q", "f"));
    let mut broker = broker.crash();
    broker.open(A);
    // Beyond the highest is the highest.
    assert_eq!(broker.ask(A, get("q")), ["got 1 'c' again left 5"]);
    broker.ask(A, with_priority("q", "g", 4));
    broker.ask(A, requeue(1));
    assert_eq!(broker.drain(A, "q"), ["c", "e", "g", "b", "d", "a", "f"]);
}

#[test]
fn a_delayed_message_waits_for_its_time_and_comes_in_the_order_of_times() {
    // G13
    let mut broker = delaying(small(), &[]);
    broker.ask(A, delayed("late", Value::I32(5000)));
    broker.ask(A, delayed("soon", Value::from("1000")));
    broker.ask(A, delayed("now", Value::I32(0)));
    broker.ask(A, delayed("waited before", Value::I32(-7)));
    assert_eq!(broker.drain(A, "q"), ["now", "waited before"]);
    broker.pass_ms(999);
    assert_eq!(broker.drain(A, "q"), Vec::<String>::new());
    broker.pass_ms(1);
    assert_eq!(broker.drain(A, "q"), ["soon"]);
    let mut broker = broker.crash();
    broker.open(A);
    assert_eq!(broker.drain(A, "q"), Vec::<String>::new());
    broker.ask(A, delayed("between", Value::I32(10)));
    broker.pass_ms(10_000);
    assert_eq!(broker.drain(A, "q"), ["between", "late"]);
}

#[test]
fn a_delayed_message_is_delivered_to_a_consumer_that_waits() {
    let mut broker = delaying(small(), &[]);
    broker.ask(A, consume("q", "c"));
    broker.ask(A, delayed("m", Value::I32(50)));
    assert_eq!(broker.said(A), Vec::<String>::new());
    broker.pass_ms(50);
    assert_eq!(broker.said(A), ["c 1 'm'"]);
}

#[test]
fn delayed_messages_beyond_memory_come_all_and_in_time() {
    // G13, G14
    let config = Config {
        cache_bytes: 10_000,
        checkpoint_bytes: 20_000,
        ..small()
    };
    let mut broker = delaying(config, &[]);
    let due = |number: u64| 1000 + number * 7919 % 3000;
    for number in 0..3000 {
        broker.ask(A, delayed(&number.to_string(), Value::I64(due(number) as i64)));
    }
    let mut broker = broker.crash();
    broker.open(A);
    let mut came = Vec::new();
    for _ in 0..50 {
        broker.pass_ms(100);
        came.extend(broker.drain(A, "q"));
    }
    let mut expected: Vec<u64> = (0..3000).collect();
    expected.sort_by_key(|number| due(*number));
    let came: Vec<u64> = came.iter().map(|body| body.parse().expect("a number")).collect();
    assert_eq!(came.len(), 3000);
    let slots: Vec<u64> = came.iter().map(|number| due(*number).div_ceil(100)).collect();
    assert!(slots.is_sorted(), "in the order of their times, to the tick");
}

#[test]
fn an_expiring_delayed_message_lives_from_its_time_on() {
    // G13
    let mut broker = delaying(small(), &[("x-message-ttl", Value::I32(100))]);
    broker.ask(A, delayed("a", Value::I32(1000)));
    broker.ask(A, delayed("b", Value::I32(1000)));
    broker.pass_ms(1050);
    assert_eq!(broker.ask(A, get("q")), ["got 1 'a' left 1"]);
    broker.pass_ms(50);
    assert_eq!(broker.ask(A, get("q")), ["empty"]);
}

#[test]
fn a_purge_takes_delayed_messages_along() {
    let mut broker = delaying(small(), &[]);
    broker.ask(A, delayed("a", Value::I32(1000)));
    broker.ask(A, publish("", "q", "b"));
    assert_eq!(broker.ask(A, purge("q")), ["purged 2"]);
    broker.pass_ms(2000);
    assert_eq!(broker.drain(A, "q"), Vec::<String>::new());
}

#[test]
fn a_delay_that_is_none_is_refused() {
    for value in [Value::from("soon"), Value::Bool(true), Value::I64(i64::MAX)] {
        let mut broker = delaying(small(), &[]);
        let why = "failed: property 'x-delay' must be an integer of milliseconds, ten years at most";
        assert_eq!(broker.ask(A, delayed("a", value)), [why]);
    }
    let mut broker = Broker::with(&[A]);
    let why = "failed: argument 'x-delayed-type' must be 'direct', 'fanout', 'topic' or 'headers'";
    assert_eq!(broker.ask(A, exchange("later", "x-delayed-message")), [why]);
}

#[test]
fn a_message_given_back_too_often_dies_and_the_count_survives() {
    // G3, G13
    let mut broker = Broker::with(&[A]);
    broker.ask(A, queue("dead"));
    let arguments = [
        ("x-delivery-limit", Value::I32(2)),
        ("x-dead-letter-exchange", Value::from("")),
        ("x-dead-letter-routing-key", Value::from("dead")),
    ];
    broker.ask(A, queue_with("q", &arguments));
    broker.publish(A, "q", &["poison", "good"]);
    assert_eq!(broker.ask(A, get("q")), ["got 1 'poison' left 1"]);
    broker.ask(A, requeue(1));
    let mut broker = broker.crash();
    broker.open(A);
    assert_eq!(broker.ask(A, get("q")), ["got 1 'poison' again left 1"]);
    let message = broker.messages(A).pop().expect("it came");
    assert_eq!(message.headers().value("x-delivery-count"), Some(&Value::I64(1)));
    broker.ask(A, requeue(1));
    assert_eq!(broker.ask(A, get("q")), ["got 2 'poison' again left 1"]);
    broker.ask(A, requeue(2));
    assert_eq!(broker.drain(A, "q"), ["good"]);
    assert_eq!(broker.ask(A, get("dead")), ["got 4 'poison' left 0"]);
    let headers = broker.messages(A).pop().expect("it came").headers();
    assert_eq!(
        headers.value("x-first-death-reason"),
        Some(&Value::from("delivery_limit"))
    );
}

#[test]
fn a_priority_outlives_checkpoint_and_delay() {
    // G5
    let mut broker = Broker::with(&[A]);
    let arguments = [("x-max-priority", Value::I32(5)), ("x-retry-delay", Value::I32(100))];
    broker.ask(A, queue_with("q", &arguments));
    broker.ask(A, with_priority("q", "high", 4));
    broker.ask(A, with_priority("q", "low", 1));
    // Its page is read back from the checkpoint.
    broker.stop();
    let mut broker = broker.crash();
    broker.open(A);
    assert_eq!(broker.ask(A, get("q")), ["got 1 'high' again left 1"]);
    broker.ask(A, requeue(1));
    broker.pass_ms(100);
    assert_eq!(broker.drain(A, "q"), ["high", "low"]);
}

#[test]
fn a_message_given_back_comes_again_after_a_delay_that_doubles() {
    // G3, G13
    let mut broker = Broker::with(&[A]);
    let arguments = [
        ("x-retry-delay", Value::I32(100)),
        ("x-retry-delay-max", Value::I32(300)),
    ];
    broker.ask(A, queue_with("q", &arguments));
    broker.ask(A, consume("q", "c"));
    broker.publish(A, "q", &["m"]);
    assert_eq!(broker.said(A), ["c 1 'm'"]);
    for (tag, delay) in [(1, 100), (2, 200), (3, 300), (4, 300)] {
        broker.ask(A, requeue(tag));
        broker.pass_ms(delay - 1);
        assert_eq!(broker.said(A), Vec::<String>::new());
        broker.pass_ms(1);
        assert_eq!(broker.said(A), [format!("c {} 'm' again", tag + 1)]);
    }
}
