//! A timer that rings within some tens of microseconds: the runtime's own counts whole milliseconds, which is as long as
//! what is measured.

use anyhow::Result;
use std::time::Instant;
use tokio::task::JoinHandle;

/// A thread that sleeps, as the kernel's timers are finer than the runtime's.
#[derive(Default)]
pub(super) struct Timer {
    sleeping: Option<(Instant, JoinHandle<()>)>,
}

impl Timer {
    /// Waits until `at`, if there is such a time; otherwise for ever. May be dropped and called again meanwhile.
    ///
    /// # Errors
    /// If the thread panicked.
    pub(super) async fn until(&mut self, at: Option<Instant>) -> Result<()> {
        let Some(at) = at else {
            return std::future::pending().await;
        };
        if self.sleeping.as_ref().is_none_or(|(until, _)| *until != at) {
            let sleep = move || std::thread::sleep(at.saturating_duration_since(Instant::now()));
            self.sleeping = Some((at, tokio::task::spawn_blocking(sleep)));
        }
        let (_, thread) = self.sleeping.as_mut().expect("set above");
        let slept = thread.await;
        self.sleeping = None;
        Ok(slept?)
    }
}
