//! Asks the service for the next item of something, across its restarts.

use std::time::Duration;

use fedecks_dbus::Device1Error;
use tokio::time::sleep;

use crate::failure::Failure;
use crate::output;

/// How long the service waits for an item before it says that there is none, in seconds.
const POLL_S: u32 = 20;

/// How long the command waits for a service that is not running.
const RETRY: Duration = Duration::from_secs(1);

/// A series of calls.
pub(crate) struct Poll {
    /// What is noted once the service has accepted the first call.
    listening: &'static str,
    /// The first call only says who asks.
    wait_s: u32,
    is_waiting: bool,
}

impl Poll {
    pub(crate) fn new(listening: &'static str) -> Self {
        Self { listening, wait_s: 0, is_waiting: false }
    }

    /// What the next call returns, which is given the number of seconds that the service shall wait.
    pub(crate) async fn next<T>(
        &mut self,
        call: impl AsyncFn(u32) -> Result<T, Device1Error>,
    ) -> Result<T, Failure> {
        loop {
            match call(self.wait_s).await {
                Ok(next) => {
                    if std::mem::replace(&mut self.wait_s, POLL_S) == 0 {
                        output::note(self.listening);
                    }
                    if std::mem::take(&mut self.is_waiting) {
                        output::note("fedecksd is running again");
                    }
                    return Ok(next);
                }
                Err(Device1Error::GivenUp(_)) => {}
                Err(error) => match error.into() {
                    Failure::NotRunning | Failure::Unreachable(_) => {
                        if !std::mem::replace(&mut self.is_waiting, true) {
                            output::note("fedecksd has stopped; waiting for it");
                        }
                    }
                    failure => return Err(failure),
                },
            }
            sleep(RETRY).await;
        }
    }
}
