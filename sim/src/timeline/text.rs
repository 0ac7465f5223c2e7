//! A timeline as lines: virtual time, lane, way, what.

use super::view::{Phase, Row, View};
use super::{Event, Mark, Timeline, What};
use std::fmt::Write;

/// The lines of a view. Times are virtual milliseconds.
#[must_use]
pub fn lines(timeline: &Timeline, view: &View) -> String {
    let width = timeline.lanes.iter().map(String::len).max().unwrap_or(0).clamp(4, 28);
    let mut text = String::new();
    for (row, skipped) in view.rows.iter().zip(&view.skipped) {
        if *skipped > 0 {
            let _ = writeln!(text, "{:>12}  ({skipped} more)", "");
        }
        line(&mut text, timeline, view, row, width);
    }
    text
}

fn line(text: &mut String, timeline: &Timeline, view: &View, row: &Row, width: usize) {
    let event = &timeline.events[row.event];
    let (shown, hidden) = view.parts(&event.parts);
    let (lane, way, note) = told(timeline, event, row);
    let mut words: Vec<String> = shown.iter().map(|part| part.text.clone()).collect();
    if hidden > 0 {
        words.push(format!("({hidden} more)"));
    }
    // Several things in one go have a line each.
    for (place, words) in words.iter().enumerate() {
        let (at, lane, way, note) = if place == 0 {
            (millis(row.at), shortened(lane, width), way, note.as_str())
        } else {
            (String::new(), String::new(), "  ", "")
        };
        let _ = writeln!(text, "{at:>12}  {lane:width$} {way} {words}{note}");
    }
}

/// The lane that a row is told in, its sign, and what is said after its words.
fn told<'a>(timeline: &'a Timeline, event: &Event, row: &Row) -> (&'a str, &'static str, String) {
    let own = timeline.lanes[event.lane].as_str();
    let (lane, way, note) = match event.what {
        What::Travel { to, arrived } if own == "node" => {
            let note = match arrived {
                Some((_, at)) => format!("   [arrives at {}]", millis(at)),
                None => unended(timeline, event),
            };
            (timeline.lanes[to].as_str(), "<-", note)
        }
        What::Travel { arrived: Some(_), .. } => (own, "->", format!("   [sent at {}]", millis(event.at))),
        What::Travel { .. } => (own, "-x", unended(timeline, event)),
        What::Work { ended } => match (row.phase, ended) {
            (Phase::End, _) => (own, "==", "   [done]".into()),
            (Phase::Begin, Some((_, at))) => (own, "..", format!("   [until {}]", millis(at))),
            (Phase::Begin, None) => (own, "..", String::new()),
        },
        What::Mark(Mark::Crash | Mark::Halt | Mark::Damage | Mark::DiskError | Mark::Lost) => {
            (own, "**", String::new())
        }
        What::Mark(Mark::Failure) => ("FAILED", "!!", String::new()),
        What::Mark(_) => (own, "--", String::new()),
    };
    (lane, way, note)
}

fn unended(timeline: &Timeline, event: &Event) -> String {
    let cut = timeline.is_cut_off(event);
    (if cut {
        "   [never arrives]"
    } else {
        "   [under way at the end]"
    })
    .to_owned()
}

fn shortened(name: &str, width: usize) -> String {
    if name.len() <= width {
        name.to_owned()
    } else {
        format!("{}~", name.chars().take(width - 1).collect::<String>())
    }
}

/// Virtual milliseconds with three decimals.
#[must_use]
pub fn millis(at: u64) -> String {
    format!("{}.{:03}", at / 1_000_000, at / 1_000 % 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timeline::Recorder;
    use waystation_core::api::{ConnId, Reply, Request};

    #[test]
    fn each_kind_of_event_has_its_line() {
        let recorder = Recorder::on();
        {
            let mut timeline = recorder.open().expect("it listens");
            let (client, node) = (timeline.lane("0 publisher"), timeline.lane("node"));
            timeline.connect(ConnId(1), client);
            timeline.sent(1, 1_000_000, (ConnId(1), node), &[Request::OpenChannel { channel: 1 }]);
            timeline.ended(1, 2_500_000);
            timeline.answered(2, 3_000_000, (ConnId(1), node), &[Reply::Connected, Reply::GoOn]);
            timeline.mark(4_000_000, node, Mark::Crash, "crash".into());
            timeline.fail(5_000_000, "G1 broken".into());
        }
        let timeline = recorder.timeline();
        let expected = [
            "       2.500  0 publisher -> open channel 1   [sent at 1.000]",
            "       3.000  0 publisher <- connected   [never arrives]",
            "                             requests may go on",
            "       4.000  node        ** crash",
            "       5.000  FAILED      !! G1 broken",
        ];
        let told = lines(&timeline, &View::whole(&timeline));
        assert_eq!(told.lines().collect::<Vec<_>>(), expected);
    }
}
