#![no_main]
//! Field tables and properties from anywhere.

use libfuzzer_sys::fuzz_target;
use waystation_core::message::{OwnedProperties, Properties, Table};

fuzz_target!(|bytes: &[u8]| {
    let checked = Table::check(bytes);
    match Table::decode(bytes) {
        Ok(table) => {
            assert_eq!(checked, Ok(()));
            assert_eq!(
                encoded(&Table::decode(&encoded(&table)).expect("what is encoded decodes")),
                encoded(&table)
            );
        }
        Err(error) => assert_eq!(checked, Err(error)),
    }
    let properties = Properties::parse(bytes);
    let owned = OwnedProperties::parse(bytes);
    assert_eq!(properties.is_ok(), owned.is_ok());
    if let Ok(owned) = owned {
        let again = OwnedProperties::parse(&owned.to_vec()).expect("what is encoded parses");
        assert_eq!(again.to_vec(), owned.to_vec());
    }
});

/// Compared as bytes: a NaN is not equal to itself.
fn encoded(table: &Table) -> Vec<u8> {
    let mut out = Vec::new();
    table.encode(&mut out);
    out
}
