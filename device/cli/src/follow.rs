//! Follows what the service signals, over its restarts.

use futures_util::{Stream, StreamExt};
use zbus::proxy::OwnerChangedStream;

use crate::failure::Failure;
use crate::output;

/// Takes one signal after the other as they come, in their order, until `take` has had enough (it
/// says `false`), nobody reads the output any more, or the bus goes away. The service may go and
/// come back meanwhile.
pub(crate) async fn follow<S: Stream + Unpin>(
    mut signals: S,
    mut owners: OwnerChangedStream<'_>,
    mut take: impl AsyncFnMut(S::Item) -> Result<bool, Failure>,
) -> Result<(), Failure> {
    let gone = || Failure::NoBus("it went away".to_owned());
    let closed = output::closed();
    let mut closed = std::pin::pin!(closed);
    loop {
        tokio::select! {
            signal = signals.next() => {
                let signal = signal.ok_or_else(gone)?;
                // A program that runs for a message is not cut off by a closed output.
                if !take(signal).await? {
                    return Ok(());
                }
            }
            owner = owners.next() => match owner.ok_or_else(gone)? {
                Some(_) => output::note("fedecksd is back"),
                None => output::note("fedecksd went away; waiting until it is back"),
            },
            failure = &mut closed => return Err(failure),
        }
    }
}

/// How many are still to come; none without an end.
pub(crate) struct Countdown(Option<u64>);

impl Countdown {
    pub(crate) fn new(count: Option<u64>) -> Self {
        Self(count)
    }

    /// Counts one, and says whether more are wanted.
    pub(crate) fn wants_more(&mut self) -> bool {
        let Some(left) = &mut self.0 else { return true };
        *left = left.saturating_sub(1);
        *left > 0
    }
}
