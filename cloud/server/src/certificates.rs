//! Reloads the certificates of the listeners when they change, and the authorities and revocation lists of devices'
//! certificates; closes the sessions that those end, and warns before a certificate expires.

use std::time::Duration;

use fedecks_cloud::Hub;
use fedecks_cloud::serve::Tls;
use fedecks_common::utc;
use fedecks_store::unix_now;
use sd_notify::NotifyState;
use tokio::signal::unix::Signal;
use tokio::time::MissedTickBehavior;

use crate::preflight::{log_client_findings, log_report};
use crate::systemd::{notify, notify_surely};

/// How often the files are checked for changes.
const CHECK_INTERVAL: Duration = Duration::from_secs(2);

/// How often sessions are checked for certificates that have expired.
const SESSION_INTERVAL: Duration = Duration::from_secs(60);

/// How often a certificate that expires soon is logged.
const WARNING_INTERVAL: Duration = Duration::from_secs(24 * 3600);

/// The remaining time at which a certificate should have been renewed.
const EXPIRES_SOON: Duration = Duration::from_secs(14 * 24 * 3600);

/// Reloads the certificates when a file changes or on `hangup`, until it is dropped. A certificate that
/// cannot be used is logged, and the loaded one stays. Also warns when one expires soon.
pub(crate) async fn reload_on_change(certificates: Vec<Tls>, hub: Hub, mut hangup: Signal) {
    let mut check = tokio::time::interval(CHECK_INTERVAL);
    check.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut warning = tokio::time::interval(WARNING_INTERVAL);
    let mut sessions = tokio::time::interval(SESSION_INTERVAL);
    sessions.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let requested = tokio::select! {
            signal = hangup.recv() => signal.is_some(),
            _ = check.tick() => false,
            _ = warning.tick() => {
                certificates.iter().for_each(warn_before_expiry);
                certificates.iter().for_each(log_client_findings);
                continue;
            }
            _ = sessions.tick() => {
                hub.close_refused_certificates();
                continue;
            }
        };
        if requested {
            notify_reloading();
        }
        let mut changed = false;
        for tls in &certificates {
            changed |= reload(tls, requested).await;
        }
        if changed {
            hub.close_refused_certificates();
        }
        if requested {
            notify_surely(&[NotifyState::Ready]);
        }
    }
}

/// Returns whether the files were read again.
async fn reload(tls: &Tls, requested: bool) -> bool {
    let certificate = tls.certificate().display().to_string();
    let reading = tls.clone();
    // Files may be on a slow disk.
    let reloaded = tokio::task::spawn_blocking(move || {
        if requested { reading.reload().map(|()| true) } else { reading.reload_if_changed() }
    });
    match reloaded.await {
        Ok(Ok(true)) => {
            let expires = tls.not_after().map(utc);
            tracing::info!(certificate, expires, "reloaded the certificate");
            warn_before_expiry(tls);
            log_report(tls);
            log_client_findings(tls);
            return true;
        }
        Ok(Ok(false)) => {}
        Ok(Err(error)) => {
            tracing::error!(%error, "cannot reload the certificate, keeping the previous one");
        }
        Err(error) => tracing::error!(certificate, %error, "cannot read the certificate"),
    }
    false
}

/// Logs that a certificate has to be renewed.
fn warn_before_expiry(tls: &Tls) {
    let Some(end) = tls.not_after() else { return };
    let certificate = tls.certificate().display().to_string();
    let expires = utc(end);
    let now = unix_now();
    if end <= now {
        tracing::error!(certificate, expires, "the certificate has expired, devices reject it");
    } else if end - now < EXPIRES_SOON.as_secs() {
        tracing::warn!(certificate, expires, "the certificate expires soon, renew it");
    }
}

/// Announces a reload to systemd, which expects another message when it is done (`Type=notify-reload`).
fn notify_reloading() {
    tracing::info!("SIGHUP: reloading the certificates");
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!(%error, "cannot read the monotonic clock for systemd"),
    }
}
