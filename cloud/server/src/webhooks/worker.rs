//! Moves the events of one webhook from the event log into the store's queue, and from there to its receiver. What
//! waits is in the store only; in memory is what is being delivered. Of several servers the one that leads delivers what
//! all have stored.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use fedecks_store::{
    Clock, QueueBudget, QueueStatus, QueueStore, Reservation, ReservedItem, Room, Settlement,
    StoreError,
};
use tokio::sync::watch;
use tokio::time::Instant;

use super::counters::WebhookCounters;
use super::delivery::{Outcome, Receiver};
use super::duty::Duty;
use super::in_flight::InFlight;
use super::intake::Intake;
use super::kept::{Bell, KeptEvents, budget};
use super::queue_clock::QueueClock;
use super::queue_name::queue_name;
use super::retry::{FailedAttempt, Next};
use crate::cluster::Leadership;
use crate::config::Webhook;
use crate::error::ServerError;
use crate::events::EventLog;

/// Delivers the events of one webhook.
pub(super) struct Worker {
    webhook: Webhook,
    /// The name of its queue.
    queue: String,
    store: Arc<dyn QueueStore>,
    intake: Intake,
    kept: KeptEvents,
    /// Rung when others have stored events for the webhook.
    bell: Arc<Bell>,
    duty: Duty,
    receiver: Receiver,
    in_flight: InFlight,
    /// Deliveries that have ended, and whose reservations have not.
    to_settle: Vec<(Reservation, Settlement)>,
    time: QueueClock,
    /// When an event may be ready, on the clock of the queue.
    next_due: Option<Duration>,
    /// When a failed access to the store is retried.
    store_due: Option<Instant>,
    /// The end of the pause that the receiver asked for.
    pause: Option<Instant>,
    clock: Clock,
    counters: Arc<WebhookCounters>,
    /// The epoch of the store in which the queue was opened.
    epoch: u64,
    /// The last delivery failed. Further failures are logged at a lower level.
    failing: bool,
}

/// How often the worker checks whether a backup replaced the store.
const EPOCH_CHECK: Duration = Duration::from_secs(1);

/// How long to wait after the store failed.
const STORE_RETRY: Duration = Duration::from_secs(1);

/// How much longer a reservation is than the longest delivery, for the time in which its end is stored.
const RESERVE: Duration = Duration::from_secs(30);

/// Why a worker has stopped.
#[derive(PartialEq, Eq)]
enum Stopped {
    /// The receiver answered 410 Gone.
    Gone,
    /// The server has ended.
    Ended,
}

/// Waits until the server has ended.
async fn end_of(ended: &mut watch::Receiver<bool>) {
    let _ = ended.wait_for(|ended| *ended).await;
}

impl Worker {
    pub(super) fn new(
        webhook: &Webhook,
        store: Arc<dyn QueueStore>,
        (events, kept, place): (&EventLog, &KeptEvents, usize),
        (clock, leads): (&Clock, &Leadership),
        counters: Arc<WebhookCounters>,
    ) -> Result<Self, ServerError> {
        Ok(Self {
            webhook: webhook.clone(),
            queue: queue_name(&webhook.name),
            store,
            intake: Intake::new(webhook, events),
            kept: kept.clone(),
            bell: kept.bell(place),
            duty: Duty::new(leads),
            receiver: Receiver::new(webhook, webhook.signing_secret()?)?,
            in_flight: InFlight::new(webhook.concurrency, webhook.in_flight_bytes),
            to_settle: Vec::new(),
            time: QueueClock::continue_from(Duration::ZERO),
            next_due: None,
            store_due: None,
            pause: None,
            clock: clock.clone(),
            counters,
            epoch: 0,
            failing: false,
        })
    }

    /// Delivers until the receiver answers 410 Gone or the server has ended. Then the last events are
    /// stored, for the next start.
    pub(super) async fn run_until(mut self, mut ended: watch::Receiver<bool>) {
        let stopped = self.run(&mut ended).await;
        self.settle().await;
        if stopped == Stopped::Gone {
            self.bell.gone();
            return;
        }
        loop {
            self.intake.fill(self.clock.now()).await;
            if self.intake.is_empty() {
                return;
            }
            self.persist().await;
            if !self.intake.is_empty() {
                tokio::time::sleep(STORE_RETRY).await;
            }
        }
    }

    /// Stops only between two steps: a call of the store whose result no one awaits may have been executed, and its
    /// events would be stored twice.
    async fn run(&mut self, ended: &mut watch::Receiver<bool>) -> Stopped {
        loop {
            let leads = self.duty.is_held();
            // A backup may have been restored, which has none of the reservations; or another server may have them.
            if leads != self.duty.delivers || (leads && self.store.epoch() != self.epoch) {
                self.in_flight =
                    InFlight::new(self.webhook.concurrency, self.webhook.in_flight_bytes);
                self.duty.delivers = false;
            }
            if leads && !self.duty.delivers {
                self.open(ended).await;
            }
            self.settle().await;
            self.persist().await;
            if self.duty.delivers {
                if self.duty.must_look() {
                    self.next_due = Some(self.time.now());
                }
                self.send().await;
            }
            let now = Instant::now();
            let next_due = self.next_due.map(|due| self.time.instant(due));
            let due = [next_due, self.store_due, self.pause];
            // A time that has passed does not count: what it delayed waits for something else now.
            let due = due.into_iter().flatten().filter(|due| *due > now);
            let due = due.fold(now + EPOCH_CHECK, Instant::min);
            // In random order, so that neither old nor new events starve the others.
            tokio::select! {
                () = end_of(ended) => return Stopped::Ended,
                (reserved, outcome) = self.in_flight.ended() => {
                    let mut ended = Some((reserved, outcome));
                    // Those that have ended meanwhile are settled together with it.
                    while let Some((reserved, outcome)) = ended {
                        if self.complete(reserved, outcome) == Some(Stopped::Gone) {
                            return Stopped::Gone;
                        }
                        ended = self.in_flight.ended_already();
                    }
                }
                item = self.intake.next(), if self.intake.is_empty() => {
                    self.intake.accept(item, self.clock.now());
                    self.intake.fill(self.clock.now()).await;
                }
                () = self.bell.rung() => self.next_due = Some(self.time.now()),
                () = tokio::time::sleep_until(due) => {}
            }
        }
    }

    /// Continues with what an earlier run of the server, or another server, has left, unless the server ends or no
    /// longer leads while the store fails.
    async fn open(&mut self, ended: &mut watch::Receiver<bool>) {
        while self.duty.is_held() {
            // Before reading: a backup that is restored meanwhile is opened the next time.
            self.epoch = self.store.epoch();
            match self.try_open().await {
                Ok(()) => {
                    self.duty.delivers = true;
                    return;
                }
                Err(error) => {
                    let webhook = &self.webhook.name;
                    tracing::warn!(webhook, %error, "cannot read pending webhook events, will retry");
                    if tokio::time::timeout(STORE_RETRY, end_of(ended)).await.is_ok() {
                        return;
                    }
                }
            }
        }
    }

    async fn try_open(&mut self) -> Result<(), StoreError> {
        let status = self.store.queue_status(&self.queue).await?;
        self.time = QueueClock::continue_from(status.time);
        self.count(status);
        if !self.to_settle.is_empty() {
            // The file may only have failed for a while, and still have the reservations.
            let settlements = self.to_settle.clone();
            self.store.settle(&self.queue, settlements, self.time.now()).await?;
            self.to_settle.clear();
        }
        self.store.release(&self.queue, self.time.now()).await?;
        self.next_due = Some(self.time.now());
        // The configured limits may be lower than in the last run.
        let budget = self.budget();
        if status.items > budget.items || status.bytes > budget.bytes {
            let dropped = self.store.drop_oldest(&self.queue, budget, self.time.now()).await?;
            self.count(dropped.status);
            self.dropped(dropped.items);
        }
        Ok(())
    }

    /// The time by which events are stored: where another server delivers, the one that it noted last.
    fn date(&self) -> Duration {
        if self.duty.delivers { self.time.now() } else { Duration::ZERO }
    }

    /// Sends as many events as may be in flight.
    async fn send(&mut self) {
        if self.pause.is_some_and(|until| until > Instant::now()) || !self.to_settle.is_empty() {
            return;
        }
        self.pause = None;
        loop {
            let (room, now) = (self.in_flight.room(), self.time.now());
            if room.items == 0 || self.next_due.is_none_or(|due| due > now) {
                return;
            }
            match self.reserve(room, now).await {
                Ok(false) => return,
                Ok(true) => {}
                Err(error) => {
                    let webhook = &self.webhook.name;
                    tracing::warn!(webhook, %error, "cannot read webhook events from the store, will retry");
                    // The store may be busy with others.
                    self.next_due = Some(self.time.now() + STORE_RETRY);
                    return;
                }
            }
        }
    }

    /// Begins to deliver what is ready. Returns false if there was nothing, or no room for it.
    async fn reserve(&mut self, room: Room, now: Duration) -> Result<bool, StoreError> {
        let until = now + self.receiver.longest_delivery() + RESERVE;
        let reserved = self.store.reserve(&self.queue, room, now, until).await?;
        self.next_due = reserved.next_due;
        let any = !reserved.items.is_empty();
        for item in reserved.items {
            self.in_flight.start(item, reserved.dropped, &self.receiver, &self.clock);
        }
        Ok(any)
    }

    /// Handles the end of a delivery. Returns whether no more may be delivered.
    fn complete(&mut self, reserved: ReservedItem, outcome: Outcome) -> Option<Stopped> {
        let webhook = &self.webhook.name;
        let settlement = match outcome {
            Outcome::Accepted => {
                self.counters.delivered.inc();
                if std::mem::take(&mut self.failing) {
                    tracing::info!(webhook, "webhook deliveries succeed again");
                }
                Settlement::Complete
            }
            Outcome::Gone => {
                let message =
                    "webhook receiver answered 410 Gone, nothing is delivered until the next start";
                tracing::error!(webhook, "{message}");
                return Some(Stopped::Gone);
            }
            Outcome::Failed { error, rejected, retry_after } => {
                self.counters.failed.inc();
                if let Some(wait) = retry_after {
                    self.pause = self.pause.max(Some(Instant::now() + wait));
                }
                self.failed(&reserved, error, rejected)
            }
        };
        self.to_settle.push((reserved.reservation, settlement));
        None
    }

    /// Decides what follows an attempt that failed, and logs it.
    fn failed(&mut self, reserved: &ReservedItem, error: String, rejected: bool) -> Settlement {
        let ReservedItem { item, attempts, failures, .. } = reserved;
        let (webhook, lane, event) = (&self.webhook.name, &*item.lane, &*item.id);
        let attempt = FailedAttempt {
            rejected,
            attempts: *attempts,
            rejections: *failures,
            too_old: self.is_too_old(reserved),
        };
        match attempt.next(rand::random()) {
            Next::Retry(delay) => {
                let retry_in_ms = delay.as_millis();
                if std::mem::replace(&mut self.failing, true) {
                    tracing::debug!(
                        webhook,
                        error,
                        retry_in_ms,
                        "webhook delivery failed, will retry"
                    );
                } else {
                    tracing::warn!(
                        webhook,
                        error,
                        retry_in_ms,
                        "webhook delivery failed, will retry"
                    );
                }
                Settlement::RetryAt { due: self.time.now() + delay, counted: rejected }
            }
            Next::Park => {
                self.counters.parked.inc();
                let message =
                    "webhook receiver rejected an event several times, kept it as a dead letter";
                tracing::warn!(webhook, lane, event, error, "{message}");
                Settlement::Park { reason: error, at: self.clock.now() }
            }
            Next::GiveUp => {
                self.counters.dropped.inc();
                let message = "webhook delivery failed for too long, dropped the event";
                tracing::warn!(webhook, lane, event, error, "{message}");
                Settlement::Drop
            }
        }
    }

    /// Whether an event is older than `max_age`: by the wall clock only while that can be trusted, and by
    /// the time for which servers have run since in any case.
    fn is_too_old(&self, reserved: &ReservedItem) -> bool {
        let age = Duration::from_secs(self.clock.now().saturating_sub(reserved.item.at));
        let max = self.webhook.max_age;
        self.time.now().saturating_sub(reserved.since) > max
            || (age > max && self.clock.is_trusted())
    }

    /// Stores how deliveries have ended, and retries later if that fails. If the server ends before the
    /// retry, their events are delivered once more after the next start.
    async fn settle(&mut self) {
        let is_needed = !self.to_settle.is_empty() || self.duty.must_date();
        if !self.duty.delivers || !is_needed || !self.store_is_due() {
            return;
        }
        let (webhook, now) = (&self.webhook.name, self.time.now());
        match self.store.settle(&self.queue, self.to_settle.clone(), now).await {
            Ok(settled) => {
                if settled.dead_letters_dropped > 0 {
                    let dropped = settled.dead_letters_dropped;
                    tracing::warn!(webhook, dropped, "too many dead letters, deleted the oldest");
                }
                self.to_settle.clear();
                self.store_due = None;
                self.next_due = Some(now);
                self.duty.dated();
                self.count(settled.status);
            }
            Err(error) => {
                tracing::warn!(webhook, %error, "cannot store how webhook deliveries ended, will retry");
                self.store_due = Some(Instant::now() + STORE_RETRY);
            }
        }
    }

    /// Whether the store did not fail just now.
    fn store_is_due(&self) -> bool {
        self.store_due.is_none_or(|due| due <= Instant::now())
    }

    /// Stores the events that were read from the log. While that fails, the log keeps further ones, within
    /// its bounds.
    async fn persist(&mut self) {
        if self.intake.is_empty() || !self.store_is_due() {
            return;
        }
        let ((events, missed), budget) = (self.intake.batch(), self.budget());
        let now = self.date();
        match self.store.enqueue(&self.queue, events, missed, budget, now).await {
            Ok(added) => {
                self.intake.stored();
                self.missed(missed);
                self.store_due = None;
                self.next_due = Some(now);
                if self.duty.delivers {
                    self.count(added.status);
                } else {
                    self.kept.stored();
                }
                self.dropped(added.items);
            }
            Err(error) => {
                let webhook = &self.webhook.name;
                tracing::warn!(webhook, %error, "cannot store webhook events, will retry");
                self.store_due = Some(Instant::now() + STORE_RETRY);
            }
        }
    }

    fn budget(&self) -> QueueBudget {
        budget(&self.webhook)
    }

    fn count(&self, status: QueueStatus) {
        self.counters.pending.store(status.items, Ordering::Relaxed);
        self.counters.pending_bytes.store(status.bytes, Ordering::Relaxed);
    }

    /// Events were dropped to stay within the configured limits.
    fn dropped(&self, dropped: u64) {
        if dropped > 0 {
            self.counters.dropped.inc_by(dropped);
            let webhook = &self.webhook.name;
            tracing::warn!(webhook, dropped, "too many pending webhook events, dropped the oldest");
        }
    }

    /// Events left the log before they were read.
    fn missed(&self, gaps: u64) {
        if gaps > 0 {
            self.counters.dropped.inc_by(gaps);
            let webhook = &self.webhook.name;
            tracing::warn!(webhook, "the event log overflowed, some events are not delivered");
        }
    }
}
