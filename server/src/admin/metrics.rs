//! The core's counters as OpenMetrics text.

use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use waystation_core::node::Stats;

/// Name, help and value of each figure. A name that ends in `_total` is a counter's, others are gauges'.
pub(super) fn values(stats: &Stats) -> [(&'static str, &'static str, u64); 32] {
    let s = stats;
    [
        ("connections", "Connections with an open vhost", s.connections),
        ("channels", "Open channels", s.channels),
        ("consumers", "Active consumers", s.consumers),
        ("queues", "Queues", s.queues),
        ("exchanges", "Exchanges", s.exchanges),
        ("bindings", "Bindings", s.bindings),
        ("messages_ready", "Messages that wait for a consumer", s.messages_ready),
        (
            "messages_unsettled",
            "Messages delivered and not settled",
            s.messages_unsettled,
        ),
        ("published_total", "Messages published", s.published_total),
        (
            "published_bytes_total",
            "Bytes of messages published",
            s.published_bytes_total,
        ),
        ("unroutable_total", "Messages that no queue took", s.unroutable_total),
        ("confirmed_total", "Publishes confirmed", s.confirmed_total),
        ("refused_total", "Publishes refused by a queue's limit", s.refused_total),
        ("delivered_total", "Deliveries", s.delivered_total),
        (
            "redelivered_total",
            "Deliveries marked redelivered",
            s.redelivered_total,
        ),
        ("acknowledged_total", "Deliveries acknowledged", s.acknowledged_total),
        ("rejected_total", "Deliveries rejected", s.rejected_total),
        ("requeued_total", "Deliveries returned to their queue", s.requeued_total),
        ("expired_total", "Messages expired", s.expired_total),
        ("dead_lettered_total", "Messages dead-lettered", s.dead_lettered_total),
        ("dropped_total", "Messages dropped by a queue's limit", s.dropped_total),
        ("cache_bytes", "Bytes of bodies in memory", s.cache_bytes),
        ("pending_bytes", "Bytes that wait for the disk", s.pending_bytes),
        ("log_entries_total", "Entries written to the log", s.log_entries_total),
        (
            "log_written_bytes_total",
            "Bytes written to the log",
            s.log_written_bytes_total,
        ),
        ("log_writes_total", "Writes to the log", s.log_writes_total),
        (
            "log_read_bytes_total",
            "Bytes read back from the log",
            s.log_read_bytes_total,
        ),
        ("log_segments", "Segments of the log", s.log_segments),
        (
            "log_live_bytes",
            "Bytes of the log that are still needed",
            s.log_live_bytes,
        ),
        (
            "log_copied_bytes_total",
            "Bytes copied forward to free segments",
            s.log_copied_bytes_total,
        ),
        ("checkpoints_total", "Checkpoints written", s.checkpoints_total),
        (
            "publishers_blocked",
            "Whether publishers have to wait",
            s.publishers_blocked,
        ),
    ]
}

/// The text that `/metrics` serves.
pub(super) fn encode(stats: &Stats) -> String {
    let mut registry = Registry::with_prefix("waystation");
    for (name, help, value) in values(stats) {
        match name.strip_suffix("_total") {
            // The format adds the suffix itself.
            Some(stem) => registry.register(stem, help, ConstCounter::new(value)),
            None => registry.register(name, help, ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX))),
        }
    }
    let mut text = String::new();
    text::encode(&mut text, &registry).expect("writing to a string does not fail");
    text
}
