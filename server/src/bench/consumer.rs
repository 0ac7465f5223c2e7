//! One connection that consumes.

use super::report::Side;
use super::wire::{self, Connection, Frame, Input, short};
use super::{LOOK, Plan, STALLED, STAMP_BYTES};
use anyhow::{Context, Result, bail};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

pub(super) struct Consumer {
    plan: Arc<Plan>,
    connection: Connection,
    /// Deliveries per acknowledgement; 0 is none at all.
    ack_batch: u64,
    /// The delivery whose body comes, the newest that came whole, the newest acknowledged.
    tag: u64,
    whole: u64,
    acked: u64,
    /// Bytes of the present body that are still to come.
    body_left: u64,
    body_is_new: bool,
    side: Side,
}

impl Consumer {
    pub(super) async fn start(plan: &Arc<Plan>, index: u16) -> Result<Self> {
        let options = &plan.options;
        let mut connection = Connection::open(&options.url).await?;
        let [high, low] = options.prefetch.to_be_bytes();
        connection.call((60, 10), &[0, 0, 0, 0, high, low, 0], (60, 11)).await?;
        for queue in plan.queues_of(index, options.consumers) {
            let no_ack = u8::from(options.ack_batch == 0) << 1;
            let arguments = [&[0, 0][..], &short(queue), &short(""), &[no_ack, 0, 0, 0, 0]].concat();
            subscribe(&mut connection, &arguments).await?;
        }
        // A batch beyond the prefetch would never fill.
        let prefetch = if options.prefetch == 0 {
            u32::MAX
        } else {
            u32::from(options.prefetch)
        };
        Ok(Self {
            ack_batch: u64::from(options.ack_batch.min(prefetch)),
            connection,
            tag: 0,
            whole: 0,
            acked: 0,
            body_left: 0,
            body_is_new: false,
            side: Side::default(),
            plan: Arc::clone(plan),
        })
    }

    pub(super) async fn run(mut self) -> Result<Side> {
        let mut input = std::mem::take(&mut self.connection.input);
        let mut acks = Vec::new();
        let mut progress = Instant::now();
        let (mut first, mut last) = (None, None);
        let mut looks = tokio::time::interval(LOOK);
        self.take(&mut input, &mut acks)?;
        loop {
            if !acks.is_empty() {
                self.connection.stream.write_all(&acks).await?;
                acks.clear();
            }
            if self.plan.delivered.load(Ordering::Relaxed) >= self.plan.expected.load(Ordering::Relaxed) {
                break;
            }
            tokio::select! {
                read = self.connection.stream.read_buf(input.room()) => {
                    if read? == 0 {
                        bail!("the broker closed the socket of a consumer");
                    }
                    let before = self.side.messages;
                    self.take(&mut input, &mut acks)?;
                    progress = Instant::now();
                    if self.side.messages > before {
                        first = first.or(Some(progress));
                        last = Some(progress);
                    }
                }
                _ = looks.tick() => {
                    // What does not fill a batch is acknowledged when nothing comes: the prefetch must not run dry.
                    self.acknowledge(&mut acks);
                    if self.plan.failed.load(Ordering::Relaxed) {
                        bail!("given up because another connection failed");
                    }
                    let publishing = self.plan.expected.load(Ordering::Relaxed) == super::UNKNOWN;
                    if progress.elapsed() > STALLED && !publishing {
                        // Told by the report: messages are missing.
                        break;
                    }
                }
            }
        }
        self.acknowledge(&mut acks);
        self.connection.stream.write_all(&acks).await?;
        self.connection.input = input;
        if let (Some(first), Some(last)) = (first, last) {
            self.side.seconds = last.duration_since(first).as_secs_f64();
            self.side.began = first.duration_since(self.plan.start).as_secs_f64();
        }
        self.connection.close().await?;
        Ok(self.side)
    }

    fn take(&mut self, input: &mut Input, acks: &mut Vec<u8>) -> Result<()> {
        let now = self.plan.now_ns();
        let before = self.side.messages;
        while let Some(frame) = input.frame()? {
            match frame.kind {
                wire::METHOD => self.method(&frame)?,
                wire::HEADER => {
                    self.body_left = frame.u64_at(4)?;
                    self.body_is_new = true;
                }
                wire::BODY => self.body(&frame, now)?,
                // A heartbeat.
                _ => continue,
            }
            if frame.kind != wire::METHOD && self.body_left == 0 {
                self.side.messages += 1;
                self.whole = self.tag;
                if self.ack_batch > 0 && self.whole - self.acked >= self.ack_batch {
                    self.acknowledge(acks);
                }
            }
        }
        self.plan
            .delivered
            .fetch_add(self.side.messages - before, Ordering::Relaxed);
        Ok(())
    }

    fn method(&mut self, frame: &Frame<'_>) -> Result<()> {
        frame.check()?;
        if frame.method() == Some(wire::BASIC_DELIVER) {
            let consumer_tag = usize::from(*frame.payload.get(4).context("basic.deliver is too short")?);
            self.tag = frame.u64_at(5 + consumer_tag)?;
            let redelivered = frame.payload.get(13 + consumer_tag).is_some_and(|bits| bits & 1 != 0);
            self.side.redelivered += u64::from(redelivered);
        }
        Ok(())
    }

    fn body(&mut self, frame: &Frame<'_>, now: u64) -> Result<()> {
        let length = frame.payload.len() as u64;
        self.side.bytes += length;
        self.body_left = self
            .body_left
            .checked_sub(length)
            .context("a body is longer than its header says")?;
        if std::mem::take(&mut self.body_is_new) && frame.payload.len() >= STAMP_BYTES {
            self.side.checksum = self.side.checksum.wrapping_add(frame.u64_at(8)?);
            if !self.plan.drains() {
                // A backlog's stamps are of another run's clock.
                let latency = now.saturating_sub(frame.u64_at(0)?);
                self.side.latency.saturating_record(latency / 1_000);
            }
        }
        Ok(())
    }

    fn acknowledge(&mut self, acks: &mut Vec<u8>) {
        if self.ack_batch > 0 && self.whole > self.acked {
            let arguments = [&self.whole.to_be_bytes()[..], &[1]].concat();
            wire::method(acks, wire::BASIC_ACK, &arguments);
            self.acked = self.whole;
        }
    }
}

/// Starts a consumer. Deliveries of one that was started before may come ahead of the answer, so it is not waited for: a
/// refusal closes the channel, which is seen later.
async fn subscribe(connection: &mut Connection, arguments: &[u8]) -> Result<()> {
    let mut bytes = Vec::new();
    wire::method(&mut bytes, (60, 20), arguments);
    connection.stream.write_all(&bytes).await?;
    Ok(())
}
