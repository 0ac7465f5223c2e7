//! A stand-in for the node, for tests of what is around it.

use std::collections::VecDeque;
use waystation_core::api::{ConnId, Reply, Request};
use waystation_core::disk::{Command, Event as DiskEvent, FileId, WriteId};
use waystation_core::node::{AdminReply, HaltCause, Input, Output, Recovery};
use waystation_core::{Deadline, Machine, Now, Time};

/// A node of few words: it prepares a file, is ready, writes once per client batch and answers when that is durable.
#[derive(Default)]
pub(crate) struct Scripted {
    outputs: VecDeque<Output>,
    waiting: VecDeque<(ConnId, Vec<Reply>)>,
    writes: u64,
    tick_at: Option<Time>,
    ticks: u64,
}

pub(super) const FILE: FileId = FileId::Segment(1);

impl Scripted {
    pub(crate) fn open() -> Self {
        let mut node = Self::default();
        let bytes = 1 << 16;
        node.outputs.push_back(Output::Disk(Command::Prepare {
            file: FILE,
            bytes,
            recycle: None,
        }));
        node
    }

    fn requests(&mut self, now: Now, conn: ConnId, requests: Vec<Request>) {
        let mut replies = Vec::new();
        for request in requests {
            match request {
                Request::Connect { .. } => replies.push(Reply::Connected),
                Request::Disconnect => replies.push(Reply::Disconnected),
                Request::Drained { bytes } => self.tick_at = Some(now.mono.after_ms(bytes)),
                _ => replies.push(Reply::Unblocked),
            }
        }
        self.writes += 1;
        self.waiting.push_back((conn, replies));
        self.outputs.push_back(Output::Disk(Command::Write {
            id: WriteId(self.writes),
            file: FILE,
            offset: self.writes,
            chunks: vec![bytes::Bytes::from_static(b"x")],
            sync: true,
        }));
    }
}

impl Machine for Scripted {
    type Input<'a> = Input;
    type Output = Output;

    fn handle(&mut self, now: Now, input: Input) {
        match input {
            Input::Tick => {
                if self.tick_at.is_some_and(|at| at <= now.mono) {
                    self.tick_at = None;
                    self.ticks += 1;
                }
            }
            Input::Client { conn, requests } => self.requests(now, conn, requests),
            Input::Disk(DiskEvent::Prepared { .. }) => self.outputs.push_back(Output::Ready(Recovery::default())),
            Input::Disk(DiskEvent::Durable { upto }) => {
                while self.waiting.len() as u64 > self.writes - upto.0 {
                    let (conn, replies) = self.waiting.pop_front().unwrap();
                    self.outputs.push_back(Output::Client { conn, replies });
                }
            }
            Input::Disk(DiskEvent::Failed { file, doing, error }) => {
                self.outputs
                    .push_back(Output::Halt(HaltCause::DiskFailed { file, doing, error }));
            }
            Input::Disk(DiskEvent::Loaded { .. }) => {}
            Input::Admin { id, .. } => {
                let messages = self.ticks;
                self.outputs.push_back(Output::Admin {
                    id,
                    reply: AdminReply::Done { messages },
                });
            }
            Input::Stop => self.outputs.push_back(Output::Stopped),
        }
    }

    fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn deadline(&self) -> Option<Deadline> {
        self.tick_at.map(|at| Deadline { at, reason: "test" })
    }
}
