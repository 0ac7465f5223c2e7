//! `waystation consume`

use super::amqp::{Link, block_on, short_string};
use crate::amqp_url::AmqpUrl;
use anyhow::Result;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use clap::Args;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;
use waystation_core::message::{Message, OwnedProperties, Value};
use waystation_protocols::amqp::client::ChannelEvent;
use waystation_protocols::amqp::methods::basic;

#[derive(Debug, Args)]
pub(super) struct Options {
    /// The queue
    #[arg(value_parser = short_string)]
    queue: String,
    /// End after so many messages; otherwise with --timeout or an interrupt
    #[arg(long)]
    count: Option<u64>,
    /// Acknowledge each message once it is printed; otherwise all return to the queue in the end
    #[arg(long)]
    ack: bool,
    /// End when no message came for so long, such as 2s
    #[arg(long, value_parser = timeout)]
    timeout: Option<Duration>,
    /// The broker
    #[arg(
        long,
        env = "WAYSTATION_URL",
        default_value = "amqp://guest:guest@127.0.0.1:5672/%2f",
        hide_env_values = true
    )]
    url: AmqpUrl,
    /// Print one JSON object per message; otherwise each body and a line end
    #[arg(long)]
    json: bool,
}

fn timeout(text: &str) -> Result<Duration, String> {
    crate::config::units::duration(text, 0..=86_400_000)
}

pub(super) fn run(options: &Options) -> Result<ExitCode> {
    block_on(consume(options))?;
    Ok(ExitCode::SUCCESS)
}

async fn consume(options: &Options) -> Result<()> {
    let mut link = Link::open(&options.url).await?;
    // No more than is asked for may leave the queue; without acknowledgements none would follow.
    let wanted = options.count.unwrap_or(u64::MAX);
    let prefetch = match options.ack {
        true => wanted.min(100),
        false => wanted,
    };
    let qos = basic::Qos {
        prefetch_count: u16::try_from(prefetch).unwrap_or(0),
        ..basic::Qos::default()
    };
    link.call(&qos).await?;
    let consume = basic::Consume {
        queue: &options.queue,
        ..basic::Consume::default()
    };
    link.send(&consume);
    let mut seen = 0;
    while seen < wanted {
        let event = tokio::select! {
            event = link.next() => event?,
            () = idle(options.timeout) => break,
            interrupt = tokio::signal::ctrl_c() => { interrupt?; break }
        };
        match event {
            ChannelEvent::Delivered {
                tag,
                redelivered,
                message,
                ..
            } => {
                print(options, redelivered, &message)?;
                if options.ack {
                    let (client, channel) = link.client();
                    client.ack(channel, tag, false);
                }
                seen += 1;
            }
            ChannelEvent::Cancelled { .. } => anyhow::bail!("the queue was deleted"),
            _ => {}
        }
    }
    link.close().await
}

async fn idle(timeout: Option<Duration>) {
    match timeout {
        Some(timeout) => tokio::time::sleep(timeout).await,
        None => std::future::pending().await,
    }
}

fn print(options: &Options, redelivered: bool, message: &Message) -> Result<()> {
    let mut out = std::io::stdout().lock();
    if options.json {
        writeln!(out, "{}", as_json(redelivered, message))?;
    } else {
        out.write_all(message.body())?;
        writeln!(out)?;
    }
    // Acknowledged only once it has left this process.
    out.flush()?;
    Ok(())
}

fn as_json(redelivered: bool, message: &Message) -> serde_json::Value {
    let mut json = serde_json::json!({
        "exchange": message.exchange(),
        "routing_key": String::from_utf8_lossy(message.routing_key()),
        "redelivered": redelivered,
    });
    match std::str::from_utf8(message.body()) {
        Ok(body) => json["body"] = body.into(),
        Err(_) => json["body_base64"] = BASE64_STANDARD.encode(message.body()).into(),
    }
    // The client has checked the properties when the message came in.
    if let Ok(properties) = OwnedProperties::parse(message.properties()) {
        json["properties"] = properties_json(properties);
    }
    json
}

fn properties_json(properties: OwnedProperties) -> serde_json::Value {
    let mut json = serde_json::Map::new();
    let texts = [
        ("content_type", &properties.content_type),
        ("content_encoding", &properties.content_encoding),
        ("correlation_id", &properties.correlation_id),
        ("reply_to", &properties.reply_to),
        ("expiration", &properties.expiration),
        ("message_id", &properties.message_id),
        ("type", &properties.type_),
        ("user_id", &properties.user_id),
        ("app_id", &properties.app_id),
        ("cluster_id", &properties.cluster_id),
    ];
    for (name, value) in texts {
        if let Some(value) = value {
            json.insert(name.to_owned(), String::from_utf8_lossy(value).into());
        }
    }
    let numbers = [
        ("delivery_mode", properties.delivery_mode.map(u64::from)),
        ("priority", properties.priority.map(u64::from)),
        ("timestamp", properties.timestamp),
    ];
    for (name, value) in numbers {
        if let Some(value) = value {
            json.insert(name.to_owned(), value.into());
        }
    }
    if let Some(headers) = properties.headers {
        json.insert("headers".to_owned(), value_json(&Value::Table(headers)));
    }
    json.into()
}

/// A header's value. JSON has fewer kinds than AMQP: bytes that are not text become base64.
fn value_json(value: &Value) -> serde_json::Value {
    match value {
        Value::Bool(truth) => (*truth).into(),
        Value::F32(number) => f64::from(*number).into(),
        Value::F64(number) => (*number).into(),
        Value::Decimal(scale, number) => format!("{number}e-{scale}").into(),
        Value::Str(bytes) | Value::Bytes(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => text.into(),
            Err(_) => BASE64_STANDARD.encode(bytes).into(),
        },
        Value::Array(values) => values.iter().map(value_json).collect(),
        Value::Timestamp(seconds) => (*seconds).into(),
        Value::Table(table) => {
            let entries = table
                .0
                .iter()
                .map(|(name, value)| (name.to_string(), value_json(value)));
            serde_json::Value::Object(entries.collect())
        }
        Value::Void => serde_json::Value::Null,
        integer => integer.as_i64().into(),
    }
}
