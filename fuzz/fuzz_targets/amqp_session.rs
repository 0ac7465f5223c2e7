#![no_main]
//! A session between a hostile peer and a core that answers anything at any time.

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use waystation_core::api::{Cause, ChannelReply, Fault, Object, Operation, Reply, Request};
use waystation_core::message::Message;
use waystation_core::{Machine, Now};
use waystation_protocols::amqp::frame::{self, Frame};
use waystation_protocols::amqp::methods::{Encode, channel, connection};
use waystation_protocols::amqp::{Session, SessionConfig, SessionInput, SessionOutput};

struct World {
    session: Session,
    now: Now,
    heard: BytesMut,
    unsent: usize,
    left: bool,
    delivered: u64,
    drained: u64,
}

fuzz_target!(|script: &[u8]| {
    let now = Now::default();
    let mut world = World {
        session: Session::new(SessionConfig::default(), now.mono),
        now,
        heard: BytesMut::new(),
        unsent: 0,
        left: false,
        delivered: 0,
        drained: 0,
    };
    let Some((&first, mut script)) = script.split_first() else {
        return;
    };
    if first & 1 == 0 {
        world.handshake();
    }
    while let Some((&[operation, argument], rest)) = script.split_first_chunk() {
        script = rest;
        if operation < 160 {
            let (bytes, rest) = script.split_at(usize::from(argument).min(script.len()));
            world.input(SessionInput::Bytes(bytes));
            script = rest;
        } else {
            world.step(operation, argument);
        }
    }
    world.end();
});

impl World {
    fn handshake(&mut self) {
        self.input(SessionInput::Bytes(frame::PROTOCOL_HEADER));
        let start_ok = connection::StartOk {
            mechanism: "PLAIN",
            response: b"\0guest\0guest",
            ..connection::StartOk::default()
        };
        self.say(0, &start_ok);
        self.input(SessionInput::Authenticated(Ok(())));
        let tune_ok = connection::TuneOk {
            channel_max: 2047,
            frame_max: 4096,
            heartbeat: 10,
        };
        self.say(0, &tune_ok);
        self.say(0, &connection::Open { virtual_host: "/" });
        self.input(SessionInput::Replies(vec![Reply::Connected]));
        self.say(1, &channel::Open {});
        self.input(SessionInput::Replies(vec![on(1, ChannelReply::Opened)]));
    }

    fn say(&mut self, channel: u16, method: &impl Encode) {
        let mut bytes = BytesMut::new();
        frame::method(&mut bytes, channel, method);
        self.input(SessionInput::Bytes(&bytes));
    }

    fn step(&mut self, operation: u8, argument: u8) {
        match operation {
            160..170 => {
                self.now.mono = self.now.mono.after_ms(u64::from(argument) * 100);
                self.input(SessionInput::Tick);
            }
            170..190 => {
                let output = self.session.take_output();
                self.unsent += output.len();
                self.heard.extend_from_slice(&output);
                let sent = self.unsent.min(usize::from(argument) * 16);
                self.unsent -= sent;
                self.session.sent(self.now, sent);
                self.drain();
            }
            190 => self.input(SessionInput::Shutdown),
            191 => self.input(SessionInput::Lost),
            192 => self.input(SessionInput::Authenticated(Ok(()))),
            193 => self.input(SessionInput::Authenticated(Err(String::new()))),
            _ => {
                let reply = self.reply(operation, u16::from(argument % 4));
                self.input(SessionInput::Replies(vec![reply]));
            }
        }
    }

    fn reply(&mut self, operation: u8, number: u16) -> Reply {
        let message = Message::new("e", b"k", &[0, 0], &[operation; 100]);
        let fault = |cause| Fault {
            operation: Operation::Get,
            cause,
        };
        let missing = || Cause::NotFound {
            object: Object::Queue,
            name: "q".into(),
        };
        match operation {
            194 => Reply::Connected,
            195 => Reply::Refused(fault(missing())),
            196 => Reply::Disconnected,
            197 => Reply::Blocked { reason: "memory" },
            198 => Reply::Unblocked,
            199 => Reply::Failed(fault(missing())),
            200 => on(number, ChannelReply::Failed(fault(Cause::Limit { why: "so many" }))),
            201..210 => on(number, ChannelReply::Failed(fault(missing()))),
            210..220 => on(number, ChannelReply::Closed),
            220..230 => on(number, ChannelReply::Opened),
            230..235 => {
                self.delivered += message.bytes().len() as u64;
                on(number, ChannelReply::Return { message })
            }
            235..240 => on(number, ChannelReply::Empty),
            _ => {
                self.delivered += message.bytes().len() as u64;
                let deliver = ChannelReply::Deliver {
                    consumer: "c".into(),
                    tag: 1,
                    redelivered: false,
                    message,
                };
                on(number, deliver)
            }
        }
    }

    fn input(&mut self, input: SessionInput<'_>) {
        self.session.handle(self.now, input);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(output) = self.session.poll() {
            if let SessionOutput::Request(request) = output {
                assert!(!self.left, "nothing is asked after the leave");
                match request {
                    Request::Disconnect => self.left = true,
                    Request::Drained { bytes } => self.drained += bytes,
                    _ => {}
                }
            }
        }
        assert!(self.drained <= self.delivered);
        if let Some(deadline) = self.session.deadline() {
            assert!(!deadline.reason.is_empty());
        }
    }

    fn end(mut self) {
        self.heard.extend_from_slice(&self.session.take_output());
        let mut rest = &self.heard[..];
        if rest == frame::PROTOCOL_HEADER {
            return;
        }
        while !rest.is_empty() {
            let (_, used) = Frame::parse(rest, 4096)
                .expect("frames go out")
                .expect("whole frames go out");
            rest = &rest[used..];
        }
    }
}

fn on(channel: u16, reply: ChannelReply) -> Reply {
    Reply::Channel { channel, reply }
}
