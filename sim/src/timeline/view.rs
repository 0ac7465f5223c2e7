//! Which part of a timeline is worth showing: what concerns the messages that the failure names, what happened to the
//! node, and the end.

use super::{Mark, Part, Timeline, What};
use std::collections::BTreeSet;

/// Rows before the failure that are always shown.
const BEFORE: usize = 14;
/// Rows shown if the failure names no message.
const BEFORE_UNNAMED: usize = 60;
/// Timelines of so few rows are shown whole.
const WHOLE: usize = 60;
/// Rows at most; of longer views the middle is left out.
const ROWS_MAX: usize = 160;

/// Where a row stands in its event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It begins, and that is told.
    Begin,
    /// It ends, and that is told.
    End,
}

/// A moment of an event that is told.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Its place among all moments.
    pub moment: u64,
    /// Virtual nanoseconds.
    pub at: u64,
    /// The event.
    pub event: usize,
    /// Its beginning or its end.
    pub phase: Phase,
}

/// What is shown.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// In order.
    pub rows: Vec<Row>,
    /// By row, how many are left out just before it.
    pub skipped: Vec<usize>,
    /// The messages that it is about.
    pub messages: Vec<u64>,
    /// Nothing is left out.
    pub whole: bool,
}

impl View {
    /// Everything.
    #[must_use]
    pub fn whole(timeline: &Timeline) -> Self {
        Self {
            whole: true,
            ..Self::of(timeline, |_| true)
        }
    }

    /// What concerns these messages, and what the node did; the messages that the failure names if none are given.
    #[must_use]
    pub fn around(timeline: &Timeline, messages: &[u64]) -> Self {
        let rows = rows(timeline);
        let named = if messages.is_empty() {
            named_by_failure(timeline)
        } else {
            messages.to_vec()
        };
        let last = rows
            .len()
            .saturating_sub(if named.is_empty() { BEFORE_UNNAMED } else { BEFORE });
        if rows.len() <= WHOLE {
            return Self::of(timeline, |_| true).about(named);
        }
        let late = rows.get(last).map_or(0, |row| row.moment);
        let wanted = |row: &Row| {
            let event = &timeline.events[row.event];
            let node = matches!(event.what, What::Mark(mark) if !matches!(mark, Mark::Stall | Mark::Lost));
            let about = |part: &Part| part.messages.iter().any(|id| named.contains(id));
            node || row.moment >= late || event.parts.iter().any(about)
        };
        let mut moments: BTreeSet<u64> = rows.iter().filter(|row| wanted(row)).map(|row| row.moment).collect();
        if moments.len() > ROWS_MAX {
            let all: Vec<u64> = moments.into_iter().collect();
            let (first, rest) = all.split_at(ROWS_MAX / 3);
            let tail = &rest[rest.len() - (ROWS_MAX - first.len())..];
            moments = first.iter().chain(tail).copied().collect();
        }
        Self::of(timeline, |row| moments.contains(&row.moment)).about(named)
    }

    fn about(mut self, messages: Vec<u64>) -> Self {
        self.messages = messages;
        self
    }

    fn of(timeline: &Timeline, wanted: impl Fn(&Row) -> bool) -> Self {
        let mut view = Self::default();
        let mut skipped = 0;
        for row in rows(timeline) {
            if wanted(&row) {
                view.rows.push(row);
                view.skipped.push(std::mem::take(&mut skipped));
            } else {
                skipped += 1;
            }
        }
        view
    }

    /// The parts of an event that are shown, and how many are not.
    #[must_use]
    pub fn parts<'a>(&self, parts: &'a [Part]) -> (Vec<&'a Part>, usize) {
        /// So many parts are shown of an event that is not about the messages.
        const PARTS: usize = 4;
        let about = |part: &&Part| part.messages.iter().any(|id| self.messages.contains(id));
        let mut shown: Vec<&Part> = parts.iter().filter(about).collect();
        if shown.is_empty() {
            shown = parts.iter().take(if self.whole { usize::MAX } else { PARTS }).collect();
        }
        let hidden = parts.len() - shown.len();
        (shown, hidden)
    }
}

/// Bytes on their way are told when the node has to do with them: on arrival there, on leaving from there. Those that
/// never arrive are told when they leave. Work of the disk is told twice.
fn rows(timeline: &Timeline) -> Vec<Row> {
    let node = timeline.lanes.iter().position(|lane| lane == "node");
    let mut rows = Vec::new();
    for (number, event) in timeline.events.iter().enumerate() {
        let begins = Row {
            moment: event.moment,
            at: event.at,
            event: number,
            phase: Phase::Begin,
        };
        let ends = event.what.end().map(|(moment, at)| Row {
            moment,
            at,
            phase: Phase::End,
            ..begins
        });
        match event.what {
            What::Travel { .. } if Some(event.lane) != node => rows.push(ends.unwrap_or(begins)),
            What::Travel { .. } | What::Mark(_) => rows.push(begins),
            What::Work { .. } => rows.extend(std::iter::once(begins).chain(ends)),
        }
    }
    rows.sort_by_key(|row| row.moment);
    rows
}

fn named_by_failure(timeline: &Timeline) -> Vec<u64> {
    let failure = timeline
        .events
        .iter()
        .rev()
        .find(|event| event.what == What::Mark(Mark::Failure));
    failure.map_or(Vec::new(), |event| event.parts[0].messages.clone())
}

/// The messages that a sentence names: `message 12` or `#12`.
#[must_use]
pub fn messages_named(text: &str) -> Vec<u64> {
    let mut named = Vec::new();
    for word in ["#", "message "] {
        for (start, found) in text.match_indices(word) {
            let rest = &text[start + found.len()..];
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            named.extend(digits.parse::<u64>().ok().filter(|id| !named.contains(id)));
        }
    }
    named
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_from_sentences() {
        assert_eq!(messages_named("message 12 of queue 3 is lost, as is #7"), [7, 12]);
        assert!(messages_named("messages 12, prefetch 3").is_empty());
    }

    fn told(marks: u64) -> Timeline {
        let mut timeline = Timeline::default();
        for number in 0..marks {
            timeline.mark(number, 0, Mark::Stall, format!("of message {number}"));
        }
        timeline.fail(marks, "message 3 is lost".into());
        timeline
    }

    #[test]
    fn short_timelines_are_whole_and_long_ones_are_about_the_failure() {
        assert_eq!(View::around(&told(50), &[]).rows.len(), 51);
        let view = View::around(&told(500), &[]);
        assert_eq!(
            (view.messages.as_slice(), view.rows.len()),
            ([3].as_slice(), BEFORE + 1)
        );
        assert_eq!(view.skipped.iter().sum::<usize>() + view.rows.len(), 501);
        assert_eq!(View::around(&told(500), &[5]).rows[0].at, 5);
        assert_eq!(View::whole(&told(500)).rows.len(), 501);
    }
}
