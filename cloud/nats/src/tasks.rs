//! The tasks of a backplane: they write what waits, announce changes, and watch the connection.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, SystemTime};

use async_nats::Subscriber;
use futures_util::StreamExt;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use crate::outgoing::Outbound;
use crate::shared::Shared;
use crate::state::count;
use crate::wire::Announcement;

/// How long the last messages may take when a backplane ends.
const FAREWELL: Duration = Duration::from_secs(2);

/// What handles a message.
pub(crate) type OnMessage = fn(&Arc<Shared>, async_nats::Message);

/// Hands to NATS what waits for it.
pub(crate) async fn write(shared: Arc<Shared>) {
    loop {
        shared.outgoing.wake.notified().await;
        while let Some(message) = shared.outgoing.pop() {
            publish(&shared, message).await;
        }
    }
}

async fn publish(shared: &Shared, message: Outbound) {
    let Outbound { subject, reply, payload } = message;
    let published = match reply {
        Some(reply) => shared.client.publish_with_reply(subject, reply, payload.into()).await,
        None => shared.client.publish(subject, payload.into()).await,
    };
    let counters = &shared.link.counters;
    count(if published.is_ok() { &counters.sent } else { &counters.dropped });
}

/// Reads a subscription.
pub(crate) async fn read(shared: Arc<Shared>, mut subscriber: Subscriber, on_message: OnMessage) {
    while let Some(message) = subscriber.next().await {
        count(&shared.link.counters.received);
        on_message(&shared, message);
    }
}

/// Announces changes together that come shortly after one another.
pub(crate) async fn announce(shared: Arc<Shared>) {
    loop {
        shared.announce.notified().await;
        sleep(shared.times.batch).await;
        shared.announce_now(&mut shared.presences.lock());
    }
}

/// Sends heartbeats, and watches the connection and the other instances.
pub(crate) async fn watch(shared: Arc<Shared>) {
    let heartbeat = shared.times.heartbeat;
    let mut ticks = interval((heartbeat / 4).max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut sent = Instant::now();
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = shared.link.reported.notified() => {}
        }
        let now = Instant::now();
        let (connected, is_new, silence) = look(&shared, now);
        if connected && (is_new || now - sent >= heartbeat) {
            sent = now;
            shared.heartbeat(is_new);
        }
        let has_link = connected && silence < heartbeat * 2;
        shared.change(|presences, effects| presences.fleet.tick(has_link, now, effects));
        if connected && silence >= heartbeat * 3 {
            tracing::warn!("nothing comes back from NATS: the connection is made again");
            shared.link.status.lock().echo = now;
            // Its commands may be stuck, too; then it is tried again.
            let _ = timeout(heartbeat, shared.client.force_reconnect()).await;
        }
    }
}

/// Whether NATS is connected, whether that is news, and for how long nothing has come back.
fn look(shared: &Shared, now: Instant) -> (bool, bool, Duration) {
    let connected = shared.is_connected();
    let mut status = shared.link.status.lock();
    let is_new = connected && (std::mem::take(&mut status.is_new) || !status.connected);
    if is_new {
        status.echo = now;
        count(&shared.link.counters.connections);
    }
    if connected != status.connected || is_new {
        status.since = SystemTime::now();
        let error = status.error.as_deref().unwrap_or("no error");
        if connected {
            tracing::info!("connected to NATS");
        } else {
            // What waits would come too late.
            let dropped = shared.outgoing.clear();
            shared.link.counters.dropped.fetch_add(dropped as u64, Relaxed);
            tracing::warn!(error, "the connection to NATS is lost");
        }
    }
    status.connected = connected;
    (connected, is_new, now - status.echo)
}

/// Sends what waits, and that this instance ends.
pub(crate) async fn farewell(shared: Arc<Shared>) {
    if !shared.is_connected() {
        return;
    }
    shared.announce_now(&mut shared.presences.lock());
    let bye = Announcement::Bye { from: shared.me }.encode();
    // Should it not fit, the others notice the silence.
    let _ = shared.send(shared.announcements(), None, bye);
    let rest = async {
        while let Some(message) = shared.outgoing.pop() {
            publish(&shared, message).await;
        }
        let _ = shared.client.flush().await;
    };
    let _ = timeout(FAREWELL, rest).await;
}
