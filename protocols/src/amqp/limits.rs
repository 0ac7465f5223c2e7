//! Every limit of an AMQP session, with its reason (G14).

/// Largest frame that is offered, in bytes, its 8 bytes of overhead included. RabbitMQ's default: clients' own defaults
/// are made for it, and larger frames only let one channel hold up the others for longer.
pub const FRAME_BYTES_MAX: u32 = 131_072;

/// Smallest frame-max that a client may choose: the specification's frame-min-size (section 4.2.3).
pub const FRAME_BYTES_MIN: u32 = 4096;

/// Highest channel number that is offered. RabbitMQ's default; a channel costs little, but a leak of them should show.
pub const CHANNEL_MAX: u16 = 2047;

/// Heartbeat interval that is offered, in seconds. RabbitMQ's default: dead peers are found in two minutes, and short
/// stalls of a busy peer are survived.
pub const HEARTBEAT_SECONDS: u16 = 60;

/// From the first byte to connection.open-ok, in milliseconds: whoever is slower holds a socket for nothing.
pub const HANDSHAKE_MS: u64 = 10_000;

/// How long a peer may take to answer connection.close, in milliseconds, before its socket is closed all the same.
pub const CLOSE_MS: u64 = 10_000;

/// Largest body of a message, in bytes. RabbitMQ's long-standing default: a message is one allocation and one log entry.
pub const MESSAGE_BYTES_MAX: u64 = 128 << 20;

/// Sum of the announced body sizes of a connection's unfinished messages, in bytes. Room for two of the largest; without
/// it every channel could hold one.
pub const UNFINISHED_BYTES_MAX: u64 = 256 << 20;

/// Most that is allocated for a body before any of it has come, in bytes: a peer's announcement alone costs no more.
pub const BODY_RESERVE_BYTES: u64 = 256 << 10;

/// Bytes of output not yet taken by the socket beyond which nothing more is read from the peer: one who does not read
/// answers cannot ask for more of them.
pub const OUTPUT_BYTES_MAX: usize = 1 << 20;

/// Bytes kept while the session waits for authentication or the vhost. Drivers stop reading meanwhile, so that this is
/// one read of a socket at most.
pub const HELD_BYTES_MAX: usize = 1 << 20;

/// Bytes of messages after which byte credit is given back: small enough to keep deliveries flowing within the core's
/// connection window, large enough not to cost a request per message.
pub const CREDIT_BYTES: u64 = 32 << 10;
