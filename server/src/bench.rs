//! A load generator for any AMQP 0-9-1 broker.
//!
//! Publishers and consumers are tasks of a few threads; each writes many messages at once. Bodies of 16 bytes and more carry the
//! time of sending and a number, so that latency is measured from end to end and every message is accounted for.

mod consumer;
mod publisher;
mod report;
mod timer;
mod wire;

#[cfg(test)]
pub(crate) mod tests;

pub use report::{Percentiles, Report};

use crate::amqp_url::AmqpUrl;
use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use report::Side;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use wire::Connection;

/// Bodies of this length and more hold a time and a number.
const STAMP_BYTES: usize = 16;
/// Without any progress for so long, a run has failed.
const STALLED: Duration = Duration::from_secs(30);
/// How often the progress is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// How long a broker may take to count its queues right after the last settlement.
const SETTLED_WITHIN: Duration = Duration::from_secs(5);

/// What to do.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// The broker
    #[arg(long, default_value = "amqp://guest:guest@127.0.0.1:5672/%2f")]
    pub url: AmqpUrl,
    /// Length of a body in bytes; several, separated by commas, take turns
    #[arg(long, default_value = "100", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(0..=512 << 20))]
    pub size: Vec<u32>,
    /// Connections that publish; 0 drains the backlog of an earlier run
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(0..=10_000))]
    pub publishers: u16,
    /// Connections that consume; 0 only publishes
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(0..=10_000))]
    pub consumers: u16,
    /// Queues; publishers and consumers are spread over them
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub queues: u16,
    /// Names of the queues begin with this. They are deleted at the start, unless this run drains a backlog
    #[arg(long, default_value = "waystation-bench", value_parser = queue_name)]
    pub queue: String,
    /// Publishes of one connection that wait for their confirm; 0 publishes without confirms
    #[arg(long, default_value_t = 1_000)]
    pub window: u32,
    /// Unsettled deliveries of one consumer; 0 is no limit
    #[arg(long, default_value_t = 1_000)]
    pub prefetch: u16,
    /// Transient queues and messages instead of durable ones
    #[arg(long)]
    pub transient: bool,
    /// Deliveries that one acknowledgement settles; 0 lets the broker settle them as it sends
    #[arg(long, default_value_t = 100)]
    pub ack_batch: u32,
    /// Messages a second, all publishers together; flat out if not given
    #[arg(long)]
    pub rate: Option<u32>,
    /// Messages to publish, or to drain
    #[arg(long, conflicts_with = "time")]
    pub count: Option<u64>,
    /// Seconds to publish; 10 if neither this nor a count is given
    #[arg(long)]
    pub time: Option<u64>,
    /// Threads of the load generator
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub threads: u16,
    /// Leave the queues and what they hold
    #[arg(long)]
    pub keep: bool,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

fn queue_name(text: &str) -> Result<String, String> {
    if text.is_empty() || text.len() > 200 {
        return Err("a name has 1 to 200 bytes".to_owned());
    }
    Ok(text.to_owned())
}

/// What all tasks share.
struct Plan {
    options: Options,
    queues: Vec<String>,
    start: Instant,
    /// When publishers stop, if by time.
    end: Option<Instant>,
    published: AtomicU64,
    confirmed: AtomicU64,
    delivered: AtomicU64,
    /// How many deliveries there will be; unknown until the last publisher is done.
    expected: AtomicU64,
    /// One task failed: the others give up.
    failed: AtomicBool,
}

const UNKNOWN: u64 = u64::MAX;

impl Plan {
    /// The queues of publisher or consumer `index` of `count`.
    fn queues_of(&self, index: u16, count: u16) -> Vec<&str> {
        let (index, count) = (usize::from(index), usize::from(count));
        if count >= self.queues.len() {
            return vec![&self.queues[index % self.queues.len()]];
        }
        self.queues
            .iter()
            .skip(index)
            .step_by(count)
            .map(String::as_str)
            .collect()
    }

    fn now_ns(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn drains(&self) -> bool {
        self.options.publishers == 0
    }
}

/// Runs the load and says what came of it.
///
/// # Errors
/// What the broker or the network refused. A run that lost messages is a report, not an error.
pub async fn run(options: Options) -> Result<Report> {
    if options.publishers == 0 && options.consumers == 0 {
        bail!("there is nothing to do without publishers and consumers");
    }
    let queues: Vec<String> = (0..options.queues)
        .map(|index| format!("{}-{index}", options.queue))
        .collect();
    let mut control = Connection::open(&options.url).await?;
    let backlog = prepare(&mut control, &options, &queues).await?;
    let start = Instant::now();
    let time = options
        .count
        .is_none()
        .then(|| Duration::from_secs(options.time.unwrap_or(10)));
    let plan = Arc::new(Plan {
        queues,
        start,
        end: time.filter(|_| options.publishers > 0).map(|time| start + time),
        published: AtomicU64::new(0),
        confirmed: AtomicU64::new(0),
        delivered: AtomicU64::new(0),
        expected: AtomicU64::new(if options.publishers == 0 { backlog } else { UNKNOWN }),
        failed: AtomicBool::new(false),
        options,
    });
    let (published, consumed) = work(&plan).await?;
    let left = finish(control, &plan, &published, &consumed).await?;
    Ok(Report::new(&plan, &published, &consumed, left))
}

/// Makes the queues anew, or counts what an earlier run left in them; how many messages there are to drain.
async fn prepare(control: &mut Connection, options: &Options, queues: &[String]) -> Result<u64> {
    let mut backlog = 0;
    for queue in queues {
        if options.publishers == 0 {
            let counted = control.declare(queue, true, false).await;
            backlog +=
                counted.with_context(|| format!("cannot drain queue {queue:?}: publish into it with --keep first"))?;
            continue;
        }
        control.delete(queue).await?;
        control.declare(queue, false, !options.transient).await?;
    }
    Ok(options.count.map_or(backlog, |count| count.min(backlog)))
}

/// Runs every task to its end.
async fn work(plan: &Arc<Plan>) -> Result<(Vec<Side>, Vec<Side>)> {
    let options = &plan.options;
    let mut consumers = Vec::new();
    for index in 0..options.consumers {
        // Consumers first: what waits in a queue before anyone consumes would be latency of our making.
        let consumer = consumer::Consumer::start(plan, index).await?;
        consumers.push(spawn(plan, consumer.run()));
    }
    let mut publishers = Vec::new();
    for index in 0..options.publishers {
        let publisher = publisher::Publisher::start(plan, index).await?;
        publishers.push(spawn(plan, publisher.run()));
    }
    let progress = tokio::spawn(show_progress(Arc::clone(plan)));
    let published = join(publishers).await;
    if let Ok(published) = &published
        && !plan.drains()
    {
        plan.expected
            .store(published.iter().map(|side| side.messages).sum(), Ordering::Relaxed);
    }
    let consumed = join(consumers).await;
    progress.abort();
    Ok((published?, consumed?))
}

type Task = tokio::task::JoinHandle<Result<Side>>;

fn spawn(plan: &Arc<Plan>, work: impl Future<Output = Result<Side>> + Send + 'static) -> Task {
    let plan = Arc::clone(plan);
    tokio::spawn(async move {
        let result = work.await;
        if result.is_err() {
            plan.failed.store(true, Ordering::Relaxed);
        }
        result
    })
}

async fn join(tasks: Vec<Task>) -> Result<Vec<Side>> {
    let mut sides = Vec::with_capacity(tasks.len());
    let mut failure = None;
    for task in tasks {
        match task.await.context("a task of the load generator panicked")? {
            Ok(side) => sides.push(side),
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    failure.map_or(Ok(sides), Err)
}

/// Counts what is left in the queues, then deletes them; `None` if nothing can be said.
async fn finish(mut control: Connection, plan: &Plan, published: &[Side], consumed: &[Side]) -> Result<Option<u64>> {
    let total = |sides: &[Side]| sides.iter().map(|side| side.messages).sum::<u64>();
    let expected_left = if plan.drains() {
        0
    } else {
        total(published).saturating_sub(total(consumed))
    };
    let deadline = Instant::now() + SETTLED_WITHIN;
    let left = loop {
        let mut left = 0;
        for queue in &plan.queues {
            left += control.declare(queue, true, false).await?;
        }
        // Brokers count with a delay, and without confirms the last publishes may still be on their way.
        if left == expected_left || Instant::now() > deadline {
            break left;
        }
        tokio::time::sleep(LOOK).await;
    };
    if !plan.options.keep {
        for queue in &plan.queues {
            control.delete(queue).await?;
        }
    }
    control.close().await?;
    // A part of a backlog was drained as asked: what remains is not ours to judge.
    let partly = plan.drains() && plan.options.count.is_some();
    Ok((!partly).then_some(left))
}

/// A line on the terminal that tells how the run goes.
async fn show_progress(plan: Arc<Plan>) {
    let bar = ProgressBar::new_spinner();
    bar.set_style(ProgressStyle::with_template("{spinner} {msg}").expect("a valid template"));
    let mut before = (0, 0);
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let (published, delivered) = (
            plan.published.load(Ordering::Relaxed),
            plan.delivered.load(Ordering::Relaxed),
        );
        let (per_publish, per_delivery) = (published - before.0, delivered - before.1);
        before = (published, delivered);
        let seconds = plan.start.elapsed().as_secs();
        bar.set_message(format!(
            "{seconds} s  published {published} ({per_publish}/s)  delivered {delivered} ({per_delivery}/s)"
        ));
        bar.tick();
    }
}
