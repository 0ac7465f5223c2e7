//! A message as one run of bytes, from the socket to the log and to every consumer.
//!
//! ```text
//! u8  length of the exchange's name     exchange (UTF-8)
//! u8  length of the routing key         routing key (any bytes)
//! u32 length of the properties (LE)     properties (an AMQP 0-9-1 content header's flags and list, as received)
//!                                       body (the rest)
//! ```
//!
//! The properties keep the encoding of AMQP 0-9-1 section 4.2.6.1 whatever protocol published the message: it is
//! typed, ordered, and what came in goes out byte for byte (G4).

pub mod properties;
pub mod table;

use bytes::{BufMut, Bytes, BytesMut};
pub use properties::{OwnedProperties, Properties, PropertiesError};
pub use table::{Table, TableError, Value};

/// An immutable, cheaply cloned message. Its layout was checked when it was made.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Message(Bytes);

impl Message {
    /// Builds a message. `exchange` and `routing_key` are at most 255 bytes: AMQP short strings are, and other protocols
    /// are limited at their session.
    ///
    /// # Panics
    /// If a name is longer than 255 bytes or the properties than 4 GiB.
    #[must_use]
    pub fn new(exchange: &str, routing_key: &[u8], properties: &[u8], body: &[u8]) -> Self {
        let mut bytes = Self::start(exchange, routing_key, properties, body.len());
        bytes.put_slice(body);
        Self(bytes.freeze())
    }

    /// The bytes of a message up to its body, with room for `body_bytes`: a session appends the body as it arrives, then
    /// calls [`Message::finish`].
    ///
    /// # Panics
    /// As [`Message::new`].
    #[must_use]
    pub fn start(exchange: &str, routing_key: &[u8], properties: &[u8], body_bytes: usize) -> BytesMut {
        assert!(
            exchange.len() <= 255 && routing_key.len() <= 255,
            "names are short strings"
        );
        let head = 6 + exchange.len() + routing_key.len() + properties.len();
        let mut bytes = BytesMut::with_capacity(head + body_bytes);
        bytes.extend_from_slice(&[exchange.len() as u8]);
        bytes.extend_from_slice(exchange.as_bytes());
        bytes.extend_from_slice(&[routing_key.len() as u8]);
        bytes.extend_from_slice(routing_key);
        let length = u32::try_from(properties.len()).expect("properties fit a frame");
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(properties);
        bytes
    }

    /// Takes what [`Message::start`] began and the session completed.
    ///
    /// # Panics
    /// If the bytes are not of the layout: they did not come from [`Message::start`].
    #[must_use]
    pub fn finish(bytes: BytesMut) -> Self {
        Self::decode(bytes.freeze()).expect("begun by Message::start")
    }

    /// Checks bytes from the log and takes them; `None` if they are not of the layout.
    #[must_use]
    pub fn decode(bytes: Bytes) -> Option<Self> {
        let exchange_end = 1 + usize::from(*bytes.first()?);
        std::str::from_utf8(bytes.get(1..exchange_end)?).ok()?;
        let key_end = exchange_end + 1 + usize::from(*bytes.get(exchange_end)?);
        let length = bytes.get(key_end..key_end + 4)?;
        let properties = u32::from_le_bytes(length.try_into().ok()?) as usize;
        (bytes.len() - key_end - 4 >= properties).then_some(Self(bytes))
    }

    /// The exchange it was published to; empty for the default exchange.
    #[must_use]
    pub fn exchange(&self) -> &str {
        std::str::from_utf8(&self.0[1..self.exchange_end()]).expect("checked when made")
    }

    /// The routing key, of any bytes.
    #[must_use]
    pub fn routing_key(&self) -> &[u8] {
        &self.0[self.exchange_end() + 1..self.key_end()]
    }

    /// Property flags and property list, as published.
    #[must_use]
    pub fn properties(&self) -> &[u8] {
        let start = self.key_end() + 4;
        &self.0[start..start + self.properties_len()]
    }

    /// The body.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.0[self.key_end() + 4 + self.properties_len()..]
    }

    /// The headers, empty if there are none.
    #[must_use]
    pub fn headers(&self) -> Table {
        Properties::parse(self.properties())
            .map(|properties| properties.headers())
            .unwrap_or_default()
    }

    /// The whole message, as it lies in the log.
    #[must_use]
    pub const fn bytes(&self) -> &Bytes {
        &self.0
    }

    fn exchange_end(&self) -> usize {
        1 + usize::from(self.0[0])
    }

    fn key_end(&self) -> usize {
        let start = self.exchange_end();
        start + 1 + usize::from(self.0[start])
    }

    fn properties_len(&self) -> usize {
        let start = self.key_end();
        let length: [u8; 4] = self.0[start..start + 4].try_into().expect("four bytes");
        u32::from_le_bytes(length) as usize
    }
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let key = String::from_utf8_lossy(self.routing_key()).into_owned();
        write!(f, "Message({:?} {key:?}, {} bytes)", self.exchange(), self.body().len())
    }
}
