//! Limits how many lines of one kind are written per second, and tells how many were left out. A kind is the
//! place in the code that writes the line; lines with the field `by`, an authenticated caller, are one kind per
//! caller. Debugging levels are not limited: an operator who asks for them wants them all.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::queue::Queue;
use crate::RateLimit;

/// The target of the lines that tell what is missing. They are not limited.
pub(super) const MISSING: &str = "fedecks_common::log";

/// How long after the first line that was left out the sum is logged.
const SUM_AFTER: Duration = Duration::from_secs(10);

/// How many kinds there may be before further callers share one with strangers.
const MOST_KINDS: usize = 1024;

/// The longest name of a kind or a caller in a sum, in characters.
const LONGEST_NAME: usize = 80;

pub(super) struct Limiter {
    limit: RateLimit,
    kinds: Mutex<Vec<Kind>>,
    suppressed: AtomicU64,
    queue: &'static Queue,
}

struct Kind {
    callsite: Identifier,
    by: Option<String>,
    full_at: Instant,
    /// Since the last sum.
    sum: Option<Sum>,
}

/// Lines of one kind that were left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sum {
    /// The message of the first.
    kind: String,
    by: Option<String>,
    count: u64,
    since: Instant,
}

impl Limiter {
    pub(super) fn new(limit: RateLimit, queue: &'static Queue) -> Self {
        Self { limit, kinds: Mutex::default(), suppressed: AtomicU64::new(0), queue }
    }

    /// How many lines were left out since the start.
    pub(super) fn suppressed(&self) -> u64 {
        self.suppressed.load(Ordering::Relaxed)
    }

    /// Writes a line for each kind of which lines were left out.
    pub(super) fn tell_sums(&self) {
        let now = Instant::now();
        let sums: Vec<Sum> = self.kinds().iter_mut().filter_map(|kind| kind.sum.take()).collect();
        for Sum { kind, by, count, since } in sums {
            let seconds = now.duration_since(since).as_secs().max(1);
            tracing::warn!(
                target: MISSING,
                kind,
                by,
                count,
                seconds,
                "too many log lines of one kind, left some out"
            );
        }
    }

    /// Whether a line may be written.
    fn take(&self, event: &Event<'_>, now: Instant) -> bool {
        let callsite = event.metadata().callsite();
        let by = event.metadata().fields().field("by").and_then(|_| Text::of("by", event));
        let mut kinds = self.kinds();
        let kind = find(&mut kinds, &callsite, by, now);
        if self.limit.blocked_until(kind.full_at, now).is_none() {
            self.limit.take(&mut kind.full_at, now);
            return true;
        }
        self.suppressed.fetch_add(1, Ordering::Relaxed);
        if let Some(sum) = &mut kind.sum {
            sum.count += 1;
            return false;
        }
        let by = kind.by.clone();
        drop(kinds);
        // Without the lock: formatting a value may log, or panic, which is logged.
        let text = Text::of("message", event).unwrap_or_default();
        let mut kinds = self.kinds();
        let kind = find(&mut kinds, &callsite, by.clone(), now);
        let begin = || Sum { kind: text, by, count: 0, since: now };
        kind.sum.get_or_insert_with(begin).count += 1;
        drop(kinds);
        self.queue.tell_sums_at(now + SUM_AFTER);
        false
    }

    fn kinds(&self) -> MutexGuard<'_, Vec<Kind>> {
        self.kinds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The kind of a line; a new one if it is not known. Past the bound a caller shares that of strangers.
fn find<'a>(
    kinds: &'a mut Vec<Kind>,
    callsite: &Identifier,
    mut by: Option<String>,
    now: Instant,
) -> &'a mut Kind {
    let place = |kinds: &[Kind], by: &Option<String>| {
        kinds.iter().position(|kind| kind.callsite == *callsite && kind.by == *by)
    };
    let mut found = place(kinds, &by);
    if found.is_none() && by.is_some() && kinds.len() >= MOST_KINDS {
        kinds.retain(|kind| kind.full_at > now || kind.sum.is_some());
        if kinds.len() >= MOST_KINDS {
            by = None;
            found = place(kinds, &by);
        }
    }
    let place = found.unwrap_or_else(|| {
        kinds.push(Kind { callsite: callsite.clone(), by, full_at: now, sum: None });
        kinds.len() - 1
    });
    &mut kinds[place]
}

/// The levels and the limiter as a part of the subscriber: a single layer, as each costs several kilobytes of code.
pub(super) struct Limited {
    pub(super) level: LevelFilter,
    pub(super) limiter: Option<&'static Limiter>,
}

impl<S: Subscriber> Layer<S> for Limited {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if *metadata.level() <= self.level { Interest::always() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        *metadata.level() <= self.level
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.level)
    }

    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let metadata = event.metadata();
        // The lines about missing lines are few.
        *metadata.level() > Level::INFO
            || metadata.target() == MISSING
            || self.limiter.is_none_or(|limiter| limiter.take(event, Instant::now()))
    }
}

/// Reads the message, or a field that is text.
struct Text {
    name: &'static str,
    value: Option<String>,
}

impl Text {
    fn of(name: &'static str, event: &Event<'_>) -> Option<String> {
        let mut text = Self { name, value: None };
        event.record(&mut text);
        text.value
    }

    fn set(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        if field.name() == self.name {
            let mut value = value.to_string();
            if let Some((end, _)) = value.char_indices().nth(LONGEST_NAME) {
                value.truncate(end);
            }
            self.value = Some(value);
        }
    }
}

impl Visit for Text {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field, format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Others are values that differ from line to line.
        if field.name() == "message" {
            self.set(field, format_args!("{value:?}"));
        }
    }
}
