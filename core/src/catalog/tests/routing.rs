//! Which queues a message comes to.

use super::*;

#[test]
fn the_default_exchange_routes_by_name() {
    let mut catalog = catalog();
    catalog.queue_named("q");
    assert_eq!(catalog.routed("", "q", &[]), ["q"]);
    assert!(catalog.routed("", "other", &[]).is_empty());
    let message = Message::new("none", b"", &[0, 0], b"");
    let missing = Cause::NotFound {
        object: Object::Exchange,
        name: "none".into(),
    };
    assert_eq!(catalog.route(V, "none", b"", &message), Err(missing.clone()));
    assert_eq!(catalog.route("other", "none", b"", &message), Err(missing));
    let message = Message::new("", b"\xff", &[0, 0], b"");
    assert_eq!(
        catalog
            .route(V, "amq.direct", b"\xff", &message)
            .map(|route| route.queues),
        Ok(vec![])
    );
}

#[test]
fn each_type_chooses_in_its_way() {
    let mut catalog = catalog();
    for (queue, key) in [("a", "k.1"), ("b", "k.*"), ("c", "#"), ("d", "k.1")] {
        catalog.queue_named(queue);
        for source in ["amq.direct", "amq.fanout", "amq.topic"] {
            catalog.bound(source, to_queue(queue), key);
        }
    }
    assert_eq!(catalog.routed("amq.direct", "k.1", &[]), ["a", "d"]);
    assert_eq!(
        catalog.routed("amq.direct", "k.*", &[]),
        ["b"],
        "patterns are for topics"
    );
    assert_eq!(catalog.routed("amq.fanout", "whatever", &[]), ["a", "b", "c", "d"]);
    assert_eq!(catalog.routed("amq.topic", "k.1", &[]), ["a", "b", "c", "d"]);
    assert_eq!(catalog.routed("amq.topic", "k.2", &[]), ["b", "c"]);
    assert_eq!(catalog.routed("amq.topic", "", &[]), ["c"]);
}

#[test]
fn headers_are_matched_as_the_binding_says() {
    let one = [("n", Value::I32(1))];
    let both = [("n", Value::I64(1)), ("t", Value::from("x"))];
    let with_x = [("x-n", Value::I32(1)), ("t", Value::from("x"))];
    type Fields<'a> = [(&'a str, Value)];
    type Case<'a> = (&'a str, &'a Fields<'a>, bool);
    type Binding<'a> = (&'a str, Vec<(&'a str, Value)>, Vec<Case<'a>>);
    let bindings: [Binding<'_>; 6] = [
        (
            "all",
            vec![("n", Value::I32(1)), ("t", Value::from("x"))],
            vec![
                ("one", &one, false),
                ("both, another width", &both, true),
                ("none", &[], false),
            ],
        ),
        (
            "any",
            vec![("n", Value::U8(1)), ("t", Value::from("y"))],
            vec![("one", &one, true), ("both", &both, true), ("none", &[], false)],
        ),
        (
            "all",
            vec![("t", Value::Void)],
            vec![("one", &one, false), ("present", &both, true)],
        ),
        // Names with x- do not count.
        (
            "all",
            vec![("x-n", Value::I32(2)), ("t", Value::from("x"))],
            vec![("others match", &with_x, true), ("none", &one, false)],
        ),
        (
            "all-with-x",
            vec![("x-n", Value::I32(2)), ("t", Value::from("x"))],
            vec![("x- differs", &with_x, false)],
        ),
        (
            "any-with-x",
            vec![("x-n", Value::I32(1))],
            vec![("x- alike", &with_x, true), ("none", &one, false)],
        ),
    ];
    for (mode, wanted, cases) in bindings {
        let mut catalog = catalog();
        catalog.queue_named("q");
        let mut arguments = table(&wanted);
        arguments.0.push(("x-match".into(), Value::from(mode)));
        catalog.done(&bind("amq.headers", to_queue("q"), "", arguments));
        for (name, headers, taken) in cases {
            assert_eq!(
                catalog.routed("amq.headers", "", headers) == ["q"],
                taken,
                "{mode} {wanted:?}: {name}"
            );
        }
    }
}

#[test]
fn headers_bindings_without_a_word_or_with_a_wrong_one() {
    let one = [("n", Value::I32(1))];
    let mut catalog = catalog();
    catalog.queue_named("q");
    // Without x-match all must match, and nothing to match always does.
    catalog.done(&bind("amq.match", to_queue("q"), "", Table::default()));
    assert_eq!(catalog.routed("amq.match", "", &one), ["q"]);
    for bad in [Value::from("some"), Value::I32(1)] {
        let refused = catalog.apply(&bind("amq.match", to_queue("q"), "k", table(&[("x-match", bad)])));
        let why = "must be 'all', 'any', 'all-with-x' or 'any-with-x'";
        let argument = "x-match".into();
        assert_eq!(refused, Err(Cause::InvalidArgument { argument, why }));
        catalog.check();
    }
}

#[test]
fn a_route_by_headers_is_not_to_be_cached() {
    let mut catalog = catalog();
    catalog.bound("amq.fanout", to_exchange("amq.headers"), "");
    let message = Message::new("", b"", &[0, 0], b"");
    let cacheable = |source| catalog.route(V, source, b"", &message).expect("it exists").cacheable;
    assert!(cacheable("amq.direct") && cacheable("amq.topic") && cacheable(""));
    assert!(!cacheable("amq.headers"));
    assert!(!cacheable("amq.fanout"), "it leads to one");
}

#[test]
fn exchanges_bound_in_a_circle_route_once() {
    let mut catalog = catalog();
    for name in ["a", "b", "c"] {
        catalog.declare(exchange(name, Kind::Fanout));
        catalog.queue_named(&format!("q{name}"));
        catalog.bound(name, to_queue(&format!("q{name}")), "");
    }
    for (source, destination) in [("a", "b"), ("b", "c"), ("c", "a"), ("a", "a")] {
        catalog.bound(source, to_exchange(destination), "");
    }
    assert_eq!(catalog.routed("b", "", &[]), ["qa", "qb", "qc"]);
    let delete = Change::DeleteExchange {
        vhost: V.into(),
        name: "c".into(),
        if_unused: false,
    };
    catalog.done(&delete);
    assert_eq!(catalog.routed("a", "", &[]), ["qa", "qb"]);
    assert_eq!(catalog.routed("b", "", &[]), ["qb"]);
}

#[test]
fn alternate_exchanges_take_what_is_left() {
    let mut catalog = catalog();
    let with = |name: &str, alternate: &str| ExchangeDefinition {
        alternate: Some(alternate.into()),
        ..exchange(name, Kind::Direct)
    };
    catalog.declare(with("a", "b"));
    catalog.declare(with("b", "a"));
    catalog.declare(with("lost", "none"));
    catalog.queue_named("q");
    catalog.bound("b", to_queue("q"), "k");
    assert_eq!(catalog.routed("a", "k", &[]), ["q"]);
    assert!(
        catalog.routed("a", "other", &[]).is_empty(),
        "alternates in a circle end"
    );
    assert!(
        catalog.routed("lost", "k", &[]).is_empty(),
        "an alternate that is not there"
    );
    catalog.bound("a", to_exchange("amq.fanout"), "k");
    assert!(
        catalog.routed("a", "k", &[]).is_empty(),
        "a binding took it, if to nowhere"
    );
}
