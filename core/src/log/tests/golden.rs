//! The bytes of each structure: a change of the format does not slip through.

use super::*;
use crate::log::superblock::Superblock;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn superblock() {
    let with = Superblock {
        turn: 5,
        term: 3,
        manifest: Some((
            Position {
                segment: 2,
                offset: 0x1234,
            },
            77,
        )),
    };
    let without = Superblock { manifest: None, ..with };
    assert_eq!(
        [hex(&with.encode()), hex(&without.encode())],
        [
            "57535550de94cc7b02000000000000000500000000000000030000000000000002000000000000003412000000000000\
         4d000000000000000000000000000000",
            "57535550146c7966020000000000000005000000000000000300000000000000ffffffffffffffffffffffffffffffff\
         00000000000000000000000000000000"
        ]
    );
}

#[test]
fn segment_head_entry_mark_and_seal() {
    let mut writer = Writer::new();
    writer.write(&[b"body".to_vec()]);
    writer.log.mark();
    writer.perform();
    writer.write(&[vec![0; 3900]]);
    let all = writer.folder.segment(1).clone();
    let records = [&all[..64], &all[64..112], &all[112..160], &all[160..208]].map(hex);
    assert_eq!(
        records,
        [
            "57524543b119ef6a14000000010000000100000000000000010000000000000000000000000000000200000000000000\
         00000000001000000000000000000000",
            "575245430ca10f290400000004000000020000000000000001000000000000000000000000000000626f647900000000",
            "57524543888f05cc00000000030000000300000000000000010000000000000002000000000000000000000000000000",
            "5752454305d2cb4700000000020000000400000000000000010000000000000002000000000000000000000000000000"
        ]
    );
}
