//! G15, progress: what is ready goes to who may have it, consumers take turns, and once faults have stopped everything
//! comes out within a stated virtual time.

use super::history::History;
use super::{Event, Verdicts};
use crate::plan::MS;
use std::collections::BTreeMap;
use waystation_core::Machine;
use waystation_core::node::Node;

/// Virtual time within which, once faults have stopped, everything must come out.
pub(crate) const HEAL: u64 = 120_000 * MS;
/// Events of one run: beyond them it goes round in circles.
pub(crate) const STEPS_MAX: u64 = 3_000_000;
/// What is ready, and has a consumer with credit, leaves within so much virtual time: long enough to be read from the
/// disk, with all that dies before it, in single reads.
const SERVE: u64 = 1_000 * MS;
/// How often that is looked at.
const LOOK: u64 = 25 * MS;

#[derive(Debug, Default)]
pub(super) struct Checker {
    looked: u64,
    /// Queues that have had something ready for somebody since then, and gave nothing.
    idle_since: BTreeMap<usize, u64>,
    /// For each consumer, what its queue gave to others since its last turn.
    turns: BTreeMap<(usize, u64, String), u64>,
    /// What each queue gave in this step, and to whom.
    given: BTreeMap<usize, Vec<(u64, String)>>,
}

impl super::Checker for Checker {
    fn see(&mut self, history: &History, event: &Event<'_>, verdicts: &mut Verdicts) {
        match *event {
            Event::Handed(handing) => {
                let consumer = handing.consumer.unwrap_or_default();
                let channel = history.credits.channels.get(&handing.channel);
                let queue = channel.and_then(|channel| channel.consumers.get(consumer)?.queue);
                if let Some(queue) = queue {
                    let given = self.given.entry(queue).or_default();
                    given.push((handing.channel, consumer.to_owned()));
                }
            }
            Event::Delivered(delivery) => drop(self.idle_since.remove(&delivery.queue)),
            Event::StepOver => {
                self.take_turns(history, verdicts);
                if history.now.at >= self.looked + LOOK {
                    self.looked = history.now.at;
                    self.look(history, verdicts);
                }
            }
            Event::Crashed => {
                self.idle_since.clear();
                self.turns.clear();
                self.given.clear();
            }
            _ => {}
        }
    }
}

impl Checker {
    /// Consumers that may have a message, and have had none while the others had one each, and one more.
    fn take_turns(&mut self, history: &History, verdicts: &mut Verdicts) {
        for (queue, given) in std::mem::take(&mut self.given) {
            let mut there = 0;
            let mut waiting = Vec::new();
            for (channel, one) in &history.credits.channels {
                for (tag, consumer) in one.consumers.iter().filter(|(_, one)| one.queue == Some(queue)) {
                    there += 1;
                    let key = (queue, *channel, tag.clone());
                    let served = given.iter().any(|(by, to)| by == channel && to == tag);
                    if served || !history.credits.is_certain(one, consumer) {
                        self.turns.remove(&key);
                    } else {
                        waiting.push(key);
                    }
                }
            }
            for key in waiting {
                // Its credit is certain at the end of the step in which it is first seen waiting.
                let Some(others) = self.turns.get_mut(&key) else {
                    self.turns.insert(key, 0);
                    continue;
                };
                *others += given.len() as u64;
                if *others > there {
                    let (_, _, tag) = &key;
                    let what = format!(
                        "queue {queue}: consumer {tag} may have a message, but {others} went to {there} others"
                    );
                    verdicts.fail("G15", what);
                }
            }
        }
    }

    /// Queues that have something ready for somebody, and give nothing.
    fn look(&mut self, history: &History, verdicts: &mut Verdicts) {
        for queue in 0..history.kinds.len() {
            let hungry = || {
                let channels = history.credits.channels.values();
                let mut consumers =
                    channels.flat_map(|channel| channel.consumers.values().map(move |one| (channel, one)));
                consumers.any(|(channel, one)| one.queue == Some(queue) && history.credits.is_certain(channel, one))
            };
            if !history.line(queue).has_ready(history.now.step) || !hungry() {
                self.idle_since.remove(&queue);
                continue;
            }
            let since = *self.idle_since.entry(queue).or_insert(history.now.at);
            if history.now.at > since + SERVE {
                let waited = (history.now.at - since) / MS;
                let what = format!(
                    "queue {queue} has a message ready and a consumer with credit, and gave it nothing for {waited} ms"
                );
                verdicts.fail("G15", what);
            }
        }
    }
}

/// Whether a run that is not over goes on too long.
pub(crate) const fn is_stuck(now: u64, length: u64, steps: u64) -> bool {
    now > length + HEAL || steps > STEPS_MAX
}

/// What a node waits for, in words.
pub(crate) fn waits_for(node: Option<&Node>, ready: bool, disk: usize) -> String {
    let Some(node) = node else {
        return "the node is down".into();
    };
    let state = if ready { "the node runs" } else { "the node recovers" };
    let until = node.deadline().map_or_else(
        || "waits for no time".into(),
        |deadline| format!("waits until {} ms, for {}", deadline.at.0 / MS, deadline.reason),
    );
    format!("{state}, {until}, and for {disk} answers of the disk")
}

/// What is wrong with it.
pub(crate) fn stuck(waiting: &str) -> String {
    let seconds = HEAL / MS / 1000;
    format!("not drained {seconds} virtual s after the faults stopped: {waiting}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::testing::{CHANNEL as channel, Story};

    #[test]
    fn time_and_events_have_a_bound() {
        assert!(!is_stuck(HEAL + 10, 10, 0));
        assert!(is_stuck(HEAL + 11, 10, 0));
        assert!(is_stuck(0, 10, STEPS_MAX + 1));
    }

    #[test]
    fn a_stuck_run_says_what_it_waits_for() {
        assert_eq!(waits_for(None, true, 0), "the node is down");
        let config = waystation_core::node::Config::default();
        let node = Node::open(
            config,
            waystation_core::disk::Listing::default(),
            waystation_core::Now::default(),
        );
        let words = waits_for(Some(&node), false, 2);
        assert_eq!(
            words,
            "the node recovers, waits for no time, and for 2 answers of the disk"
        );
    }

    #[test]
    fn what_is_ready_goes_to_who_may_have_it() {
        for (waiting, expected) in [(false, Some("G15")), (true, None)] {
            let mut story = Story::begin();
            story.consumer("a", Some(0));
            story.tell(Event::Waiting { channel, waiting });
            story.publish(1, &[0], true);
            for _ in 0..60 {
                story.wait_ms(25);
                story.begin_step();
                story.tell(Event::StepOver);
            }
            assert_eq!(story.found(), expected);
        }
    }

    #[test]
    fn consumers_take_turns() {
        for (to, expected) in [(["a", "b", "a", "b"], None), (["a", "a", "a", "a"], Some("G15"))] {
            let mut story = Story::begin();
            story.consumer("a", Some(0));
            story.consumer("b", Some(0));
            for (tag, consumer) in to.into_iter().enumerate() {
                story.begin_step();
                story.hand(consumer, 1 + tag as u64, 1);
                story.tell(Event::StepOver);
            }
            assert_eq!(story.found(), expected);
        }
    }
}
