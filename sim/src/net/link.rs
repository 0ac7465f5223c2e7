//! A client of the run that speaks bytes: its requests become methods, and what it hears becomes replies.

use super::Counters;
use super::encode;
use super::socket::{Leave, Peer};
use crate::wire::Check;
use rand::RngExt;
use rand::rngs::ChaCha8Rng;
use std::collections::{BTreeMap, VecDeque};
use waystation_core::api::{Cause, ChannelReply, ChannelRequest, Fault, Operation, Reply, Request};
use waystation_protocols::amqp::{ChannelEvent, Client, ClientConfig, Event};

/// Outputs of a client until it has asked for its vhost: the header, start-ok, tune-ok with open.
const FLIGHTS_TO_OPEN: u32 = 2;

/// One.
#[derive(Debug)]
pub(super) struct Link {
    client: Client,
    stage: Stage,
    /// Asked before the connection was open.
    early: Vec<Request>,
    hasty: bool,
    /// Times that the client had something to send since the protocol header.
    flights: u32,
    channels: BTreeMap<u16, Channel>,
    told: Vec<Reply>,
    leave: Option<Leave>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Greeting,
    Open,
    /// The client of the run is gone; connection.close is sent.
    Leaving,
    Over,
}

#[derive(Debug, Default)]
struct Channel {
    /// The server closed it, and the client of the run has not yet agreed.
    failed: bool,
    leaving: bool,
    /// Unanswered requests that empty a queue: whether each is a purge.
    purges: VecDeque<bool>,
}

impl Link {
    pub(super) fn new(frame_bytes_max: u32, heartbeat_seconds: u16, hasty: bool) -> Self {
        let config = ClientConfig {
            frame_bytes_max,
            heartbeat_seconds,
            ..ClientConfig::default()
        };
        Self {
            client: Client::new(config),
            stage: Stage::Greeting,
            early: Vec::new(),
            hasty,
            flights: 0,
            channels: BTreeMap::new(),
            told: Vec::new(),
            leave: None,
        }
    }

    fn is_speaking(&self) -> bool {
        self.stage == Stage::Open || (self.hasty && self.flights >= FLIGHTS_TO_OPEN)
    }

    fn say(&mut self, request: Request, check: &mut Check, rng: &mut ChaCha8Rng) {
        match request {
            // The session counts what it sends.
            Request::Drained { .. } => {}
            Request::Connect { .. } => check.sent(&request),
            Request::Disconnect => self.say_goodbye(rng),
            Request::OpenChannel { channel } => {
                self.channels.insert(channel, Channel::default());
                check.sent(&request);
                self.client.open_channel(channel);
            }
            Request::CloseChannel { channel } => self.close_channel(channel, check),
            Request::Channel { channel, mut request } => {
                let Some(state) = self.channels.get_mut(&channel).filter(|channel| !channel.failed) else {
                    return;
                };
                match &request {
                    ChannelRequest::PurgeQueue { reply: true, .. } => state.purges.push_back(true),
                    ChannelRequest::DeleteQueue { reply: true, .. } => state.purges.push_back(false),
                    _ => {}
                }
                encode::as_sayable(&mut request);
                encode::say(&mut self.client, channel, &request, rng);
                check.sent(&Request::Channel { channel, request });
            }
        }
    }

    fn close_channel(&mut self, channel: u16, check: &mut Check) {
        let Some(state) = self.channels.get_mut(&channel).filter(|channel| !channel.leaving) else {
            return;
        };
        if state.failed {
            // The server closed it, and was answered.
            self.channels.remove(&channel);
            self.tell(channel, ChannelReply::Closed);
        } else {
            state.leaving = true;
            check.sent(&Request::CloseChannel { channel });
            self.client.close_channel(channel);
        }
    }

    /// In good order, by closing the socket, or by a reset.
    fn say_goodbye(&mut self, rng: &mut ChaCha8Rng) {
        self.told.clear();
        let way = rng.random_range(0..4);
        if way < 2 && self.stage == Stage::Open {
            self.stage = Stage::Leaving;
            self.client.close();
        } else {
            self.stage = Stage::Over;
            self.leave = Some(if way == 3 { Leave::Reset } else { Leave::Close });
        }
    }

    fn tell(&mut self, channel: u16, reply: ChannelReply) {
        self.told.push(Reply::Channel { channel, reply });
    }

    fn heard_on_channel(&mut self, number: u16, event: ChannelEvent, check: &mut Check, counters: &mut Counters) {
        if let ChannelEvent::Closed { code, .. } = event {
            check.heard_end(number, code);
            if code == 200 {
                self.channels.remove(&number);
                self.tell(number, ChannelReply::Closed);
            } else if let Some(channel) = self.channels.get_mut(&number).filter(|channel| !channel.leaving) {
                channel.failed = true;
                counters.channels_failed += 1;
                let why = "the server closed the channel";
                let fault = Fault {
                    operation: Operation::OpenChannel,
                    cause: Cause::NotAllowed { why },
                };
                self.tell(number, ChannelReply::Failed(fault));
            }
            return;
        }
        let purges = self.channels.get_mut(&number).map(|channel| &mut channel.purges);
        let purge = || purges.and_then(VecDeque::pop_front).unwrap_or(false);
        match encode::reply(event.clone(), purge) {
            Some(reply) => {
                check.heard(number, &reply);
                self.tell(number, reply);
            }
            None => check.fail("G4", format!("a client heard {event:?}, which answers nothing")),
        }
    }
}

impl Peer for Link {
    fn client(&mut self) -> &mut Client {
        &mut self.client
    }

    fn ask(&mut self, requests: Vec<Request>, check: &mut Check, rng: &mut ChaCha8Rng) {
        for request in requests {
            // The handshake says the first, and whoever leaves does not wait for it.
            let first_or_last = matches!(request, Request::Connect { .. } | Request::Disconnect);
            if self.is_speaking() || first_or_last {
                self.say(request, check, rng);
            } else {
                self.early.push(request);
            }
        }
    }

    fn flown(&mut self, check: &mut Check, rng: &mut ChaCha8Rng, counters: &mut Counters) {
        self.flights += 1;
        if self.hasty && self.flights == FLIGHTS_TO_OPEN && self.stage == Stage::Greeting {
            counters.hasty += 1;
            let early = std::mem::take(&mut self.early);
            self.ask(early, check, rng);
        }
    }

    fn hear(&mut self, event: Event, check: &mut Check, rng: &mut ChaCha8Rng, counters: &mut Counters) {
        match event {
            // Who left meanwhile does not come back.
            Event::Connected { .. } if self.stage != Stage::Greeting => {}
            Event::Connected { .. } => {
                self.stage = Stage::Open;
                self.told.push(Reply::Connected);
                let early = std::mem::take(&mut self.early);
                self.ask(early, check, rng);
            }
            Event::Broken(what) => {
                check.fail("G4", format!("the server breaks the protocol: {what}"));
                self.leave = Some(Leave::Reset);
            }
            Event::Closed { code, text } => {
                if self.stage != Stage::Leaving || code != 200 {
                    check.heard_close(code, &text);
                }
                self.leave = Some(Leave::Close);
            }
            Event::Blocked { reason } => {
                counters.blocked += 1;
                check.heard_flow(Some(&reason));
                self.told.push(Reply::Blocked {
                    reason: "the server said so",
                });
            }
            Event::Unblocked => {
                check.heard_flow(None);
                self.told.push(Reply::Unblocked);
            }
            Event::Channel { channel, event } => self.heard_on_channel(channel, event, check, counters),
        }
        if matches!(self.stage, Stage::Leaving | Stage::Over) {
            // Nobody listens any more.
            self.told.clear();
        }
    }

    fn take_told(&mut self) -> Vec<Reply> {
        std::mem::take(&mut self.told)
    }

    fn has_more(&self) -> bool {
        !self.early.is_empty()
    }

    fn leave(&self) -> Option<Leave> {
        self.leave
    }

    fn is_leaving(&self) -> bool {
        // One that leaves before it was welcome has no other stage.
        self.leave.is_some() || matches!(self.stage, Stage::Leaving | Stage::Over)
    }
}
