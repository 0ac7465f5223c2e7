//! One connection: a socket, a session, a queue of replies, and its line to the core.

use super::buffer::Buffer;
use super::{Effect, Session, Shared};
use crate::clock::Clock;
use crate::driver::inbox::{Gate, Permit, ReplySender};
use crate::driver::{Event, Inbox};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::net::tcp::WriteHalf;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, Sleep};
use waystation_core::Time;
use waystation_core::api::{ConnId, Reply, Request};

/// Batches of replies taken between two writes.
const REPLIES_PER_TURN_MAX: usize = 64;
/// How long a peer may take to read the last words to it.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// A timer that nothing has set, as the core and as the runtime say it.
const NEVER: Time = Time(u64::MAX);
const FAR: Duration = Duration::from_secs(86_400 * 365);

pub(super) struct Connection<'a, S> {
    peer: SocketAddr,
    session: S,
    shared: &'a Shared,
    clock: Clock,
    line: Line,
    replies: mpsc::UnboundedReceiver<Vec<Reply>>,
    /// Bytes read since the last batch was handed over.
    unpaid: usize,
    waiting: Option<Pin<Box<dyn Future<Output = Permit> + Send>>>,
    login: Option<oneshot::Receiver<Result<(), String>>>,
    closing: bool,
    /// When the timer rings.
    armed: Time,
    last_words: bool,
}

/// The line to the core. However the connection ends, dropping it sends the rest and one [`Request::Disconnect`].
struct Line {
    inbox: Inbox,
    gate: Gate,
    conn: ConnId,
    pending: Vec<Request>,
    /// Until the first request: where replies go.
    replies: Option<ReplySender>,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Strange,
    Connected,
    Disconnected,
}

enum Woken {
    Read(io::Result<usize>),
    Writable,
    Replies(Vec<Reply>),
    Permit(Permit),
    Login(Result<(), String>),
    Timer,
    Shutdown,
}

impl<'a, S: Session> Connection<'a, S> {
    pub(super) fn new(conn: ConnId, peer: SocketAddr, session: S, shared: &'a Shared) -> Self {
        let (sender, replies) = mpsc::unbounded_channel();
        let line = Line {
            inbox: shared.inbox.clone(),
            gate: shared.inbox.gate(),
            conn,
            pending: Vec::new(),
            replies: Some(sender),
            stage: Stage::Strange,
        };
        Self {
            peer,
            session,
            shared,
            clock: shared.clock,
            line,
            replies,
            unpaid: 0,
            waiting: None,
            login: None,
            closing: false,
            armed: NEVER,
            last_words: false,
        }
    }

    /// Serves the connection to its end. An error is the socket's.
    pub(super) async fn run(mut self, mut stream: TcpStream) -> io::Result<()> {
        let (mut reader, writer) = stream.split();
        let mut buffer = Buffer::new();
        let mut shutdown = Some(self.shared.shutdown.clone());
        let mut timer = Box::pin(tokio::time::sleep(FAR));
        loop {
            let blocked = self.work(&writer)?;
            if self.closing && !blocked {
                return Ok(());
            }
            self.arm(&mut timer);
            let may_read = !self.closing && self.waiting.is_none() && !self.session.paused();
            let woken = tokio::select! {
                read = reader.read(buffer.room()), if may_read => Woken::Read(read),
                ready = writer.writable(), if blocked => ready.map(|()| Woken::Writable)?,
                Some(replies) = self.replies.recv() => Woken::Replies(replies),
                permit = wait(&mut self.waiting), if self.waiting.is_some() => Woken::Permit(permit),
                result = login(&mut self.login), if self.login.is_some() => Woken::Login(result),
                () = &mut timer => Woken::Timer,
                () = told(&mut shutdown), if shutdown.is_some() => Woken::Shutdown,
            };
            match woken {
                Woken::Read(Ok(0)) => return self.end_of_stream(),
                Woken::Read(read) => {
                    let count = read?;
                    self.unpaid += count;
                    self.session.bytes(self.clock.now(), buffer.filled(count));
                    buffer.adapt(count);
                }
                Woken::Writable => {}
                Woken::Replies(replies) => self.take_replies(replies),
                Woken::Permit(permit) => {
                    self.waiting = None;
                    self.line.send(Some(permit));
                }
                Woken::Login(result) => {
                    self.login = None;
                    let refused = result.is_err();
                    self.session.authenticated(self.clock.now(), result);
                    if refused {
                        // It is in the log already, with the reason.
                        drop(self.session.take_fault());
                    }
                }
                Woken::Timer if self.closing => return Err(io::ErrorKind::TimedOut.into()),
                Woken::Timer => {
                    self.armed = NEVER;
                    timer.as_mut().reset(Instant::now() + FAR);
                    self.session.tick(self.clock.now());
                }
                Woken::Shutdown => {
                    shutdown = None;
                    self.session.shutdown(self.clock.now());
                }
            }
        }
    }

    fn end_of_stream(&self) -> io::Result<()> {
        if self.line.stage == Stage::Connected {
            let text = "the peer closed the socket without closing the connection";
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
        }
        Ok(())
    }

    fn take_replies(&mut self, first: Vec<Reply>) {
        let now = self.clock.now();
        self.session.replies(now, first);
        for _ in 0..REPLIES_PER_TURN_MAX {
            let Ok(more) = self.replies.try_recv() else {
                return;
            };
            self.session.replies(now, more);
        }
    }

    /// Does what the session wants.
    fn pump(&mut self) {
        while let Some(effect) = self.session.poll() {
            match effect {
                Effect::Request(request) => self.line.pending.push(request),
                Effect::Authenticate { user, password } => {
                    let verified = self.shared.users.clone().verify(self.peer.ip(), user.clone(), password);
                    let (sender, receiver) = oneshot::channel();
                    let peer = self.peer;
                    // A task of its own: the session goes on meanwhile, and a peer that leaves leaves no half-done work.
                    tokio::spawn(async move {
                        let result = verified.await;
                        if let Err(refused) = result {
                            tracing::warn!(%peer, user, "login refused: {refused}");
                        }
                        _ = sender.send(result.map_err(|refused| refused.to_string()));
                    });
                    self.login = Some(receiver);
                }
                Effect::Close => self.closing = true,
            }
        }
        if let Some(fault) = self.session.take_fault() {
            tracing::warn!(peer = %self.peer, conn = self.line.conn.0, "{fault}");
        }
    }

    /// Hands requests to the core if there is room, or begins to wait for it.
    fn hand_over(&mut self) {
        if self.line.pending.is_empty() || self.waiting.is_some() {
            return;
        }
        let bytes = std::mem::take(&mut self.unpaid);
        match self.line.gate.try_enter(bytes) {
            Some(permit) => self.line.send(Some(permit)),
            None => self.waiting = Some(Box::pin(self.line.gate.clone().enter(bytes))),
        }
    }

    /// Carries effects and output away until the session has no more or the socket takes no more; whether output is left.
    fn work(&mut self, writer: &WriteHalf<'_>) -> io::Result<bool> {
        loop {
            self.pump();
            self.hand_over();
            let output = self.session.output();
            if output.is_empty() {
                return Ok(false);
            }
            match writer.try_write(output) {
                // What was sent may be worth credit, which is an effect.
                Ok(count) => self.session.sent(self.clock.now(), count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                Err(error) => return Err(error),
            }
        }
    }

    /// Sets the timer. A deadline that only moved away is left to ring early, which is cheaper than to move it with each
    /// read: early ticks are no-ops.
    fn arm(&mut self, timer: &mut Pin<Box<Sleep>>) {
        if self.closing {
            if !self.last_words {
                self.last_words = true;
                timer.as_mut().reset(Instant::now() + LAST_WORDS);
            }
        } else if let Some(at) = self.session.deadline()
            && at < self.armed
        {
            self.armed = at;
            timer.as_mut().reset(self.clock.instant(at).into());
        }
    }
}

impl Line {
    fn send(&mut self, permit: Option<Permit>) {
        let requests = std::mem::take(&mut self.pending);
        if requests.is_empty() {
            return;
        }
        if let Some(replies) = self.replies.take() {
            let conn = self.conn;
            self.inbox.send(Event::Attach { conn, replies });
        }
        if matches!(requests.first(), Some(Request::Connect { .. })) {
            self.stage = Stage::Connected;
        }
        if matches!(requests.last(), Some(Request::Disconnect)) {
            self.stage = Stage::Disconnected;
        }
        self.inbox.send(Event::Client {
            conn: self.conn,
            requests,
            permit,
        });
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        // What was read before the end counts: a publisher without confirms may close behind its last message. This is at
        // most one read's worth, so it needs no permit.
        self.send(None);
        if self.stage == Stage::Connected {
            self.pending.push(Request::Disconnect);
            self.send(None);
        }
    }
}

/// A permit that is waited for. Kept across turns, so that the place in the queue is kept.
async fn wait(waiting: &mut Option<Pin<Box<dyn Future<Output = Permit> + Send>>>) -> Permit {
    waiting.as_mut().expect("checked by the caller").await
}

/// The result of a login.
async fn login(receiver: &mut Option<oneshot::Receiver<Result<(), String>>>) -> Result<(), String> {
    let receiver = receiver.as_mut().expect("checked by the caller");
    receiver
        .await
        .unwrap_or_else(|_| Err("the login could not be verified: try again".to_owned()))
}

/// Returns when the server stops; its end is the same.
async fn told(shutdown: &mut Option<watch::Receiver<bool>>) {
    let receiver = shutdown.as_mut().expect("checked by the caller");
    _ = receiver.wait_for(|down| *down).await;
}
