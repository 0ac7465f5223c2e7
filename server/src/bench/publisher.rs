//! One connection that publishes.

use super::report::Side;
use super::timer::Timer;
use super::wire::{self, Connection, Input, Template};
use super::{LOOK, Plan, STALLED, STAMP_BYTES};
use anyhow::{Result, bail};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::io::AsyncReadExt;

/// Output at which no more is added before it is written.
const OUTPUT_BYTES: usize = 64 << 10;

pub(super) struct Publisher {
    plan: Arc<Plan>,
    connection: Connection,
    templates: Vec<Template>,
    /// How many it may send; others do the rest.
    budget: u64,
    /// Time between two messages, if at a rate.
    interval: Option<Duration>,
    index: u16,
    output: Vec<u8>,
    written: usize,
    confirms: Confirms,
    side: Side,
}

/// Publishes that wait for their confirm: the time of sending of each, by number.
#[derive(Default)]
struct Confirms {
    /// `None` where a confirm came out of order.
    waiting: VecDeque<Option<u64>>,
    /// The number of the first in `waiting`.
    first: u64,
    outstanding: u64,
}

impl Confirms {
    fn sent(&mut self, at: u64) {
        self.waiting.push_back(Some(at));
        self.outstanding += 1;
    }

    /// Calls `each` with the time of sending of every publish that the confirm covers.
    fn confirm(&mut self, tag: u64, multiple: bool, mut each: impl FnMut(u64)) {
        let covered = |confirms: &Self| usize::try_from(tag.wrapping_sub(confirms.first)).unwrap_or(usize::MAX);
        let last = covered(self);
        if last >= self.waiting.len() {
            return;
        }
        let range = if multiple { 0..=last } else { last..=last };
        for place in self.waiting.range_mut(range) {
            if let Some(at) = place.take() {
                self.outstanding -= 1;
                each(at);
            }
        }
        while self.waiting.front().is_some_and(Option::is_none) {
            self.waiting.pop_front();
            self.first += 1;
        }
    }
}

impl Publisher {
    pub(super) async fn start(plan: &Arc<Plan>, index: u16) -> Result<Self> {
        let options = &plan.options;
        let mut connection = Connection::open(&options.url).await?;
        if options.window > 0 {
            connection.call((85, 10), &[0], (85, 11)).await?;
        }
        let frame_max = connection.frame_max;
        let queues = plan.queues_of(index, options.publishers);
        let template = |queue: &str, size: u32| Template::new(queue, size as usize, !options.transient, frame_max);
        // Sizes in the outer loop: with any number of queues every queue gets every size.
        let templates = options
            .size
            .iter()
            .flat_map(|size| queues.iter().map(move |queue| (queue, *size)));
        let templates = templates.map(|(queue, size)| template(queue, size)).collect();
        let publishers = u64::from(options.publishers);
        let share = |count: u64| count / publishers + u64::from(u64::from(index) < count % publishers);
        Ok(Self {
            templates,
            budget: options.count.map_or(u64::MAX, share),
            interval: options.rate.map(|rate| {
                let seconds = f64::from(options.publishers) / f64::from(rate.max(1));
                Duration::from_secs_f64(seconds)
            }),
            index,
            connection,
            output: Vec::with_capacity(2 * OUTPUT_BYTES),
            written: 0,
            confirms: Confirms {
                first: 1,
                ..Confirms::default()
            },
            side: Side::default(),
            plan: Arc::clone(plan),
        })
    }

    pub(super) async fn run(mut self) -> Result<Side> {
        let start = Instant::now();
        let mut progress = Instant::now();
        let mut input = std::mem::take(&mut self.connection.input);
        let mut timer = Timer::default();
        loop {
            let due = self.fill(start);
            if self.done() {
                break;
            }
            let (mut reader, writer) = self.connection.stream.split();
            tokio::select! {
                read = reader.read_buf(input.room()) => {
                    if read? == 0 {
                        bail!("the broker closed the socket of a publisher");
                    }
                    self.take(&mut input)?;
                    progress = Instant::now();
                }
                ready = writer.writable(), if self.written < self.output.len() => {
                    ready?;
                    match writer.try_write(&self.output[self.written..]) {
                        Ok(count) => self.written += count,
                        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
                        Err(error) => return Err(error.into()),
                    }
                    progress = Instant::now();
                }
                rung = timer.until(due) => rung?,
                () = tokio::time::sleep(LOOK) => {
                    if self.plan.failed.load(Ordering::Relaxed) {
                        bail!("given up because another connection failed");
                    }
                    if progress.elapsed() > STALLED && self.interval.is_none() {
                        bail!("no progress for {STALLED:?}: {} publishes wait for a confirm", self.confirms.outstanding);
                    }
                }
            }
        }
        self.side.seconds = start.elapsed().as_secs_f64();
        // Without confirms the goodbye is what tells that everything arrived.
        self.connection.input = input;
        self.connection.close().await?;
        if self.plan.options.window == 0 {
            self.side.seconds = start.elapsed().as_secs_f64();
        }
        Ok(self.side)
    }

    fn over(&self) -> bool {
        self.side.messages >= self.budget || self.plan.end.is_some_and(|end| Instant::now() >= end)
    }

    fn done(&self) -> bool {
        self.written == self.output.len() && self.confirms.outstanding == 0 && self.over()
    }

    /// Adds publishes as far as window, rate and buffer allow; when the next is due, if only time holds it back.
    fn fill(&mut self, start: Instant) -> Option<Instant> {
        if self.written < self.output.len() || self.over() {
            return None;
        }
        self.output.clear();
        self.written = 0;
        let window = u64::from(self.plan.options.window);
        let now = self.plan.now_ns();
        let since = u64::try_from(start.duration_since(self.plan.start).as_nanos()).unwrap_or(u64::MAX);
        let before = self.side.messages;
        let mut due = None;
        while self.side.messages < self.budget && self.output.len() < OUTPUT_BYTES {
            if window > 0 && self.confirms.outstanding >= window {
                break;
            }
            let mut at = now;
            if let Some(interval) = self.interval {
                // Stamped with the time at which it ought to be sent: a broker that makes us wait does not hide that.
                let offset = interval.as_nanos() as u64 * self.side.messages;
                at = since + offset;
                if at > now {
                    due = Some(start + Duration::from_nanos(offset));
                    break;
                }
            }
            self.publish(at);
        }
        self.plan
            .published
            .fetch_add(self.side.messages - before, Ordering::Relaxed);
        due
    }

    fn publish(&mut self, at: u64) {
        let number = self.side.messages;
        let template = &self.templates[(number % self.templates.len() as u64) as usize];
        let start = self.output.len();
        self.output.extend_from_slice(&template.bytes);
        let body = start + template.body;
        if template.size >= STAMP_BYTES {
            let stamp = &mut self.output[body..body + STAMP_BYTES];
            let id = u64::from(self.index) << 48 | number;
            stamp[..8].copy_from_slice(&at.to_be_bytes());
            stamp[8..].copy_from_slice(&id.to_be_bytes());
            self.side.checksum = self.side.checksum.wrapping_add(id);
        }
        self.side.messages += 1;
        self.side.bytes += template.size as u64;
        if self.plan.options.window > 0 {
            self.confirms.sent(at);
        }
    }

    /// Handles what the broker said.
    fn take(&mut self, input: &mut Input) -> Result<()> {
        let now = self.plan.now_ns();
        let before = self.confirms.outstanding;
        while let Some(frame) = input.frame()? {
            frame.check()?;
            let (Some(wire::BASIC_ACK | wire::BASIC_NACK), Some(bits)) = (frame.method(), frame.payload.get(12)) else {
                continue;
            };
            let nack = frame.method() == Some(wire::BASIC_NACK);
            let side = &mut self.side;
            self.confirms.confirm(frame.u64_at(4)?, bits & 1 != 0, |at| {
                side.refused += u64::from(nack);
                side.latency.saturating_record(now.saturating_sub(at) / 1_000);
            });
        }
        let confirmed = before - self.confirms.outstanding;
        self.plan.confirmed.fetch_add(confirmed, Ordering::Relaxed);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn confirms_in_any_order_are_counted_once() {
        let mut confirms = Confirms {
            first: 1,
            ..Confirms::default()
        };
        (10..20).for_each(|at| confirms.sent(at));
        let mut seen = Vec::new();
        for (tag, multiple) in [
            (3, false),
            (2, true),
            (2, true),
            (3, false),
            (99, true),
            (0, true),
            (10, false),
            (9, true),
        ] {
            confirms.confirm(tag, multiple, |at| seen.push(at));
        }
        assert_eq!(seen, [12, 10, 11, 19, 13, 14, 15, 16, 17, 18]);
        assert_eq!(
            (confirms.outstanding, confirms.first, confirms.waiting.len()),
            (0, 11, 0)
        );
    }
}
