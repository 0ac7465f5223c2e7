//! A view as an SVG picture: a lane for each connection, for the node and for its disk, time downwards, and beside it the
//! words. Times are not to scale: what happens close together gets room, what is far apart is drawn near, and the time of
//! each row is written at its left.

use super::text::millis;
use super::view::{Phase, Row, View};
use super::{Event, Mark, Moment, Timeline, What};
use std::fmt::Write;

/// Width of the times, of a lane, and of the words, in pixels.
const TIMES: f64 = 84.0;
const LANE: f64 = 96.0;
const WORDS: f64 = 820.0;
/// Height of the lanes' names, of a line of words, and above the first row.
const HEAD: f64 = 64.0;
const LINE: f64 = 15.0;
const TOP: f64 = 12.0;
/// Characters of words in a line.
const CHARACTERS: usize = 112;

/// What is drawn, with a place for each row.
struct Picture<'a> {
    timeline: &'a Timeline,
    view: &'a View,
    /// Lanes that something is shown of, in their order.
    lanes: Vec<usize>,
    /// For each row: the middle of its first line.
    places: Vec<f64>,
    height: f64,
    body: String,
}

/// The picture in two parts: the lanes' names, and all below. Both are whole SVG elements of one width.
#[must_use]
pub fn parts(timeline: &Timeline, view: &View) -> (String, String) {
    let mut picture = Picture::lay_out(timeline, view);
    let width = picture.width();
    let head = element(width, HEAD, &picture.head());
    picture.draw();
    let body = element(width, picture.height, &picture.body);
    (head, body)
}

/// The whole picture as one SVG file.
#[must_use]
pub fn svg(timeline: &Timeline, view: &View) -> String {
    let mut picture = Picture::lay_out(timeline, view);
    let (width, head) = (picture.width(), picture.head());
    picture.draw();
    let content = format!(
        "<style>{STYLE}</style><rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>{head}<g transform=\"translate(0 {HEAD})\">{}</g>",
        picture.body
    );
    element(width, picture.height + HEAD, &content)
}

/// How the picture's parts look, for the page or file that holds them.
pub const STYLE: &str = "
svg { font: 11px ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace; }
.lane { stroke: #c9ced6; } .name { font-weight: 600; fill: #333a45; } .time { fill: #7b8494; text-anchor: end; }
.up { fill: #cfe8d5; } .starting { fill: #f6e3b4; } .down { fill: #e8b9b4; }
.row text { fill: #59616e; } .about text { fill: #10151c; font-weight: 600; }
.row path, .row line { stroke: #98a2b1; fill: none; } .about path, .about line { stroke: #1456b8; stroke-width: 2; }
.lost path { stroke-dasharray: 3 3; stroke: #b06a5f; }
.row .tip { fill: #98a2b1; stroke: none; } .about .tip { fill: #1456b8; }
.work { fill: #a9bfe0; stroke: #6d8cbd; } .work.sync { fill: #5f8fd6; } .work.read { fill: #c3aede; } .work.other { fill: #d5d9df; }
.work.unended { fill: #e8b9b4; stroke: #b3443a; }
.bad line { stroke: #b3443a; stroke-width: 1.5; } .bad text { fill: #b3443a; font-weight: 600; }
.good line { stroke: #3f8f58; stroke-dasharray: 5 4; } .good text { fill: #2d7343; }
.failure rect { fill: #fbe3e0; stroke: #b3443a; stroke-width: 2; } .failure text { fill: #8e2018; font-weight: 700; }
.skipped text { fill: #a0a7b3; font-style: italic; } .skipped line { stroke: #dde1e7; stroke-dasharray: 2 4; }
";

impl<'a> Picture<'a> {
    fn lay_out(timeline: &'a Timeline, view: &'a View) -> Self {
        let mut lanes: Vec<usize> = Vec::new();
        for row in &view.rows {
            let event = &timeline.events[row.event];
            let to = if let What::Travel { to, .. } = event.what {
                to
            } else {
                event.lane
            };
            lanes.extend([event.lane, to].into_iter().filter(|lane| *lane < timeline.lanes.len()));
        }
        lanes.sort_unstable();
        lanes.dedup();
        let mut places = Vec::new();
        let (mut at, mut before) = (TOP, None);
        for (row, skipped) in view.rows.iter().zip(&view.skipped) {
            at += before.map_or(0.0, |before| room(row.at.saturating_sub(before)));
            at += if *skipped > 0 { LINE } else { 0.0 };
            places.push(at + LINE / 2.0);
            at += LINE * lines(timeline, view, row).len() as f64 + 4.0;
            before = Some(row.at);
        }
        Self {
            timeline,
            view,
            lanes,
            places,
            height: at + TOP,
            body: String::new(),
        }
    }

    fn width(&self) -> f64 {
        self.words() + WORDS
    }

    /// Where the words begin.
    fn words(&self) -> f64 {
        TIMES + LANE * self.lanes.len() as f64
    }

    /// The middle of a lane.
    fn lane(&self, lane: usize) -> f64 {
        let place = self.lanes.iter().position(|one| *one == lane).unwrap_or(0);
        TIMES + LANE * (place as f64 + 0.5)
    }

    /// Where a time is, between the rows around it.
    fn place_of(&self, time: u64) -> f64 {
        let rows = &self.view.rows;
        let after = rows.partition_point(|row| row.at <= time);
        let Some(before) = after.checked_sub(1) else {
            return self.places.first().map_or(TOP, |first| (first - LINE).max(2.0));
        };
        let Some(next) = rows.get(after) else {
            return self.places[before] + LINE;
        };
        let share = (time - rows[before].at) as f64 / (next.at - rows[before].at).max(1) as f64;
        self.places[before] + (self.places[after] - self.places[before]) * share
    }

    fn head(&self) -> String {
        let mut text = String::new();
        for lane in &self.lanes {
            let name = &self.timeline.lanes[*lane];
            let x = self.lane(*lane);
            let _ = write!(text, "<g class=\"name\"><title>{}</title>", escaped(name));
            for (line, part) in name.split(", ").take(4).enumerate() {
                let y = 14.0 + 13.0 * line as f64;
                let _ = write!(
                    text,
                    "<text x=\"{x}\" y=\"{y}\" text-anchor=\"middle\">{}</text>",
                    escaped(part)
                );
            }
            text.push_str("</g>");
        }
        let _ = write!(
            text,
            "<text class=\"time\" x=\"{}\" y=\"14\">virtual ms</text>",
            TIMES - 12.0
        );
        text
    }

    fn draw(&mut self) {
        for lane in self.lanes.clone() {
            let x = self.lane(lane);
            let _ = write!(
                self.body,
                "<line class=\"lane\" x1=\"{x}\" y1=\"0\" x2=\"{x}\" y2=\"{}\"/>",
                self.height
            );
        }
        self.draw_lives();
        for number in 0..self.view.rows.len() {
            self.draw_skipped(number);
            self.draw_row(number);
        }
    }

    /// The node's lane is a band: up, starting, down.
    fn draw_lives(&mut self) {
        let Some(node) = self.timeline.lanes.iter().position(|lane| lane == "node") else {
            return;
        };
        if !self.lanes.contains(&node) {
            return;
        }
        let first = self.view.rows.first().map_or(0, |row| row.at);
        let (mut since, mut state) = (0.0, "starting");
        let mut bands = Vec::new();
        for event in &self.timeline.events {
            let next = match event.what {
                What::Mark(Mark::Start) => "starting",
                What::Mark(Mark::Ready) => "up",
                What::Mark(Mark::Crash | Mark::Halt) => "down",
                _ => continue,
            };
            let place = if event.at < first {
                0.0
            } else {
                self.place_of_moment(event)
            };
            bands.push((since, place, state));
            (since, state) = (place, next);
        }
        bands.push((since, self.height, state));
        let x = self.lane(node) - 7.0;
        for (from, to, state) in bands.into_iter().filter(|(from, to, _)| to > from) {
            let _ = write!(
                self.body,
                "<rect class=\"{state}\" x=\"{x}\" y=\"{from:.1}\" width=\"14\" height=\"{:.1}\"><title>the node is {state}</title></rect>",
                to - from
            );
        }
    }

    /// Where an event's own row is, or where its time is.
    fn place_of_moment(&self, event: &Event) -> f64 {
        let row = self.view.rows.iter().position(|row| row.moment == event.moment);
        row.map_or_else(|| self.place_of(event.at), |row| self.places[row])
    }

    /// Where an event's end has its row, or where its time is.
    fn place_of_end(&self, (moment, at): Moment) -> f64 {
        let row = self.view.rows.iter().position(|row| row.moment == moment);
        row.map_or_else(|| self.place_of(at), |row| self.places[row])
    }

    fn draw_skipped(&mut self, number: usize) {
        let skipped = self.view.skipped[number];
        if skipped == 0 {
            return;
        }
        let (y, words) = (self.places[number] - LINE, self.words());
        let _ = write!(
            self.body,
            "<g class=\"skipped\"><line x1=\"{TIMES}\" y1=\"{y:.1}\" x2=\"{words}\" y2=\"{y:.1}\"/>\
             <text x=\"{words}\" y=\"{:.1}\">... {skipped} more</text></g>",
            y + 4.0
        );
    }

    fn draw_row(&mut self, number: usize) {
        let (row, y) = (self.view.rows[number], self.places[number]);
        let event = &self.timeline.events[row.event];
        let (class, figure) = self.figure(event, &row, y);
        let about = event
            .parts
            .iter()
            .any(|part| part.messages.iter().any(|id| self.view.messages.contains(id)));
        let about = if about { " about" } else { "" };
        let messages: Vec<String> = event
            .parts
            .iter()
            .flat_map(|part| &part.messages)
            .map(u64::to_string)
            .collect();
        let title = title(self.timeline, event);
        let mut text = format!(
            "<g class=\"row{about} {class}\" data-m=\"{}\"><title>{}</title>{figure}\
             <text class=\"time\" x=\"{}\" y=\"{:.1}\">{}</text>",
            messages.join(" "),
            escaped(&title),
            TIMES - 12.0,
            y + 4.0,
            millis(row.at)
        );
        for (line, words) in lines(self.timeline, self.view, &row).iter().enumerate() {
            let (x, y) = (self.words() + 8.0, y + 4.0 + LINE * line as f64);
            let _ = write!(text, "<text x=\"{x}\" y=\"{y:.1}\">{}</text>", escaped(words));
        }
        text.push_str("</g>");
        self.body.push_str(&text);
    }

    /// What is drawn of a row in the lanes, and its class.
    fn figure(&self, event: &Event, row: &Row, y: f64) -> (&'static str, String) {
        let own = self.lane(event.lane);
        match event.what {
            What::Travel { to, arrived } => {
                let other = self.lane(to);
                let leaves = row.phase == Phase::Begin;
                let (from, till) = match arrived {
                    Some(end) if leaves => (y, self.place_of_end(end).max(y)),
                    Some(_) => (self.place_of(event.at).min(y), y),
                    // On its way when its end of the connection died.
                    None => (y, y + LINE / 2.0),
                };
                let end = if arrived.is_some() {
                    other
                } else {
                    own + (other - own) * 0.6
                };
                let class = if self.timeline.is_cut_off(event) { "lost" } else { "" };
                (class, arrow((own, from), (end, till), arrived.is_some()))
            }
            What::Work { ended } if row.phase == Phase::Begin => {
                let till = ended.map_or(y + LINE, |end| self.place_of_end(end).max(y + 4.0));
                let words = event.parts.first().map_or("", |part| part.text.as_str());
                let kind = match ended {
                    None if !words.starts_with("delete") && self.timeline.is_cut_off(event) => "unended",
                    _ if words.starts_with("read") => "read",
                    _ if words.contains(" and sync") => "sync",
                    _ if words.starts_with("write") => "",
                    _ => "other",
                };
                let x = own - 24.0 + 10.0 * (event.moment % 5) as f64;
                let height = till - y;
                let bar =
                    format!("<rect class=\"work {kind}\" x=\"{x}\" y=\"{y:.1}\" width=\"8\" height=\"{height:.1}\"/>");
                ("", bar)
            }
            What::Work { .. } => {
                let x = own - 24.0 + 10.0 * (event.moment % 5) as f64;
                (
                    "",
                    format!("<line x1=\"{x}\" y1=\"{y:.1}\" x2=\"{:.1}\" y2=\"{y:.1}\"/>", x + 8.0),
                )
            }
            What::Mark(mark) => self.mark(mark, own, y),
        }
    }

    fn mark(&self, mark: Mark, own: f64, y: f64) -> (&'static str, String) {
        let across = format!(
            "<line x1=\"{TIMES}\" y1=\"{y:.1}\" x2=\"{}\" y2=\"{y:.1}\"/>",
            self.words()
        );
        let cross = format!(
            "<line x1=\"{0:.1}\" y1=\"{2:.1}\" x2=\"{1:.1}\" y2=\"{3:.1}\"/><line x1=\"{0:.1}\" y1=\"{3:.1}\" x2=\"{1:.1}\" y2=\"{2:.1}\"/>",
            own - 6.0,
            own + 6.0,
            y - 6.0,
            y + 6.0
        );
        match mark {
            Mark::Crash | Mark::Halt => ("bad", across + &cross),
            Mark::Damage | Mark::DiskError | Mark::Stall | Mark::Lost => ("bad", cross),
            Mark::Start | Mark::Ready => ("good", String::new()),
            Mark::Heal => ("good", across),
            Mark::Failure => {
                let (width, top) = (self.width() - 4.0, y - LINE / 2.0 - 3.0);
                let height = self.height - top - 4.0;
                let frame = format!("<rect x=\"2\" y=\"{top:.1}\" width=\"{width}\" height=\"{height:.1}\" rx=\"4\"/>");
                ("failure", frame)
            }
        }
    }
}

/// Pixels for a time that passes: more for more, but ever less so.
fn room(time: u64) -> f64 {
    let ms = time as f64 / 1e6;
    (10.0 * (1.0 + 2.0 * ms).log2()).clamp(0.0, 60.0)
}

/// The words of a row, in lines.
fn lines(timeline: &Timeline, view: &View, row: &Row) -> Vec<String> {
    let event = &timeline.events[row.event];
    let (shown, hidden) = view.parts(&event.parts);
    let mut all: Vec<String> = shown.iter().flat_map(|part| folded(&part.text)).collect();
    if hidden > 0 {
        all.push(format!("({hidden} more)"));
    }
    if row.phase == Phase::End && matches!(event.what, What::Work { .. }) {
        all = vec![format!(
            "done: {}",
            folded(&event.parts[0].text).first().cloned().unwrap_or_default()
        )];
    }
    all
}

/// Words in lines of bounded length.
fn folded(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let last = lines.last_mut().expect("there is one");
        if !last.is_empty() && last.chars().count() + word.chars().count() >= CHARACTERS {
            lines.push(format!("  {word}"));
        } else {
            last.push_str(if last.is_empty() { "" } else { " " });
            last.push_str(word);
        }
    }
    lines
}

/// All that is known of an event, for whoever points at it.
fn title(timeline: &Timeline, event: &Event) -> String {
    let name = |lane: usize| timeline.lanes.get(lane).map_or("?", String::as_str);
    let mut text = match event.what {
        What::Travel { to, arrived } => {
            let end = arrived.map_or("never arrives".to_owned(), |(_, at)| {
                format!("arrives at {}", millis(at))
            });
            format!(
                "{} to {}: leaves at {}, {end}",
                name(event.lane),
                name(to),
                millis(event.at)
            )
        }
        What::Work { ended } => {
            let end = ended.map_or("never done".to_owned(), |(_, at)| format!("done at {}", millis(at)));
            format!("{}: asked at {}, {end}", name(event.lane), millis(event.at))
        }
        What::Mark(_) => format!("{} at {}", name(event.lane), millis(event.at)),
    };
    for part in &event.parts {
        text.push('\n');
        text.push_str(&part.text);
    }
    text
}

fn arrow(from: (f64, f64), to: (f64, f64), arrives: bool) -> String {
    let ((x1, y1), (x2, y2)) = (from, to);
    let length = ((x2 - x1).powi(2) + (y2 - y1).powi(2)).sqrt().max(1.0);
    let (dx, dy) = ((x2 - x1) / length, (y2 - y1) / length);
    let tip = |side: f64| (x2 - 7.0 * dx - 3.5 * side * dy, y2 - 7.0 * dy + 3.5 * side * dx);
    let ((ax, ay), (bx, by)) = (tip(1.0), tip(-1.0));
    let end = if arrives {
        format!("<polygon class=\"tip\" points=\"{x2:.1},{y2:.1} {ax:.1},{ay:.1} {bx:.1},{by:.1}\"/>")
    } else {
        format!(
            "<path d=\"M{0:.1} {2:.1}L{1:.1} {3:.1}M{0:.1} {3:.1}L{1:.1} {2:.1}\"/>",
            x2 - 4.0,
            x2 + 4.0,
            y2 - 4.0,
            y2 + 4.0
        )
    };
    format!("<path d=\"M{x1:.1} {y1:.1}L{x2:.1} {y2:.1}\"/>{end}")
}

fn element(width: f64, height: f64, content: &str) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" height=\"{height:.0}\">{content}</svg>"
    )
}

/// Text that is safe within HTML and SVG.
#[must_use]
pub fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            // Not allowed in XML, whatever a queue is called.
            control if control.is_control() && control != '\n' => safe.push('\u{fffd}'),
            letter => safe.push(letter),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timeline::Recorder;
    use waystation_core::api::{ConnId, Request};

    #[test]
    fn a_picture_has_lanes_arrows_and_the_failure() {
        let recorder = Recorder::on();
        {
            let mut timeline = recorder.open().expect("it listens");
            let (client, node) = (timeline.lane("0 <publisher>"), timeline.lane("node"));
            timeline.connect(ConnId(1), client);
            timeline.sent(1, 1_000_000, (ConnId(1), node), &[Request::OpenChannel { channel: 1 }]);
            timeline.ended(1, 2_500_000);
            timeline.mark(4_000_000, node, Mark::Crash, "crash".into());
            timeline.fail(5_000_000, "G1 broken: message 3 & more".into());
        }
        let timeline = recorder.timeline();
        let svg = svg(&timeline, &View::around(&timeline, &[]));
        for part in [
            "0 &lt;publisher&gt;",
            "open channel 1",
            "class=\"tip\"",
            "class=\"row about failure\"",
            "3 &amp; more",
        ] {
            assert!(svg.contains(part), "{part} is missing in {svg}");
        }
        assert_eq!(svg.matches("<g").count(), svg.matches("</g>").count());
    }

    #[test]
    fn long_words_are_folded_and_strange_ones_are_safe() {
        assert!(
            folded(&"word ".repeat(100))
                .iter()
                .all(|line| line.len() <= CHARACTERS + 10)
        );
        assert_eq!(escaped("a<b>&\"\u{1}"), "a&lt;b&gt;&amp;&quot;\u{fffd}");
    }
}
