//! G12, exclusivity: an exclusive queue goes with its connection, an auto-delete queue with its last consumer.

use super::history::History;
use super::{Event, Verdicts};

#[derive(Debug, Default)]
pub(super) struct Checker;

impl super::Checker for Checker {
    fn see(&mut self, _history: &History, event: &Event<'_>, verdicts: &mut Verdicts) {
        if let Event::Outlived { queue } = event {
            verdicts.fail("G12", format!("queue {queue} outlives what it was to go with"));
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::checkers::Event;
    use crate::checkers::testing::Story;

    #[test]
    fn a_queue_that_outlives_its_connection_is_found() {
        let mut story = Story::begin();
        story.tell(Event::Outlived { queue: "amq.gen-1" });
        assert_eq!(story.found(), Some("G12"));
    }
}
