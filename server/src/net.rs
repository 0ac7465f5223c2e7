//! Sockets: listeners, one task per connection.

pub mod amqp;
mod buffer;
mod connection;
mod session;

#[cfg(test)]
mod tests;

pub use session::{Effect, Session};

use crate::clock::Clock;
use crate::driver::Inbox;
use crate::users::Users;
use connection::Connection;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use waystation_core::api::ConnId;

/// A pause after accepting failed: the usual cause is that no descriptor is free, which only time mends.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What all connections share.
#[derive(Debug)]
pub struct Shared {
    /// The way to the core.
    pub inbox: Inbox,
    /// Who may connect.
    pub users: Arc<Users>,
    /// The time.
    pub clock: Clock,
    /// Turns true when sessions have to end.
    pub shutdown: watch::Receiver<bool>,
    /// Permits for connections, one each.
    pub connections: Arc<Semaphore>,
    /// Every connection's task holds one; all gone means all ended.
    pub alive: tokio::sync::mpsc::Sender<()>,
    /// The number of the next connection.
    pub next: AtomicU64,
}

/// Binds a listener.
///
/// # Errors
/// The operating system's words, with the address and what to do.
pub async fn bind(protocol: &str, address: &str) -> io::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        let text = format!(
            "cannot listen for {protocol} on {address}: {error}. Stop what uses the port, or choose another with \
             --listen {protocol}=HOST:PORT"
        );
        io::Error::new(error.kind(), text)
    })
}

/// Accepts connections until shutdown; `open` makes a session for each.
pub async fn accept<S: Session>(
    listener: TcpListener,
    shared: Arc<Shared>,
    open: impl Fn(&Shared) -> S + Send + 'static,
) {
    let mut shutdown = shared.shutdown.clone();
    let mut full = false;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            // An error means that the server is gone: the same.
            _ = shutdown.wait_for(|down| *down) => return,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection; trying again");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&shared.connections).try_acquire_owned() else {
            if !full {
                tracing::warn!(%peer, "refused: connections.max is reached; further refusals are not logged until one ends");
            }
            full = true;
            continue;
        };
        full = false;
        let conn = ConnId(shared.next.fetch_add(1, Ordering::Relaxed));
        let session = open(&shared);
        let (shared, alive) = (Arc::clone(&shared), shared.alive.clone());
        tokio::spawn(async move {
            serve(stream, peer, conn, session, &shared).await;
            drop((place, alive));
        });
    }
}

async fn serve<S: Session>(stream: TcpStream, peer: SocketAddr, conn: ConnId, session: S, shared: &Shared) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%peer, %error, "TCP_NODELAY");
    }
    tracing::debug!(%peer, conn = conn.0, "connected");
    match Connection::new(conn, peer, session, shared).run(stream).await {
        Ok(()) => tracing::debug!(%peer, conn = conn.0, "closed"),
        Err(reason) => tracing::info!(%peer, conn = conn.0, "connection lost: {reason}"),
    }
}
