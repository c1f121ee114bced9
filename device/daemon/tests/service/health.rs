use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use fedecks_protocol::Term;

use crate::support::cloud::{By, Cloud, Seen};
use crate::support::fedecksd::Setup;

#[tokio::test]
async fn the_cloud_is_sent_a_report_of_the_health_at_the_interval() {
    let mut cloud = Cloud::start("127.0.0.1:0".parse().unwrap()).await;
    let setup = Setup::new(&format!("ws://{}", cloud.address))
        .with_credentials()
        .line("report_interval", "1s");
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

/// A device that has a token, and a program that writes down why it was run.
async fn unreachable(setup: impl FnOnce(Setup) -> Setup) -> (Setup, PathBuf) {
    let mut cloud = Cloud::start("127.0.0.1:0".parse().unwrap()).await;
    let first = Setup::new(&format!("ws://{}", cloud.address)).with_credentials();
    let (program, told) = (first.folder.path().join("restart"), first.folder.path().join("told"));
    fs::write(
        &program,
        format!(
            "#!/bin/sh\necho \"$FEDECKS_UNREACHABLE_SECONDS $FEDECKS_UNREACHABLE_TIMES\" >> {}\n",
            told.display()
        ),
    )
    .unwrap();
    fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    let setup = setup(first)
        .line("unreachable_action", program.to_str().unwrap())
        .line("unreachable_after", "1s");
    let mut service = setup.start();
    assert_eq!(cloud.next().await, Seen::Connected(By::Credentials));
    service.says("used and removed").await;
    service.kill().await;
    cloud.stop().await;
    (setup, told)
}

#[tokio::test]
async fn without_the_cloud_for_too_long_a_program_is_run_ever_more_rarely_across_starts() {
    let (setup, told) = unreachable(|setup| setup).await;
    let mut service = setup.start();
    service.says("running the program").await;
    service.says("the program ended well").await;
    assert_eq!(fs::read_to_string(&told).unwrap(), "1 1\n");
    service.kill().await;

    // As after the restart of the device that the program has brought about.
    let mut service = setup.start();
    service.says("the program ended well").await;
    assert_eq!(fs::read_to_string(&told).unwrap(), "1 1\n2 2\n");
    service.kill().await;
    let record = fs::read_to_string(setup.data().join("unreachable")).unwrap();
    assert!(record.contains("times 2\n"), "{record}");
}

#[tokio::test]
async fn a_program_whose_runs_cannot_be_counted_is_not_run() {
    let (setup, told) = unreachable(|setup| setup).await;
    // A folder in the place of what is to be written.
    fs::create_dir_all(setup.data().join("unreachable.new/not-empty")).unwrap();
    let mut service = setup.start();
    service.says("the program is not run").await;
    assert!(!told.exists());
}

#[tokio::test]
async fn a_program_that_fails_is_told_and_connects_again_clears_the_count() {
    let (setup, _) = unreachable(|setup| setup).await;
    let setup = setup.line("unreachable_action", "/bin/false");
    let mut service = setup.start();
    service.says("the program failed program=/bin/false status=exit status: 1").await;
    assert!(setup.data().join("unreachable").exists());
    let url = setup.url().to_owned();
    let mut cloud = Cloud::start(url.strip_prefix("ws://").unwrap().parse().unwrap()).await;
    assert_eq!(cloud.next().await, Seen::Connected(By::Token));
    service.says(" connected").await;
    service.terminate().await;
    assert!(!setup.data().join("unreachable").exists());
}

#[tokio::test]
async fn a_connection_that_comes_and_goes_while_the_program_runs_counts() {
    let (setup, _) = unreachable(|setup| setup).await;
    let (program, go) = (setup.folder.path().join("slow"), setup.folder.path().join("go"));
    let script = format!("#!/bin/sh\nuntil [ -e {} ]; do sleep 0.1; done\n", go.display());
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    let setup = setup.line("unreachable_action", program.to_str().unwrap());
    let mut service = setup.start();
    service.says("running the program").await;
    let url = setup.url().to_owned();
    let mut cloud = Cloud::start(url.strip_prefix("ws://").unwrap().parse().unwrap()).await;
    assert_eq!(cloud.next().await, Seen::Connected(By::Token));
    service.says(" connected").await;
    cloud.stop().await;
    service.says("connection lost").await;
    fs::write(&go, "").unwrap();
    service.says("the program ended well").await;
    let again = service.says("running the program").await;
    assert!(again.contains("times=1"), "{again}");
}
