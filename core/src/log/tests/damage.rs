//! A torn tail is cut off; anything else that is not what was written is damage, and is named (G17).

use super::*;
use crate::disk::folder::SECTOR;
use crate::log::record::{Parsed, parse};
use crate::log::superblock::{FILE_BYTES, SLOT_BYTES, Superblock};

/// A log of a few segments whose last write is followed by a mark.
fn marked(entries: usize) -> Writer {
    let mut writer = Writer::new();
    for number in 0..entries {
        writer.write(&[body(number, 100 + number)]);
    }
    writer.log.mark();
    writer.perform();
    writer
}

fn damaged(folder: &Folder) -> (FileId, u64, &'static str) {
    match read(folder) {
        Err(HaltCause::Damaged { file, offset, what }) => (file, offset, what),
        Err(other) => panic!("damage was expected, not {other}"),
        Ok(found) => panic!("damage was expected, not the end at {:?}", found.end),
    }
}

/// Every subset of the sectors of the last write: what was durable is read, and of the last write a part (G1, G17).
#[test]
fn a_torn_write_is_cut_off_whatever_sectors_survive() {
    let mut writer = Writer::new();
    let first = body(1, 150);
    writer.write(std::slice::from_ref(&first));
    let lost = [body(2, 700), body(3, 20), body(4, 1200)];
    writer.submit(&lost);
    while let Some(command) = writer.log.poll() {
        writer.folder.perform_unsynced(command);
    }
    let sectors = writer.folder.unsynced.len();
    assert!((4..12).contains(&sectors), "{sectors} sectors make few enough subsets");
    let mut seen = BTreeSet::new();
    for mask in 0..1_usize << sectors {
        let folder = writer.folder.crashed(|sector| mask >> sector & 1 == 1);
        let found = read(&folder).unwrap_or_else(|cause| panic!("mask {mask:b}: {cause}"));
        let entries = found.entries();
        assert_eq!(entries[0], first, "mask {mask:b}");
        assert!(lost.starts_with(&entries[1..]), "mask {mask:b}");
        seen.insert((entries.len(), found.torn));
        // The log goes on over what is torn.
        let mut after = Writer::resume(folder, &found, 2);
        let next = body(9, 64);
        after.write(std::slice::from_ref(&next));
        let mut expected = entries;
        expected.push(next);
        assert_eq!(
            read(&after.folder).expect("undamaged").entries(),
            expected,
            "mask {mask:b}"
        );
    }
    // Nothing of the write; cut between and within its records; all of it.
    assert_eq!(
        seen.into_iter().collect::<Vec<_>>(),
        [(1, false), (1, true), (2, false), (3, true), (4, false)]
    );
}

/// The last write cut at every byte.
#[test]
fn a_tail_cut_at_any_byte_is_no_damage() {
    let mut writer = Writer::new();
    writer.write(&[body(1, 33)]);
    let end = read(&writer.folder).expect("undamaged").end;
    let lost = [body(2, 50), body(3, 77)];
    writer.submit(&lost);
    let Some(Command::Write { offset, chunks, .. }) = writer.log.poll() else {
        panic!("a write was submitted");
    };
    assert_eq!(offset, u64::from(end.offset));
    let bytes = chunks.concat();
    for cut in 0..=bytes.len() {
        let mut folder = writer.folder.clone();
        let start = offset as usize;
        folder.segment(1)[start..start + cut].copy_from_slice(&bytes[..cut]);
        let found = read(&folder).unwrap_or_else(|cause| panic!("cut at {cut}: {cause}"));
        let entries = found.entries();
        assert!(lost.starts_with(&entries[1..]), "cut at {cut}");
        let whole = [record_bytes(50) - 6, record_bytes(50) + HEADER_BYTES + 77];
        let expected = whole.iter().filter(|whole| cut >= **whole).count();
        assert_eq!(entries.len() - 1, expected, "cut at {cut}");
    }
}

#[test]
fn each_flipped_bit_of_a_synced_record_is_damage_at_its_place() {
    let writer = marked(50);
    let found = read(&writer.folder).expect("undamaged");
    let last = found.records.len() - 1;
    for (number, (header, at, body)) in found.records.iter().enumerate() {
        let start = at.offset as usize - HEADER_BYTES;
        // Every byte of a few records, some of the others.
        let step = if number % 17 == 0 { 1 } else { 37 };
        for byte in (start..start + HEADER_BYTES + body.len()).step_by(step) {
            let mut folder = writer.folder.clone();
            folder.segment(at.segment)[byte] ^= 1 << (byte % 8);
            if number == last {
                // The mark itself was never said to be durable.
                assert_eq!(header.kind, Kind::Mark);
                assert_eq!(read(&folder).expect("a torn mark").records, found.records[..last]);
                continue;
            }
            let place = (FileId::Segment(at.segment), start as u64);
            let (file, offset, _) = damaged(&folder);
            assert_eq!((file, offset), place, "{header:?}, byte {byte}");
        }
    }
}

#[test]
fn a_sector_of_zeros_in_the_middle_is_damage() {
    let writer = marked(60);
    let found = read(&writer.folder).expect("undamaged");
    let end = found.end;
    for (segment, length) in writer.folder.segments() {
        let written = if segment == end.segment {
            end.offset as usize
        } else {
            length as usize
        };
        if segment > end.segment {
            continue;
        }
        for sector in 0..written / SECTOR {
            let mut folder = writer.folder.clone();
            let span = &mut folder.segment(segment)[sector * SECTOR..(sector + 1) * SECTOR];
            if span.iter().all(|byte| *byte == 0) {
                continue;
            }
            span.fill(0);
            let (file, offset, _) = damaged(&folder);
            assert_eq!(file, FileId::Segment(segment));
            assert!(
                offset < (sector as u64 + 1) * SECTOR as u64,
                "named at or before the zeros"
            );
        }
    }
}

#[test]
fn a_missing_segment_is_damage_wherever_it_is() {
    let writer = marked(80);
    let end = read(&writer.folder).expect("undamaged").end;
    assert!(end.segment >= 4);
    for missing in 1..=end.segment {
        let mut folder = writer.folder.clone();
        folder.files.remove(&FileId::Segment(missing));
        assert_eq!(
            damaged(&folder),
            (FileId::Segment(missing), 0, "the segment is missing")
        );
    }
}

#[test]
fn a_file_cut_short_is_damage_at_the_cut() {
    let writer = marked(80);
    let end = read(&writer.folder).expect("undamaged").end;
    for segment in 1..=end.segment {
        for length in [0, 16, 59, 60, 64, 72, 512, 1000, 4000, 4095] {
            let mut folder = writer.folder.clone();
            folder.segment(segment).truncate(length);
            let expected = (FileId::Segment(segment), length as u64, "the file was cut short here");
            assert_eq!(damaged(&folder), expected);
        }
    }
}

#[test]
fn two_segments_swapped_are_damage() {
    let mut writer = marked(60);
    let (one, two) = (writer.folder.segment(1).clone(), writer.folder.segment(2).clone());
    *writer.folder.segment(1) = two;
    *writer.folder.segment(2) = one;
    assert_eq!(damaged(&writer.folder).0, FileId::Segment(1));
}

/// A recycled segment's old records are in their old order, whole, and of no account.
#[test]
fn a_recycled_segments_stale_records_are_neither_read_nor_damage() {
    let mut writer = Writer::new();
    for number in 0..30 {
        writer.write(&[body(number, 300)]);
    }
    let first = writer.log.active_segment();
    (1..3).for_each(|dead| writer.log.release(dead));
    for number in 30..100 {
        writer.write(&[body(number, 300)]);
    }
    assert_eq!(writer.folder.recycled.len(), 2);
    let (start, sequence) = {
        let all = read_from_segment(&writer.folder, first);
        (
            Position {
                segment: first,
                offset: 0,
            },
            all,
        )
    };
    let found = read_from(&writer.folder, start, sequence).expect("stale records are not damage");
    assert_eq!(found.entries().last(), Some(&body(99, 300)));
    // A crash in the first write to a recycled segment: the stale rest is skipped.
    let mut recycled = writer.folder.clone();
    let number = found.end.segment + 1;
    let old = recycled.segment(found.end.segment - 2).clone();
    recycled.files.insert(FileId::Segment(number), old);
    let again = read_from(&recycled, start, sequence).expect("a segment ahead with stale records is no damage");
    assert_eq!(again, found);
}

/// The sequence of a segment's first record.
fn read_from_segment(folder: &Folder, segment: u64) -> u64 {
    let bytes = folder.read(FileId::Segment(segment), 16, 8);
    u64::from_le_bytes(bytes[..].try_into().expect("eight bytes"))
}

#[test]
fn a_term_that_falls_ends_the_log() {
    let mut writer = Writer::new();
    writer.write(&[body(1, 20)]);
    let found = read(&writer.folder).expect("undamaged");
    let mut higher = Writer::resume(writer.folder, &found, 5);
    higher.write(&[body(2, 20)]);
    let found = read(&higher.folder).expect("undamaged");
    assert_eq!(found.term, 5);
    // A record of an earlier life, whole and in its place.
    let mut lower = Writer::resume(higher.folder, &found, 4);
    lower.write(&[body(3, 20)]);
    let again = read(&lower.folder).expect("cut off");
    assert_eq!(again.entries(), [body(1, 20), body(2, 20)]);
    assert_eq!(again.end, found.end);
    // With a record behind it that says it was durable, it is damage.
    lower.write(&[body(4, 20)]);
    assert_eq!(damaged(&lower.folder).1, u64::from(found.end.offset));
}

#[test]
fn a_segment_of_another_format_version_is_refused() {
    let mut writer = marked(3);
    let file = writer.folder.segment(1);
    let Parsed::Record(header, first) = parse(1, file) else {
        panic!("the first record is whole")
    };
    let mut content = first.to_vec();
    content[0] = 7;
    let (mut tail, mut chunks) = (Vec::new(), Vec::new());
    record::encode(1, &header, made(&content), &mut tail, &mut chunks);
    file[..tail.len()].copy_from_slice(&tail);
    let file = FileId::Segment(1);
    assert_eq!(
        read(&writer.folder).err(),
        Some(HaltCause::UnknownFormat { file, version: 7 })
    );
}

#[test]
fn either_slot_of_the_superblock_may_be_torn_anywhere() {
    let slots = [6_u64, 7].map(|turn| Superblock {
        turn,
        term: turn,
        manifest: Some((
            Position {
                segment: turn,
                offset: 40,
            },
            turn * 10,
        )),
    });
    let mut file = vec![0; FILE_BYTES as usize];
    for slot in &slots {
        let at = slot.offset() as usize;
        file[at..at + 64].copy_from_slice(&slot.encode());
    }
    assert_eq!(slots[0].offset(), 0);
    assert_eq!(slots[1].offset(), SLOT_BYTES);
    assert_eq!(Superblock::choose(&file), Ok(Some(slots[1])));
    for (torn, other) in [(0, 1), (1, 0)] {
        for byte in 0..64 {
            let mut file = file.clone();
            file[torn * SLOT_BYTES as usize + byte] ^= 0x10;
            assert_eq!(
                Superblock::choose(&file),
                Ok(Some(slots[other])),
                "slot {torn}, byte {byte}"
            );
            // The next turn, written in part over the older one.
            let next = Superblock {
                turn: slots[1].turn + 1,
                ..slots[1]
            };
            let mut file = file.clone();
            let at = next.offset() as usize;
            file[at..at + byte].copy_from_slice(&next.encode()[..byte]);
            if torn == 0 {
                assert_eq!(
                    Superblock::choose(&file),
                    Ok(Some(slots[1])),
                    "byte {byte} of the next turn"
                );
            }
        }
    }
    file[..64].fill(0xff);
    file[SLOT_BYTES as usize..][..64].fill(0xff);
    assert_eq!(Superblock::choose(&file), Ok(None), "neither is whole");
}
