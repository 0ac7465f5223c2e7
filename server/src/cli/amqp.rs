//! A thin driver of the AMQP client, for the tools of the command line.

use crate::amqp_url::AmqpUrl;
use anyhow::{Context, Result, bail};
use bytes::BytesMut;
use std::future::Future;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use waystation_protocols::amqp::client::ChannelEvent;
use waystation_protocols::amqp::methods::Encode;
use waystation_protocols::amqp::{Client, ClientConfig, Event, Secret};

/// The channel of everything.
const CHANNEL: u16 = 1;
const READ_BYTES: usize = 64 << 10;

/// A connection with one open channel.
pub(super) struct Link {
    stream: TcpStream,
    client: Client,
    output: BytesMut,
    buffer: Vec<u8>,
}

impl Link {
    pub(super) async fn open(url: &AmqpUrl) -> Result<Self> {
        let connect = TcpStream::connect(url.address());
        let stream = connect
            .await
            .with_context(|| format!("cannot connect to {url}: is the broker running?"))?;
        stream.set_nodelay(true)?;
        let client = Client::new(ClientConfig {
            user: url.user.clone(),
            password: Secret(url.password.clone()),
            vhost: url.vhost.clone(),
            product: "waystation command line".to_owned(),
            ..ClientConfig::default()
        });
        let mut link = Self {
            stream,
            client,
            output: BytesMut::new(),
            buffer: vec![0; READ_BYTES],
        };
        let opened = link.handshake().await;
        opened.with_context(|| format!("cannot open a connection to {url}"))?;
        Ok(link)
    }

    async fn handshake(&mut self) -> Result<()> {
        match self.event().await? {
            Event::Connected { .. } => {}
            other => bail!("{other}"),
        }
        self.client.open_channel(CHANNEL);
        match self.next().await? {
            ChannelEvent::Opened => Ok(()),
            other => bail!("the broker answered the opening of a channel with {other:?}"),
        }
    }

    /// Queues a method.
    pub(super) fn send(&mut self, method: &impl Encode) {
        self.client.send(CHANNEL, method);
    }

    /// The client, to queue what it has functions for, on the channel given.
    pub(super) const fn client(&mut self) -> (&mut Client, u16) {
        (&mut self.client, CHANNEL)
    }

    /// Sends a method and waits for the answer.
    pub(super) async fn call(&mut self, method: &impl Encode) -> Result<ChannelEvent> {
        self.send(method);
        self.next().await
    }

    /// Writes what is queued.
    pub(super) async fn flush(&mut self) -> Result<()> {
        self.output.unsplit(self.client.take_output());
        // A piece at a time, each accounted for: being dropped halfway must not tear a frame.
        while !self.output.is_empty() {
            self.stream
                .write_buf(&mut self.output)
                .await
                .context("the connection broke")?;
        }
        Ok(())
    }

    /// What happens next on the channel. A closed channel or connection is an error.
    pub(super) async fn next(&mut self) -> Result<ChannelEvent> {
        loop {
            match self.event().await? {
                Event::Channel {
                    event: ChannelEvent::Closed { code, text },
                    ..
                } => bail!("the broker refused: {code} {text}"),
                Event::Channel { event, .. } => return Ok(event),
                Event::Blocked { reason } => eprintln!("the broker takes no publishes for now: {reason}"),
                Event::Unblocked => eprintln!("the broker takes publishes again"),
                other @ (Event::Connected { .. } | Event::Broken(_) | Event::Closed { .. }) => bail!("{other}"),
            }
        }
    }

    async fn event(&mut self) -> Result<Event> {
        loop {
            if let Some(event) = self.client.poll() {
                return Ok(event);
            }
            self.flush().await?;
            let read = self
                .stream
                .read(&mut self.buffer)
                .await
                .context("the connection broke")?;
            if read == 0 {
                bail!("the broker closed the socket: are user, password and vhost right?");
            }
            self.client.receive(&self.buffer[..read]);
        }
    }

    /// Says goodbye: everything that was sent has been handled when this returns.
    pub(super) async fn close(mut self) -> Result<()> {
        self.client.close();
        loop {
            match self.event().await? {
                Event::Closed { code: 200, .. } => return Ok(()),
                Event::Closed { code, text } => bail!("the broker refused: {code} {text}"),
                Event::Channel {
                    event: ChannelEvent::Closed { code, text },
                    ..
                } => bail!("the broker refused: {code} {text}"),
                Event::Broken(what) => bail!("the broker broke the protocol: {what}"),
                Event::Channel { .. } | Event::Connected { .. } | Event::Blocked { .. } | Event::Unblocked => {}
            }
        }
    }
}

/// Runs a tool on a runtime of one thread.
pub(super) fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    super::runtime(1)?.block_on(work)
}

/// A name for a short string.
pub(super) fn short_string(text: &str) -> Result<String, String> {
    if text.len() > 255 {
        return Err("a name has 255 bytes at most".to_owned());
    }
    Ok(text.to_owned())
}
