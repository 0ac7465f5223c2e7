//! The bytes of each command in an entry, and of each change in a command: a change of the format does not slip through.

use crate::api::{ConnId, Destination};
use crate::catalog::{Change, Definition, ExchangeDefinition, Kind, Policy, QueueId};
use crate::encoding::put_varint;
use crate::log::record::Body;
use crate::message::{Message, Table, Value};
use crate::shard::entry::{Command, Enqueue, Return, Settle, decode_entry};
use bytes::Bytes;
use std::sync::Arc;

fn table(name: &str, value: Value) -> Table {
    Table(vec![(name.into(), value)])
}

fn enqueue() -> Enqueue {
    Enqueue {
        queues: Arc::from([QueueId(1), QueueId(300)]),
        transient: Arc::default(),
        ttl_ms: Some(0),
        delay_ms: 0,
        message: Message::new("x", b"key", &[0, 0], b"body"),
    }
}

fn definition(exclusive: Option<ConnId>) -> Definition {
    let arguments = table("x-expires", Value::I32(9));
    Definition {
        vhost: "/".into(),
        name: "q".into(),
        durable: true,
        exclusive,
        auto_delete: true,
        policy: Policy::parse(&arguments).expect("known"),
        arguments,
    }
}

fn exchange() -> ExchangeDefinition {
    let arguments = table("alternate-exchange", Value::from("a"));
    ExchangeDefinition {
        vhost: "/".into(),
        name: "x".into(),
        kind: Kind::Topic,
        delayed: false,
        durable: true,
        auto_delete: false,
        internal: true,
        arguments,
        alternate: Some("a".into()),
    }
}

fn commands() -> Vec<Command> {
    let changes = [
        Change::DeclareExchange(exchange()),
        Change::DeleteExchange {
            vhost: "/".into(),
            name: "x".into(),
            if_unused: true,
        },
        Change::Bind {
            vhost: "/".into(),
            source: "x".into(),
            destination: Destination::Queue("q".into()),
            routing_key: "k".into(),
            arguments: Table::default(),
        },
        Change::Unbind {
            vhost: "/".into(),
            source: "x".into(),
            destination: Destination::Exchange("y".into()),
            routing_key: "k".into(),
            arguments: table("x-match", Value::from("any")),
        },
        Change::DeclareQueue {
            id: QueueId(5),
            asker: ConnId(200),
            definition: definition(Some(ConnId(200))),
        },
        Change::DeclareQueue {
            id: QueueId(6),
            asker: ConnId(2),
            definition: definition(None),
        },
        Change::DeleteQueue { id: QueueId(5) },
        Change::Restarted,
    ];
    let mut commands: Vec<Command> = changes.into_iter().map(Command::Change).collect();
    commands.push(Command::Enqueue(enqueue()));
    commands.push(Command::Settle(Settle {
        queue: 1,
        ranges: vec![(3, 3), (1000, 2024)],
    }));
    commands.push(Command::Move {
        queue: QueueId(7),
        sequence: 128,
        enqueue: Enqueue {
            ttl_ms: None,
            ..enqueue()
        },
    });
    commands.push(Command::Return(Return {
        queue: 7,
        returned: vec![(128, 0), (1, 1000)],
    }));
    commands.push(Command::Promote {
        queue: QueueId(7),
        sequences: vec![1 << 52, 5],
    });
    commands
}

#[test]
fn commands_have_their_bytes() {
    let hex = |command: &Command| {
        let mut body = Body::default();
        command.encode(&mut body);
        body.tail().iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let found: Vec<String> = commands().iter().map(hex).collect();
    let expected = [
        "0101012f017805746f7069630100011912616c7465726e6174652d65786368616e6765530000000161",
        "0102012f017801",
        "0103012f0178000171016b00",
        "0104012f0178010179016b1007782d6d617463685300000003616e79",
        "010505c801012f01710101010f09782d657870697265734900000009",
        "01050602012f01710100010f09782d657870697265734900000009",
        "010605",
        "0107",
        "020201ac0201001fec396d100000000178036b6579020000000000626f6479",
        "0301020300e8078008",
        "040780010201ac0200001fec396d100000000178036b6579020000000000626f6479",
        "05070280010001e807",
        "060702808080808080800805",
    ];
    assert_eq!(found, expected);
}

#[test]
fn an_entry_holds_each_command_and_where_its_message_lies() {
    let mut body = Body::default();
    put_varint(body.tail(), 1_700_000_000_000);
    let places: Vec<Option<u32>> = commands().iter().map(|command| command.encode(&mut body)).collect();
    let bytes = Bytes::from(body.tail().clone());
    let (time_ms, came) = decode_entry(&bytes).expect("whole");
    assert_eq!(time_ms, 1_700_000_000_000);
    assert_eq!(came, commands().into_iter().zip(places).collect::<Vec<_>>());
    // A flip in the message is found even where nobody checks the record.
    for (_, at) in &came {
        let Some(at) = at else { continue };
        for offset in 0..8 + 14 {
            let mut flipped = bytes.to_vec();
            flipped[*at as usize + offset] ^= 1;
            assert_eq!(decode_entry(&Bytes::from(flipped)), None, "byte {offset}");
        }
    }
}
