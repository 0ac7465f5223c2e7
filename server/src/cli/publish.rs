//! `waystation publish`

use super::amqp::{Link, block_on, short_string};
use crate::amqp_url::AmqpUrl;
use anyhow::{Context, Result, bail};
use bytes::Bytes;
use clap::Args;
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use waystation_core::api::Name;
use waystation_core::message::{OwnedProperties, Table, Value};
use waystation_protocols::amqp::client::ChannelEvent;
use waystation_protocols::amqp::methods::{basic, confirm, queue};

/// Publishes that wait for their confirm.
const WINDOW: u64 = 1_000;
/// Output that is collected before it is written.
const OUTPUT_BYTES: usize = 256 << 10;

#[derive(Debug, Args)]
pub(super) struct Options {
    /// The queue, or with --exchange the routing key
    #[arg(value_parser = short_string)]
    queue: String,
    /// The body; read from standard input if neither this nor --file is given
    #[arg(conflicts_with = "file")]
    body: Option<String>,
    /// Read the body from this file
    #[arg(long)]
    file: Option<PathBuf>,
    /// Publish to this exchange
    #[arg(long, default_value = "", value_parser = short_string)]
    exchange: String,
    /// Declare the queue first, durable, if it does not exist
    #[arg(long, conflicts_with = "exchange")]
    declare: bool,
    /// Publish so many times
    #[arg(long, default_value_t = 1)]
    count: u64,
    /// Wait until the broker has confirmed every message
    #[arg(long)]
    confirm: bool,
    /// Let a restart of the broker forget the message
    #[arg(long)]
    transient: bool,
    /// The content type
    #[arg(long, value_parser = short_string)]
    content_type: Option<String>,
    /// A header, as NAME=VALUE; repeatable
    #[arg(long, value_parser = header)]
    header: Vec<(String, String)>,
    /// The broker
    #[arg(
        long,
        env = "WAYSTATION_URL",
        default_value = "amqp://guest:guest@127.0.0.1:5672/%2f",
        hide_env_values = true
    )]
    url: AmqpUrl,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("it must be NAME=VALUE")?;
    Ok((short_string(name)?, value.to_owned()))
}

/// What the broker said of the publishes.
#[derive(Default)]
struct Outcome {
    unconfirmed: BTreeSet<u64>,
    refused: u64,
    returned: u64,
}

pub(super) fn run(options: &Options) -> Result<ExitCode> {
    let body = match (&options.body, &options.file) {
        (Some(body), _) => body.clone().into_bytes(),
        (None, Some(path)) => std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?,
        (None, None) => {
            let mut body = Vec::new();
            std::io::stdin()
                .lock()
                .read_to_end(&mut body)
                .context("cannot read the body from standard input")?;
            body
        }
    };
    let outcome = block_on(publish(options, &body))?;
    let failed = outcome.refused + outcome.returned;
    let mut out = std::io::stdout().lock();
    let (count, refused, returned) = (options.count, outcome.refused, outcome.returned);
    if options.json {
        let report = serde_json::json!({ "published": count, "refused": refused, "returned": returned });
        writeln!(out, "{report}")?;
    } else {
        let how = if options.confirm {
            "published and confirmed"
        } else {
            "published"
        };
        let done = count - failed.min(count);
        let what = if done == 1 { "message" } else { "messages" };
        writeln!(out, "{done} {what} {how}")?;
    }
    drop(out);
    if returned > 0 {
        bail!(
            "{returned} messages were returned: no queue takes {:?}; --declare makes one",
            options.queue
        );
    }
    if refused > 0 {
        bail!("{refused} messages were refused by a queue's limit");
    }
    Ok(ExitCode::SUCCESS)
}

async fn publish(options: &Options, body: &[u8]) -> Result<Outcome> {
    let mut link = Link::open(&options.url).await?;
    if options.declare {
        let declare = queue::Declare {
            queue: &options.queue,
            durable: true,
            ..queue::Declare::default()
        };
        link.call(&declare).await?;
    }
    if options.confirm {
        link.call(&confirm::Select::default()).await?;
    }
    let properties = properties(options).to_vec();
    let mut outcome = Outcome::default();
    for number in 1..=options.count {
        let publish = basic::Publish {
            exchange: &options.exchange,
            routing_key: options.queue.as_bytes(),
            mandatory: true,
            immediate: false,
        };
        let (client, channel) = link.client();
        client.publish(channel, &publish, &properties, body);
        let full = client.output_bytes() >= OUTPUT_BYTES;
        if options.confirm {
            outcome.unconfirmed.insert(number);
        }
        if full {
            link.flush().await?;
        }
        while outcome.unconfirmed.len() as u64 >= WINDOW {
            outcome.take(&link.next().await?);
        }
    }
    while !outcome.unconfirmed.is_empty() {
        outcome.take(&link.next().await?);
    }
    // A returned message comes before the answer to what is asked after it.
    link.send(&basic::Qos::default());
    loop {
        match link.next().await? {
            ChannelEvent::Done(_) => break,
            event => outcome.take(&event),
        }
    }
    link.close().await?;
    Ok(outcome)
}

impl Outcome {
    fn take(&mut self, event: &ChannelEvent) {
        match event {
            ChannelEvent::Returned { .. } => self.returned += 1,
            ChannelEvent::Confirmed { tag, multiple, ok } => {
                let later = if *multiple {
                    self.unconfirmed.split_off(&(tag + 1))
                } else {
                    BTreeSet::new()
                };
                let covered = if *multiple {
                    let covered = self.unconfirmed.len() as u64;
                    self.unconfirmed = later;
                    covered
                } else {
                    u64::from(self.unconfirmed.remove(tag))
                };
                self.refused += if *ok { 0 } else { covered };
            }
            _ => {}
        }
    }
}

fn properties(options: &Options) -> OwnedProperties {
    let text = |text: &String| Bytes::copy_from_slice(text.as_bytes());
    let headers = options.header.iter();
    let headers: Vec<_> = headers
        .map(|(name, value)| (Name::from(&**name), Value::Str(text(value))))
        .collect();
    OwnedProperties {
        content_type: options.content_type.as_ref().map(text),
        headers: (!headers.is_empty()).then_some(Table(headers)),
        delivery_mode: Some(if options.transient { 1 } else { 2 }),
        ..OwnedProperties::default()
    }
}
