//! The same bytes, read and written by this codec and by `amq-protocol`: an implementation by others.
#![expect(clippy::unwrap_used, reason = "a test")]

mod spec;

use amq_protocol::frame::{AMQPFrame, WriteContext, gen_frame, parse_frame};
use amq_protocol::types::{AMQPValue, DecimalValue, FieldTable};
use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use waystation_core::message::{OwnedProperties, Properties, Table, Value};
use waystation_protocols::amqp::frame::{self, ContentHeader, Frame};
use waystation_protocols::amqp::methods::Method;

/// A method's payload, and what the `Debug` of either side's struct has to contain.
#[derive(Debug)]
struct Sample {
    name: String,
    payload: Vec<u8>,
    ours: Vec<String>,
    theirs: Vec<String>,
}

/// Any method of the specification, with fields drawn from `words`.
fn sample(pick: usize, words: &[u64], table: &Table) -> Sample {
    let classes = spec::classes();
    let all: Vec<_> = classes
        .iter()
        .flat_map(|class| class.methods.iter().map(move |m| (class, m)))
        .collect();
    let (class, method) = all[pick % all.len()];
    let mut out = Sample {
        name: format!("{}.{}", class.name, method.name),
        payload: [class.id.to_be_bytes(), method.id.to_be_bytes()].concat(),
        ours: Vec::new(),
        theirs: Vec::new(),
    };
    let mut words = words.iter().copied().cycle();
    let mut bits = 0;
    for (field, ty) in &method.fields {
        let word = match *field {
            // They have no field for these, and write them so.
            "_" | "prefetch-size" => 0,
            "ticket" => 1,
            _ => words.next().unwrap(),
        };
        if *ty != "bit" {
            bits = 0;
        }
        let text = if *field == "_" {
            String::new()
        } else {
            format!("{word:x}")
        };
        let value = match *ty {
            "bit" => {
                if bits % 8 == 0 {
                    out.payload.push(0);
                }
                *out.payload.last_mut().unwrap() |= u8::from(word & 1 != 0) << (bits % 8);
                bits += 1;
                (word & 1 != 0).to_string()
            }
            "octet" => scalar(&mut out.payload, &word.to_be_bytes()[7..]),
            "short" => scalar(&mut out.payload, &word.to_be_bytes()[6..]),
            "long" => scalar(&mut out.payload, &word.to_be_bytes()[4..]),
            "longlong" => scalar(&mut out.payload, &word.to_be_bytes()),
            "shortstr" | "bytes" => {
                out.payload.push(u8::try_from(text.len()).unwrap());
                out.payload.extend_from_slice(text.as_bytes());
                text
            }
            "longstr" => {
                out.payload
                    .extend_from_slice(&u32::try_from(text.len()).unwrap().to_be_bytes());
                out.payload.extend_from_slice(text.as_bytes());
                text
            }
            "table" => {
                let mut inside = Vec::new();
                table.encode(&mut inside);
                out.payload
                    .extend_from_slice(&u32::try_from(inside.len()).unwrap().to_be_bytes());
                out.payload.extend_from_slice(&inside);
                continue;
            }
            other => panic!("unknown type {other}"),
        };
        out.expect(field, ty, &value);
    }
    out
}

fn scalar(payload: &mut Vec<u8>, bytes: &[u8]) -> String {
    payload.extend_from_slice(bytes);
    bytes
        .iter()
        .fold(0u64, |sum, byte| (sum << 8) | u64::from(*byte))
        .to_string()
}

impl Sample {
    fn expect(&mut self, field: &str, ty: &str, value: &str) {
        if field == "_" {
            return;
        }
        let name = if field == "type" {
            "kind".to_owned()
        } else {
            field.replace('-', "_")
        };
        match ty {
            "shortstr" => {
                self.ours.push(format!("{name}: {value:?}"));
                self.theirs.push(format!("{name}: ShortString({value:?})"));
            }
            "bytes" => {
                self.ours.push(format!("{name}: {:?}", value.as_bytes()));
                self.theirs.push(format!("{name}: ShortString({value:?})"));
            }
            "longstr" => self.ours.push(format!("{name}: {:?}", value.as_bytes())),
            _ if matches!(field, "ticket" | "prefetch-size") => self.ours.push(format!("{name}: {value}")),
            _ => {
                self.ours.push(format!("{name}: {value}"));
                self.theirs.push(format!("{name}: {value}"));
            }
        }
    }
}

/// `theirs` writes maps in the order of their keys: tables drawn here are sorted, without duplicates.
fn tables() -> impl Strategy<Value = Table> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(Value::Bool),
        any::<i8>().prop_map(Value::I8),
        any::<u8>().prop_map(Value::U8),
        any::<i16>().prop_map(Value::I16),
        any::<u16>().prop_map(Value::U16),
        any::<i32>().prop_map(Value::I32),
        any::<u32>().prop_map(Value::U32),
        any::<i64>().prop_map(Value::I64),
        (-1e9f32..1e9).prop_map(Value::F32),
        (-1e9f64..1e9).prop_map(Value::F64),
        any::<(u8, u32)>().prop_map(|(scale, value)| Value::Decimal(scale, value)),
        "[a-z]{0,9}".prop_map(|text| Value::from(&*text)),
        prop::collection::vec(any::<u8>(), 0..9).prop_map(|bytes| Value::Bytes(Bytes::from(bytes))),
        any::<u64>().prop_map(Value::Timestamp),
        Just(Value::Void),
    ];
    let value = leaf.prop_recursive(3, 20, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::Array),
            prop::collection::btree_map("[a-z]{0,9}", inner, 0..5)
                .prop_map(|map| Value::Table(Table(map.into_iter().map(|(k, v)| (k.into(), v)).collect()))),
        ]
    });
    prop::collection::btree_map("[a-z]{0,9}", value, 0..6)
        .prop_map(|map| Table(map.into_iter().map(|(k, v)| (k.into(), v)).collect()))
}

fn their_table(table: &FieldTable) -> Table {
    let fields = table.inner().iter();
    Table(
        fields
            .map(|(name, value)| (name.as_str().into(), their_value(value)))
            .collect(),
    )
}

fn their_value(value: &AMQPValue) -> Value {
    match value {
        AMQPValue::Boolean(v) => Value::Bool(*v),
        AMQPValue::ShortShortInt(v) => Value::I8(*v),
        AMQPValue::ShortShortUInt(v) => Value::U8(*v),
        AMQPValue::ShortInt(v) => Value::I16(*v),
        AMQPValue::ShortUInt(v) => Value::U16(*v),
        AMQPValue::LongInt(v) => Value::I32(*v),
        AMQPValue::LongUInt(v) => Value::U32(*v),
        AMQPValue::LongLongInt(v) => Value::I64(*v),
        AMQPValue::Float(v) => Value::F32(*v),
        AMQPValue::Double(v) => Value::F64(*v),
        AMQPValue::DecimalValue(DecimalValue { scale, value }) => Value::Decimal(*scale, *value),
        AMQPValue::ShortString(v) => panic!("no short strings in tables: {v}"),
        AMQPValue::LongString(v) => Value::Str(Bytes::copy_from_slice(v.as_bytes())),
        AMQPValue::FieldArray(v) => Value::Array(v.as_slice().iter().map(their_value).collect()),
        AMQPValue::Timestamp(v) => Value::Timestamp(*v),
        AMQPValue::FieldTable(v) => Value::Table(their_table(v)),
        AMQPValue::ByteArray(v) => Value::Bytes(Bytes::copy_from_slice(v.as_slice())),
        AMQPValue::Void => Value::Void,
    }
}

fn framed(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind, 0, 7];
    bytes.extend_from_slice(&u32::try_from(payload.len()).unwrap().to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes.push(frame::END);
    bytes
}

fn their_bytes(frame: &AMQPFrame) -> Vec<u8> {
    gen_frame(frame)(WriteContext::from(Vec::new())).unwrap().into_inner().0
}

fn our_method(payload: &[u8]) -> Option<Method<'_>> {
    let ids = |at: usize| u16::from_be_bytes([payload[at], payload[at + 1]]);
    Method::decode(ids(0), ids(2), &payload[4..]).ok().flatten()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn methods_agree(pick: usize, words in prop::collection::vec(any::<u64>(), 10), table in tables()) {
        let sample = sample(pick, &words, &table);
        let bytes = framed(frame::METHOD, &sample.payload);
        let (frame, used) = Frame::parse(&bytes, 1 << 20).unwrap().unwrap();
        prop_assert_eq!((frame.kind, frame.channel, used), (frame::METHOD, 7, bytes.len()));
        let ours = our_method(frame.payload).unwrap();
        prop_assert_eq!(ours.name(), &sample.name);
        let said = format!("{ours:?}");
        for expected in &sample.ours {
            prop_assert!(said.contains(expected), "{} in {}", expected, said);
        }
        let mut written = BytesMut::new();
        ours.encode(&mut written);
        prop_assert_eq!(&written[..], &sample.payload[..]);

        let (rest, theirs) = parse_frame(&bytes[..]).unwrap();
        prop_assert!(rest.is_empty());
        let said = format!("{theirs:?}");
        for expected in &sample.theirs {
            prop_assert!(said.contains(expected), "{} in {}", expected, said);
        }
        prop_assert_eq!(their_bytes(&theirs), bytes);
    }

    #[test]
    fn damaged_methods_are_refused_alike(pick: usize, words in prop::collection::vec(any::<u64>(), 10), cut in any::<prop::sample::Index>()) {
        let sample = sample(pick, &words, &Table::default());
        let payload = &sample.payload[..cut.index(sample.payload.len())];
        let ours = payload.len() >= 4 && our_method(payload).is_some();
        let bytes = framed(frame::METHOD, payload);
        prop_assert_eq!(ours, parse_frame(&bytes[..]).is_ok(), "{:?}", sample);
    }

    #[test]
    fn content_headers_and_tables_agree(
        headers in proptest::option::of(tables()),
        delivery_mode in proptest::option::of(any::<u8>()),
        timestamp in proptest::option::of(any::<u64>()),
        texts in prop::collection::vec(proptest::option::of("[a-z0-9]{0,40}"), 10),
        body_bytes: u64,
    ) {
        let text = |at: usize| texts[at].as_ref().map(|text| Bytes::copy_from_slice(text.as_bytes()));
        let properties = OwnedProperties {
            content_type: text(0), content_encoding: text(1), headers, delivery_mode, priority: delivery_mode,
            correlation_id: text(2), reply_to: text(3), expiration: text(4), message_id: text(5), timestamp,
            type_: text(6), user_id: text(7), app_id: text(8), cluster_id: text(9),
        };
        let mut payload = vec![0, 60, 0, 0];
        payload.extend_from_slice(&body_bytes.to_be_bytes());
        properties.encode(&mut payload);
        let bytes = framed(frame::HEADER, &payload);
        let AMQPFrame::Header(7, theirs) = parse_frame(&bytes[..]).unwrap().1 else {
            panic!("a header frame");
        };
        prop_assert_eq!((theirs.class_id, theirs.body_size), (60, body_bytes));
        let ours = ContentHeader::parse(&payload).unwrap();
        prop_assert_eq!((ours.class, ours.body_bytes), (60, body_bytes));
        let ours = Properties::parse(ours.properties).unwrap();
        let same = |ours: Option<&[u8]>, theirs: Option<&str>| ours == theirs.map(str::as_bytes);
        let p = &theirs.properties;
        prop_assert!(same(ours.content_type(), p.content_type().as_ref().map(|s| s.as_str())));
        prop_assert!(same(ours.content_encoding(), p.content_encoding().as_ref().map(|s| s.as_str())));
        prop_assert!(same(ours.correlation_id(), p.correlation_id().as_ref().map(|s| s.as_str())));
        prop_assert!(same(ours.reply_to(), p.reply_to().as_ref().map(|s| s.as_str())));
        prop_assert!(same(ours.expiration(), p.expiration().as_ref().map(|s| s.as_str())));
        prop_assert!(same(ours.message_id(), p.message_id().as_ref().map(|s| s.as_str())));
        prop_assert!(same(ours.type_(), p.kind().as_ref().map(|s| s.as_str())));
        prop_assert!(same(ours.user_id(), p.user_id().as_ref().map(|s| s.as_str())));
        prop_assert!(same(ours.app_id(), p.app_id().as_ref().map(|s| s.as_str())));
        prop_assert!(same(ours.cluster_id(), p.cluster_id().as_ref().map(|s| s.as_str())));
        prop_assert_eq!((ours.delivery_mode(), ours.priority(), ours.timestamp()), (*p.delivery_mode(), *p.priority(), *p.timestamp()));
        prop_assert_eq!(ours.headers_raw().map(|_| ours.headers()), p.headers().as_ref().map(their_table));
        prop_assert_eq!(their_bytes(&AMQPFrame::Header(7, theirs)), bytes);
    }
}
