//! The metrics of components that count without knowing Prometheus: the hub, the accept loop, the store.

use std::fmt;
use std::sync::Arc;

use fedecks_cloud::Hub;
use fedecks_cloud::serve::ServeMonitor;
use fedecks_store::StoreMonitor;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

use crate::request_memory::RequestMemory;

use super::writer::{MetricSource, MetricsWriter};

impl MetricSource for Hub {
    fn collect(&self, to: &mut MetricsWriter<'_>) -> fmt::Result {
        let stats = self.stats();
        to.gauge("connected_devices", "Connected devices", stats.connected as u64)?;
        to.counter(
            "undecodable_messages",
            "Messages from devices that were ignored as undecodable",
            stats.undecodable,
        )?;
        to.counter(
            "late_tokens",
            "Tokens that had expired and were accepted within sessions.token_grace",
            stats.late_tokens,
        )?;
        to.counter(
            "sessions_too_slow",
            "Sessions that ended because the device read too slowly",
            stats.too_slow,
        )?;
        to.counter(
            "handler_failures",
            "Sessions that ended because a handler failed",
            stats.handler_failures,
        )?;
        to.counter(
            "sessions_overloaded",
            "Sessions that ended because memory for messages was short: one from the device arrived too slowly, or \
             there was none for one that was published to it",
            stats.overloaded,
        )?;
        to.counter("messages_sent", "Messages sent to devices", stats.messages_sent)?;
        to.counter(
            "kept_messages_received",
            "Kept messages of devices that were stored",
            stats.kept_received,
        )?;
        to.counter(
            "kept_messages_rejected",
            "Kept messages of devices that were rejected for good",
            stats.kept_rejected,
        )?;
        to.counter(
            "kept_messages_redelivered",
            "Kept messages of devices that were handled again",
            stats.kept_redelivered,
        )?;
        to.counter(
            "kept_violations",
            "Sessions that violated the protocol of kept messages",
            stats.kept_violations,
        )?;
        to.counter(
            "queue_full",
            "Messages to devices that were refused because the queue was full",
            stats.queue_full,
        )?;
        for (name, help, held) in [
            ("sessions_received_held", "Memory of messages that arrive", stats.received_bytes_held),
            ("sessions_queued_held", "Memory of messages to be sent", stats.queued_bytes_held),
        ] {
            to.metric(name, Some(Unit::Bytes), help, &ConstGauge::new(held))?;
        }
        for (name, help, count) in [
            ("received", "Bytes received from devices in their sessions", stats.bytes_received),
            ("sent", "Bytes sent to devices in their sessions", stats.bytes_sent),
        ] {
            to.metric(name, Some(Unit::Bytes), help, &ConstCounter::new(count))?;
        }
        to.latency(
            "handler_duration",
            "Duration of handler callbacks, per connection and message",
            &stats.handler,
        )
    }
}

impl MetricSource for RequestMemory {
    fn collect(&self, to: &mut MetricsWriter<'_>) -> fmt::Result {
        let help = "Memory of API requests and their responses";
        to.metric("requests_held", Some(Unit::Bytes), help, &ConstGauge::new(self.used() as u64))
    }
}

impl MetricSource for ServeMonitor {
    fn collect(&self, to: &mut MetricsWriter<'_>) -> fmt::Result {
        let stats = self.stats();
        to.gauge("connections", "Open connections of all kinds", stats.connections as u64)?;
        let help = "Open connections that wait for a further HTTP request";
        to.gauge("idle_connections", help, stats.idle as u64)?;
        to.counter("accepted", "Accepted connections", stats.accepted)?;
        let rejections = [
            ("connections", stats.full),
            ("connections-per-address", stats.address_full),
            ("untrusted-proxy", stats.untrusted),
            ("proxy-header", stats.proxy_header),
            ("tls-handshake", stats.tls),
            ("client-certificate", stats.client_certificate),
        ];
        let counts = rejections.map(|(reason, count)| (reason, ConstCounter::new(count)));
        let help = "Connections and requests that were rejected before they were read, by reason";
        to.labelled("turned_away", None, help, "reason", counts)?;
        let handshakes = [("full", stats.full_handshakes), ("resumed", stats.resumed_handshakes)];
        let counts = handshakes.map(|(kind, count)| (kind, ConstCounter::new(count)));
        let help = "TLS handshakes that succeeded: full ones, and those that resumed a session";
        to.labelled("tls_handshakes", None, help, "kind", counts)
    }
}

impl MetricSource for Arc<dyn StoreMonitor> {
    fn collect(&self, to: &mut MetricsWriter<'_>) -> fmt::Result {
        let stats = self.stats();
        to.gauge(
            "store_healthy",
            "1 if the last access to the store's file succeeded",
            u64::from(stats.healthy),
        )?;
        to.gauge("store_notes_waiting", "Notes that wait to be written", stats.waiting)?;
        to.counter(
            "store_busy",
            "Store calls that failed because the store was locked or overloaded",
            stats.busy,
        )?;
        to.counter(
            "store_failed",
            "Store calls that failed because of its file, disk or database",
            stats.failed,
        )?;
        to.counter("store_reopened", "Times that the store's file was reopened", stats.reopened)?;
        to.counter("store_notes_dropped", "Dropped notes", stats.notes_dropped)?;
        to.counter("store_audit_dropped", "Dropped audit log entries", stats.audit_dropped)?;
        to.latency("store_read_duration", "Duration of store calls that read", &stats.reads)?;
        to.latency("store_write_duration", "Duration of store calls that write", &stats.writes)
    }
}
