//! Typed header tables.
//!
//! In memory a list of pairs in the publisher's order; on the wire and in the log the field table of AMQP 0-9-1
//! (section 4.2.5.5, with the type letters that RabbitMQ and its clients use), so that headers pass byte for byte.

use crate::api::Name;
use bytes::Bytes;

/// One typed value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `t`
    Bool(bool),
    /// `b`
    I8(i8),
    /// `B`
    U8(u8),
    /// `s`
    I16(i16),
    /// `u`
    U16(u16),
    /// `I`
    I32(i32),
    /// `i`
    U32(u32),
    /// `l`
    I64(i64),
    /// `f`
    F32(f32),
    /// `d`
    F64(f64),
    /// `D`: scale, then the unscaled value.
    Decimal(u8, u32),
    /// `S`: a long string, of any bytes.
    Str(Bytes),
    /// `x`: a byte array.
    Bytes(Bytes),
    /// `A`
    Array(Vec<Value>),
    /// `T`: seconds since the Unix epoch.
    Timestamp(u64),
    /// `F`
    Table(Table),
    /// `V`
    Void,
}

/// Name and value pairs in the order in which they were given.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table(pub Vec<(Name, Value)>);

impl Table {
    /// The value under `name`, the first if there are several.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|(key, _)| &**key == name).map(|(_, value)| value)
    }
}

impl Value {
    /// The value as an integer, whatever its width.
    #[must_use]
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Self::I8(v) => Some(i64::from(*v)),
            Self::U8(v) => Some(i64::from(*v)),
            Self::I16(v) => Some(i64::from(*v)),
            Self::U16(v) => Some(i64::from(*v)),
            Self::I32(v) => Some(i64::from(*v)),
            Self::U32(v) => Some(i64::from(*v)),
            Self::I64(v) => Some(*v),
            _ => None,
        }
    }

    /// The value as text.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Str(v) => std::str::from_utf8(v).ok(),
            _ => None,
        }
    }
}
