//! Records what other servers publish.

use std::time::Duration;

use fedecks_cloud::messaging::{Published, Subscription, TopicEvent};
use tokio::time::{MissedTickBehavior, interval};

use super::super::entry::OtherEvent;
use super::super::log::EventLog;
use super::super::lost_devices::LostDevices;
use super::packet::Packet;
use super::peers::{Heard, Peers};
use crate::event_kind::EventKind;

pub(super) struct Receiver {
    log: EventLog,
    subscription: Subscription,
    peers: Peers,
    lost: LostDevices,
}

/// How often it checks whether a server is silent.
const CHECK: Duration = Duration::from_secs(1);

impl Receiver {
    pub(super) fn new(
        log: EventLog,
        subscription: Subscription,
        peers: Peers,
        lost: LostDevices,
    ) -> Self {
        Self { log, subscription, peers, lost }
    }

    /// Never returns.
    pub(super) async fn run(mut self) {
        let mut checks = interval(CHECK);
        checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                event = self.subscription.next() => match event {
                    Some(TopicEvent::Message(Published { message, .. })) => self.accept(&message),
                    // The numbers say it too, unless nothing follows.
                    Some(_) => self.log.record_gap(),
                    None => return,
                },
                _ = checks.tick() => {
                    if self.peers.forget_silent() {
                        self.log.record_gap();
                    }
                }
            }
        }
    }

    fn accept(&mut self, term: &fedecks_cloud::Term) {
        let Some(packet) = Packet::read(term) else {
            return self.log.record_gap();
        };
        if packet.header.from == self.log.instance() {
            return;
        }
        match self.peers.hear(&packet.header, packet.has_events()) {
            Heard::Again => return,
            Heard::AfterGap => self.log.record_gap(),
            Heard::Next => {}
        }
        for event in packet.events() {
            match event {
                Some(event) => self.record(event),
                None => self.log.record_gap(),
            }
        }
    }

    fn record(&self, event: OtherEvent) {
        if let (EventKind::Disconnected, Some(device)) = (event.kind, &event.device) {
            self.lost.recorded_elsewhere(device);
        }
        self.log.record_other(event);
    }
}
