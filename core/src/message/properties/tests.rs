use super::super::table::Value;
use super::*;
use proptest::option::of;
use proptest::prelude::*;

fn text() -> impl Strategy<Value = Option<Bytes>> {
    of(prop::collection::vec(any::<u8>(), 0..=255).prop_map(Bytes::from))
}

fn headers() -> impl Strategy<Value = Option<Table>> {
    of(prop::collection::vec((".{0,9}", any::<i64>()), 0..4)
        .prop_map(|fields| Table(fields.into_iter().map(|(k, v)| (k.into(), Value::I64(v))).collect())))
}

prop_compose! {
    fn properties()(
        (content_type, content_encoding, headers, delivery_mode) in (text(), text(), headers(), of(any::<u8>())),
        (priority, correlation_id, reply_to, expiration) in (of(any::<u8>()), text(), text(), text()),
        (message_id, timestamp, type_, user_id) in (text(), of(any::<u64>()), text(), text()),
        (app_id, cluster_id) in (text(), text()),
    ) -> OwnedProperties {
        OwnedProperties {
            content_type, content_encoding, headers, delivery_mode, priority, correlation_id, reply_to,
            expiration, message_id, timestamp, type_, user_id, app_id, cluster_id,
        }
    }
}

#[test]
fn bytes_are_those_of_the_specification() {
    let bytes = b"\x90\x00\x0atext/plain\x02";
    let properties = Properties::parse(bytes).unwrap();
    assert_eq!(properties.content_type(), Some(&b"text/plain"[..]));
    assert_eq!(properties.delivery_mode(), Some(2));
    assert_eq!(properties.headers_raw(), None);
    assert_eq!(properties.headers(), Table::default());
    assert_eq!(OwnedProperties::from(properties).to_vec(), bytes);
    assert_eq!(Properties::parse(EMPTY), Ok(Properties::default()));
}

#[test]
fn headers_and_expiration_can_be_changed() {
    let mut owned = OwnedProperties::parse(b"\x21\x00\0\0\0\x03\x01aV\x0260").unwrap();
    owned.expiration = None;
    let table = owned.headers.get_or_insert_default();
    table.0.push(("b".into(), Value::U8(7)));
    assert_eq!(owned.to_vec(), b"\x20\x00\0\0\0\x07\x01aV\x01bB\x07");
}

#[test]
fn errors_are_typed() {
    assert_eq!(Properties::parse(b"\x80"), Err(PropertiesError::Truncated));
    assert_eq!(Properties::parse(b"\x80\x00\x05ab"), Err(PropertiesError::Truncated));
    assert_eq!(Properties::parse(b"\x80\x01\0"), Err(PropertiesError::UnknownFlags(1)));
    assert_eq!(Properties::parse(b"\x00\x00abc"), Err(PropertiesError::Trailing(3)));
    assert_eq!(
        Properties::parse(b"\x20\x00\xff\xff\xff\xff"),
        Err(PropertiesError::Truncated)
    );
    assert_eq!(
        Properties::parse(b"\x20\x00\0\0\0\x02\x01a"),
        Err(PropertiesError::Headers(TableError::Truncated))
    );
}

proptest! {
    #[test]
    fn what_is_encoded_is_parsed(owned in properties()) {
        let bytes = owned.to_vec();
        prop_assert_eq!(OwnedProperties::parse(&bytes).unwrap(), owned);
    }

    #[test]
    fn any_bytes_are_refused_or_survive_a_round(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(owned) = OwnedProperties::parse(&bytes) {
            prop_assert_eq!(OwnedProperties::parse(&owned.to_vec()).is_ok(), true);
        }
    }
}
