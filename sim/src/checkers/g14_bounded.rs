//! G14, bounded: no consumer holds more than its prefetch, no channel's consumers more than theirs together, and nothing
//! is sent to who does not read.

use super::history::History;
use super::{Event, Handing, Verdicts};

#[derive(Debug, Default)]
pub(super) struct Checker;

impl super::Checker for Checker {
    fn see(&mut self, history: &History, event: &Event<'_>, verdicts: &mut Verdicts) {
        if let Event::Handed(handing) = event
            && !handing.closing
            && let Some(consumer) = handing.consumer
            && let Some(what) = exceeded(history, handing, consumer)
        {
            verdicts.fail("G14", what);
        }
    }
}

fn exceeded(history: &History, handing: &Handing<'_>, tag: &str) -> Option<String> {
    let channel = history.credits.channels.get(&handing.channel)?;
    if history.credits.is_paused(channel.conn, history.now.step) {
        return Some(format!(
            "consumer {tag} was sent a message, but its connection's window is full"
        ));
    }
    let consumer = channel.consumers.get(tag).filter(|_| !handing.no_ack)?;
    let held = consumer.held.len() + 1;
    if consumer.limit > 0 && held > usize::from(consumer.limit) {
        return Some(format!("prefetch {} was exceeded: {held}", consumer.limit));
    }
    let all = channel.shared_held() + 1;
    let exceeded = channel.shared > 0 && all > usize::from(channel.shared);
    exceeded.then(|| format!("the channel's prefetch {} was exceeded: {all}", channel.shared))
}

#[cfg(test)]
mod tests {
    use crate::checkers::Event;
    use crate::checkers::testing::{CHANNEL as channel, CONN as conn, Story, WINDOW};

    #[test]
    fn prefetch_is_counted_for_each_consumer_and_for_the_channel() {
        for (global, other, expected) in [(false, "a", Some("G14")), (false, "b", None), (true, "b", Some("G14"))] {
            let mut story = Story::begin();
            let count = 1;
            story.tell(Event::Qos { channel, count, global });
            story.consumer("a", None);
            story.consumer("b", None);
            story.hand("a", 1, 0);
            story.tell(Event::CreditBack { channel, tag: 1 });
            story.hand("a", 2, 0);
            assert_eq!(story.found(), None);
            story.hand(other, 3, 0);
            assert_eq!(story.found(), expected, "{global} {other}");
        }
    }

    #[test]
    fn what_a_cancelled_consumer_holds_counts_no_longer() {
        for (second, expected) in [(2, None), (3, Some("G14"))] {
            let mut story = Story::begin();
            let (count, global) = (2, true);
            story.tell(Event::Qos { channel, count, global });
            story.consumer("a", None);
            story.consumer("b", None);
            story.hand("a", 1, 0);
            story.hand("b", 2, 0);
            let consumer = "a";
            story.tell(Event::CancelAsked { channel, consumer });
            story.tell(Event::Cancelled { channel, consumer });
            for tag in 3..=second + 1 {
                story.hand("b", tag, 0);
            }
            assert_eq!(story.found(), expected);
        }
    }

    #[test]
    fn who_does_not_read_is_sent_nothing() {
        for (read, expected) in [(true, None), (false, Some("G14"))] {
            let mut story = Story::begin();
            story.consumer("a", None);
            story.begin_step();
            story.hand("a", 1, WINDOW + 1);
            story.hand("a", 2, 1);
            assert_eq!(story.found(), None);
            story.begin_step();
            if read {
                let bytes = WINDOW;
                story.tell(Event::Read { conn, bytes });
            }
            story.hand("a", 3, 1);
            assert_eq!(story.found(), expected);
        }
    }
}
