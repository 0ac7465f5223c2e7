//! Typed header tables.
//!
//! In memory a list of pairs in the publisher's order; on the wire and in the log the field table of AMQP 0-9-1
//! (section 4.2.5.5, with the type letters that RabbitMQ and its clients use), so that headers pass byte for byte.

use crate::api::Name;
use bytes::Bytes;
use std::fmt;
use std::hash::{Hash, Hasher};

/// How deep tables and arrays may lie in one another: enough for every real header, and few enough stack frames that
/// a peer cannot exhaust the stack.
pub const NESTING_MAX: usize = 64;

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
    Array(Vec<Self>),
    /// `T`: seconds since the Unix epoch.
    Timestamp(u64),
    /// `F`
    Table(Table),
    /// `V`
    Void,
}

/// Why bytes are not a field table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableError {
    /// A length points past the end, or the end comes within a value.
    Truncated,
    /// A type letter that RabbitMQ's dialect does not have.
    UnknownType(u8),
    /// A field's name is not UTF-8.
    NameNotUtf8,
    /// More than [`NESTING_MAX`] tables and arrays in one another.
    TooDeep,
}

/// Name and value pairs in the order in which they were given.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table(pub Vec<(Name, Value)>);

/// By its encoding: what is the same on the wire has one hash.
impl Hash for Table {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let mut bytes = Vec::new();
        self.encode(&mut bytes);
        bytes.hash(state);
    }
}

impl Table {
    /// The value under `name`, the first if there are several.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|(key, _)| &**key == name).map(|(_, value)| value)
    }

    /// Decodes the inside of a table: the bytes after its u32 length.
    ///
    /// # Errors
    /// If the bytes are not whole fields, one after the other. Memory is bounded by the length of `bytes`.
    pub fn decode(bytes: &[u8]) -> Result<Self, TableError> {
        decode_table(bytes, NESTING_MAX)
    }

    /// Checks what [`Table::decode`] checks, and allocates nothing.
    ///
    /// # Errors
    /// As [`Table::decode`].
    pub fn check(bytes: &[u8]) -> Result<(), TableError> {
        check_table(bytes, NESTING_MAX)
    }

    /// Appends the inside of the table: what follows its u32 length.
    ///
    /// # Panics
    /// If a field's name is longer than 255 bytes or a value than 4 GiB; no decoded table has such.
    pub fn encode(&self, out: &mut Vec<u8>) {
        for (name, value) in &self.0 {
            out.push(u8::try_from(name.len()).expect("a field's name is a short string"));
            out.extend_from_slice(name.as_bytes());
            value.encode(out);
        }
    }
}

impl Value {
    /// Appends type letter and value.
    ///
    /// # Panics
    /// As [`Table::encode`].
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Bool(v) => out.extend_from_slice(&[b't', u8::from(*v)]),
            Self::I8(v) => tagged(out, b'b', v.to_be_bytes()),
            Self::U8(v) => tagged(out, b'B', v.to_be_bytes()),
            Self::I16(v) => tagged(out, b's', v.to_be_bytes()),
            Self::U16(v) => tagged(out, b'u', v.to_be_bytes()),
            Self::I32(v) => tagged(out, b'I', v.to_be_bytes()),
            Self::U32(v) => tagged(out, b'i', v.to_be_bytes()),
            Self::I64(v) => tagged(out, b'l', v.to_be_bytes()),
            Self::F32(v) => tagged(out, b'f', v.to_be_bytes()),
            Self::F64(v) => tagged(out, b'd', v.to_be_bytes()),
            Self::Decimal(scale, v) => {
                out.extend_from_slice(&[b'D', *scale]);
                out.extend_from_slice(&v.to_be_bytes());
            }
            Self::Str(v) => long(out, b'S', |out| out.extend_from_slice(v)),
            Self::Bytes(v) => long(out, b'x', |out| out.extend_from_slice(v)),
            Self::Array(v) => long(out, b'A', |out| v.iter().for_each(|value| value.encode(out))),
            Self::Timestamp(v) => tagged(out, b'T', v.to_be_bytes()),
            Self::Table(v) => long(out, b'F', |out| v.encode(out)),
            Self::Void => out.push(b'V'),
        }
    }

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

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Str(Bytes::copy_from_slice(text.as_bytes()))
    }
}

impl fmt::Display for TableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => f.write_str("a field of the table is cut short"),
            Self::UnknownType(letter) => write!(f, "unknown field type {:?}", char::from(*letter)),
            Self::NameNotUtf8 => f.write_str("a field's name is not UTF-8"),
            Self::TooDeep => write!(f, "tables and arrays are nested more than {NESTING_MAX} deep"),
        }
    }
}

impl std::error::Error for TableError {}

fn tagged<const N: usize>(out: &mut Vec<u8>, letter: u8, value: [u8; N]) {
    out.push(letter);
    out.extend_from_slice(&value);
}

fn long(out: &mut Vec<u8>, letter: u8, fill: impl FnOnce(&mut Vec<u8>)) {
    out.push(letter);
    let length_at = out.len();
    out.extend_from_slice(&[0; 4]);
    fill(out);
    let length = u32::try_from(out.len() - length_at - 4).expect("a value fits its u32 length");
    out[length_at..length_at + 4].copy_from_slice(&length.to_be_bytes());
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Result<&'a [u8], TableError> {
    let (head, rest) = bytes.split_at_checked(count).ok_or(TableError::Truncated)?;
    *bytes = rest;
    Ok(head)
}

fn array<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], TableError> {
    let (head, rest) = bytes.split_first_chunk::<N>().ok_or(TableError::Truncated)?;
    *bytes = rest;
    Ok(*head)
}

fn long_string<'a>(bytes: &mut &'a [u8]) -> Result<&'a [u8], TableError> {
    let length = u32::from_be_bytes(array(bytes)?) as usize;
    take(bytes, length)
}

fn name<'a>(bytes: &mut &'a [u8]) -> Result<&'a str, TableError> {
    let [length] = array(bytes)?;
    std::str::from_utf8(take(bytes, usize::from(length))?).map_err(|_| TableError::NameNotUtf8)
}

fn decode_table(mut bytes: &[u8], depth: usize) -> Result<Table, TableError> {
    let depth = depth.checked_sub(1).ok_or(TableError::TooDeep)?;
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let name = Name::from(name(&mut bytes)?);
        fields.push((name, decode_value(&mut bytes, depth)?));
    }
    Ok(Table(fields))
}

fn decode_array(mut bytes: &[u8], depth: usize) -> Result<Vec<Value>, TableError> {
    let depth = depth.checked_sub(1).ok_or(TableError::TooDeep)?;
    let mut values = Vec::new();
    while !bytes.is_empty() {
        values.push(decode_value(&mut bytes, depth)?);
    }
    Ok(values)
}

fn decode_value(bytes: &mut &[u8], depth: usize) -> Result<Value, TableError> {
    let [letter] = array(bytes)?;
    Ok(match letter {
        b't' => Value::Bool(array(bytes)? != [0]),
        b'b' => Value::I8(i8::from_be_bytes(array(bytes)?)),
        b'B' => Value::U8(u8::from_be_bytes(array(bytes)?)),
        b's' => Value::I16(i16::from_be_bytes(array(bytes)?)),
        b'u' => Value::U16(u16::from_be_bytes(array(bytes)?)),
        b'I' => Value::I32(i32::from_be_bytes(array(bytes)?)),
        b'i' => Value::U32(u32::from_be_bytes(array(bytes)?)),
        b'l' => Value::I64(i64::from_be_bytes(array(bytes)?)),
        b'f' => Value::F32(f32::from_be_bytes(array(bytes)?)),
        b'd' => Value::F64(f64::from_be_bytes(array(bytes)?)),
        b'D' => {
            let [scale] = array(bytes)?;
            Value::Decimal(scale, u32::from_be_bytes(array(bytes)?))
        }
        b'S' => Value::Str(Bytes::copy_from_slice(long_string(bytes)?)),
        b'x' => Value::Bytes(Bytes::copy_from_slice(long_string(bytes)?)),
        b'A' => Value::Array(decode_array(long_string(bytes)?, depth)?),
        b'T' => Value::Timestamp(u64::from_be_bytes(array(bytes)?)),
        b'F' => Value::Table(decode_table(long_string(bytes)?, depth)?),
        b'V' => Value::Void,
        other => return Err(TableError::UnknownType(other)),
    })
}

fn check_table(mut bytes: &[u8], depth: usize) -> Result<(), TableError> {
    let depth = depth.checked_sub(1).ok_or(TableError::TooDeep)?;
    while !bytes.is_empty() {
        name(&mut bytes)?;
        check_value(&mut bytes, depth)?;
    }
    Ok(())
}

fn check_value(bytes: &mut &[u8], depth: usize) -> Result<(), TableError> {
    let [letter] = array(bytes)?;
    match letter {
        b'V' => {}
        b't' | b'b' | b'B' => _ = take(bytes, 1)?,
        b's' | b'u' => _ = take(bytes, 2)?,
        b'I' | b'i' | b'f' => _ = take(bytes, 4)?,
        b'D' => _ = take(bytes, 5)?,
        b'l' | b'd' | b'T' => _ = take(bytes, 8)?,
        b'S' | b'x' => _ = long_string(bytes)?,
        b'F' => check_table(long_string(bytes)?, depth)?,
        b'A' => {
            let mut values = long_string(bytes)?;
            let depth = depth.checked_sub(1).ok_or(TableError::TooDeep)?;
            while !values.is_empty() {
                check_value(&mut values, depth)?;
            }
        }
        other => return Err(TableError::UnknownType(other)),
    }
    Ok(())
}

#[cfg(test)]
mod tests;
