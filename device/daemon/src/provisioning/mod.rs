//! The first login without anybody at hand: with credentials that somebody has put into a file or
//! that systemd hands over, used once.
//!
//! The record on disk is written before the login begins, and the credentials are removed after the
//! token is on disk. So wherever the power goes, the next start knows which of the two happened.

mod mounts;
mod provisioner;
mod record;
mod source;
mod status;

use std::time::Duration;

use fedecks_device::{Client, Status};
use fedecks_device_core::{GiveUp, LoggedIn, LoginError, State, Stored};
use fedecks_protocol::Refusal;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::warn;

use crate::blocking::blocking;
use mounts::Mounts;
pub(crate) use provisioner::Provisioner;
use provisioner::{Claim, Look};
pub(crate) use status::ProvisioningReport;

/// Without a token it is looked again after the first wait, then after twice as long, up to the
/// longest one: the partition with the file may be mounted late.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// What is mounted comes in several steps, and with other things.
const SETTLE: Duration = Duration::from_millis(500);

/// For so long after the start a data directory that is not there is waited for: it may have a token,
/// and it knows what was used before.
const PATIENCE: Duration = Duration::from_secs(10);

/// Looks for credentials and logs in with them, until the client ends. While there is a token it looks
/// at the start and when a file system is mounted, and nothing wakes up meanwhile.
pub(crate) async fn run(client: Client, mut provisioner: Provisioner) {
    let mut status = client.watch_status();
    let mounts = Mounts::watch();
    let start = Instant::now();
    let mut wait = FIRST_WAIT;
    loop {
        let anyhow = start.elapsed() >= PATIENCE;
        let look;
        (provisioner, look) = on_disk(provisioner, move |it| it.look(anyhow)).await;
        match look {
            Look::LogIn(claim, credentials) => {
                let begun = claim.clone();
                (provisioner, ()) = on_disk(provisioner, move |it| it.begin(&begun)).await;
                let answer = client.login(credentials).await;
                match settle(provisioner, claim, answer, &mut status).await {
                    // There may be another source, if this one was rejected.
                    Some(back) => provisioner = back,
                    None => return,
                }
                wait = FIRST_WAIT;
                continue;
            }
            Look::Nothing => {}
            Look::NoRecord(error) if wait == FIRST_WAIT => {
                warn!(%error, "which credentials of provisioning were used before is not known yet");
            }
            Look::NoRecord(_) => {}
        }
        if occasion(&mut status, &mounts, Instant::now() + wait).await.is_none() {
            return;
        }
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

/// Waits for a change of what is mounted, or until this moment and further until there is no token.
/// `None` if the client has ended.
async fn occasion(
    status: &mut watch::Receiver<Status>,
    mounts: &Mounts,
    due: Instant,
) -> Option<()> {
    loop {
        let unregistered = status.borrow_and_update().state == State::Unregistered;
        tokio::select! {
            changed = status.changed() => changed.ok()?,
            () = sleep_until(due), if unregistered => return Some(()),
            () = mounts.changed() => {
                sleep(SETTLE).await;
                return Some(());
            }
        }
    }
}

/// Does what the answer means for the credentials. `None` if the client has ended.
async fn settle(
    mut provisioner: Provisioner,
    claim: Claim,
    answer: Result<LoggedIn, LoginError>,
    status: &mut watch::Receiver<Status>,
) -> Option<Provisioner> {
    let reason = match answer {
        Ok(LoggedIn { persisted: true }) => {
            return Some(on_disk(provisioner, move |it| it.used(&claim)).await.0);
        }
        Ok(LoggedIn { persisted: false }) => {
            let told = claim.clone();
            (provisioner, ()) = on_disk(provisioner, move |it| it.unstored(&told)).await;
            if stored(status).await {
                return Some(on_disk(provisioner, move |it| it.used(&claim)).await.0);
            }
            GiveUp::Logout.to_string()
        }
        // Nothing is wrong with the credentials. The device may go on with the token that it has,
        // and when the cloud replaces that by a newer one, that is not by this login.
        Err(LoginError::Rejected(refusal @ Refusal::Blocked)) => {
            let told = claim.clone();
            (provisioner, ()) = on_disk(provisioner, move |it| it.nothing_came(&told)).await;
            refusal.reason().to_owned()
        }
        Err(LoginError::GivenUp(for_what)) => for_what.to_string(),
        Err(error @ (LoginError::Rejected(_) | LoginError::Invalid(_))) => {
            let reason = error.to_string();
            return Some(on_disk(provisioner, move |it| it.rejected(&claim, &reason)).await.0);
        }
    };
    (provisioner, ()) = on_disk(provisioner, move |it| it.put_off(&claim, &reason)).await;
    status.has_changed().is_ok().then_some(provisioner)
}

/// Waits until the token is on disk; false if it is given up before that.
async fn stored(status: &mut watch::Receiver<Status>) -> bool {
    loop {
        let (has_token, stored) = {
            let status = status.borrow_and_update();
            (status.token_expires_at.is_some(), status.stored)
        };
        match stored {
            _ if !has_token => return false,
            Stored::Yes => return true,
            Stored::Pending | Stored::Failed => {}
        }
        if status.changed().await.is_err() {
            // The last thing that a client does is to store its token.
            return has_token && status.borrow().stored == Stored::Yes;
        }
    }
}

async fn on_disk<T: Send + 'static>(
    mut provisioner: Provisioner,
    job: impl FnOnce(&mut Provisioner) -> T + Send + 'static,
) -> (Provisioner, T) {
    blocking(move || {
        let done = job(&mut provisioner);
        (provisioner, done)
    })
    .await
}
