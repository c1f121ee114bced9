//! What Prometheus asks for. No device is named in it: the labels have few values, whatever happens.

mod counters;
mod encode;
mod process;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

use fedecks_cloud::Hub;
use fedecks_cloud::serve::{ServeMonitor, ServeStats, Server, Tls};
use fedecks_store::StoreMonitor;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::{MetricType, TypedMetric};
use prometheus_client::registry::{Registry, Unit};

use crate::events::Streams;
use crate::webhooks;

pub(crate) use counters::Counters;

use encode::{counter, gauge, labelled, latency, number};

/// Everything that there is to ask for.
#[derive(Clone)]
pub(crate) struct Metrics {
    registry: Arc<Registry>,
    monitor: Arc<OnceLock<ServeMonitor>>,
}

impl Metrics {
    pub(crate) fn new(
        counters: &Counters,
        hub: Hub,
        store: Arc<dyn StoreMonitor>,
        streams: Streams,
        webhooks: Vec<(String, Arc<webhooks::Counters>)>,
        certificates: Vec<Tls>,
    ) -> Self {
        let mut registry = Registry::with_prefix("fedecks");
        let Counters { connects, disconnects, messages, refused, all_refusals: _ } =
            counters.clone();
        registry.register("connects", "Sessions of devices that began", connects);
        registry.register("disconnects", "Sessions of devices that ended", disconnects);
        registry.register("messages_received", "Messages that devices sent", messages);
        registry.register("refusals", "Connections that were refused, by reason", refused);
        let monitor = Arc::default();
        let monitored = Arc::clone(&monitor);
        let asked = Asked { hub, store, streams, webhooks, certificates, monitor: monitored };
        registry.register_collector(Box::new(asked));
        registry.register_collector(Box::new(process::Process));
        Self { registry: Arc::new(registry), monitor }
    }

    /// From now on tells what the server counts, too.
    pub(crate) fn watch(&self, server: &Server) {
        // The first one counts, and there is one server.
        let _ = self.monitor.set(server.monitor());
    }

    pub(crate) fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

/// What is counted elsewhere, and asked for when Prometheus asks.
struct Asked {
    hub: Hub,
    store: Arc<dyn StoreMonitor>,
    streams: Streams,
    webhooks: Vec<(String, Arc<webhooks::Counters>)>,
    certificates: Vec<Tls>,
    /// Not there before the server listens.
    monitor: Arc<OnceLock<ServeMonitor>>,
}

impl fmt::Debug for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Asked(…)")
    }
}

impl Collector for Asked {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let hub = self.hub.stats();
        gauge(
            &mut encoder,
            "connected_devices",
            "Devices that are connected",
            hub.connected as u64,
        )?;
        for (name, help, count) in [
            ("undecodable_messages", "Messages from devices that were no frame", hub.undecodable),
            (
                "sessions_too_slow",
                "Sessions that ended because the device read too slowly",
                hub.too_slow,
            ),
            (
                "handler_failures",
                "Sessions that ended because a handler failed",
                hub.handler_failures,
            ),
            ("messages_sent", "Messages that were sent to devices", hub.messages_sent),
            (
                "queue_full",
                "Messages for devices that were not taken because the queue was full",
                hub.queue_full,
            ),
        ] {
            counter(&mut encoder, name, help, count)?;
        }
        for (name, help, count) in [
            ("received", "Bytes that came from devices in their sessions", hub.bytes_received),
            ("sent", "Bytes that went to devices in their sessions", hub.bytes_sent),
        ] {
            let (unit, kind) = (Some(&Unit::Bytes), ConstCounter::<u64>::TYPE);
            let metric = encoder.encode_descriptor(name, help, unit, kind)?;
            ConstCounter::new(count).encode(metric)?;
        }
        let (name, help) =
            ("handler_duration", "How long the handler took, for each connection and message");
        let (unit, kind) = (Some(&Unit::Seconds), MetricType::Histogram);
        latency(encoder.encode_descriptor(name, help, unit, kind)?, &hub.handler)?;
        if let Some(monitor) = self.monitor.get() {
            encode_connections(&mut encoder, &monitor.stats())?;
        }
        let streams = self.streams.open_now() as u64;
        gauge(&mut encoder, "event_streams", "Event streams that are open", streams)?;
        self.encode_certificates(&mut encoder)?;
        self.encode_store(&mut encoder)?;
        self.encode_webhooks(&mut encoder)
    }
}

impl Asked {
    fn encode_certificates(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        // Listeners may have the same one.
        let ends: BTreeMap<_, _> = self
            .certificates
            .iter()
            .filter_map(|tls| Some((tls.certificate().display().to_string(), tls.not_after()?)))
            .collect();
        let (name, help) =
            ("certificate_expiry_timestamp", "When a certificate expires, since 1970");
        let ends = ends.iter().map(|(file, end)| (file.as_str(), ConstGauge::new(number(*end))));
        labelled(encoder, name, help, Some(&Unit::Seconds), "file", ends)
    }

    fn encode_store(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let stats = self.store.stats();
        gauge(
            encoder,
            "store_healthy",
            "1 if the last that was tried with the store's file went well",
            u64::from(stats.healthy),
        )?;
        gauge(encoder, "store_notes_waiting", "Notes that wait to be written", stats.waiting)?;
        for (name, help, count) in [
            (
                "store_busy",
                "Calls of the store that failed because it was held or overrun",
                stats.busy,
            ),
            ("store_failed", "Calls of the store that failed by its file or disk", stats.failed),
            ("store_reopened", "How often the store's file was opened again", stats.reopened),
            ("store_notes_dropped", "Notes that were dropped", stats.notes_dropped),
            (
                "store_audit_dropped",
                "Lines of the audit log that were dropped",
                stats.audit_dropped,
            ),
        ] {
            counter(encoder, name, help, count)?;
        }
        for (name, help, histogram) in [
            ("store_read_duration", "How long reading calls of the store took", &stats.reads),
            ("store_write_duration", "How long changing calls of the store took", &stats.writes),
        ] {
            let metric = encoder.encode_descriptor(
                name,
                help,
                Some(&Unit::Seconds),
                MetricType::Histogram,
            )?;
            latency(metric, histogram)?;
        }
        Ok(())
    }

    fn encode_webhooks(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        type Count = fn(&webhooks::Counters) -> u64;
        let counts: [(&str, &str, Count); 3] = [
            ("webhook_delivered", "Events that a receiver took", |of| {
                of.delivered.load(Ordering::Relaxed)
            }),
            ("webhook_failed", "Deliveries that failed and are tried again", |of| {
                of.failed.load(Ordering::Relaxed)
            }),
            ("webhook_dropped", "Events that were given up", |of| {
                of.dropped.load(Ordering::Relaxed)
            }),
        ];
        for (name, help, count) in counts {
            let values = self.webhooks.iter();
            let values = values.map(|(name, of)| (name.as_str(), ConstCounter::new(count(of))));
            labelled(encoder, name, help, None, "webhook", values)?;
        }
        let waiting: [(&str, &str, Option<&Unit>, Count); 2] = [
            ("webhook_pending", "Events that wait for a receiver", None, |of| {
                of.pending.load(Ordering::Relaxed)
            }),
            ("webhook_pending", "Bytes that these events take", Some(&Unit::Bytes), |of| {
                of.pending_bytes.load(Ordering::Relaxed)
            }),
        ];
        for (name, help, unit, count) in waiting {
            let values = self.webhooks.iter();
            let values =
                values.map(|(name, of)| (name.as_str(), ConstGauge::new(number(count(of)))));
            labelled(encoder, name, help, unit, "webhook", values)?;
        }
        Ok(())
    }
}

fn encode_connections(encoder: &mut DescriptorEncoder<'_>, stats: &ServeStats) -> fmt::Result {
    gauge(encoder, "connections", "Open connections of all kinds", stats.connections as u64)?;
    counter(encoder, "accepted", "Connections that were accepted", stats.accepted)?;
    let (name, help) =
        ("turned_away", "Connections and requests that were turned away unseen, by reason");
    let reasons = [
        ("connections", stats.full),
        ("connections-per-address", stats.address_full),
        ("untrusted-proxy", stats.untrusted),
        ("proxy-header", stats.proxy_header),
        ("tls-handshake", stats.tls),
    ];
    let counts = reasons.into_iter().map(|(reason, count)| (reason, ConstCounter::new(count)));
    labelled(encoder, name, help, None, "reason", counts)
}
