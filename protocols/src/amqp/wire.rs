//! The primitive types of methods: AMQP 0-9-1 section 4.2.5, big-endian.

use bytes::BytesMut;

/// The fields of a method end early or late, or a short string is not UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// Reads fields one after the other; every length is checked against what remains.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a>(&'a [u8]);

macro_rules! integers {
    ($($name:ident $ty:ty),*) => {
        impl Reader<'_> {
            $(
                /// A big-endian integer.
                ///
                /// # Errors
                /// If less remains.
                #[inline]
                pub fn $name(&mut self) -> Result<$ty, Malformed> {
                    let (head, rest) = self.0.split_first_chunk().ok_or(Malformed)?;
                    self.0 = rest;
                    Ok(<$ty>::from_be_bytes(*head))
                }
            )*
        }
        $(
            #[inline]
            pub(super) fn $name(out: &mut BytesMut, value: $ty) {
                out.extend_from_slice(&value.to_be_bytes());
            }
        )*
    };
}

integers!(octet u8, short u16, long u32, longlong u64);

impl<'a> Reader<'a> {
    /// Reads from `bytes`.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    #[inline]
    fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (head, rest) = self.0.split_at_checked(count).ok_or(Malformed)?;
        self.0 = rest;
        Ok(head)
    }

    /// A short string of any bytes.
    ///
    /// # Errors
    /// If less remains.
    #[inline]
    pub fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.octet()?;
        self.take(usize::from(length))
    }

    /// A short string.
    ///
    /// # Errors
    /// If less remains, or it is not UTF-8.
    #[inline]
    pub fn shortstr(&mut self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Malformed)
    }

    /// A long string.
    ///
    /// # Errors
    /// If less remains.
    #[inline]
    pub fn longstr(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.long()?;
        self.take(length as usize)
    }

    /// The inside of a table, not looked into.
    ///
    /// # Errors
    /// If less remains.
    #[inline]
    pub fn table(&mut self) -> Result<&'a [u8], Malformed> {
        self.longstr()
    }

    /// Nothing may remain.
    ///
    /// # Errors
    /// If something does.
    #[inline]
    pub const fn end(self) -> Result<(), Malformed> {
        if self.0.is_empty() { Ok(()) } else { Err(Malformed) }
    }
}

#[inline]
pub(super) fn bytes(out: &mut BytesMut, text: &[u8]) {
    octet(
        out,
        u8::try_from(text.len()).expect("a short string is at most 255 bytes"),
    );
    out.extend_from_slice(text);
}

#[inline]
pub(super) fn shortstr(out: &mut BytesMut, text: &str) {
    bytes(out, text.as_bytes());
}

#[inline]
pub(super) fn longstr(out: &mut BytesMut, text: &[u8]) {
    long(out, u32::try_from(text.len()).expect("a long string is at most 4 GiB"));
    out.extend_from_slice(text);
}

#[inline]
pub(super) fn table(out: &mut BytesMut, inside: &[u8]) {
    longstr(out, inside);
}
