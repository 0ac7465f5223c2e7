//! What a run measured, for people and for programs.

use super::{Plan, STAMP_BYTES};
use hdrhistogram::Histogram;
use serde::Serialize;
use std::fmt;

/// The longest latency that is told apart, in microseconds: an hour.
const LATENCY_US_MAX: u64 = 3_600_000_000;

/// What one task measured.
pub(super) struct Side {
    pub(super) messages: u64,
    pub(super) bytes: u64,
    pub(super) refused: u64,
    pub(super) redelivered: u64,
    /// Sum of the numbers in the bodies: equal on both sides if every message came through once.
    pub(super) checksum: u64,
    pub(super) began: f64,
    pub(super) seconds: f64,
    /// Microseconds.
    pub(super) latency: Histogram<u64>,
}

impl Default for Side {
    fn default() -> Self {
        Self {
            messages: 0,
            bytes: 0,
            refused: 0,
            redelivered: 0,
            checksum: 0,
            began: 0.0,
            seconds: 0.0,
            latency: Histogram::new_with_max(LATENCY_US_MAX, 3).expect("valid bounds"),
        }
    }
}

/// The outcome of a run.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Messages published.
    pub published: u64,
    /// Messages delivered.
    pub delivered: u64,
    /// Publishes that the broker refused (nack).
    pub refused: u64,
    /// Deliveries marked redelivered.
    pub redelivered: u64,
    /// Published a second, confirms included if there are any.
    pub publish_per_second: f64,
    /// Delivered a second.
    pub deliver_per_second: f64,
    /// Bytes of bodies published a second.
    pub publish_bytes_per_second: f64,
    /// Bytes of bodies delivered a second.
    pub deliver_bytes_per_second: f64,
    /// From publish to confirm, in microseconds.
    pub confirm_latency_us: Option<Percentiles>,
    /// From publish to delivery, in microseconds.
    pub end_to_end_latency_us: Option<Percentiles>,
    /// What does not add up; empty for a clean run.
    pub mistakes: Vec<String>,
}

/// Some points of a distribution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "named as usual")]
pub struct Percentiles {
    pub p50: u64,
    pub p90: u64,
    pub p99: u64,
    pub p999: u64,
    pub max: u64,
}

impl Percentiles {
    fn of(sides: &[Side]) -> Option<Self> {
        let mut all = Histogram::<u64>::new_with_max(LATENCY_US_MAX, 3).expect("valid bounds");
        for side in sides {
            all.add(&side.latency).expect("of equal bounds");
        }
        (!all.is_empty()).then(|| Self {
            p50: all.value_at_quantile(0.5),
            p90: all.value_at_quantile(0.9),
            p99: all.value_at_quantile(0.99),
            p999: all.value_at_quantile(0.999),
            max: all.max(),
        })
    }
}

impl Report {
    /// `left` is what the queues held in the end, if that can be judged.
    pub(super) fn new(plan: &Plan, published: &[Side], consumed: &[Side], left: Option<u64>) -> Self {
        let sum = |sides: &[Side], of: fn(&Side) -> u64| sides.iter().map(of).fold(0, u64::wrapping_add);
        let publishing = published.iter().map(|side| side.seconds).fold(0.0, f64::max);
        let first = consumed
            .iter()
            .filter(|side| side.messages > 0)
            .map(|side| side.began)
            .fold(f64::MAX, f64::min);
        let last = consumed
            .iter()
            .map(|side| side.began + side.seconds)
            .fold(0.0, f64::max);
        let per = |count: u64, seconds: f64| if seconds > 0.0 { count as f64 / seconds } else { 0.0 };
        let mut report = Self {
            published: sum(published, |side| side.messages),
            delivered: sum(consumed, |side| side.messages),
            refused: sum(published, |side| side.refused),
            redelivered: sum(consumed, |side| side.redelivered),
            publish_per_second: per(sum(published, |side| side.messages), publishing),
            deliver_per_second: per(sum(consumed, |side| side.messages), last - first),
            publish_bytes_per_second: per(sum(published, |side| side.bytes), publishing),
            deliver_bytes_per_second: per(sum(consumed, |side| side.bytes), last - first),
            confirm_latency_us: Percentiles::of(published),
            end_to_end_latency_us: Percentiles::of(consumed),
            mistakes: Vec::new(),
        };
        let sums_differ = sum(published, |side| side.checksum) != sum(consumed, |side| side.checksum);
        report.judge(plan, sums_differ, left);
        report
    }

    fn judge(&mut self, plan: &Plan, sums_differ: bool, left: Option<u64>) {
        let options = &plan.options;
        if self.refused > 0 {
            self.mistakes.push(format!("{} publishes were refused", self.refused));
        }
        let expected = plan.expected.load(std::sync::atomic::Ordering::Relaxed);
        if options.consumers > 0 && self.delivered != expected {
            // A drain with a limit stops at a batch, not at a message.
            let more_than_asked = plan.drains() && options.count.is_some() && self.delivered > expected;
            if !more_than_asked {
                self.mistakes
                    .push(format!("{} messages were delivered, not {expected}", self.delivered));
            }
        }
        let stamped = options.size.iter().all(|size| *size as usize >= STAMP_BYTES);
        if options.consumers > 0 && !plan.drains() && stamped && sums_differ {
            self.mistakes
                .push("the messages delivered are not the messages published".to_owned());
        }
        let expected_left = if options.consumers == 0 { self.published } else { 0 };
        if let Some(left) = left
            && left != expected_left
        {
            self.mistakes
                .push(format!("{left} messages are left in the queues, not {expected_left}"));
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = |f: &mut fmt::Formatter<'_>, name: &str, count: u64, rate: f64, bytes: f64| {
            let bytes = crate::config::units::show_size(bytes as u64);
            writeln!(f, "{name:<12}{count:>12} messages {rate:>12.0} /s {bytes:>12}/s")
        };
        if self.published > 0 {
            line(
                f,
                "published",
                self.published,
                self.publish_per_second,
                self.publish_bytes_per_second,
            )?;
        }
        if self.delivered > 0 {
            line(
                f,
                "delivered",
                self.delivered,
                self.deliver_per_second,
                self.deliver_bytes_per_second,
            )?;
        }
        if self.redelivered > 0 {
            writeln!(f, "{:<12}{:>12} messages", "redelivered", self.redelivered)?;
        }
        let names = [
            ("confirm", self.confirm_latency_us),
            ("end to end", self.end_to_end_latency_us),
        ];
        for (name, percentiles) in names {
            if let Some(p) = percentiles {
                let ms = |us: u64| us as f64 / 1_000.0;
                writeln!(
                    f,
                    "{name:<12}p50 {:.3} ms  p90 {:.3} ms  p99 {:.3} ms  p99.9 {:.3} ms  max {:.3} ms",
                    ms(p.p50),
                    ms(p.p90),
                    ms(p.p99),
                    ms(p.p999),
                    ms(p.max)
                )?;
            }
        }
        for mistake in &self.mistakes {
            writeln!(f, "MISTAKE     {mistake}")?;
        }
        Ok(())
    }
}
