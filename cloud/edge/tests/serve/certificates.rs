//! Certificates that change while the server is running.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use fedecks_edge::{ServeLimits, Tls, TlsError};
use fedecks_testing::certificates::Certificate;
use fedecks_testing::wait::{until, within};
use rustls::HandshakeKind;

use crate::support::{connect, connector, echoes, shake_hands, start, upgrade, who};

#[tokio::test]
async fn a_new_certificate_is_used_by_new_connections_only() {
    let folder = tempfile::tempdir().unwrap();
    let old = Certificate::self_signed("localhost");
    let [certificate, key] = old.write(folder.path());
    let tls = Tls::from_pem_files(&certificate, &key).unwrap();
    let server = start(ServeLimits::default(), Some(tls.clone()));
    let mut open = shake_hands(&connector(&[&old]), connect(&server).await).await.unwrap();
    upgrade(&mut open, "").await;

    let new = Certificate::self_signed("localhost");
    new.write(folder.path());
    assert!(tls.reload_if_changed().unwrap());
    assert!(shake_hands(&connector(&[&old]), connect(&server).await).await.is_err());
    for _ in 0..2 {
        let mut fresh = shake_hands(&connector(&[&new]), connect(&server).await).await.unwrap();
        assert!(who(&mut fresh, "").await.contains("encrypted: true"));
        assert!(echoes(&mut open).await);
        // Changes nothing.
        std::fs::write(&certificate, "no certificate").unwrap();
        assert!(matches!(tls.reload(), Err(TlsError::File { .. })));
    }
}

/// Some connections stay open, others come and go, while certificates change as fast as possible.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_connection_is_lost_while_certificates_change() {
    const RELOADS: usize = 30;
    let folder = tempfile::tempdir().unwrap();
    let pairs = [0, 1].map(|_| Certificate::self_signed("localhost"));
    let [certificate, key] = pairs[0].write(folder.path());
    let tls = Tls::from_pem_files(certificate, key).unwrap();
    let server = Arc::new(start(ServeLimits::default(), Some(tls.clone())));
    let connector = connector(&[&pairs[0], &pairs[1]]);
    let ended = Arc::new(AtomicBool::new(false));
    let (echoed, shaken) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));

    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let mut open = shake_hands(&connector, connect(&server).await).await.unwrap();
        upgrade(&mut open, "").await;
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
    for reload in 0..RELOADS {
        pairs[1 - reload % 2].write(folder.path());
        tls.reload().unwrap();
        // Each certificate is used.
        let seen = shaken.load(Ordering::Relaxed);
        until(async || {
            assert!(!tasks.is_empty());
            (shaken.load(Ordering::Relaxed) >= seen + 2).then_some(())
        })
        .await;
    }
    ended.store(true, Ordering::Relaxed);
    while let Some(task) = within(tasks.join_next()).await {
        task.unwrap();
    }
    assert!(echoed.load(Ordering::Relaxed) > 0 && shaken.load(Ordering::Relaxed) >= 2 * RELOADS);
}

/// As after a restart, or at another server of a cluster.
#[tokio::test]
async fn sessions_resume_at_a_new_server_with_the_secret() {
    let folder = tempfile::tempdir().unwrap();
    let pair = Certificate::self_signed("localhost");
    let [certificate, key] = pair.write(folder.path());
    let connector = connector(&[&pair]);
    let connect_to = async |secret: [u8; 32]| {
        let tls = Tls::from_pem_files(&certificate, &key).unwrap().with_ticket_secret(&secret);
        let server = start(ServeLimits::default(), Some(tls.clone()));
        let mut stream = shake_hands(&connector, connect(&server).await).await.unwrap();
        // The ticket arrives with the first bytes.
        assert!(who(&mut stream, "").await.contains("encrypted: true"));
        let stats = server.monitor().stats();
        assert_eq!(stats.full_handshakes + stats.resumed_handshakes, 1);
        // A reload keeps the keys.
        tls.reload().unwrap();
        stream.get_ref().1.handshake_kind().unwrap()
    };
    assert_eq!(connect_to([1; 32]).await, HandshakeKind::Full);
    assert_eq!(connect_to([1; 32]).await, HandshakeKind::Resumed);
    assert_eq!(connect_to([2; 32]).await, HandshakeKind::Full);
}
