//! Follows the service's signals across its restarts.

use futures_util::{Stream, StreamExt};
use zbus::proxy::OwnerChangedStream;

use crate::failure::Failure;
use crate::{bus, output};

/// Calls `handle` for each signal, in order, until it returns false, the output is closed or the
/// connection to the bus ends. The service may stop and restart meanwhile.
pub(crate) async fn follow<S: Stream + Unpin>(
    mut signals: S,
    mut owners: OwnerChangedStream<'_>,
    mut handle: impl AsyncFnMut(S::Item) -> Result<bool, Failure>,
) -> Result<(), Failure> {
    let mut closed = std::pin::pin!(output::closed());
    loop {
        tokio::select! {
            signal = signals.next() => {
                let signal = signal.ok_or_else(bus::gone)?;
                // A closed output does not interrupt a program that is running for a message.
                if !handle(signal).await? {
                    return Ok(());
                }
            }
            owner = owners.next() => match owner.ok_or_else(bus::gone)? {
                Some(_) => output::note("fedecksd is running again"),
                None => output::note("fedecksd has stopped; waiting for it"),
            },
            failure = &mut closed => return Err(failure),
        }
    }
}

/// The number of signals that are still wanted; none for no limit.
pub(crate) struct Countdown(Option<u64>);

impl Countdown {
    pub(crate) fn new(count: Option<u64>) -> Self {
        Self(count)
    }

    /// Counts one. Returns true if more are wanted.
    pub(crate) fn wants_more(&mut self) -> bool {
        let Some(left) = &mut self.0 else { return true };
        *left = left.saturating_sub(1);
        *left > 0
    }
}
