//! Class connection (10).

// Written by `tests/methods.rs` from `spec/amqp-0-9-1.txt`: change those, not this.

#![expect(missing_docs, reason = "fields are the specification's")]

use super::super::wire::{self, Malformed, Reader};
use super::{Encode, Method};
use bytes::BytesMut;

/// `connection.start`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Start<'a> {
    pub version_major: u8,
    pub version_minor: u8,
    pub server_properties: &'a [u8],
    pub mechanisms: &'a [u8],
    pub locales: &'a [u8],
}
impl<'a> Start<'a> {
    #[inline]
    pub(in crate::amqp) fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        let version_major = reader.octet()?;
        let version_minor = reader.octet()?;
        let server_properties = reader.table()?;
        let mechanisms = reader.longstr()?;
        let locales = reader.longstr()?;
        Ok(Self {
            version_major,
            version_minor,
            server_properties,
            mechanisms,
            locales,
        })
    }
}
impl Encode for Start<'_> {
    const CLASS: u16 = 10;
    const METHOD: u16 = 10;
    #[inline]
    fn write(&self, out: &mut BytesMut) {
        wire::octet(out, self.version_major);
        wire::octet(out, self.version_minor);
        wire::table(out, self.server_properties);
        wire::longstr(out, self.mechanisms);
        wire::longstr(out, self.locales);
    }
}
impl<'a> From<Start<'a>> for Method<'a> {
    fn from(method: Start<'a>) -> Self {
        Self::ConnectionStart(method)
    }
}

/// `connection.start-ok`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StartOk<'a> {
    pub client_properties: &'a [u8],
    pub mechanism: &'a str,
    pub response: &'a [u8],
    pub locale: &'a str,
}
impl<'a> StartOk<'a> {
    #[inline]
    pub(in crate::amqp) fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        let client_properties = reader.table()?;
        let mechanism = reader.shortstr()?;
        let response = reader.longstr()?;
        let locale = reader.shortstr()?;
        Ok(Self {
            client_properties,
            mechanism,
            response,
            locale,
        })
    }
}
impl Encode for StartOk<'_> {
    const CLASS: u16 = 10;
    const METHOD: u16 = 11;
    #[inline]
    fn write(&self, out: &mut BytesMut) {
        wire::table(out, self.client_properties);
        wire::shortstr(out, self.mechanism);
        wire::longstr(out, self.response);
        wire::shortstr(out, self.locale);
    }
}
impl<'a> From<StartOk<'a>> for Method<'a> {
    fn from(method: StartOk<'a>) -> Self {
        Self::ConnectionStartOk(method)
    }
}

/// `connection.secure`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Secure<'a> {
    pub challenge: &'a [u8],
}
impl<'a> Secure<'a> {
    #[inline]
    pub(in crate::amqp) fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        let challenge = reader.longstr()?;
        Ok(Self { challenge })
    }
}
impl Encode for Secure<'_> {
    const CLASS: u16 = 10;
    const METHOD: u16 = 20;
    #[inline]
    fn write(&self, out: &mut BytesMut) {
        wire::longstr(out, self.challenge);
    }
}
impl<'a> From<Secure<'a>> for Method<'a> {
    fn from(method: Secure<'a>) -> Self {
        Self::ConnectionSecure(method)
    }
}

/// `connection.secure-ok`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SecureOk<'a> {
    pub response: &'a [u8],
}
impl<'a> SecureOk<'a> {
    #[inline]
    pub(in crate::amqp) fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        let response = reader.longstr()?;
        Ok(Self { response })
    }
}
impl Encode for SecureOk<'_> {
    const CLASS: u16 = 10;
    const METHOD: u16 = 21;
    #[inline]
    fn write(&self, out: &mut BytesMut) {
        wire::longstr(out, self.response);
    }
}
impl<'a> From<SecureOk<'a>> for Method<'a> {
    fn from(method: SecureOk<'a>) -> Self {
        Self::ConnectionSecureOk(method)
    }
}

/// `connection.tune`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tune {
    pub channel_max: u16,
    pub frame_max: u32,
    pub heartbeat: u16,
}
impl Tune {
    #[inline]
    pub(in crate::amqp) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let channel_max = reader.short()?;
        let frame_max = reader.long()?;
        let heartbeat = reader.short()?;
        Ok(Self {
            channel_max,
            frame_max,
            heartbeat,
        })
    }
}
impl Encode for Tune {
    const CLASS: u16 = 10;
    const METHOD: u16 = 30;
    #[inline]
    fn write(&self, out: &mut BytesMut) {
        wire::short(out, self.channel_max);
        wire::long(out, self.frame_max);
        wire::short(out, self.heartbeat);
    }
}
impl<'a> From<Tune> for Method<'a> {
    fn from(method: Tune) -> Self {
        Self::ConnectionTune(method)
    }
}

/// `connection.tune-ok`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TuneOk {
    pub channel_max: u16,
    pub frame_max: u32,
    pub heartbeat: u16,
}
impl TuneOk {
    #[inline]
    pub(in crate::amqp) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let channel_max = reader.short()?;
        let frame_max = reader.long()?;
        let heartbeat = reader.short()?;
        Ok(Self {
            channel_max,
            frame_max,
            heartbeat,
        })
    }
}
impl Encode for TuneOk {
    const CLASS: u16 = 10;
    const METHOD: u16 = 31;
    #[inline]
    fn write(&self, out: &mut BytesMut) {
        wire::short(out, self.channel_max);
        wire::long(out, self.frame_max);
        wire::short(out, self.heartbeat);
    }
}
impl<'a> From<TuneOk> for Method<'a> {
    fn from(method: TuneOk) -> Self {
        Self::ConnectionTuneOk(method)
    }
}

/// `connection.open`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Open<'a> {
    pub virtual_host: &'a str,
}
impl<'a> Open<'a> {
    #[inline]
    pub(in crate::amqp) fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        let virtual_host = reader.shortstr()?;
        reader.shortstr()?;
        reader.octet()?;
        Ok(Self { virtual_host })
    }
}
impl Encode for Open<'_> {
    const CLASS: u16 = 10;
    const METHOD: u16 = 40;
    #[inline]
    fn write(&self, out: &mut BytesMut) {
        wire::shortstr(out, self.virtual_host);
        wire::shortstr(out, "");
        wire::octet(out, 0);
    }
}
impl<'a> From<Open<'a>> for Method<'a> {
    fn from(method: Open<'a>) -> Self {
        Self::ConnectionOpen(method)
    }
}

/// `connection.open-ok`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenOk {}
impl OpenOk {
    #[inline]
    pub(in crate::amqp) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        reader.shortstr()?;
        Ok(Self {})
    }
}
impl Encode for OpenOk {
    const CLASS: u16 = 10;
    const METHOD: u16 = 41;
    #[inline]
    fn write(&self, out: &mut BytesMut) {
        wire::shortstr(out, "");
    }
}
impl<'a> From<OpenOk> for Method<'a> {
    fn from(method: OpenOk) -> Self {
        Self::ConnectionOpenOk(method)
    }
}

/// `connection.close`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Close<'a> {
    pub reply_code: u16,
    pub reply_text: &'a str,
    pub class_id: u16,
    pub method_id: u16,
}
impl<'a> Close<'a> {
    #[inline]
    pub(in crate::amqp) fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        let reply_code = reader.short()?;
        let reply_text = reader.shortstr()?;
        let class_id = reader.short()?;
        let method_id = reader.short()?;
        Ok(Self {
            reply_code,
            reply_text,
            class_id,
            method_id,
        })
    }
}
impl Encode for Close<'_> {
    const CLASS: u16 = 10;
    const METHOD: u16 = 50;
    #[inline]
    fn write(&self, out: &mut BytesMut) {
        wire::short(out, self.reply_code);
        wire::shortstr(out, self.reply_text);
        wire::short(out, self.class_id);
        wire::short(out, self.method_id);
    }
}
impl<'a> From<Close<'a>> for Method<'a> {
    fn from(method: Close<'a>) -> Self {
        Self::ConnectionClose(method)
    }
}

/// `connection.close-ok`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CloseOk {}
impl CloseOk {
    #[inline]
    pub(in crate::amqp) fn read(_: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {})
    }
}
impl Encode for CloseOk {
    const CLASS: u16 = 10;
    const METHOD: u16 = 51;
    #[inline]
    fn write(&self, _: &mut BytesMut) {}
}
impl<'a> From<CloseOk> for Method<'a> {
    fn from(method: CloseOk) -> Self {
        Self::ConnectionCloseOk(method)
    }
}

/// `connection.blocked`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Blocked<'a> {
    pub reason: &'a str,
}
impl<'a> Blocked<'a> {
    #[inline]
    pub(in crate::amqp) fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        let reason = reader.shortstr()?;
        Ok(Self { reason })
    }
}
impl Encode for Blocked<'_> {
    const CLASS: u16 = 10;
    const METHOD: u16 = 60;
    #[inline]
    fn write(&self, out: &mut BytesMut) {
        wire::shortstr(out, self.reason);
    }
}
impl<'a> From<Blocked<'a>> for Method<'a> {
    fn from(method: Blocked<'a>) -> Self {
        Self::ConnectionBlocked(method)
    }
}

/// `connection.unblocked`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unblocked {}
impl Unblocked {
    #[inline]
    pub(in crate::amqp) fn read(_: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {})
    }
}
impl Encode for Unblocked {
    const CLASS: u16 = 10;
    const METHOD: u16 = 61;
    #[inline]
    fn write(&self, _: &mut BytesMut) {}
}
impl<'a> From<Unblocked> for Method<'a> {
    fn from(method: Unblocked) -> Self {
        Self::ConnectionUnblocked(method)
    }
}

/// `connection.update-secret`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UpdateSecret<'a> {
    pub new_secret: &'a [u8],
    pub reason: &'a str,
}
impl<'a> UpdateSecret<'a> {
    #[inline]
    pub(in crate::amqp) fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        let new_secret = reader.longstr()?;
        let reason = reader.shortstr()?;
        Ok(Self { new_secret, reason })
    }
}
impl Encode for UpdateSecret<'_> {
    const CLASS: u16 = 10;
    const METHOD: u16 = 70;
    #[inline]
    fn write(&self, out: &mut BytesMut) {
        wire::longstr(out, self.new_secret);
        wire::shortstr(out, self.reason);
    }
}
impl<'a> From<UpdateSecret<'a>> for Method<'a> {
    fn from(method: UpdateSecret<'a>) -> Self {
        Self::ConnectionUpdateSecret(method)
    }
}

/// `connection.update-secret-ok`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UpdateSecretOk {}
impl UpdateSecretOk {
    #[inline]
    pub(in crate::amqp) fn read(_: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {})
    }
}
impl Encode for UpdateSecretOk {
    const CLASS: u16 = 10;
    const METHOD: u16 = 71;
    #[inline]
    fn write(&self, _: &mut BytesMut) {}
}
impl<'a> From<UpdateSecretOk> for Method<'a> {
    fn from(method: UpdateSecretOk) -> Self {
        Self::ConnectionUpdateSecretOk(method)
    }
}
