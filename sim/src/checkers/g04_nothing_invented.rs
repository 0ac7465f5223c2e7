//! G4, nothing invented: what is delivered was published, byte for byte, and went to that queue; what no queue takes comes
//! back, if that was asked for.

use super::history::{History, Past, digest};
use super::letters::Rejections;
use super::returns::without_count;
use super::{Event, Verdicts};

#[derive(Debug, Default)]
pub(super) struct Checker {
    rejections: Rejections,
}

impl super::Checker for Checker {
    fn see(&mut self, history: &History, event: &Event<'_>, verdicts: &mut Verdicts) {
        self.rejections.see(history, event);
        match *event {
            Event::Invented { bytes } => verdicts.fail("G4", format!("a body of {bytes} bytes that nobody published")),
            Event::CameBack { id, expected } if id != expected || id.is_none() => {
                verdicts.fail(
                    "G4",
                    format!("message {id:?} was returned out of turn, or without need"),
                );
            }
            Event::NotReturned { id } => {
                verdicts.fail(
                    "G4",
                    format!("mandatory message {id} was confirmed and not returned before"),
                );
            }
            Event::Handed(handing) if !handing.known => {
                let consumer = handing.consumer.unwrap_or_default();
                verdicts.fail("G4", format!("a delivery to consumer {consumer}, which is none"));
            }
            Event::Delivered(delivery) => {
                let (queue, id) = (delivery.queue, delivery.id);
                let record = history.message(id).filter(|_| !history.may_come_again(queue));
                let counted = history.kinds[queue].counts_returns();
                let message = if counted {
                    &without_count(delivery.message)
                } else {
                    delivery.message
                };
                if record.is_some_and(|record| record.digest != digest(message)) {
                    let what = "has another address or other properties than it was published with";
                    verdicts.fail("G4", format!("message {id} of queue {queue} {what}"));
                }
                if let Some(what) = self.rejections.judge(history, &delivery) {
                    verdicts.fail("G4", format!("message {id} of queue {queue} {what}"));
                }
                let astray = match history.message(id) {
                    Some(record) => {
                        let ways = &mut record.published.queues.iter();
                        !ways.any(|one| *one == queue || history.leads_to(*one, queue))
                    }
                    None => matches!(history.past(id), Past::Stray { .. }),
                };
                if astray {
                    verdicts.fail(
                        "G4",
                        format!("message {id} came out of queue {queue}, where it never went"),
                    );
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::checkers::testing::{BYTES, Story};
    use crate::checkers::{Event, body};
    use waystation_core::message::Message;

    #[test]
    fn what_nobody_published_is_invented() {
        let mut phantom = Story::begin();
        phantom.deliver(0, 1, false);
        assert_eq!(phantom.found(), Some("G4"));
        let mut changed = Story::begin();
        changed.publish(1, &[0], true);
        let mut bytes = body(1, BYTES);
        bytes[15] ^= 1;
        changed.deliver_body(0, &bytes, false);
        assert_eq!(changed.found(), Some("G4"));
        let mut astray = Story::begin();
        astray.publish(1, &[0], true);
        astray.deliver(1, 1, false);
        assert_eq!(astray.found(), Some("G4"));
    }

    #[test]
    fn address_and_properties_are_compared() {
        for (key, expected) in [("", None), ("other", Some("G4"))] {
            let mut story = Story::begin();
            story.publish(1, &[0], true);
            let message = Message::new("", key.as_bytes(), &[0, 0], &body(1, BYTES));
            story.begin_step();
            story.hand_over_message(0, &message, false);
            assert_eq!(story.found(), expected);
        }
    }

    #[test]
    fn what_nobody_takes_comes_back_in_turn() {
        for (id, expected, found) in [
            (Some(1), Some(1), None),
            (Some(1), Some(2), Some("G4")),
            (Some(1), None, Some("G4")),
            (None, None, Some("G4")),
        ] {
            let mut story = Story::begin();
            story.tell(Event::CameBack { id, expected });
            assert_eq!(story.found(), found);
        }
    }
}
