//! G17, corruption is found: the node halts on a disk that failed or is damaged, names the file, and says nothing more; and
//! for no other reason.

use std::collections::BTreeSet;
use waystation_core::disk::FileId;
use waystation_core::node::HaltCause;

/// What is wrong with a halt, given the files that were damaged.
pub(crate) fn halt(cause: &HaltCause, damaged: &BTreeSet<FileId>) -> Option<String> {
    let HaltCause::Damaged { file, .. } = cause else {
        return Some(format!("the node halted on a disk that did not fail: {cause}"));
    };
    if damaged.is_empty() {
        let what = format!("the node halted on a disk that only loses what was not synced: {cause}");
        return Some(what);
    }
    (!damaged.contains(file)).then(|| format!("{damaged:?} were damaged, but the node halted with: {cause}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_halt_needs_a_cause_and_names_it() {
        let (file, other) = (FileId::Segment(1), FileId::Segment(2));
        let damaged = HaltCause::Damaged {
            file,
            offset: 0,
            what: "a record",
        };
        assert_eq!(halt(&damaged, &BTreeSet::from([file])), None);
        assert!(halt(&damaged, &BTreeSet::new()).is_some());
        assert!(halt(&damaged, &BTreeSet::from([other])).is_some());
        assert!(halt(&HaltCause::UnknownFormat { file, version: 9 }, &BTreeSet::from([file])).is_some());
    }
}
