//! The properties of a message: flags and list of AMQP 0-9-1's content header (section 4.2.6.1, class basic).
//!
//! [`Properties`] reads them where they lie; [`OwnedProperties`] is taken apart, changed and put together again.

use super::table::{Table, TableError};
use bytes::Bytes;
use std::fmt;

const CONTENT_TYPE: u16 = 1 << 15;
const CONTENT_ENCODING: u16 = 1 << 14;
const HEADERS: u16 = 1 << 13;
const DELIVERY_MODE: u16 = 1 << 12;
const PRIORITY: u16 = 1 << 11;
const CORRELATION_ID: u16 = 1 << 10;
const REPLY_TO: u16 = 1 << 9;
const EXPIRATION: u16 = 1 << 8;
const MESSAGE_ID: u16 = 1 << 7;
const TIMESTAMP: u16 = 1 << 6;
const TYPE: u16 = 1 << 5;
const USER_ID: u16 = 1 << 4;
const APP_ID: u16 = 1 << 3;
const CLUSTER_ID: u16 = 1 << 2;
/// Bit 0 would announce a second word of flags, which class basic does not have; bit 1 means nothing.
const RESERVED: u16 = 0b11;

/// No properties at all, as bytes.
pub const EMPTY: &[u8] = &[0, 0];

/// Why bytes are not the properties of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PropertiesError {
    /// A length points past the end, or the end comes within a property.
    Truncated,
    /// Flags that announce what class basic does not have.
    UnknownFlags(u16),
    /// Bytes are left after the last property.
    Trailing(usize),
    /// The headers are not a field table.
    Headers(TableError),
}

/// Borrowed, checked properties. Strings are short strings, up to 255 bytes, of any encoding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Properties<'a> {
    content_type: Option<&'a [u8]>,
    content_encoding: Option<&'a [u8]>,
    headers: Option<&'a [u8]>,
    delivery_mode: Option<u8>,
    priority: Option<u8>,
    correlation_id: Option<&'a [u8]>,
    reply_to: Option<&'a [u8]>,
    expiration: Option<&'a [u8]>,
    message_id: Option<&'a [u8]>,
    timestamp: Option<u64>,
    type_: Option<&'a [u8]>,
    user_id: Option<&'a [u8]>,
    app_id: Option<&'a [u8]>,
    cluster_id: Option<&'a [u8]>,
}

/// Properties to change, or to make anew. Short strings are at most 255 bytes.
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(missing_docs, reason = "named as in the specification")]
pub struct OwnedProperties {
    pub content_type: Option<Bytes>,
    pub content_encoding: Option<Bytes>,
    pub headers: Option<Table>,
    /// 2 is persistent.
    pub delivery_mode: Option<u8>,
    pub priority: Option<u8>,
    pub correlation_id: Option<Bytes>,
    pub reply_to: Option<Bytes>,
    /// Milliseconds, as decimal digits.
    pub expiration: Option<Bytes>,
    pub message_id: Option<Bytes>,
    /// Seconds since the Unix epoch.
    pub timestamp: Option<u64>,
    pub type_: Option<Bytes>,
    pub user_id: Option<Bytes>,
    pub app_id: Option<Bytes>,
    pub cluster_id: Option<Bytes>,
}

impl<'a> Properties<'a> {
    /// Reads flags and list, all of `bytes`, and checks the headers' structure. Allocates nothing.
    ///
    /// # Errors
    /// If `bytes` are not exactly the properties that the flags announce.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, PropertiesError> {
        let (flags, rest) = bytes.split_first_chunk::<2>().ok_or(PropertiesError::Truncated)?;
        let mut list = List {
            flags: u16::from_be_bytes(*flags),
            rest,
        };
        if list.flags & RESERVED != 0 {
            return Err(PropertiesError::UnknownFlags(list.flags & RESERVED));
        }
        let properties = Self {
            content_type: list.short(CONTENT_TYPE)?,
            content_encoding: list.short(CONTENT_ENCODING)?,
            headers: list.table(HEADERS)?,
            delivery_mode: list.octet(DELIVERY_MODE)?,
            priority: list.octet(PRIORITY)?,
            correlation_id: list.short(CORRELATION_ID)?,
            reply_to: list.short(REPLY_TO)?,
            expiration: list.short(EXPIRATION)?,
            message_id: list.short(MESSAGE_ID)?,
            timestamp: list.long_long(TIMESTAMP)?,
            type_: list.short(TYPE)?,
            user_id: list.short(USER_ID)?,
            app_id: list.short(APP_ID)?,
            cluster_id: list.short(CLUSTER_ID)?,
        };
        match list.rest.len() {
            0 => Ok(properties),
            count => Err(PropertiesError::Trailing(count)),
        }
    }

    /// The body's MIME type.
    #[must_use]
    pub const fn content_type(&self) -> Option<&'a [u8]> {
        self.content_type
    }

    /// The body's encoding, such as `gzip`.
    #[must_use]
    pub const fn content_encoding(&self) -> Option<&'a [u8]> {
        self.content_encoding
    }

    /// The inside of the headers table, as it came.
    #[must_use]
    pub const fn headers_raw(&self) -> Option<&'a [u8]> {
        self.headers
    }

    /// The headers, decoded; empty if there are none.
    ///
    /// # Panics
    /// Never: the table was checked by [`Properties::parse`].
    #[must_use]
    pub fn headers(&self) -> Table {
        Table::decode(self.headers.unwrap_or_default()).expect("checked when parsed")
    }

    /// 1 is transient, 2 persistent.
    #[must_use]
    pub const fn delivery_mode(&self) -> Option<u8> {
        self.delivery_mode
    }

    /// 0 to 255, as the publisher gave it.
    #[must_use]
    pub const fn priority(&self) -> Option<u8> {
        self.priority
    }

    /// What a reply refers to.
    #[must_use]
    pub const fn correlation_id(&self) -> Option<&'a [u8]> {
        self.correlation_id
    }

    /// Where a reply goes.
    #[must_use]
    pub const fn reply_to(&self) -> Option<&'a [u8]> {
        self.reply_to
    }

    /// Milliseconds to live, as the publisher wrote them.
    #[must_use]
    pub const fn expiration(&self) -> Option<&'a [u8]> {
        self.expiration
    }

    /// The publisher's name for the message.
    #[must_use]
    pub const fn message_id(&self) -> Option<&'a [u8]> {
        self.message_id
    }

    /// Seconds since the Unix epoch, by the publisher's clock.
    #[must_use]
    pub const fn timestamp(&self) -> Option<u64> {
        self.timestamp
    }

    /// The publisher's name for the kind of message.
    #[must_use]
    pub const fn type_(&self) -> Option<&'a [u8]> {
        self.type_
    }

    /// The publishing user.
    #[must_use]
    pub const fn user_id(&self) -> Option<&'a [u8]> {
        self.user_id
    }

    /// The publishing application.
    #[must_use]
    pub const fn app_id(&self) -> Option<&'a [u8]> {
        self.app_id
    }

    /// Deprecated by the specification; carried as it is.
    #[must_use]
    pub const fn cluster_id(&self) -> Option<&'a [u8]> {
        self.cluster_id
    }
}

impl OwnedProperties {
    /// Reads flags and list as [`Properties::parse`] does, into values that can be changed.
    ///
    /// # Errors
    /// As [`Properties::parse`].
    pub fn parse(bytes: &[u8]) -> Result<Self, PropertiesError> {
        Properties::parse(bytes).map(Self::from)
    }

    /// Appends flags and list.
    ///
    /// # Panics
    /// If a string is longer than 255 bytes; no parsed one is.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let flags_at = out.len();
        out.extend_from_slice(&[0; 2]);
        let mut flags = 0;
        short(out, &mut flags, CONTENT_TYPE, self.content_type.as_ref());
        short(out, &mut flags, CONTENT_ENCODING, self.content_encoding.as_ref());
        if let Some(table) = &self.headers {
            let mut inside = Vec::new();
            table.encode(&mut inside);
            let length = u32::try_from(inside.len()).expect("headers fit a frame");
            fixed(out, &mut flags, HEADERS, Some(length.to_be_bytes()));
            out.extend_from_slice(&inside);
        }
        fixed(out, &mut flags, DELIVERY_MODE, self.delivery_mode.map(|v| [v]));
        fixed(out, &mut flags, PRIORITY, self.priority.map(|v| [v]));
        short(out, &mut flags, CORRELATION_ID, self.correlation_id.as_ref());
        short(out, &mut flags, REPLY_TO, self.reply_to.as_ref());
        short(out, &mut flags, EXPIRATION, self.expiration.as_ref());
        short(out, &mut flags, MESSAGE_ID, self.message_id.as_ref());
        fixed(out, &mut flags, TIMESTAMP, self.timestamp.map(u64::to_be_bytes));
        short(out, &mut flags, TYPE, self.type_.as_ref());
        short(out, &mut flags, USER_ID, self.user_id.as_ref());
        short(out, &mut flags, APP_ID, self.app_id.as_ref());
        short(out, &mut flags, CLUSTER_ID, self.cluster_id.as_ref());
        out[flags_at..flags_at + 2].copy_from_slice(&flags.to_be_bytes());
    }

    /// Flags and list as bytes of their own.
    ///
    /// # Panics
    /// As [`OwnedProperties::encode`].
    #[must_use]
    pub fn to_vec(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode(&mut out);
        out
    }
}

impl From<Properties<'_>> for OwnedProperties {
    fn from(from: Properties<'_>) -> Self {
        let owned = |text: Option<&[u8]>| text.map(Bytes::copy_from_slice);
        Self {
            content_type: owned(from.content_type),
            content_encoding: owned(from.content_encoding),
            headers: from.headers.map(|_| from.headers()),
            delivery_mode: from.delivery_mode,
            priority: from.priority,
            correlation_id: owned(from.correlation_id),
            reply_to: owned(from.reply_to),
            expiration: owned(from.expiration),
            message_id: owned(from.message_id),
            timestamp: from.timestamp,
            type_: owned(from.type_),
            user_id: owned(from.user_id),
            app_id: owned(from.app_id),
            cluster_id: owned(from.cluster_id),
        }
    }
}

impl From<TableError> for PropertiesError {
    fn from(error: TableError) -> Self {
        Self::Headers(error)
    }
}

impl fmt::Display for PropertiesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => f.write_str("the property list is cut short"),
            Self::UnknownFlags(flags) => write!(f, "unknown property flags {flags:#06x}"),
            Self::Trailing(count) => write!(f, "{count} bytes follow the property list"),
            Self::Headers(error) => write!(f, "headers: {error}"),
        }
    }
}

impl std::error::Error for PropertiesError {}

/// What is left of the list, and what it holds.
struct List<'a> {
    flags: u16,
    rest: &'a [u8],
}

impl<'a> List<'a> {
    fn array<const N: usize>(&mut self, flag: u16) -> Result<Option<[u8; N]>, PropertiesError> {
        if self.flags & flag == 0 {
            return Ok(None);
        }
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or(PropertiesError::Truncated)?;
        self.rest = rest;
        Ok(Some(*head))
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], PropertiesError> {
        let (head, rest) = self.rest.split_at_checked(count).ok_or(PropertiesError::Truncated)?;
        self.rest = rest;
        Ok(head)
    }

    fn octet(&mut self, flag: u16) -> Result<Option<u8>, PropertiesError> {
        Ok(self.array(flag)?.map(u8::from_be_bytes))
    }

    fn long_long(&mut self, flag: u16) -> Result<Option<u64>, PropertiesError> {
        Ok(self.array(flag)?.map(u64::from_be_bytes))
    }

    fn short(&mut self, flag: u16) -> Result<Option<&'a [u8]>, PropertiesError> {
        match self.octet(flag)? {
            Some(length) => self.take(usize::from(length)).map(Some),
            None => Ok(None),
        }
    }

    fn table(&mut self, flag: u16) -> Result<Option<&'a [u8]>, PropertiesError> {
        let Some(length) = self.array(flag)?.map(u32::from_be_bytes) else {
            return Ok(None);
        };
        let inside = self.take(length as usize)?;
        Table::check(inside)?;
        Ok(Some(inside))
    }
}

fn short(out: &mut Vec<u8>, flags: &mut u16, flag: u16, text: Option<&Bytes>) {
    if let Some(text) = text {
        let length = u8::try_from(text.len()).expect("a property is a short string");
        fixed(out, flags, flag, Some([length]));
        out.extend_from_slice(text);
    }
}

fn fixed<const N: usize>(out: &mut Vec<u8>, flags: &mut u16, flag: u16, value: Option<[u8; N]>) {
    if let Some(value) = value {
        *flags |= flag;
        out.extend_from_slice(&value);
    }
}

#[cfg(test)]
mod tests;
