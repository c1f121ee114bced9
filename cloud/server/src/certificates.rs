//! Keeps the certificates of the listeners current, and tells when one expires.

use std::time::Duration;

use fedecks_cloud::Listen;
use fedecks_cloud::serve::{Tls, TlsError};
use fedecks_store::unix_now;
use sd_notify::NotifyState;
use tokio::signal::unix::Signal;
use tokio::time::MissedTickBehavior;

use crate::systemd::notify;
use fedecks_common::utc;

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(2);

/// How often it is told that a certificate expires soon.
const REMIND: Duration = Duration::from_secs(24 * 3600);

/// How soon that is: by then it should have been renewed.
const SOON: Duration = Duration::from_secs(14 * 24 * 3600);

/// What the listeners prove themselves with.
pub(crate) fn of(listen: &[Listen]) -> Vec<Tls> {
    listen.iter().filter_map(|listen| listen.tls.clone()).collect()
}

/// Reads the certificates anew when a file changes, or when `hangup` tells to, for as long as it is
/// polled. What cannot be used is logged, and the old one goes on. Tells also when one expires soon.
pub(crate) async fn keep_current(certificates: Vec<Tls>, mut hangup: Signal) {
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut remind = tokio::time::interval(REMIND);
    loop {
        let told = tokio::select! {
            told = hangup.recv() => told.is_some(),
            _ = look.tick() => false,
            _ = remind.tick() => {
                certificates.iter().for_each(remind_of);
                continue;
            }
        };
        if told {
            reloading();
        }
        for tls in &certificates {
            reload(tls, told).await;
        }
        if told {
            notify(&[NotifyState::Ready]);
        }
    }
}

async fn reload(tls: &Tls, told: bool) {
    let certificate = tls.certificate().display().to_string();
    let reading = tls.clone();
    // Reading files may take long.
    let reloaded = tokio::task::spawn_blocking(move || {
        if told { reading.reload().map(|()| true) } else { reading.reload_if_changed() }
    });
    match reloaded.await {
        Ok(Ok(true)) => {
            let expires = tls.not_after().map(utc);
            tracing::info!(certificate, expires, "using the certificate as it is now");
            remind_of(tls);
        }
        Ok(Ok(false)) => {}
        Ok(Err(error)) => refused(&error),
        Err(error) => tracing::error!(certificate, %error, "cannot read the certificate"),
    }
}

/// Tells when a certificate has to be renewed.
fn remind_of(tls: &Tls) {
    let Some(end) = tls.not_after() else { return };
    let certificate = tls.certificate().display().to_string();
    let expires = utc(end);
    let now = unix_now();
    if end <= now {
        tracing::error!(certificate, expires, "the certificate has expired, devices refuse it");
    } else if end - now < SOON.as_secs() {
        tracing::warn!(certificate, expires, "the certificate expires soon, renew it");
    }
}

fn refused(error: &TlsError) {
    tracing::error!(%error, "going on with the certificate as it was before");
}

/// Tells systemd that it is told again once this is over (`Type=notify-reload`).
fn reloading() {
    tracing::info!("SIGHUP: reading the certificates anew");
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!(%error, "cannot tell systemd the time"),
    }
}
