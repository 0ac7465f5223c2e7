//! Channels: open, closing from either side, free.

use super::super::error::{Code, Error};
use super::super::frame;
use super::super::methods::channel;
use super::Session;
use super::content::Content;
use waystation_core::Now;
use waystation_core::api::{ChannelRequest, Request};
use waystation_core::plant::{self, Plant};

/// Channels by number. Few are high, so that a vector of pointers is small.
#[derive(Debug, Default)]
pub(super) struct Channels(Vec<Option<Box<Channel>>>);

/// One channel number.
#[derive(Debug, Default)]
pub(super) struct Channel {
    pub(super) state: State,
    /// Replies [`waystation_core::api::ChannelReply::Closed`] to come for incarnations that are over on the wire. Until
    /// they have come, whatever comes belongs to those.
    pub(super) stale: u32,
    /// The message that is being published.
    pub(super) content: Content,
}

/// What a channel number is used for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum State {
    /// Not in use.
    #[default]
    Free,
    /// In use.
    Open,
    /// The peer closes; channel.close-ok follows the core's answer.
    Leaving,
    /// channel.close is sent; everything is discarded until close-ok (section 1.5.2.5).
    Closing,
}

impl Channels {
    #[inline]
    pub(super) fn get(&mut self, number: u16) -> Option<&mut Channel> {
        self.0.get_mut(usize::from(number))?.as_deref_mut()
    }

    fn get_or_make(&mut self, number: u16) -> &mut Channel {
        let at = usize::from(number);
        if self.0.len() <= at {
            self.0.resize_with(at + 1, || None);
        }
        self.0[at].get_or_insert_default()
    }

    pub(super) fn state(&mut self, number: u16) -> State {
        self.get(number).map_or(State::Free, |channel| channel.state)
    }

    /// Forgets a channel that nothing is expected of.
    pub(super) fn free(&mut self, number: u16) {
        if let Some(channel) = self.get(number) {
            channel.state = State::Free;
            if channel.stale == 0 {
                self.0[usize::from(number)] = None;
            }
        }
    }
}

impl Session {
    pub(super) fn open_channel(&mut self, number: u16) -> Result<(), Error> {
        if number > self.peer.channel_max {
            let text = format!(
                "channel {number} is above the negotiated channel_max {}",
                self.peer.channel_max
            );
            return Err(Error::new(Code::ChannelError, text).of((20, 10)));
        }
        if self.channels.state(number) == State::Open && plant::is(Plant::ChannelOpenedTwice) {
            return Ok(());
        }
        if self.channels.state(number) != State::Free {
            return Err(Error::new(Code::ChannelError, "second 'channel.open' seen").of((20, 10)));
        }
        let channel = self.channels.get_or_make(number);
        channel.state = State::Open;
        if channel.stale > 0 {
            // The core knows one channel of a number at a time.
            self.reopening = Some(number);
        } else {
            self.request(Request::OpenChannel { channel: number });
        }
        Ok(())
    }

    /// The core has closed an incarnation of a channel that is over on the wire.
    pub(super) fn forget_stale(&mut self, now: Now, number: u16) {
        let Some(channel) = self.channels.get(number) else {
            return;
        };
        channel.stale -= 1;
        if channel.state == State::Free {
            self.channels.free(number);
        } else if channel.stale == 0 && self.reopening == Some(number) {
            self.reopening = None;
            self.request(Request::OpenChannel { channel: number });
            self.resume(now);
        }
    }

    /// The peer closes an open channel.
    pub(super) fn leave_channel(&mut self, number: u16) {
        self.drop_content(number);
        if let Some(channel) = self.channels.get(number) {
            channel.state = State::Leaving;
        }
        self.request(Request::CloseChannel { channel: number });
    }

    /// Tells the peer that its channel is no more, and the core at the same time: deliveries return to their queues
    /// however long the peer takes to answer.
    pub(super) fn fail_channel(&mut self, number: u16, error: &Error) {
        self.drop_content(number);
        let Some(channel) = self.channels.get(number).filter(|channel| channel.state == State::Open) else {
            return;
        };
        channel.state = State::Closing;
        channel.stale += u32::from(!plant::is(Plant::StaleRepliesHeard));
        self.fault = Some(format!("channel {number} closed: {}", error.reply_text()));
        let (class_id, method_id) = error.method;
        let close = channel::Close {
            reply_code: error.code.number(),
            reply_text: &error.reply_text(),
            class_id,
            method_id,
        };
        frame::method(&mut self.out.bytes, number, &close);
        self.request(Request::CloseChannel { channel: number });
    }

    #[inline]
    pub(super) fn ask(&mut self, number: u16, request: ChannelRequest) {
        self.request(Request::Channel {
            channel: number,
            request,
        });
    }
}
