//! What a connection that speaks bytes must keep: between a client and the node nothing is lost, added or exchanged.
//!
//! The account is kept at both ends: at the client, of what it asked and heard; at the session, of what it asked the node
//! for and what the node said. On each channel, from its opening to its closing, the one is a prefix of the other, and
//! all of it once nothing is on its way any more. What AMQP cannot say is not compared: credit is counted instead, and a
//! refusal is compared by its reply code.

use std::collections::{BTreeMap, VecDeque};
use waystation_core::api::{Cause, ChannelReply, ChannelRequest, Object, Reply, Request};

/// A guarantee, and how it was broken.
pub(crate) type Broken = (&'static str, String);

/// The account of one connection.
#[derive(Debug, Default)]
pub(crate) struct Check {
    /// What the client sent and the session has not asked for.
    asked: VecDeque<Request>,
    channels: BTreeMap<u16, Channel>,
    flow: Flow,
    /// Bytes of messages that the session was given and has not given back as credit.
    owed: u64,
    /// Of these, so many may be given back: the socket took them, or nobody will.
    payable: u64,
    /// Bytes of messages that the socket has not begun to take, and where in the output they begin.
    unsent: VecDeque<(u64, u64)>,
    held: bool,
    /// The session took its leave of the node.
    over: bool,
    /// The node refused something in a way that ends the connection: with this code.
    ending: Option<u16>,
    /// The client sends what no correct client sends: what it asks is not known.
    is_hostile: bool,
    /// A hostile client that finishes some of its messages.
    pub(crate) may_publish: bool,
    /// The network may have ended the connection.
    excused: bool,
    broken: Option<Broken>,
}

/// A channel number.
#[derive(Debug, Default)]
struct Channel {
    /// The node has it open.
    open: bool,
    /// The node failed it: what the client asks is dropped until it opens it anew.
    failed: bool,
    /// The session has to close it at the node, in answer to that.
    close_owed: bool,
    /// Closes that the node has not answered, of incarnations that are over for the client.
    stale: u32,
    said: VecDeque<ChannelReply>,
    /// The client sees it as open.
    heard_open: bool,
    /// The client closes it.
    leaving: bool,
}

/// Whether publishers have to wait.
#[derive(Debug, Default)]
struct Flow {
    blocked: Option<&'static str>,
    /// The client published since: it is to be told.
    told: bool,
    /// What the client is to hear, and has not: blocked for a reason, or unblocked.
    unheard: VecDeque<Option<&'static str>>,
}

impl Check {
    pub(crate) fn new(is_hostile: bool) -> Self {
        Self {
            is_hostile,
            ..Self::default()
        }
    }

    /// What was broken first, once.
    pub(crate) const fn take_broken(&mut self) -> Option<Broken> {
        self.broken.take()
    }

    pub(crate) fn fail(&mut self, guarantee: &'static str, what: String) {
        self.broken.get_or_insert((guarantee, what));
    }

    /// The client sends a request.
    pub(crate) fn sent(&mut self, request: &Request) {
        match request {
            Request::OpenChannel { channel } => self.channels.entry(*channel).or_default().leaving = false,
            Request::CloseChannel { channel } => self.channels.entry(*channel).or_default().leaving = true,
            Request::Drained { .. } => return,
            _ => {}
        }
        self.asked.push_back(request.clone());
    }

    /// The session asks the node.
    pub(crate) fn asked(&mut self, request: &Request) {
        if self.over {
            return self.fail("G16", format!("a session that took its leave asks {request:?}"));
        }
        match request {
            Request::Drained { bytes } => return self.credited(*bytes),
            Request::Disconnect => {
                self.over = true;
                return;
            }
            Request::CloseChannel { channel } if self.closes_in_answer(*channel) => return,
            Request::Channel { channel, .. } if self.channels.get(channel).is_none_or(|channel| !channel.open) => {
                return self.fail(
                    "G16",
                    format!("channel {channel} is not open, and yet {request:?} is asked"),
                );
            }
            _ => {}
        }
        if !self.is_hostile {
            self.compare_asked(request);
        } else if publishes(request) && !self.may_publish {
            self.fail(
                "G4",
                format!("a hostile client never finished a message, and {request:?} is asked"),
            );
        }
        self.flow.asked(request);
        match request {
            Request::OpenChannel { channel } => {
                let channel = self.channels.entry(*channel).or_default();
                channel.open = true;
                channel.failed = false;
            }
            Request::CloseChannel { channel } => {
                let channel = self.channels.entry(*channel).or_default();
                channel.open = false;
                // A hostile client closes none: the session does.
                channel.stale += u32::from(self.is_hostile);
            }
            _ => {}
        }
    }

    /// Whether the session closes the channel because the node failed it.
    fn closes_in_answer(&mut self, channel: u16) -> bool {
        let Some(channel) = self.channels.get_mut(&channel).filter(|channel| channel.close_owed) else {
            return false;
        };
        (channel.close_owed, channel.open) = (false, false);
        channel.stale += 1;
        true
    }

    fn compare_asked(&mut self, request: &Request) {
        self.skip_dropped(request);
        let Some(sent) = self.asked.pop_front() else {
            return self.fail("G4", format!("the node is asked {request:?}, and the client never did"));
        };
        let same = match (&sent, request) {
            // How many channels there may be is agreed upon on the way.
            (
                Request::Connect { vhost, user, .. },
                Request::Connect {
                    vhost: asked_vhost,
                    user: asked_user,
                    ..
                },
            ) => (vhost, user) == (asked_vhost, asked_user),
            (sent, asked) => sent == asked,
        };
        if !same {
            self.fail(
                "G4",
                format!("the client sent {sent:?}, and the node is asked {request:?}"),
            );
        }
    }

    /// What was sent on a channel that the node had failed by then is dropped.
    fn skip_dropped(&mut self, coming: &Request) {
        while let Some(first) = self.asked.front()
            && first != coming
            && let Request::Channel { channel, .. } | Request::CloseChannel { channel } = first
            && self.channels.get(channel).is_some_and(|channel| channel.failed)
        {
            self.asked.pop_front();
        }
    }

    fn credited(&mut self, bytes: u64) {
        let Some(payable) = self.payable.checked_sub(bytes) else {
            let (payable, owed) = (self.payable, self.owed);
            let what = format!("{bytes} bytes of credit are given back where the socket took {payable} of {owed}");
            return self.fail("G14", what);
        };
        self.payable = payable;
        self.owed -= bytes;
    }

    /// The socket took everything before this place of the output.
    pub(crate) fn taken(&mut self, place: u64) {
        while let Some((_, bytes)) = self.unsent.pop_front_if(|(begin, _)| *begin < place) {
            self.payable += bytes;
        }
    }

    /// The session is told something by the node, when its output has come to a place.
    pub(crate) fn said(&mut self, reply: &Reply, place: u64) {
        if self.over {
            return;
        }
        match reply {
            Reply::Blocked { reason } => self.flow.blocked = Some(reason),
            Reply::Unblocked => self.flow.unblocked(),
            Reply::Hold => self.held = true,
            Reply::GoOn => self.held = false,
            Reply::Channel { channel, reply } => {
                let bytes = message_bytes(reply);
                let channel = self.channels.entry(*channel).or_default();
                self.owed += bytes;
                if channel.open && !channel.failed && channel.stale == 0 {
                    self.unsent.extend((bytes > 0).then_some((place, bytes)));
                } else {
                    self.payable += bytes;
                    channel.stale -= u32::from(*reply == ChannelReply::Closed && channel.stale > 0);
                }
                if let ChannelReply::Failed(fault) = reply
                    && channel.open
                {
                    let code = code_of(&fault.cause);
                    self.ending = self.ending.or((code >= 500).then_some(code));
                    channel.failed = true;
                    channel.close_owed = true;
                }
                channel.said.push_back(reply.clone());
            }
            Reply::Refused(fault) | Reply::Failed(fault) => self.ending = Some(code_of(&fault.cause)),
            Reply::Connected | Reply::Disconnected => {}
        }
    }

    /// Whether the session must not be read from, as far as the node said.
    pub(crate) const fn must_pause(&self) -> bool {
        !self.over && (self.held || (self.flow.blocked.is_some() && self.flow.told))
    }

    /// Whether the node has not yet closed a channel that failed: the session may keep what comes behind its new opening.
    pub(crate) fn awaits_close(&self) -> bool {
        self.channels.values().any(|channel| channel.stale > 0)
    }

    /// The client hears of blocked publishers, or that they may go on.
    pub(crate) fn heard_flow(&mut self, heard: Option<&str>) {
        match self.flow.unheard.pop_front() {
            Some(said) if said == heard => {}
            said => self.fail(
                "G14",
                format!("publishers are blocked: {said:?} was said, {heard:?} heard"),
            ),
        }
    }

    /// The client hears something on a channel. A refusal is [`Check::heard_end`].
    pub(crate) fn heard(&mut self, number: u16, heard: &ChannelReply) {
        let channel = self.channels.entry(number).or_default();
        if *heard == ChannelReply::Opened {
            // What was said to incarnations before was dropped.
            while let Some(said) = channel.said.pop_front() {
                if said == ChannelReply::Opened {
                    channel.heard_open = true;
                    return;
                }
            }
            return self.fail("G4", format!("channel {number} is opened, and the node never said so"));
        }
        if !channel.heard_open {
            return self.fail("G4", format!("on channel {number}, which is closed, came {heard:?}"));
        }
        match channel.said.pop_front() {
            Some(said) if said == *heard => {}
            said => {
                let (said, heard) = (brief(said.as_ref()), brief(Some(heard)));
                self.fail("G4", format!("on channel {number} was said {said}, and heard {heard}"));
            }
        }
    }

    /// The client hears that a channel is closed: as it asked, with code 200, or by the server.
    pub(crate) fn heard_end(&mut self, number: u16, code: u16) {
        let channel = self.channels.entry(number).or_default();
        let was_open = std::mem::take(&mut channel.heard_open);
        if code == 200 {
            if !channel.leaving {
                return self.fail("G16", format!("channel {number} is closed, and nobody closes it"));
            }
            // Closes that cross: the client's is answered at once, whenever the node says that it is done.
            if was_open {
                while let Some(said) = channel.said.pop_front()
                    && said != ChannelReply::Closed
                {}
            }
            return;
        }
        if self.is_hostile {
            return;
        }
        match channel.said.pop_front() {
            Some(ChannelReply::Failed(fault)) if code_of(&fault.cause) == code => {}
            said => {
                let said = brief(said.as_ref());
                self.fail(
                    "G16",
                    format!("channel {number} is closed with {code}, where was said {said}"),
                );
            }
        }
    }

    /// The client hears that the connection is closed by the server.
    pub(crate) fn heard_close(&mut self, code: u16, text: &str) {
        if !self.is_hostile && self.ending != Some(code) {
            self.fail("G16", format!("a correct connection is closed: {code} {text}"));
        }
    }

    /// The session blames its peer for the connection's end.
    pub(crate) fn blamed(&mut self, fault: &str) {
        if !self.is_excused() {
            self.fail("G16", format!("a correct client is blamed: {fault}"));
        }
    }

    /// The connection ends at the client, which did not want it to.
    pub(crate) fn lost(&mut self, how: &str) {
        if !self.is_excused() {
            self.fail("G16", format!("a connection is lost that nothing happened to: {how}"));
        }
    }

    /// Something happened to the connection that may end it.
    pub(crate) const fn excuse(&mut self) {
        self.excused = true;
    }

    const fn is_excused(&self) -> bool {
        self.is_hostile || self.excused || self.ending.is_some()
    }

    /// Every byte of the client's has come to the session, and ends with a whole frame: so has every request to the node.
    pub(crate) fn all_asked(&mut self) {
        if self.is_hostile || self.over || self.awaits_close() {
            return;
        }
        while let Some(Request::Channel { channel, .. } | Request::CloseChannel { channel }) = self.asked.front()
            && self.channels.get(channel).is_some_and(|channel| channel.failed)
        {
            self.asked.pop_front();
        }
        if let Some(request) = self.asked.front() {
            let what = format!("the session took all bytes, and never asks {request:?}");
            self.fail("G15", what);
        }
    }

    /// Every byte of the client's has come to the session: it keeps none of them.
    pub(crate) fn nothing_kept(&mut self, bytes: u64) {
        if bytes > 0 && !self.is_hostile && !self.awaits_close() {
            self.fail("G14", format!("all was asked, and the session keeps {bytes} bytes"));
        }
    }

    /// Every byte of the session's has come to the client: so has everything that the node said.
    pub(crate) fn all_heard(&mut self) {
        if self.over || self.is_hostile {
            return;
        }
        let left = |channel: &&Channel| channel.open && channel.heard_open && !channel.leaving;
        let unheard = self
            .channels
            .iter()
            .filter(|(_, channel)| left(channel))
            .find_map(|(number, channel)| channel.said.front().map(|said| (*number, brief(Some(said)))));
        if let Some((number, said)) = unheard {
            self.fail(
                "G15",
                format!("on channel {number} was said {said}, and it is never sent"),
            );
        }
        if let Some(said) = self.flow.unheard.front() {
            let what = format!("publishers are blocked: {said:?} was said, and it is never sent");
            self.fail("G14", what);
        }
        if self.owed > 0 {
            let what = format!("all is sent, and {} bytes of credit are not given back", self.owed);
            self.fail("G14", what);
        }
    }
}

impl Flow {
    fn asked(&mut self, request: &Request) {
        if publishes(request) && self.blocked.is_some() && !self.told {
            self.told = true;
            self.unheard.push_back(self.blocked);
        }
    }

    fn unblocked(&mut self) {
        self.blocked = None;
        if std::mem::take(&mut self.told) {
            self.unheard.push_back(None);
        }
    }
}

const fn publishes(request: &Request) -> bool {
    let Request::Channel { request, .. } = request else {
        return false;
    };
    matches!(request, ChannelRequest::Publish { .. })
}

fn message_bytes(reply: &ChannelReply) -> u64 {
    match reply {
        ChannelReply::Deliver { message, .. }
        | ChannelReply::Got { message, .. }
        | ChannelReply::Return { message } => message.bytes().len() as u64,
        _ => 0,
    }
}

/// A reply without the bytes of its message.
fn brief(reply: Option<&ChannelReply>) -> String {
    let text = format!("{reply:?}");
    match text.char_indices().nth(300) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

/// The reply code that the core's documentation names for each cause.
const fn code_of(cause: &Cause) -> u16 {
    match cause {
        Cause::AccessRefused { .. } => 403,
        Cause::NotFound {
            object: Object::Vhost, ..
        }
        | Cause::NotAllowed { .. } => 530,
        Cause::NotFound { .. } => 404,
        Cause::ResourceLocked { .. } => 405,
        Cause::Inequivalent { .. }
        | Cause::InvalidArgument { .. }
        | Cause::InUse { .. }
        | Cause::UnknownDelivery { .. }
        | Cause::WrongMode { .. }
        | Cause::InvalidProperty { .. } => 406,
        Cause::NotImplemented { .. } => 540,
        Cause::UnknownExchangeType { .. } => 503,
        Cause::Limit { .. } => 506,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use waystation_core::api::{Fault, Operation};

    const OPEN: Request = Request::OpenChannel { channel: 1 };

    fn get(queue: &str) -> Request {
        let (queue, no_ack) = (queue.into(), true);
        let request = ChannelRequest::Get { queue, no_ack };
        Request::Channel { channel: 1, request }
    }

    fn say(check: &mut Check, reply: ChannelReply) {
        check.said(&Reply::Channel { channel: 1, reply }, 0);
    }

    /// A channel that is open at both ends.
    fn open() -> Check {
        let mut check = Check::new(false);
        check.sent(&OPEN);
        check.asked(&OPEN);
        say(&mut check, ChannelReply::Opened);
        check.heard(1, &ChannelReply::Opened);
        check
    }

    fn broken(mut check: Check) -> Option<&'static str> {
        check.take_broken().map(|(guarantee, _)| guarantee)
    }

    #[test]
    fn what_is_asked_is_what_was_sent() {
        let mut right = open();
        right.sent(&get("a"));
        right.asked(&get("a"));
        right.all_asked();
        assert_eq!(broken(right), None);
        let mut changed = open();
        changed.sent(&get("a"));
        changed.asked(&get("b"));
        assert_eq!(broken(changed), Some("G4"));
        let mut lost = open();
        lost.sent(&get("a"));
        lost.all_asked();
        assert_eq!(broken(lost), Some("G15"));
        let mut invented = open();
        invented.asked(&get("a"));
        assert_eq!(broken(invented), Some("G4"));
        let mut late = open();
        late.asked(&Request::Disconnect);
        late.asked(&get("a"));
        assert_eq!(broken(late), Some("G16"));
    }

    #[test]
    fn what_is_heard_is_what_was_said() {
        let mut right = open();
        say(&mut right, ChannelReply::Empty);
        right.heard(1, &ChannelReply::Empty);
        right.all_heard();
        assert_eq!(broken(right), None);
        let mut exchanged = open();
        say(&mut exchanged, ChannelReply::Empty);
        exchanged.heard(1, &ChannelReply::Recovered);
        assert_eq!(broken(exchanged), Some("G4"));
        let mut lost = open();
        say(&mut lost, ChannelReply::Empty);
        lost.all_heard();
        assert_eq!(broken(lost), Some("G15"));
    }

    #[test]
    fn nothing_comes_on_a_channel_that_is_closed() {
        let close = Request::CloseChannel { channel: 1 };
        let mut check = open();
        check.sent(&close);
        check.asked(&close);
        say(&mut check, ChannelReply::Empty);
        say(&mut check, ChannelReply::Closed);
        check.heard_end(1, 200);
        assert_eq!(check.broken, None, "what was said before the end may be dropped");
        check.heard(1, &ChannelReply::Empty);
        assert_eq!(broken(check), Some("G4"));
    }

    #[test]
    fn a_refusal_ends_the_channel_with_its_code_and_drops_what_was_sent() {
        let refused = |code| {
            let mut check = open();
            check.sent(&get("a"));
            check.sent(&OPEN);
            let (operation, cause) = (Operation::Get, Cause::UnknownDelivery { tag: 1 });
            say(&mut check, ChannelReply::Failed(Fault { operation, cause }));
            check.asked(&Request::CloseChannel { channel: 1 });
            check.heard_end(1, code);
            check.asked(&OPEN);
            broken(check)
        };
        assert_eq!(refused(406), None);
        assert_eq!(refused(404), Some("G16"));
    }

    #[test]
    fn publishers_are_told_to_wait_and_credit_comes_back() {
        let mut unpaid = open();
        (unpaid.owed, unpaid.unsent) = (10, VecDeque::from([(0, 5), (7, 4), (8, 1)]));
        unpaid.taken(8);
        unpaid.asked(&Request::Drained { bytes: 9 });
        assert_eq!(unpaid.broken, None);
        unpaid.all_heard();
        assert_eq!(broken(unpaid), Some("G14"));
        let mut overpaid = open();
        overpaid.asked(&Request::Drained { bytes: 1 });
        assert_eq!(broken(overpaid), Some("G14"));
        let mut blocked = open();
        blocked.said(&Reply::Blocked { reason: "full" }, 0);
        assert!(!blocked.must_pause());
        let message = waystation_core::message::Message::new("", b"q", &[0, 0], b"");
        let mandatory = false;
        let request = ChannelRequest::Publish { message, mandatory };
        let publish = Request::Channel { channel: 1, request };
        blocked.sent(&publish);
        blocked.asked(&publish);
        assert!(blocked.must_pause());
        blocked.all_heard();
        assert_eq!(broken(blocked), Some("G14"));
    }
}
