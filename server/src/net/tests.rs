use super::*;
use crate::driver::Event;
use std::sync::mpsc::Receiver;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use waystation_core::api::{Reply, Request};
use waystation_core::{Now, Time};

/// A session of lines: `connect`, `ask`, `quit`, `login NAME PASSWORD`, `wait MS`; anything else is a fault.
#[derive(Default)]
struct Lines {
    input: Vec<u8>,
    output: Vec<u8>,
    effects: std::collections::VecDeque<Effect>,
    deadline: Option<Time>,
    fault: Option<String>,
}

impl Lines {
    fn line(&mut self, now: Now, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["connect"] => self.effects.push_back(Effect::Request(connect())),
            ["ask"] => self
                .effects
                .push_back(Effect::Request(Request::OpenChannel { channel: 1 })),
            ["quit"] => {
                self.effects.push_back(Effect::Request(Request::Disconnect));
                self.effects.push_back(Effect::Close);
                self.output.extend(b"bye\n");
            }
            ["login", user, password] => self.effects.push_back(Effect::Authenticate {
                user: user.to_owned(),
                password: password.to_owned(),
            }),
            ["wait", ms] => self.deadline = Some(now.mono.after_ms(ms.parse().unwrap())),
            _ => {
                self.fault = Some("bad line".to_owned());
                self.effects.push_back(Effect::Close);
            }
        }
    }
}

impl Session for Lines {
    fn bytes(&mut self, now: Now, bytes: &[u8]) {
        self.input.extend(bytes);
        while let Some(end) = self.input.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.input.drain(..=end).collect();
            self.line(now, std::str::from_utf8(&line[..end]).unwrap());
        }
    }

    fn replies(&mut self, _now: Now, replies: Vec<Reply>) {
        self.output.extend(format!("{} replies\n", replies.len()).bytes());
    }

    fn authenticated(&mut self, _now: Now, result: Result<(), String>) {
        self.output.extend(format!("{result:?}\n").bytes());
    }

    fn tick(&mut self, now: Now) {
        if self.deadline.is_some_and(|at| at <= now.mono) {
            self.deadline = None;
            self.output.extend(b"tick\n");
        }
    }

    fn shutdown(&mut self, _now: Now) {
        self.output.extend(b"shutdown\n");
        self.effects.push_back(Effect::Close);
    }

    fn poll(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    fn deadline(&self) -> Option<Time> {
        self.deadline
    }

    fn output(&mut self) -> &[u8] {
        &self.output
    }

    fn sent(&mut self, _now: Now, bytes: usize) {
        self.output.drain(..bytes);
    }

    fn paused(&self) -> bool {
        false
    }

    fn take_fault(&mut self) -> Option<String> {
        self.fault.take()
    }
}

fn connect() -> Request {
    Request::Connect {
        vhost: "/".into(),
        user: "guest".into(),
        channels_max: 1,
    }
}

struct World {
    address: SocketAddr,
    events: Receiver<Event>,
    shutdown: watch::Sender<bool>,
    ended: tokio::sync::mpsc::Receiver<()>,
}

async fn world(connections_max: usize) -> World {
    let (inbox, events) = Inbox::new();
    let (shutdown, told) = watch::channel(false);
    let (alive, ended) = tokio::sync::mpsc::channel(1);
    let shared = Shared {
        inbox,
        users: Users::new(&[]).unwrap(),
        clock: Clock::start(),
        shutdown: told,
        connections: Arc::new(Semaphore::new(connections_max)),
        alive,
        next: AtomicU64::new(1),
    };
    let listener = bind("test", "127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(accept(listener, Arc::new(shared), |_| Lines::default()));
    World {
        address,
        events,
        shutdown,
        ended,
    }
}

impl World {
    async fn client(&self, text: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        stream
    }

    /// The events so far, in short.
    async fn events(&self, count: usize) -> Vec<String> {
        let mut seen = Vec::new();
        for _ in 0..2_000 {
            seen.extend(self.events.try_iter().map(|event| match event {
                Event::Attach { conn, .. } => format!("attach {}", conn.0),
                Event::Client { conn, requests, .. } => format!("{} {requests:?}", conn.0),
                other => panic!("{other:?}"),
            }));
            if seen.len() >= count {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        seen
    }
}

async fn expect(stream: &mut TcpStream, text: &str) {
    let mut bytes = vec![0; text.len()];
    let read = tokio::time::timeout(Duration::from_secs(20), stream.read_exact(&mut bytes));
    read.await.unwrap().unwrap();
    assert_eq!(String::from_utf8(bytes).unwrap(), text);
}

async fn expect_end(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut rest));
    read.await.unwrap().unwrap();
    assert!(rest.is_empty(), "{rest:?}");
}

#[tokio::test]
async fn a_lost_connection_is_disconnected_once() {
    let world = world(10).await;
    drop(world.client("connect\nask\n").await);
    let events = world.events(3).await.join("; ");
    assert!(events.starts_with("attach 1; 1 [Connect {"), "{events}");
    assert!(events.ends_with("1 [Disconnect]"), "{events}");
    assert_eq!(events.matches("Disconnect").count(), 1);
}

#[tokio::test]
async fn a_connection_that_quits_is_not_disconnected_twice() {
    let mut world = world(10).await;
    let mut stream = world.client("connect\n").await;
    world.events(2).await;
    stream.write_all(b"quit\n").await.unwrap();
    expect(&mut stream, "bye\n").await;
    expect_end(&mut stream).await;
    world.shutdown.send_replace(true);
    assert_eq!(world.ended.recv().await, None);
    assert_eq!(world.events(1).await, ["1 [Disconnect]"]);
    assert!(world.events.try_recv().is_err());
}

#[tokio::test]
async fn a_stranger_never_reaches_the_core() {
    let mut world = world(10).await;
    expect_end(&mut world.client("GET / HTTP/1.1\n").await).await;
    drop(world.client("half a li").await);
    world.shutdown.send_replace(true);
    assert_eq!(world.ended.recv().await, None);
    assert!(world.events.try_recv().is_err());
}

#[tokio::test]
async fn replies_come_back() {
    let world = world(10).await;
    let mut stream = world.client("connect\n").await;
    let replies = loop {
        match world.events.try_recv() {
            Ok(Event::Attach { replies, .. }) => break replies,
            _ => tokio::time::sleep(Duration::from_millis(1)).await,
        }
    };
    replies.send(vec![Reply::Connected, Reply::Unblocked]).unwrap();
    expect(&mut stream, "2 replies\n").await;
}

#[tokio::test]
async fn logins_and_timers() {
    let world = world(10).await;
    let mut stream = world.client("login guest guest\n").await;
    expect(&mut stream, "Ok(())\n").await;
    stream.write_all(b"login guest x\n").await.unwrap();
    expect(&mut stream, "Err(\"user name or password is wrong\")\n").await;
    let start = std::time::Instant::now();
    stream.write_all(b"wait 40\n").await.unwrap();
    expect(&mut stream, "tick\n").await;
    assert!(start.elapsed() >= Duration::from_millis(40));
    stream.write_all(b"wait 10\n").await.unwrap();
    expect(&mut stream, "tick\n").await;
}

#[tokio::test]
async fn requests_wait_for_room_and_none_is_lost() {
    let world = world(10).await;
    let mut stream = world.client("connect\n").await;
    for _ in 0..50 {
        stream.write_all(b"ask\n").await.unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    let held: Vec<Event> = world.events.try_iter().collect();
    // The attachment and two batches: the rest waits until the core has handled one.
    assert_eq!(held.len(), 3);
    let count = |events: &[Event]| -> usize {
        let of = |event: &Event| match event {
            Event::Client { requests, .. } => requests.len(),
            _ => 0,
        };
        events.iter().map(of).sum()
    };
    let mut total = count(&held);
    drop(held);
    while total < 51 {
        total += count(&world.events.try_iter().collect::<Vec<_>>());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(total, 51);
}

#[tokio::test]
async fn one_connection_too_many_is_closed() {
    let world = world(1).await;
    let mut first = world.client("wait 1\n").await;
    expect(&mut first, "tick\n").await;
    let mut second = TcpStream::connect(world.address).await.unwrap();
    expect_end(&mut second).await;
    drop(first);
    for _ in 0..1_000 {
        let mut third = world.client("wait 1\n").await;
        let mut byte = [0];
        if matches!(third.read(&mut byte).await, Ok(1)) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("the place of the first connection was not given back");
}

#[tokio::test]
async fn shutdown_reaches_every_session_and_ends_them() {
    let mut world = world(10).await;
    let mut one = world.client("connect\n").await;
    let mut two = world.client("wait 1\n").await;
    expect(&mut two, "tick\n").await;
    world.events(2).await;
    world.shutdown.send_replace(true);
    expect(&mut one, "shutdown\n").await;
    expect(&mut two, "shutdown\n").await;
    expect_end(&mut one).await;
    assert_eq!(world.ended.recv().await, None);
    assert_eq!(world.events(1).await, ["1 [Disconnect]"]);
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let listener = bind("amqp", "127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let error = bind("amqp", &address).await.unwrap_err().to_string();
    assert!(error.contains(&address) && error.contains("--listen amqp="), "{error}");
}
