use super::*;
use proptest::prelude::*;

fn values() -> impl Strategy<Value = Value> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..20).prop_map(Bytes::from);
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
        bytes().prop_map(Value::Str),
        bytes().prop_map(Value::Bytes),
        any::<u64>().prop_map(Value::Timestamp),
        Just(Value::Void),
    ];
    leaf.prop_recursive(4, 30, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
            prop::collection::vec((".{0,9}", inner), 0..6)
                .prop_map(|fields| Value::Table(Table(fields.into_iter().map(|(k, v)| (k.into(), v)).collect()))),
        ]
    })
}

fn tables() -> impl Strategy<Value = Table> {
    prop::collection::vec((".{0,20}", values()), 0..8)
        .prop_map(|fields| Table(fields.into_iter().map(|(k, v)| (k.into(), v)).collect()))
}

fn encoded(table: &Table) -> Vec<u8> {
    let mut out = Vec::new();
    table.encode(&mut out);
    out
}

/// `depth` tables in one another, the outermost included.
fn nested(depth: usize, letter: u8) -> Vec<u8> {
    let mut inside = Vec::new();
    for level in 1..depth {
        let mut outer = if letter == b'F' || level == depth - 1 {
            vec![1, b'k']
        } else {
            vec![]
        };
        outer.push(letter);
        outer.extend_from_slice(&u32::try_from(inside.len()).unwrap().to_be_bytes());
        outer.extend_from_slice(&inside);
        inside = outer;
    }
    inside
}

#[test]
fn bytes_are_those_of_the_specification() {
    let table = Table(vec![
        ("a".into(), Value::I16(-2)),
        ("b".into(), Value::from("hi")),
        ("c".into(), Value::Array(vec![Value::Void, Value::Bool(true)])),
        ("d".into(), Value::Decimal(2, 314)),
    ]);
    let golden = b"\x01as\xff\xfe\x01bS\0\0\0\x02hi\x01cA\0\0\0\x03Vt\x01\x01dD\x02\0\0\x01\x3a";
    assert_eq!(encoded(&table), golden);
    assert_eq!(Table::decode(golden), Ok(table));
}

#[test]
fn nesting_ends_at_the_limit() {
    for letter in [b'F', b'A'] {
        assert!(Table::decode(&nested(NESTING_MAX, letter)).is_ok());
        assert_eq!(Table::check(&nested(NESTING_MAX, letter)), Ok(()));
        assert_eq!(
            Table::decode(&nested(NESTING_MAX + 1, letter)),
            Err(TableError::TooDeep)
        );
        assert_eq!(Table::check(&nested(20_000, letter)), Err(TableError::TooDeep));
    }
}

#[test]
fn lengths_and_letters_are_checked() {
    assert_eq!(Table::decode(b"\x05ab"), Err(TableError::Truncated));
    assert_eq!(Table::decode(b"\x01aS\xff\xff\xff\xffx"), Err(TableError::Truncated));
    assert_eq!(
        Table::decode(b"\x01aL\0\0\0\0\0\0\0\0"),
        Err(TableError::UnknownType(b'L'))
    );
    assert_eq!(Table::decode(b"\x01\xffV"), Err(TableError::NameNotUtf8));
    assert_eq!(Table::decode(b"\x01a"), Err(TableError::Truncated));
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(table in tables()) {
        let bytes = encoded(&table);
        prop_assert_eq!(Table::check(&bytes), Ok(()));
        prop_assert_eq!(Table::decode(&bytes).unwrap(), table);
    }

    #[test]
    fn check_and_decode_agree(mut bytes in tables().prop_map(|t| encoded(&t)), at in any::<prop::sample::Index>(), byte: u8, cut in any::<prop::sample::Index>()) {
        if !bytes.is_empty() {
            let at = at.index(bytes.len());
            bytes[at] = byte;
            bytes.truncate(cut.index(bytes.len()) + 1);
        }
        prop_assert_eq!(Table::check(&bytes), Table::decode(&bytes).map(|_| ()));
    }

    #[test]
    fn any_bytes_are_refused_or_taken(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert_eq!(Table::check(&bytes), Table::decode(&bytes).map(|_| ()));
    }
}
