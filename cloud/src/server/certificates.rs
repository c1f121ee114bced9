use std::time::Duration;

use fedecks_cloud::{Listen, Tls, TlsError};
use sd_notify::NotifyState;
use tokio::signal::unix::Signal;
use tokio::time::MissedTickBehavior;

use super::notify;

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(2);

/// What the listeners prove themselves with.
pub(super) fn of(listen: &[Listen]) -> Vec<Tls> {
    listen.iter().filter_map(|listen| listen.tls.clone()).collect()
}

/// Reads the certificates anew when a file changes, or when `hangup` tells to, for as long as it is
/// polled. What cannot be used is logged, and the old one goes on.
pub(super) async fn keep_current(certificates: Vec<Tls>, mut hangup: Signal) {
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let told = tokio::select! {
            told = hangup.recv() => told.is_some(),
            _ = look.tick() => false,
        };
        if told {
            reloading();
        }
        for tls in &certificates {
            reload(tls.clone(), told).await;
        }
        if told {
            notify(&[NotifyState::Ready]);
        }
    }
}

async fn reload(tls: Tls, told: bool) {
    let certificate = tls.certificate().display().to_string();
    // Reading files may take long.
    let reloaded = tokio::task::spawn_blocking(move || {
        if told { tls.reload().map(|()| true) } else { tls.reload_if_changed() }
    });
    match reloaded.await {
        Ok(Ok(true)) => tracing::info!(certificate, "using the certificate as it is now"),
        Ok(Ok(false)) => {}
        Ok(Err(error)) => refused(&error),
        Err(error) => tracing::error!(certificate, %error, "cannot read the certificate"),
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
