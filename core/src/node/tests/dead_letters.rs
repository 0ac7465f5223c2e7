//! Where messages go that died, and what their headers tell (as RabbitMQ documents `x-death`).

use super::*;

/// A queue whose dead letters go to the queue `dead`, by the default exchange.
fn dying(name: &str, more: &[(&str, Value)]) -> R {
    let mut arguments = vec![
        ("x-dead-letter-exchange", Value::from("")),
        ("x-dead-letter-routing-key", Value::from("dead")),
    ];
    arguments.extend(more.iter().cloned());
    queue_with(name, &arguments)
}

fn headers(broker: &mut Broker, at: Chan) -> Table {
    let messages = broker.messages(at);
    messages.last().expect("a message came").headers()
}

fn text(value: &str) -> Value {
    Value::from(value)
}

fn deaths(headers: &Table) -> Vec<Table> {
    let Some(Value::Array(deaths)) = headers.value("x-death") else {
        panic!("no x-death in {headers:?}")
    };
    let table = |death: &Value| match death {
        Value::Table(table) => table.clone(),
        other => panic!("{other:?}"),
    };
    deaths.iter().map(table).collect()
}

#[test]
fn a_rejected_message_tells_its_story() {
    // G4, G13
    let mut broker = Broker::with(&[A]);
    broker.ask(A, queue("dead"));
    broker.ask(A, exchange("x", "direct"));
    broker.ask(A, dying("q", &[]));
    broker.ask(A, bind("x", "q", "key"));
    let properties = OwnedProperties {
        expiration: Some("5000".into()),
        headers: Some(table(&[("mine", Value::I32(7))])),
        message_id: Some("id".into()),
        ..OwnedProperties::default()
    };
    broker.pass_ms(7500);
    broker.ask(A, publish_with("x", "key", "body", &properties));
    broker.ask(A, get("q"));
    broker.messages(A);
    broker.ask(A, reject(1));
    assert_eq!(broker.ask(A, get("dead")), ["got 2 'body' left 0"]);
    let message = broker.messages(A).pop().expect("it came");
    assert_eq!((message.exchange(), message.routing_key()), ("", &b"dead"[..]));
    let came = OwnedProperties::parse(message.properties()).expect("whole");
    assert_eq!((came.expiration, came.message_id), (None, Some("id".into())));
    let headers = came.headers.expect("headers");
    assert_eq!(headers.value("mine"), Some(&Value::I32(7)));
    assert_eq!(headers.value("x-first-death-queue"), Some(&text("q")));
    assert_eq!(headers.value("x-first-death-reason"), Some(&text("rejected")));
    assert_eq!(headers.value("x-first-death-exchange"), Some(&text("x")));
    let expected = table(&[
        ("count", Value::I64(1)),
        ("reason", text("rejected")),
        ("queue", text("q")),
        ("time", Value::Timestamp(1007)),
        ("exchange", text("x")),
        ("routing-keys", Value::Array(vec![text("key")])),
        ("original-expiration", text("5000")),
    ]);
    assert_eq!(deaths(&headers), [expected]);
    assert_eq!(broker.drain(A, "q"), Vec::<String>::new());
}

#[test]
fn the_newest_death_is_first_and_deaths_alike_are_counted() {
    let mut broker = Broker::with(&[A]);
    // q rejects to dead; dead expires back to q.
    broker.ask(A, dying("q", &[]));
    let back = [
        ("x-dead-letter-exchange", text("")),
        ("x-dead-letter-routing-key", text("q")),
        ("x-message-ttl", Value::I32(10)),
    ];
    broker.ask(A, queue_with("dead", &back));
    broker.publish(A, "q", &["a"]);
    for round in 1..=3 {
        let said = broker.ask(A, get("q"));
        assert_eq!(said, [format!("got {round} 'a' left 0")]);
        if round > 1 {
            let headers = headers(&mut broker, A);
            let told = deaths(&headers).into_iter().map(|death| {
                let of = |name| death.value(name).and_then(Value::as_str).expect("text").to_owned();
                (of("queue"), of("reason"), death.value("count").and_then(Value::as_i64))
            });
            let count = Some(round as i64 - 1);
            assert_eq!(
                told.collect::<Vec<_>>(),
                [
                    ("dead".to_owned(), "expired".to_owned(), count),
                    ("q".to_owned(), "rejected".to_owned(), count)
                ]
            );
            assert_eq!(headers.value("x-first-death-queue"), Some(&text("q")));
        }
        broker.ask(A, reject(round));
        broker.pass_ms(10);
    }
}

#[test]
fn a_round_of_expiries_ends() {
    // G13
    let mut broker = Broker::with(&[A]);
    for (name, next) in [("a", "b"), ("b", "a")] {
        let arguments = [
            ("x-dead-letter-exchange", text("")),
            ("x-dead-letter-routing-key", text(next)),
            ("x-message-ttl", Value::I32(10)),
        ];
        broker.ask(A, queue_with(name, &arguments));
    }
    broker.publish(A, "a", &["x"]);
    broker.pass_ms(10);
    assert_eq!(broker.ask(A, passive("b")), ["declared b 1 0"]);
    broker.pass_ms(10);
    assert_eq!(
        broker.ask(A, passive("a")),
        ["declared a 0 0"],
        "it would go round for ever"
    );
    assert_eq!(broker.ask(A, passive("b")), ["declared b 0 0"]);
}

#[test]
fn expired_and_dropped_messages_are_dead_lettered_in_order() {
    let mut broker = Broker::with(&[A]);
    broker.ask(A, queue("dead"));
    broker.ask(A, dying("ttl", &[("x-message-ttl", Value::I32(5))]));
    broker.publish(A, "ttl", &["1", "2", "3"]);
    broker.pass_ms(5);
    assert_eq!(broker.drain(A, "dead"), ["1", "2", "3"]);
    broker.ask(A, dying("short", &[("x-max-length", Value::I32(2))]));
    broker.publish(A, "short", &["1", "2", "3", "4"]);
    assert_eq!(broker.ask(A, get("dead")), ["got 4 '1' left 1"]);
    let reason = deaths(&headers(&mut broker, A))[0].value("reason").cloned();
    assert_eq!(reason, Some(text("maxlen")));
    assert_eq!(broker.drain(A, "dead"), ["2"]);
    assert_eq!(broker.drain(A, "short"), ["3", "4"]);
    assert_eq!(broker.stats().dead_lettered_total, 5);
}

#[test]
fn dead_letters_leave_memory_and_durable_queues_alike() {
    for (from, to) in [
        (transient as fn(&str) -> R, queue as fn(&str) -> R),
        (queue, transient),
        (transient, transient),
    ] {
        let mut broker = Broker::with(&[A]);
        broker.ask(A, to("dead"));
        let mut request = from("q");
        if let R::DeclareQueue { arguments, .. } = &mut request {
            *arguments = table(&[
                ("x-dead-letter-exchange", text("")),
                ("x-dead-letter-routing-key", text("dead")),
            ]);
        }
        broker.ask(A, request);
        broker.publish(A, "q", &["a"]);
        broker.ask(A, get("q"));
        broker.ask(A, reject(1));
        assert_eq!(broker.drain(A, "dead"), ["a"]);
        assert_eq!(broker.stats().messages_unsettled, 0);
    }
}

#[test]
fn a_dead_letter_is_in_one_place_after_any_crash() {
    // G13
    for released in [false, true] {
        let mut broker = Broker::with(&[A]);
        broker.ask(A, queue("dead"));
        broker.ask(A, dying("q", &[]));
        broker.publish(A, "q", &["a"]);
        broker.ask(A, get("q"));
        broker.hold();
        broker.ask(A, reject(1));
        if released {
            broker.release();
        }
        let mut broker = broker.crash();
        broker.open(A);
        let places = [broker.drain(A, "q").len(), broker.drain(A, "dead").len()];
        assert_eq!(places, if released { [0, 1] } else { [1, 0] });
    }
}

#[test]
fn with_nowhere_to_go_a_message_is_gone() {
    let mut broker = Broker::with(&[A]);
    broker.ask(A, dying("q", &[]));
    broker.publish(A, "q", &["a", "b"]);
    broker.ask(A, get("q"));
    broker.ask(A, reject(1));
    broker.ask(A, queue("plain"));
    broker.publish(A, "plain", &["c"]);
    broker.ask(A, get("plain"));
    broker.ask(A, reject(2));
    assert_eq!(broker.ask(A, passive("q")), ["declared q 1 0"]);
    assert_eq!(broker.ask(A, passive("plain")), ["declared plain 0 0"]);
    let stats = broker.stats();
    assert_eq!((stats.rejected_total, stats.messages_unsettled), (2, 0));
}

#[test]
fn what_a_full_queue_refuses_is_dead_lettered_if_it_says_so() {
    let mut broker = Broker::with(&[A]);
    broker.ask(A, queue("dead"));
    let full = [
        ("x-max-length", Value::I32(1)),
        ("x-overflow", text("reject-publish-dlx")),
    ];
    broker.ask(A, dying("q", &full));
    broker.ask(A, CONFIRM);
    assert_eq!(broker.ask(A, publish("", "q", "a")), ["ack 1"]);
    assert_eq!(broker.ask(A, publish("", "q", "b")), ["nack 2"]);
    assert_eq!(broker.drain(A, "dead"), ["b"]);
    assert_eq!(broker.drain(A, "q"), ["a"]);
}
