use super::scripted::{FILE, Scripted};
use super::*;
use crate::disk::Folder;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use waystation_core::api::Request;
use waystation_core::node::{AdminReply, AdminRequest};

struct Running {
    dir: tempfile::TempDir,
    inbox: Inbox,
    state: watch::Receiver<State>,
    thread: std::thread::JoinHandle<()>,
}

async fn start() -> Running {
    let dir = tempfile::tempdir().unwrap();
    let opened = Folder::open(dir.path()).unwrap();
    let (inbox, events) = Inbox::new();
    let reports = inbox.clone();
    let disks = Disks::start(
        opened.folder,
        &(Arc::new(move |event| reports.send(Event::Disk(event))) as _),
    )
    .unwrap();
    let (sender, mut state) = watch::channel(State::Starting);
    let thread = std::thread::spawn(move || run(Scripted::open(), Clock::start(), &events, disks, &sender));
    state.wait_for(|state| matches!(state, State::Ready(_))).await.unwrap();
    Running {
        dir,
        inbox,
        state,
        thread,
    }
}

impl Running {
    fn attach(&self, conn: u64) -> mpsc::UnboundedReceiver<Vec<Reply>> {
        let (replies, receiver) = mpsc::unbounded_channel();
        self.inbox.send(Event::Attach {
            conn: ConnId(conn),
            replies,
        });
        receiver
    }

    fn ask(&self, conn: u64, requests: Vec<Request>) {
        self.inbox.send(Event::Client {
            conn: ConnId(conn),
            requests,
            permit: None,
        });
    }

    async fn end(mut self) -> State {
        let over = |state: &State| matches!(state, State::Stopped | State::Halted(_));
        let state = self.state.wait_for(over).await.unwrap().clone();
        self.thread.join().unwrap();
        state
    }
}

fn connect() -> Request {
    Request::Connect {
        vhost: "/".into(),
        user: "guest".into(),
        channels_max: 1,
    }
}

#[tokio::test]
async fn replies_reach_their_connection_once_durable() {
    let running = start().await;
    let (mut one, mut two) = (running.attach(1), running.attach(2));
    running.ask(1, vec![connect()]);
    running.ask(2, vec![connect()]);
    running.ask(2, vec![Request::OpenChannel { channel: 1 }]);
    assert_eq!(one.recv().await.unwrap(), [Reply::Connected]);
    let mut got = Vec::new();
    while got.len() < 2 {
        got.extend(two.recv().await.unwrap());
    }
    assert_eq!(got, [Reply::Connected, Reply::Unblocked]);
    running.ask(1, vec![Request::Disconnect]);
    assert_eq!(one.recv().await.unwrap(), [Reply::Disconnected]);
    // Detached: the driver holds no sender any more.
    assert_eq!(one.recv().await, None);
    running.inbox.send(Event::Stop);
    assert_eq!(running.end().await, State::Stopped);
}

#[tokio::test]
async fn the_driver_ticks_at_the_deadline_and_answers_operators() {
    let running = start().await;
    let asked = std::time::Instant::now();
    running.ask(1, vec![Request::Drained { bytes: 30 }]);
    running.inbox.ping().await.unwrap();
    loop {
        let reply = running.inbox.admin(AdminRequest::Stats).await.unwrap();
        if reply == (AdminReply::Done { messages: 1 }) {
            break;
        }
        assert!(asked.elapsed() < Duration::from_secs(20));
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert!(asked.elapsed() >= Duration::from_millis(30));
    running.inbox.send(Event::Stop);
    assert_eq!(running.end().await, State::Stopped);
}

#[tokio::test]
async fn a_connection_that_went_away_costs_nothing() {
    let running = start().await;
    drop(running.attach(1));
    running.ask(1, vec![connect()]);
    running.ask(7, vec![connect()]);
    let mut other = running.attach(2);
    running.ask(2, vec![connect()]);
    assert_eq!(other.recv().await.unwrap(), [Reply::Connected]);
    running.inbox.send(Event::Stop);
    assert_eq!(running.end().await, State::Stopped);
}

#[tokio::test]
async fn a_failing_disk_halts_and_everyone_learns_of_it() {
    let running = start().await;
    let mut replies = running.attach(1);
    std::fs::remove_file(running.dir.path().join(FILE.to_string())).unwrap();
    running.ask(1, vec![connect()]);
    let inbox = running.inbox.clone();
    let state = running.end().await;
    assert!(
        matches!(
            state,
            State::Halted(HaltCause::DiskFailed {
                file: FILE,
                doing: "write to",
                ..
            })
        ),
        "{state:?}"
    );
    assert_eq!(replies.recv().await, None);
    assert!(inbox.admin(AdminRequest::Stats).await.is_err());
}

#[tokio::test]
async fn the_gate_bounds_what_waits() {
    let (inbox, events) = Inbox::new();
    let (flood, other) = (inbox.gate(), inbox.gate());
    let first = flood.try_enter(1).unwrap();
    let second = flood.try_enter(usize::MAX >> 1);
    assert!(
        second.is_none(),
        "one huge batch takes the whole budget, of which a part is taken"
    );
    drop(first);
    let huge = flood.try_enter(usize::MAX >> 1).unwrap();
    assert!(other.try_enter(1).is_none());
    let waiting = tokio::spawn(other.enter(1));
    inbox.send(Event::Client {
        conn: ConnId(1),
        requests: Vec::new(),
        permit: Some(huge),
    });
    drop(events.recv().unwrap());
    let one = waiting.await.unwrap();
    let (_two, _three) = (flood.try_enter(1).unwrap(), flood.try_enter(1).unwrap());
    assert!(flood.try_enter(1).is_none(), "two batches per connection");
    drop(one);
}
