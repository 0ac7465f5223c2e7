//! G14, bounded: no consumer holds more than its prefetch, and no channel's consumers more than theirs together.

use super::history::History;
use super::{Event, Handing, Verdicts};
use std::collections::{BTreeMap, BTreeSet};

/// What a channel's consumers may hold, and what they do.
#[derive(Debug, Default)]
struct Credit {
    /// Of consumers that begin from now on.
    prefetch: u16,
    limits: BTreeMap<String, u16>,
    holding: BTreeMap<String, BTreeSet<u64>>,
    /// Who holds a delivery.
    holders: BTreeMap<u64, String>,
    /// The limit shared by all its consumers; not checked once one is cancelled.
    shared: Option<u16>,
}

#[derive(Debug, Default)]
pub(super) struct Checker {
    channels: BTreeMap<u64, Credit>,
}

impl super::Checker for Checker {
    fn see(&mut self, _history: &History, event: &Event<'_>, verdicts: &mut Verdicts) {
        match *event {
            Event::Qos { channel, count, global } => {
                let credit = self.channels.entry(channel).or_default();
                if global {
                    credit.shared = (count > 0).then_some(count);
                } else {
                    credit.prefetch = count;
                }
            }
            Event::ConsumeAsked {
                channel,
                consumer,
                no_ack: false,
            } => {
                let credit = self.channels.entry(channel).or_default();
                if credit.prefetch > 0 {
                    credit.limits.insert(consumer.to_owned(), credit.prefetch);
                }
            }
            Event::CancelAsked { channel } => self.channels.entry(channel).or_default().shared = None,
            Event::CreditBack { channel, tag } => self.channels.entry(channel).or_default().give_back(tag),
            Event::AllBack { channel } => {
                let credit = self.channels.entry(channel).or_default();
                credit.holding.clear();
                credit.holders.clear();
            }
            Event::ChannelGone { channel } => drop(self.channels.remove(&channel)),
            Event::Crashed => self.channels.clear(),
            Event::Handed(handing) if !handing.no_ack && !handing.closing => {
                let credit = self.channels.entry(handing.channel).or_default();
                if let Some(what) = credit.hand(&handing) {
                    verdicts.fail("G14", what);
                }
            }
            _ => {}
        }
    }
}

impl Credit {
    fn hand(&mut self, handing: &Handing<'_>) -> Option<String> {
        let consumer = handing.consumer?;
        self.holders.insert(handing.tag, consumer.to_owned());
        let holding = self.holding.entry(consumer.to_owned()).or_default();
        holding.insert(handing.tag);
        let held = holding.len();
        if let Some(limit) = self.limits.get(consumer).filter(|limit| held > usize::from(**limit)) {
            return Some(format!("prefetch {limit} was exceeded: {held}"));
        }
        let all = self.holders.len();
        let limit = self.shared.filter(|limit| all > usize::from(*limit))?;
        Some(format!("the channel's prefetch {limit} was exceeded: {all}"))
    }

    fn give_back(&mut self, tag: u64) {
        if let Some(consumer) = self.holders.remove(&tag)
            && let Some(holding) = self.holding.get_mut(&consumer)
        {
            holding.remove(&tag);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::checkers::testing::Story;
    use crate::checkers::{Event, Handing};

    fn hand(story: &mut Story, consumer: &'static str, tag: u64) {
        story.tell(Event::Handed(Handing {
            channel: 1,
            consumer: Some(consumer),
            known: true,
            tag,
            no_ack: false,
            closing: false,
        }));
    }

    #[test]
    fn prefetch_is_counted_for_each_consumer_and_for_the_channel() {
        for (global, other, expected) in [(false, "a", Some("G14")), (false, "b", None), (true, "b", Some("G14"))] {
            let mut story = Story::begin();
            let (channel, count) = (1, 1);
            story.tell(Event::Qos { channel, count, global });
            for consumer in ["a", "b"] {
                let no_ack = false;
                story.tell(Event::ConsumeAsked {
                    channel,
                    consumer,
                    no_ack,
                });
            }
            hand(&mut story, "a", 1);
            story.tell(Event::CreditBack { channel, tag: 1 });
            hand(&mut story, "a", 2);
            assert_eq!(story.found(), None);
            hand(&mut story, other, 3);
            assert_eq!(story.found(), expected, "{global} {other}");
        }
    }
}
