//! A configuration that this version does not understand in full: the device stays reachable.

use fedecks_protocol::Term;

use crate::support::fedecksd::Setup;
use crate::support::{By, Seen, cloud};

#[tokio::test]
async fn an_unknown_key_is_ignored_and_reported() {
    let mut cloud = cloud().await;
    let setup = Setup::new(cloud.address)
        .with_credentials()
        .value("newer_key", "7")
        .line("max_waiting", "lots")
        .line("report_interval", "1s");
    let mut service = setup.start();
    service.logs("fedecksd started").await;
    for key in ["max_waiting", "newer_key"] {
        let warning = service.logs(key).await;
        assert!(warning.contains("WARN"), "{warning}");
    }
    assert_eq!(cloud.next().await, Seen::Connected(By::Credentials));
    let Seen::Message(report) = cloud.next().await else { panic!("no report") };
    let Some(Term::List(warnings)) = report.get("fedecks.health").unwrap().get("configuration")
    else {
        panic!("{report:?}")
    };
    assert_eq!(warnings.len(), 2);
    let file = setup.folder.path().join("fedecks.toml");
    let text = warnings[1].as_str().unwrap();
    assert!(text.starts_with(file.to_str().unwrap()) && text.contains("newer_key"), "{text}");
}

#[tokio::test]
async fn a_comment_in_another_encoding_is_no_obstacle() {
    let mut cloud = cloud().await;
    let setup = Setup::new(cloud.address).with_credentials();
    // As written by an editor of Windows: a byte order mark, CRLF, and Latin-1.
    let text = format!(
        "url = \"ws://{}\"\r\ndevice_id = \"kitchen-1\"\r\ndata_dir = {:?}\r\nnetwork = \"none\"\r\n\
         provision_file = {:?}\r\n# K",
        cloud.address,
        setup.data(),
        setup.folder.path().join("provision.toml")
    );
    let bytes = [b"\xef\xbb\xbf", text.as_bytes(), b"\xfcche\r\n"].concat();
    let mut service = setup.start_with(bytes);
    service.logs("fedecksd started").await;
    assert_eq!(cloud.next().await, Seen::Connected(By::Credentials));
}
