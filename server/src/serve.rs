//! A whole server: folder, core, listeners, admin API; from start to an end in good order.

use crate::admin;
use crate::clock::Clock;
use crate::config::{Config, Listen};
use crate::disk::{Disks, Folder, FolderError};
use crate::driver::{self, Broker, Event, Inbox, State};
use crate::net::{self, Session, Shared};
use crate::users::{HashError, Users};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, watch};
use waystation_core::Now;
use waystation_core::disk::Listing;
use waystation_core::node::{self, HaltCause, Recovery};

/// Why a server did not start, or ended before it was told to.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The data folder cannot be used.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// A port or a thread cannot be had.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// No randomness for the keys of this process.
    #[error(transparent)]
    Users(#[from] HashError),
    /// The core cannot go on.
    #[error("the broker stopped: {0}")]
    Halted(HaltCause),
    /// The core's thread panicked.
    #[error(
        "the broker stopped by a mistake of its own (a panic, see above): please report it with the lines before it"
    )]
    Panicked,
    /// The core did not end in time.
    #[error("the broker did not stop within {0:?}; what was confirmed is safe, and the next start replays the log")]
    Slow(Duration),
}

/// A running server. It must be ended by [`Server::stop`]; dropping it abandons its tasks to their runtime.
pub struct Server {
    /// Where AMQP listens.
    pub amqp: Option<SocketAddr>,
    /// Where the admin API listens.
    pub admin: Option<SocketAddr>,
    /// What recovery found.
    pub recovery: Recovery,
    inbox: Inbox,
    state: watch::Receiver<State>,
    shutdown: watch::Sender<bool>,
    ended: mpsc::Receiver<()>,
    core: Option<JoinHandle<()>>,
    timeout: Duration,
}

impl Server {
    /// Locks the folder, binds every port, recovers, then accepts connections. Needs a tokio runtime around it.
    /// `open_node` makes the core's machine, `open_amqp` a session.
    ///
    /// # Errors
    /// [`ServeError`].
    pub async fn start<N: Broker + 'static, S: Session>(
        config: &Config,
        open_node: impl FnOnce(node::Config, Listing, Now) -> N + Send + 'static,
        open_amqp: impl Fn(&Shared) -> S + Send + 'static,
    ) -> Result<Self, ServeError> {
        let opened = Folder::open(&config.data_dir)?;
        for path in &opened.unknown {
            tracing::warn!(path = %path.display(), "not a file of the broker: left alone");
        }
        let users = Users::new(&config.users)?;
        let amqp = listener("amqp", &config.listen_amqp).await?;
        let admin = listener("admin", &config.listen_admin).await?;
        let (inbox, events) = Inbox::new();
        let reports = inbox.clone();
        let disks = Disks::start(
            opened.folder,
            &(Arc::new(move |event| reports.send(Event::Disk(event))) as _),
        )?;
        let (progress, state) = watch::channel(State::Starting);
        let clock = Clock::start();
        let (core_config, listing) = (config.core.clone(), opened.listing);
        let core = std::thread::Builder::new().name("core".to_owned()).spawn(move || {
            let node = open_node(core_config, listing, clock.now());
            driver::run(node, clock, &events, disks, &progress);
        })?;
        let (shutdown, told) = watch::channel(false);
        let (alive, ended) = mpsc::channel(1);
        let address = |listener: &Option<TcpListener>| listener.as_ref().map(TcpListener::local_addr).transpose();
        let mut server = Self {
            amqp: address(&amqp)?,
            admin: address(&admin)?,
            recovery: Recovery::default(),
            inbox: inbox.clone(),
            state: state.clone(),
            shutdown,
            ended,
            core: Some(core),
            timeout: config.shutdown_timeout,
        };
        if let Some(listener) = admin {
            let api = admin::Api {
                inbox: inbox.clone(),
                state,
                users: Arc::clone(&users),
            };
            // Ends with the runtime, so that health can be asked to the last.
            tokio::spawn(admin::serve(listener, api));
        }
        server.recovery = server.ready().await?;
        let shared = Shared {
            inbox,
            users,
            clock,
            shutdown: told,
            connections: Arc::new(Semaphore::new(config.connections_max)),
            alive,
            next: AtomicU64::new(1),
        };
        if let Some(listener) = amqp {
            tokio::spawn(net::accept(listener, Arc::new(shared), open_amqp));
        }
        Ok(server)
    }

    async fn ready(&mut self) -> Result<Recovery, ServeError> {
        let state = self
            .state
            .wait_for(|state| *state != State::Starting)
            .await
            .map(|state| state.clone());
        match state {
            Ok(State::Ready(recovery)) => Ok(recovery),
            other => Err(self.end(other.ok())),
        }
    }

    /// Returns when the core has ended although nobody told it to.
    pub async fn failed(&mut self) -> ServeError {
        let state = self.over().await;
        self.end(state)
    }

    /// Waits for the core's final state; none if it panicked.
    async fn over(&mut self) -> Option<State> {
        let over = |state: &State| matches!(state, State::Halted(_) | State::Stopped);
        self.state.wait_for(over).await.map(|state| state.clone()).ok()
    }

    /// Ends in good order: no new connections, a last word to each session, a checkpoint, everything durable.
    ///
    /// # Errors
    /// [`ServeError`]; what was confirmed is safe whatever it says.
    pub async fn stop(mut self) -> Result<(), ServeError> {
        self.shutdown.send_replace(true);
        let timeout = self.timeout;
        if tokio::time::timeout(timeout, self.ended.recv()).await.is_err() {
            tracing::warn!("some connections did not end within {timeout:?} and are cut off");
        }
        self.inbox.send(Event::Stop);
        // The checkpoint needs the disk alone, so the same time again is plenty, but never none.
        let timeout = timeout.max(Duration::from_secs(5));
        let Ok(state) = tokio::time::timeout(timeout, self.over()).await else {
            return Err(ServeError::Slow(timeout));
        };
        match state {
            Some(State::Stopped) => {
                self.join();
                Ok(())
            }
            other => Err(self.end(other)),
        }
    }

    /// The error that a final state stands for. No state means that the thread is gone without one.
    fn end(&mut self, state: Option<State>) -> ServeError {
        self.join();
        match state {
            Some(State::Halted(cause)) => ServeError::Halted(cause),
            Some(State::Starting | State::Ready(_) | State::Stopped) | None => ServeError::Panicked,
        }
    }

    fn join(&mut self) {
        if let Some(core) = self.core.take()
            && core.join().is_err()
        {
            tracing::error!("the core's thread panicked");
        }
    }
}

async fn listener(protocol: &str, listen: &Listen) -> io::Result<Option<TcpListener>> {
    match listen {
        Listen::Off => Ok(None),
        Listen::At(address) => net::bind(protocol, address).await.map(Some),
    }
}

#[cfg(test)]
#[path = "serve_tests.rs"]
mod tests;
