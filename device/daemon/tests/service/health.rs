//! Health reports to the cloud.

use fedecks_protocol::Term;

use crate::support::fedecksd::Setup;
use crate::support::{By, Seen, cloud};

#[tokio::test]
async fn health_is_reported_to_the_cloud_at_the_interval() {
    let mut cloud = cloud().await;
    let setup = Setup::new(cloud.address).with_credentials().line("report_interval", "1s");
    let _service = setup.start();
    assert_eq!(cloud.next().await, Seen::Connected(By::Credentials));
    let mut sent = Vec::new();
    while sent.len() < 2 {
        let Seen::Message(report) = cloud.next().await else { continue };
        let health = report.get("fedecks.health").unwrap();
        assert_eq!(health.get("state"), Some(&Term::from("connected")));
        assert_eq!(health.get("attempts"), Some(&Term::Int(1)));
        assert!(health.get("connected_since").and_then(Term::as_int).unwrap() > 1_700_000_000);
        let clock = health.get("clock").unwrap();
        assert_eq!(clock.get("state"), Some(&Term::from("plausible")));
        let traffic = health.get("traffic").unwrap();
        assert!(traffic.get("bytes_received").and_then(Term::as_int).unwrap() > 100);
        sent.push(traffic.get("messages_sent").and_then(Term::as_int).unwrap());
    }
    assert_eq!(sent, [0, 1]);
}
