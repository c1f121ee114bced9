//! Tests of the commands for claims and registrations in this process: what they print, change and complain about.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use fedecks_store::{
    ClaimSecret, RegistrationOutcome, RegistrationStore, SqliteStore, StoreOptions,
};
use fedecks_testing::registration::{claim_or_account, registration};

use super::tests::{failure, parse, run};
use super::*;

/// Registers a device in the store in `folder`, by a claim with this secret or by an account.
fn register(folder: &Path, device: &str, proof: &str) -> RegistrationOutcome {
    let store = folder.join("fedecks.sqlite");
    let store = SqliteStore::open_beside(&store, StoreOptions::default()).unwrap();
    let request = registration(device, claim_or_account(proof));
    place::start_runtime().unwrap().block_on(store.register(&request)).unwrap()
}

fn registers(folder: &Path, device: &str, proof: &str) {
    let outcome = register(folder, device, proof);
    assert!(matches!(outcome, RegistrationOutcome::Registered { .. }), "{device}: {outcome:?}");
}

/// A new claim: its id and its secret.
fn add(folder: &Path, options: &[&str]) -> (String, String) {
    let added = run(folder, &[&["claim", "add", "--json"], options].concat()).unwrap();
    let made: serde_json::Value = serde_json::from_str(&added).unwrap();
    let text = |member: &str| made[member].as_str().unwrap().to_owned();
    (text("id"), text("secret"))
}

/// A column of a list.
fn column(list: &str, index: usize) -> Vec<&str> {
    list.lines().map(|line| line.split('\t').nth(index).unwrap()).collect()
}

#[test]
fn a_secret_is_shown_once_and_the_claim_listed_without_it() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let options = ["--devices", "site-*", "--uses", "5", "--expires", "90d", "--label", "Site"];
    let secret = run(folder, &[&["claim", "add"], &options[..]].concat()).unwrap();
    let secret = secret.trim_end();
    assert!(secret.parse::<ClaimSecret>().is_ok(), "{secret:?}");
    registers(folder, "site-1", secret);
    let listed = run(folder, &["claim", "list"]).unwrap();
    let columns: Vec<_> = listed.trim_end().split('\t').collect();
    assert_eq!(columns[1..4], ["site-*", "active", "1/5"]);
    assert!(columns[4].ends_with('Z') && columns[5].ends_with('Z'), "{listed}");
    assert_eq!(columns[6..], ["Site", "-"]);
    let id = columns[0];

    let shown = run(folder, &["claim", "show", id]).unwrap();
    assert!(
        shown.starts_with(&format!("claim: {id}\ndevices: site-*\nstate: active\n")),
        "{shown}"
    );
    assert!(shown.contains("\nused: 1 of 5\nreturned: 0 of 0\n"), "{shown}");
    let last = shown.lines().last().unwrap();
    assert!(last.starts_with("site-1\t") && last.ends_with("\t192.0.2.7\tregistered"), "{last}");
    for text in [&listed, &shown, &run(folder, &["claim", "export", "--uses"]).unwrap()] {
        assert!(!text.contains(&secret[4..]), "{text}");
    }
    let devices = run(folder, &["device", "list"]).unwrap();
    assert_eq!(column(&devices, 6), [format!("claim:{id}")]);
    let devices = run(folder, &["device", "list", "--json"]).unwrap();
    let device: serde_json::Value = serde_json::from_str(&devices).unwrap();
    assert_eq!(device["registration"]["address"], "192.0.2.7", "{device}");
    assert_eq!(device["label"], "Site");

    let revoked = run(folder, &["claim", "revoke", id]).unwrap();
    let kept = "the tokens of its devices stay valid\n";
    assert_eq!(revoked, format!("{id}: claim revoked; {kept}"));
    let again = run(folder, &["claim", "revoke", id]).unwrap();
    assert_eq!(again, format!("{id}: was revoked already; {kept}"));
    assert_eq!(column(&run(folder, &["claim", "list", "--state", "revoked"]).unwrap(), 0), [id]);
    assert_eq!(run(folder, &["claim", "list", "--state", "active"]).unwrap(), "");
    for command in [["claim", "show"], ["claim", "revoke"]] {
        let error = failure(folder, &[&command[..], &["0123456789ab"]].concat());
        assert_eq!(error, "no such claim: 0123456789ab");
    }
}

#[test]
fn a_sheet_for_the_production_line_has_a_line_for_each_claim() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let url = "wss://cloud.example.com";
    let many = ["--devices", "kit-*", "--count", "5000", "--url", url, "--csv"];
    let sheet = run(folder, &[&["claim", "add"], &many[..]].concat()).unwrap();
    let mut lines = sheet.lines();
    assert_eq!(lines.next(), Some("id,secret,devices,uses,expires_at,label,qr"));
    let mut secrets = HashSet::new();
    for line in lines {
        let fields: Vec<_> = line.split(',').collect();
        let [_, secret, "kit-*", "1", "", "", qr] = fields[..] else { panic!("{line}") };
        assert_eq!(qr, format!("FEDECKS1;c={secret};d=kit-*;u={url}"));
        assert!(secrets.insert(secret.to_owned()), "{line}");
    }
    assert_eq!(secrets.len(), 5000);
    registers(folder, "kit-1", secrets.iter().next().unwrap());
    assert_eq!(run(folder, &["claim", "list", "--search", "KIT"]).unwrap().lines().count(), 5000);

    let ids = folder.join("ids");
    fs::write(&ids, "board-1\n\n board-2 \n").unwrap();
    let ids = ids.to_str().unwrap();
    run(folder, &["claim", "add", "--ids", ids, "--note", "batch 7"]).unwrap();
    let listed = run(folder, &["claim", "list", "--search", "batch 7"]).unwrap();
    let devices: HashSet<_> = column(&listed, 1).into_iter().collect();
    assert_eq!(devices, HashSet::from(["board-1", "board-2"]));
    let exported = run(folder, &["claim", "export", "--state", "used-up"]).unwrap();
    let lines: Vec<_> = exported.lines().collect();
    assert!(lines[0].starts_with("id,devices,state,uses,used,"), "{exported}");
    assert!(lines[1].contains(",kit-*,used-up,1,1,0,0,"), "{exported}");
    assert_eq!(lines.len(), 2);
    let uses = run(folder, &["claim", "export", "--uses"]).unwrap();
    let lines: Vec<_> = uses.lines().collect();
    assert_eq!((lines[0], lines.len()), ("claim,device,at,address,returned", 2));
    assert!(lines[1].ends_with(",192.0.2.7,false"), "{uses}");
}

#[test]
fn typing_mistakes_make_no_claims() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    for (arguments, problem) in [
        (&["claim", "add"][..], "--devices <PATTERN>|--ids <FILE>"),
        (&["claim", "add", "--devices", "a/b"], "pattern"),
        (&["claim", "add", "--devices", "a", "--ids", "x"], "cannot be used with"),
        (&["claim", "add", "--ids", "x", "--count", "2"], "cannot be used with"),
        (&["claim", "add", "--devices", "a", "--expires", "soon"], "is not a duration"),
        (&["claim", "add", "--devices", "a", "--url", "https://x"], "expected wss://HOST"),
        (&["claim", "list", "--state", "new"], "expected active, used-up, expired or revoked"),
        (&["claim", "show", "7"], "12 hexadecimal characters"),
        (
            &["device", "revoke"],
            "<ID|--by-claim <CLAIM>|--by-account <ACCOUNT>|--devices <PATTERN>",
        ),
        (&["device", "revoke", "x", "--by-account", "fleet"], "cannot be used with"),
        (&["device", "revoke", "--devices", "a/b"], "pattern"),
        (&["device", "revoke", "--dry-run"], "required"),
        (&["device", "revoke", "--devices", "x", "--allow-unknown"], "cannot be used with"),
    ] {
        let Err(error) = parse(arguments) else { panic!("{arguments:?}") };
        assert_eq!(error.exit_code(), 2, "{arguments:?}");
        assert!(error.to_string().contains(problem), "{arguments:?}: {error}");
    }
    let ids = folder.join("ids");
    fs::write(&ids, "a\nb c\n").unwrap();
    let ids = ids.to_str().unwrap();
    for (options, problem) in [
        (&["--devices", "*", "--uses", "0"][..], "expected 1 to 1000000 uses, not 0".to_owned()),
        (&["--devices", "*", "--count", "10001"], "expected 1 to 10000 claims at once".to_owned()),
        (&["--devices", "*", "--expires", "0s"], "--expires: must be at least 1s".to_owned()),
        (&["--ids", ids], format!("{ids}, line 2: ")),
    ] {
        let error = run(folder, &[&["claim", "add"], options].concat()).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{options:?}: {error}");
        assert!(error.to_string().contains(&problem), "{options:?}: {error}");
    }
    assert!(!folder.join("fedecks.sqlite").exists(), "nothing is created");
}

#[test]
fn devices_are_revoked_by_what_has_registered_them() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (id, secret) = add(folder, &["--devices", "*", "--uses", "200"]);
    for number in 0..120 {
        registers(folder, &format!("a-{number:03}"), &secret);
    }
    registers(folder, "b-1", "fleet");
    let revoke = |options: &[&str]| run(folder, &[&["device", "revoke"], options].concat());
    let revoked = || {
        let listed = run(folder, &["device", "list"]).unwrap();
        column(&listed, 3).into_iter().filter(|time| *time != "-").count()
    };
    let dry = revoke(&["--by-claim", &id, "--dry-run"]).unwrap();
    let lines: Vec<_> = dry.lines().collect();
    assert_eq!((lines[0], lines[99], lines.len()), ("a-000", "a-099", 101));
    assert_eq!(lines[100], "120 devices would be revoked, of which the first are listed");
    let dry = revoke(&["--by-account", "fleet", "--dry-run"]).unwrap();
    assert_eq!(dry, "b-1\n1 device would be revoked\n");
    assert_eq!(revoked(), 0, "a dry run changes nothing");
    assert_eq!(
        revoke(&["--by-claim", &id, "--devices", "a-00*"]).unwrap(),
        "10 devices: all tokens revoked\n"
    );
    assert_eq!(revoked(), 10);
    assert_eq!(revoke(&["--by-claim", &id]).unwrap(), "120 devices: all tokens revoked\n");
    assert_eq!(revoked(), 120);
    assert_eq!(revoke(&["--devices", "*"]).unwrap(), "121 devices: all tokens revoked\n");
    let none = failure(folder, &["device", "revoke", "--by-account", "flet"]);
    assert_eq!(none, "no device matches");
}

#[test]
fn a_device_that_waits_is_approved_or_rejected() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (id, secret) = add(folder, &["--devices", "*", "--uses", "9", "--approval"]);
    for device in ["board-1", "board-2"] {
        let outcome = register(folder, device, &secret);
        assert!(matches!(outcome, RegistrationOutcome::Refused(_)), "{outcome:?}");
    }
    let waiting = run(folder, &["device", "approvals"]).unwrap();
    assert_eq!(column(&waiting, 0), ["board-1", "board-2"]);
    assert_eq!(column(&waiting, 1), [&id, &id]);
    assert_eq!(column(&waiting, 4), ["192.0.2.7", "192.0.2.7"]);
    let approved = run(folder, &["device", "approve", "board-1"]).unwrap();
    assert_eq!(approved, "board-1: approved; its next login registers it\n");
    assert_eq!(run(folder, &["device", "reject", "board-2"]).unwrap(), "board-2: rejected\n");
    registers(folder, "board-1", &secret);
    assert!(matches!(register(folder, "board-2", &secret), RegistrationOutcome::Refused(_)));
    assert_eq!(run(folder, &["device", "approvals"]).unwrap(), "");
    for decision in ["approve", "reject"] {
        let error = failure(folder, &["device", decision, "board-7"]);
        assert_eq!(error, "the device board-7 does not wait for an approval");
    }
}

#[test]
fn an_id_that_is_taken_is_free_again_once_an_operator_allows_it() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    run(folder, &["store", "init"]).unwrap();
    registers(folder, "board-1", "fleet");
    assert!(matches!(register(folder, "board-1", "other"), RegistrationOutcome::Refused(_)));
    let allowed = run(folder, &["device", "allow-reregistration", "board-1"]).unwrap();
    assert!(allowed.starts_with("board-1: may register again, once, until 20"), "{allowed}");
    registers(folder, "board-1", "other");
    assert!(matches!(register(folder, "board-1", "fleet"), RegistrationOutcome::Refused(_)));
    let error = failure(folder, &["device", "allow-reregistration", "board-7"]);
    assert_eq!(error, "no such device: board-7");
}
