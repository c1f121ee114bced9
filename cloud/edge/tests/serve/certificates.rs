//! Certificates that change while the server runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use fedecks_edge::{ServeLimits, TlsError};

use crate::support::{
    Identity, before_long, connect, connector, echoes, shake_hands, start, upgrade, who,
};

#[tokio::test]
async fn new_connections_see_the_new_certificate_and_the_old_ones_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let old = Identity::write(folder.path());
    let tls = Identity::load(folder.path());
    let server = start(ServeLimits::default(), Some(tls.clone()));
    let mut open = shake_hands(&connector(&[&old]), connect(&server).await).await.unwrap();
    assert!(upgrade(&mut open, "").await.starts_with("HTTP/1.1 101 "));

    let new = Identity::write(folder.path());
    assert!(tls.reload_if_changed().unwrap());
    assert!(shake_hands(&connector(&[&old]), connect(&server).await).await.is_err());
    let mut fresh = shake_hands(&connector(&[&new]), connect(&server).await).await.unwrap();
    assert!(who(&mut fresh, "").await.contains("encrypted: true"));
    assert!(echoes(&mut open).await);

    std::fs::write(folder.path().join("c.pem"), "no certificate").unwrap();
    assert!(matches!(tls.reload(), Err(TlsError::File { .. })));
    let mut fresh = shake_hands(&connector(&[&new]), connect(&server).await).await.unwrap();
    assert!(who(&mut fresh, "").await.contains("encrypted: true"));
    assert!(echoes(&mut open).await);
}

/// Some connections that are open all the time, others that come and go, and both while certificates
/// change as fast as they can.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_connection_is_lost_while_certificates_change_under_load() {
    const RELOADS: usize = 30;
    let folder = tempfile::tempdir().unwrap();
    let first = Identity::write(folder.path());
    let tls = Identity::load(folder.path());
    let server = Arc::new(start(ServeLimits::default(), Some(tls.clone())));
    let other = tempfile::tempdir().unwrap();
    let second = Identity::write(other.path());
    let connector = connector(&[&first, &second]);
    let ended = Arc::new(AtomicBool::new(false));
    let (echoed, shaken) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));

    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let mut open = shake_hands(&connector, connect(&server).await).await.unwrap();
        assert!(upgrade(&mut open, "").await.starts_with("HTTP/1.1 101 "));
        let (ended, echoed) = (ended.clone(), echoed.clone());
        tasks.spawn(async move {
            while !ended.load(Ordering::Relaxed) {
                assert!(echoes(&mut open).await, "an open connection broke");
                echoed.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    for _ in 0..4 {
        let (server, connector) = (server.clone(), connector.clone());
        let (ended, shaken) = (ended.clone(), shaken.clone());
        tasks.spawn(async move {
            while !ended.load(Ordering::Relaxed) {
                let stream = shake_hands(&connector, connect(&server).await).await;
                let mut stream = stream.expect("a handshake failed");
                assert!(who(&mut stream, "").await.contains("encrypted: true"));
                shaken.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    for _ in 0..RELOADS {
        for name in ["c.pem", "k.pem"] {
            // By another name first, as everybody does who replaces a file that is in use.
            let (from, unfinished) = (other.path().join(name), folder.path().join("new"));
            let mine = folder.path().join(name);
            let former = std::fs::read(&mine).unwrap();
            std::fs::write(&unfinished, std::fs::read(&from).unwrap()).unwrap();
            std::fs::rename(&unfinished, &mine).unwrap();
            std::fs::write(&from, former).unwrap();
        }
        tls.reload().unwrap();
        // Each certificate is used.
        let seen = shaken.load(Ordering::Relaxed);
        before_long("somebody connects", async {
            while shaken.load(Ordering::Relaxed) < seen + 2 {
                assert!(!tasks.is_empty());
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
    ended.store(true, Ordering::Relaxed);
    while let Some(task) = before_long("the end", tasks.join_next()).await {
        task.unwrap();
    }
    assert!(echoed.load(Ordering::Relaxed) > 0 && shaken.load(Ordering::Relaxed) >= 2 * RELOADS);
}
