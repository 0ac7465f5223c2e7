//! The disk: one data folder and three threads that do what the core's [`Command`]s say.
//!
//! | thread | does | why alone |
//! |---|---|---|
//! | `disk-write` | writes and syncs of the log, in order | group commit: what queued while one sync ran goes into the next |
//! | `disk-read` | reads | a read must not wait behind a sync |
//! | `disk-prepare` | new, recycled and deleted segments | zeroing 64 MiB must not delay a confirm |
//!
//! Any error is reported once as [`Event::Failed`], and its thread does nothing more: after a failed write or sync
//! nothing is known about the file (G17).

mod files;
mod folder;
mod prepare;
mod read;
mod write;

#[cfg(test)]
mod tests;

pub use folder::{Folder, FolderError, Opened};

use files::Files;
use std::cell::Cell;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use waystation_core::disk::{Command, Event, FileId};
use write::Writer;

/// Where the threads report.
pub type Report = Arc<dyn Fn(Event) + Send + Sync>;

/// The three threads. Dropping it lets each finish what is queued, then joins them.
pub struct Disks {
    write: Option<Sender<Command>>,
    read: Option<Sender<Command>>,
    prepare: Option<Sender<Command>>,
    writer: Arc<Mutex<Writer>>,
    /// Writes that were handed to their thread, and those that it has finished.
    handed: Cell<u64>,
    finished: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

impl Disks {
    /// Starts the threads over `folder`, which stays locked as long as they live.
    ///
    /// # Errors
    /// The operating system's, if it gives no thread.
    pub fn start(folder: Folder, report: &Report) -> io::Result<Self> {
        let files = Arc::new(Files::new(folder));
        let writer = Arc::new(Mutex::new(Writer::new(Arc::clone(&files))));
        let finished = Arc::new(AtomicU64::new(0));
        let mut threads = Vec::with_capacity(3);
        let (writes, count) = (Arc::clone(&writer), Arc::clone(&finished));
        let write = spawn(&mut threads, "disk-write", report, move |commands, queue| {
            write::run(&writes, &count, commands, queue);
        })?;
        let reads = Arc::clone(&files);
        let read = spawn(&mut threads, "disk-read", report, move |commands, queue| {
            read::run(&reads, commands, queue);
        })?;
        let prepare = spawn(&mut threads, "disk-prepare", report, move |commands, queue| {
            prepare::run(&files, commands, queue);
        })?;
        let (write, read, prepare) = (Some(write), Some(read), Some(prepare));
        Ok(Self {
            write,
            read,
            prepare,
            writer,
            handed: Cell::new(0),
            finished,
            threads,
        })
    }

    /// Hands a command to its thread. A thread that has failed takes nothing more: its [`Event::Failed`] is on its way.
    pub fn submit(&self, command: Command) {
        let thread = match &command {
            Command::Write { .. } => &self.write,
            Command::Read { .. } => &self.read,
            Command::Prepare { .. } | Command::Delete { .. } => &self.prepare,
        };
        if matches!(command, Command::Write { .. }) {
            self.handed.set(self.handed.get() + 1);
        }
        let queue = thread.as_ref().expect("taken only by drop");
        if queue.send(command).is_err() {
            tracing::debug!("a command for a disk thread that has failed was dropped");
        }
    }

    /// Writes on the calling thread, if the writing thread has nothing to do. Two thread switches less, when nothing else
    /// waits for the caller. The event, if there is one; or the writes back.
    ///
    /// # Errors
    /// The writes, if they have to queue behind others.
    pub fn write_now(&self, writes: Vec<Command>) -> Result<Option<Event>, Vec<Command>> {
        if self.finished.load(Ordering::Acquire) != self.handed.get() {
            return Err(writes);
        }
        let mut writer = write::lock(&self.writer);
        let writes = Cell::new(writes.into_iter());
        let next = || {
            let mut rest = writes.take();
            let command = rest.next();
            writes.set(rest);
            command
        };
        let Some(first) = next() else { return Ok(None) };
        writer.collect(first, &next);
        let event = writer.perform();
        drop(writer);
        // What did not fit into one group, which never happens for what one turn of the core writes, goes its usual way.
        writes.into_inner().for_each(|command| self.submit(command));
        Ok(event)
    }
}

fn spawn(
    threads: &mut Vec<JoinHandle<()>>,
    name: &str,
    report: &Report,
    run: impl FnOnce(&mut dyn Iterator<Item = Command>, &mut Queue<'_>) + Send + 'static,
) -> io::Result<Sender<Command>> {
    let (sender, receiver) = channel();
    let report = Arc::clone(report);
    let body = move || {
        let try_next = || receiver.try_recv().ok();
        let mut queue = Queue {
            try_next: &try_next,
            report: &*report,
        };
        run(&mut std::iter::from_fn(|| receiver.recv().ok()), &mut queue);
    };
    threads.push(std::thread::Builder::new().name(name.to_owned()).spawn(body)?);
    Ok(sender)
}

impl Drop for Disks {
    fn drop(&mut self) {
        drop((self.write.take(), self.read.take(), self.prepare.take()));
        for thread in self.threads.drain(..) {
            let name = thread.thread().name().unwrap_or_default().to_owned();
            if thread.join().is_err() {
                tracing::error!(thread = name, "a disk thread ended by a panic");
            }
        }
    }
}

/// What a thread sees of its surroundings: what else is queued, and where to report.
struct Queue<'a> {
    try_next: &'a dyn Fn() -> Option<Command>,
    report: &'a (dyn Fn(Event) + Send + Sync),
}

impl Queue<'_> {
    fn failed(&self, file: FileId, doing: &'static str, error: &io::Error) {
        (self.report)(Event::Failed {
            file,
            doing,
            error: error.to_string(),
        });
    }
}
