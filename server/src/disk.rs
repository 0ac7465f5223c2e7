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
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use waystation_core::disk::{Command, Event, FileId};

/// Where the threads report.
pub type Report = Arc<dyn Fn(Event) + Send + Sync>;

/// The three threads. Dropping it lets each finish what is queued, then joins them.
pub struct Disks {
    write: Option<Sender<Command>>,
    read: Option<Sender<Command>>,
    prepare: Option<Sender<Command>>,
    threads: Vec<JoinHandle<()>>,
}

impl Disks {
    /// Starts the threads over `folder`, which stays locked as long as they live.
    ///
    /// # Errors
    /// The operating system's, if it gives no thread.
    pub fn start(folder: Folder, report: &Report) -> io::Result<Self> {
        let files = Arc::new(Files::new(folder));
        let mut threads = Vec::with_capacity(3);
        let mut spawn = |name: &str, run: fn(&Files, &mut dyn Iterator<Item = Command>, &mut Queue<'_>)| {
            let (sender, receiver) = channel();
            let (files, report) = (Arc::clone(&files), Arc::clone(report));
            let body = move || {
                let try_next = || receiver.try_recv().ok();
                run(
                    &files,
                    &mut std::iter::from_fn(|| receiver.recv().ok()),
                    &mut Queue {
                        try_next: &try_next,
                        report: &*report,
                    },
                );
            };
            threads.push(std::thread::Builder::new().name(name.to_owned()).spawn(body)?);
            io::Result::Ok(Some(sender))
        };
        let write = spawn("disk-write", write::run)?;
        let read = spawn("disk-read", read::run)?;
        let prepare = spawn("disk-prepare", prepare::run)?;
        Ok(Self {
            write,
            read,
            prepare,
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
        let queue = thread.as_ref().expect("taken only by drop");
        if queue.send(command).is_err() {
            tracing::debug!("a command for a disk thread that has failed was dropped");
        }
    }
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
