//! Changes: what they do, what they refuse, and how they are written down.

use super::*;
use crate::encoding::Reader;
use proptest::prelude::*;

#[test]
fn a_binding_is_there_once_and_arguments_tell_bindings_apart() {
    let mut catalog = catalog();
    catalog.queue_named("q");
    let with = |number| table(&[("n", Value::I32(number))]);
    for arguments in [with(1), with(1), with(2)] {
        catalog.done(&bind("amq.topic", to_queue("q"), "a.#", arguments));
    }
    assert_eq!(catalog.counts().1, 2);
    catalog.done(&unbind("amq.topic", to_queue("q"), "a.#", with(1)));
    assert_eq!(
        catalog.routed("amq.topic", "a.b", &[]),
        ["q"],
        "the other one is there still"
    );
    catalog.done(&unbind("amq.topic", to_queue("q"), "a.#", with(3)));
    catalog.done(&unbind("amq.topic", to_queue("q"), "a.#", with(2)));
    assert!(catalog.routed("amq.topic", "a.b", &[]).is_empty());
}

#[test]
fn what_goes_takes_its_bindings_with_it() {
    let mut catalog = catalog();
    let id = catalog.queue_named("q");
    catalog.declare(exchange("x", Kind::Fanout));
    catalog.bound("x", to_queue("q"), "");
    catalog.bound("amq.topic", to_exchange("x"), "#");
    catalog.bound("amq.topic", to_queue("q"), "q.#");
    assert_eq!(catalog.done(&Change::DeleteQueue { id }), Applied::Gone(vec![id]));
    assert_eq!(catalog.counts().1, 1);
    assert_eq!(catalog.done(&Change::DeleteQueue { id }), Applied::Gone(vec![]));
    catalog.queue_named("q");
    assert!(
        catalog.routed("x", "", &[]).is_empty(),
        "the name's new queue is not bound"
    );
    let delete = Change::DeleteExchange {
        vhost: V.into(),
        name: "x".into(),
        if_unused: true,
    };
    catalog.done(&delete);
    assert_eq!(catalog.counts(), (5, 0), "being a destination is no use");
}

#[test]
fn auto_delete_exchanges_go_with_their_last_binding_one_after_the_other() {
    let mut catalog = catalog();
    let fleeting = |name: &str| ExchangeDefinition {
        auto_delete: true,
        ..exchange(name, Kind::Fanout)
    };
    for name in ["a", "b", "c"] {
        catalog.declare(fleeting(name));
    }
    let id = catalog.queue_named("q");
    catalog.queue_named("r");
    catalog.bound("a", to_exchange("b"), "");
    catalog.bound("b", to_exchange("c"), "");
    catalog.bound("c", to_queue("q"), "");
    catalog.bound("a", to_queue("r"), "");
    catalog.done(&Change::DeleteQueue { id });
    assert!(catalog.exchange(V, "c").is_none() && catalog.exchange(V, "b").is_none());
    assert!(catalog.exchange(V, "a").is_some(), "r is bound to it");
    catalog.done(&unbind("a", to_queue("r"), "", Table::default()));
    assert_eq!(catalog.counts(), (5, 0));
}

/// However long a chain a client makes, its end takes no more stack.
#[test]
fn a_long_chain_of_auto_delete_exchanges_goes_at_once() {
    // G16
    const LENGTH: usize = 50_000;
    let mut catalog = catalog();
    let id = QueueId(1);
    let applied = catalog.apply(&Change::declare_queue(id, definition("q")));
    assert!(applied.is_ok());
    let name = |number: usize| format!("x{number}");
    for number in 0..LENGTH {
        let fleeting = ExchangeDefinition {
            auto_delete: true,
            ..exchange(&name(number), Kind::Fanout)
        };
        assert!(catalog.apply(&Change::DeclareExchange(fleeting)).is_ok());
        let destination = if number == 0 {
            to_queue("q")
        } else {
            to_exchange(&name(number - 1))
        };
        assert!(
            catalog
                .apply(&bind(&name(number), destination, "", Table::default()))
                .is_ok()
        );
    }
    catalog.done(&Change::DeleteQueue { id });
    assert_eq!(catalog.counts(), (5, 0));
}

#[test]
fn a_restart_leaves_what_is_durable_and_belongs_to_nobody() {
    let mut catalog = catalog();
    let kept = catalog.queue_named("kept");
    let mut number = 10;
    let mut add = |catalog: &mut Catalog, change: fn(&mut Definition)| {
        let mut definition = definition(&format!("q{number}"));
        change(&mut definition);
        catalog.done(&Change::declare_queue(QueueId(number), definition));
        number += 1;
        QueueId(number - 1)
    };
    let gone = [
        add(&mut catalog, |definition| definition.durable = false),
        add(&mut catalog, |definition| definition.exclusive = Some(ConnId(3))),
    ];
    let auto = add(&mut catalog, |definition| definition.auto_delete = true);
    catalog.declare(ExchangeDefinition {
        durable: false,
        ..exchange("fleeting", Kind::Fanout)
    });
    catalog.bound("fleeting", to_queue("kept"), "");
    catalog.bound("amq.fanout", to_exchange("fleeting"), "");
    assert_eq!(catalog.exclusive_queues(ConnId(3)), [gone[1]]);
    assert_eq!(catalog.done(&Change::Restarted), Applied::Gone(gone.to_vec()));
    assert_eq!(catalog.queues().map(|(id, _)| id).collect::<Vec<_>>(), [kept, auto]);
    assert_eq!(catalog.counts(), (5, 0));
    assert_eq!(catalog.queue_next(), number, "numbers are never given again");
}

#[test]
fn a_difference_between_two_declarations_is_named() {
    let mut catalog = catalog();
    catalog.declare(exchange("x", Kind::Direct));
    let cases = [
        ("type", exchange("x", Kind::Topic)),
        (
            "durable",
            ExchangeDefinition {
                durable: false,
                ..exchange("x", Kind::Direct)
            },
        ),
        (
            "auto_delete",
            ExchangeDefinition {
                auto_delete: true,
                ..exchange("x", Kind::Direct)
            },
        ),
        (
            "internal",
            ExchangeDefinition {
                internal: true,
                ..exchange("x", Kind::Direct)
            },
        ),
        (
            "alternate-exchange",
            ExchangeDefinition {
                alternate: Some("a".into()),
                ..exchange("x", Kind::Direct)
            },
        ),
    ];
    for (expected, asked) in cases {
        let before = catalog.version();
        match catalog.apply(&Change::DeclareExchange(asked)) {
            Err(Cause::Inequivalent { argument, name, .. }) => assert_eq!((&*argument, &*name), (expected, "x")),
            other => panic!("{expected}: {other:?}"),
        }
        assert_eq!(catalog.version(), before, "nothing changed");
    }
    catalog.declare(exchange("x", Kind::Direct));
}

#[test]
fn arguments_of_queues_are_checked() {
    let number = |name: &'static str| table(&[(name, Value::I32(5))]);
    let policy = |table: &Table| Policy::parse(table).expect("valid");
    assert_eq!(policy(&number("x-message-ttl")).message_ttl_ms, Some(5));
    assert_eq!(policy(&number("x-expires")).expires_ms, Some(5));
    assert_eq!(policy(&number("x-max-length")).length_max, Some(5));
    assert_eq!(policy(&number("x-max-length-bytes")).bytes_max, Some(5));
    assert_eq!(
        policy(&table(&[("x-message-ttl", Value::U8(0))])).message_ttl_ms,
        Some(0)
    );
    assert_eq!(
        policy(&table(&[("x-queue-type", Value::from("quorum"))])),
        Policy::default()
    );
    assert_eq!(policy(&table(&[("x-something", Value::Void)])), Policy::default());
    let invalid = [
        ("x-message-ttl", Value::I32(-1)),
        ("x-message-ttl", Value::from("5")),
        ("x-message-ttl", Value::I64(i64::MAX)),
        ("x-message-ttl", Value::F64(1.0)),
        ("x-expires", Value::I32(0)),
        ("x-max-length", Value::I64(-5)),
        ("x-max-length-bytes", Value::Bool(true)),
        ("x-overflow", Value::from("drop-tail")),
        ("x-overflow", Value::I32(1)),
        ("x-max-priority", Value::I32(256)),
        ("x-max-priority", Value::I32(-1)),
        ("x-delivery-limit", Value::I32(65_536)),
        ("x-retry-delay", Value::I32(0)),
        ("x-retry-delay-max", Value::I32(10)),
        ("x-dead-letter-exchange", Value::I32(1)),
        ("x-dead-letter-routing-key", Value::from("k")),
        ("x-queue-type", Value::I32(1)),
    ];
    for (name, value) in invalid {
        match Policy::parse(&table(&[(name, value.clone())])) {
            Err(Cause::InvalidArgument { argument, .. }) => assert_eq!(&*argument, name, "{value:?}"),
            other => panic!("{name} {value:?}: {other:?}"),
        }
    }
    let refused = [
        ("x-single-active-consumer", Value::Bool(true)),
        ("x-queue-type", Value::from("stream")),
    ];
    for (name, value) in refused {
        let parsed = Policy::parse(&table(&[(name, value)]));
        assert!(
            matches!(parsed, Err(Cause::NotImplemented { .. })),
            "{name}: {parsed:?}"
        );
    }
}

/// Few names, so that changes meet.
fn name() -> impl Strategy<Value = Name> {
    prop::sample::select(vec!["a", "b", "c", "d"]).prop_map(Name::from)
}

fn destination() -> impl Strategy<Value = Destination> {
    prop_oneof![
        name().prop_map(Destination::Queue),
        name().prop_map(Destination::Exchange)
    ]
}

fn arguments() -> impl Strategy<Value = Table> {
    prop_oneof![
        3 => Just(Table::default()),
        1 => Just(table(&[("x-match", Value::from("any")), ("h", Value::I32(1))])),
        1 => Just(table(&[("h", Value::from("v"))])),
    ]
}

fn exchange_change() -> impl Strategy<Value = Change> {
    let kinds = prop::sample::select(vec![Kind::Direct, Kind::Fanout, Kind::Topic, Kind::Headers]);
    (name(), kinds, any::<[bool; 3]>(), prop::option::of(name())).prop_map(|(name, kind, flags, alternate)| {
        let arguments = alternate
            .iter()
            .map(|to| ("alternate-exchange".into(), Value::from(&**to)));
        Change::DeclareExchange(ExchangeDefinition {
            vhost: V.into(),
            name,
            kind,
            delayed: false,
            durable: flags[0],
            auto_delete: flags[1],
            internal: flags[2],
            arguments: Table(arguments.collect()),
            alternate,
        })
    })
}

fn queue_change() -> impl Strategy<Value = Change> {
    let arguments = prop_oneof![Just(vec![]), Just(vec![("x-max-length", Value::I32(4))])];
    (name(), any::<[bool; 3]>(), 0..3_u64, arguments).prop_map(|(name, flags, conn, arguments)| {
        let arguments = table(&arguments);
        let definition = Definition {
            vhost: V.into(),
            name,
            durable: flags[0],
            exclusive: flags[1].then_some(ConnId(conn)),
            auto_delete: flags[2],
            policy: Policy::parse(&arguments).expect("valid"),
            arguments,
        };
        Change::DeclareQueue {
            id: QueueId(0),
            asker: ConnId(conn),
            definition,
        }
    })
}

fn change() -> impl Strategy<Value = Change> {
    let key = prop::sample::select(vec!["", "k", "a.*", "#"]).prop_map(Name::from);
    let binding = || (name(), destination(), key.clone(), arguments());
    prop_oneof![
        4 => exchange_change(),
        4 => queue_change(),
        8 => binding().prop_map(|(source, to, key, arguments)| bind(&source, to, &key, arguments)),
        3 => binding().prop_map(|(source, to, key, arguments)| unbind(&source, to, &key, arguments)),
        1 => (name(), any::<bool>()).prop_map(|(name, if_unused)| Change::DeleteExchange {
            vhost: V.into(), name, if_unused
        }),
        2 => (1..20_u64).prop_map(|id| Change::DeleteQueue { id: QueueId(id) }),
        1 => Just(Change::Restarted),
    ]
}

/// Where messages of all kinds go.
fn routes(catalog: &Catalog) -> Vec<Result<Route, Cause>> {
    let headers = crate::message::OwnedProperties {
        headers: Some(table(&[("h", Value::I32(1))])),
        ..Default::default()
    };
    let mut routes = Vec::new();
    for exchange in ["a", "b", "c", "d", ""] {
        for key in ["", "k", "a.b", "a", "d"] {
            for properties in [vec![0, 0], headers.to_vec()] {
                let message = Message::new(exchange, key.as_bytes(), &properties, b"");
                routes.push(catalog.route(V, exchange, key.as_bytes(), &message));
            }
        }
    }
    routes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn a_catalog_rebuilt_from_its_changes_routes_alike(changes in prop::collection::vec(change(), 0..60)) {
        let mut one = catalog();
        for mut change in changes {
            if let Change::DeclareQueue { id, .. } = &mut change {
                *id = QueueId(one.queue_next());
            }
            let (version, before) = (one.version(), routes(&one));
            let applied = one.apply(&change);
            one.check();
            if applied.is_err() {
                prop_assert_eq!(version, one.version());
                prop_assert_eq!(before, routes(&one), "a change that fails changes nothing");
            } else {
                prop_assert!(one.version() > version, "cached routes end");
            }
            // As it lies in the log.
            let mut bytes = Vec::new();
            change.encode(&mut bytes);
            let mut reader = Reader::new(&bytes);
            prop_assert_eq!(Change::decode(&mut reader), Some(change));
            prop_assert!(reader.is_empty());
        }
        let mut other = catalog();
        for change in one.changes() {
            prop_assert!(other.apply(&change).is_ok(), "{:?}", change);
        }
        other.set_queue_next(one.queue_next());
        other.check();
        prop_assert_eq!(routes(&one), routes(&other));
        prop_assert_eq!(one.counts(), other.counts());
        let definitions = |catalog: &Catalog| catalog.queues().map(|(id, one)| (id, one.clone())).collect::<Vec<_>>();
        prop_assert_eq!(definitions(&one), definitions(&other));
        prop_assert_eq!(one.apply(&Change::Restarted), other.apply(&Change::Restarted));
        prop_assert_eq!(routes(&one), routes(&other));
    }

    #[test]
    fn any_bytes_are_a_change_or_refused(mut bytes: Vec<u8>, tag in 0..9_u8) {
        bytes.insert(0, tag);
        let mut reader = Reader::new(&bytes);
        if let Some(change) = Change::decode(&mut reader) {
            let read = reader.position();
            let mut again = Vec::new();
            change.encode(&mut again);
            prop_assert_eq!(Change::decode(&mut Reader::new(&again)), Some(change));
            prop_assert!(read <= bytes.len());
        }
    }

    /// A change of which bytes are flipped or cut off is read as some change or refused.
    #[test]
    fn a_damaged_change_does_no_harm(change in change(), at: prop::sample::Index, with: u8, cut: prop::sample::Index) {
        let mut bytes = Vec::new();
        change.encode(&mut bytes);
        let at = at.index(bytes.len());
        bytes[at] ^= with;
        let decoded = Change::decode(&mut Reader::new(&bytes));
        if with == 0 {
            prop_assert_eq!(decoded, Some(change));
        } else if let Some(decoded) = decoded {
            drop(catalog().apply(&decoded));
        }
        let cut = cut.index(bytes.len());
        drop(Change::decode(&mut Reader::new(&bytes[..cut])));
    }
}
