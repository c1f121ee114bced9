//! The dashboard in a real browser.

use std::net::SocketAddr;

use fedecks_device::{Event, Term};
use fedecks_store::{Actor, DeviceStore, Role};
use fedecks_testing::browser::{Browser, ENTER, TAB};
use fedecks_testing::cloud_process::CloudProcess;
use fedecks_testing::wait::skip;

use crate::support::{PROGRAM, Server};

const EVERYTHING: &[&str] = &["--role", "read", "--role", "send", "--role", "admin"];

async fn open(address: SocketAddr) -> Option<Browser> {
    Browser::open(format!("http://{address}/")).await
}

async fn type_token(browser: &Browser, token: &str) {
    browser.until("document.activeElement.id === 'token'").await;
    browser.type_keys(&[token, ENTER]).await;
}

/// Signs in by the keyboard.
async fn sign_in(browser: &Browser, token: &str) {
    type_token(browser, token).await;
    browser.until("document.querySelector('h1')?.textContent !== 'Sign in'").await;
}

/// Waits until the page follows the server's events.
async fn live(browser: &Browser) {
    browser.until("document.getElementById('live').textContent === 'Live'").await;
}

/// The expression for a device's state in the list.
fn row(device: &str) -> String {
    format!(
        "[...document.querySelectorAll('tbody tr')]\
         .find((row) => row.textContent.includes('{device}'))?.querySelector('.state').textContent"
    )
}

#[tokio::test]
async fn a_device_is_watched_and_sent_messages_by_keyboard() {
    let server = CloudProcess::start(PROGRAM, "").await;
    let Some(browser) = open(server.address).await else { return };
    let token = server.token("all", EVERYTHING).await;

    type_token(&browser, "fdk_wrong").await;
    browser.shows("This API token is unknown or revoked.").await;
    // The browser logs the refusal too.
    let complaints = browser.complaints().await;
    assert!(complaints.iter().all(|one| one.contains("/session") && one.contains("401")));
    sign_in(&browser, &token).await;
    browser.shows("No device has connected yet.").await;
    assert_eq!(browser.value("document.cookie").await, "");
    assert_eq!(browser.value("location.search + location.hash").await, "");
    assert_eq!(browser.value("localStorage.length + sessionStorage.length").await, 0);
    live(&browser).await;

    let mut device = server.device("kitchen-1").await;
    browser.until(&format!("{} === 'connected'", row("kitchen-1"))).await;
    browser.until("document.querySelector('.tile dd').textContent === '1'").await;
    browser.shows("Connects per minute (1 in 1 min)").await;
    browser.picture("fleet").await;

    browser.tab_to("textContent", "kitchen-1").await;
    browser.type_keys(&[ENTER]).await;
    browser.until("document.activeElement.textContent === 'kitchen-1'").await;
    browser.until("document.querySelector('.state')?.textContent === 'connected'").await;
    live(&browser).await;
    let device_says = "<img src=x onerror=\"document.title='hacked'\">";
    device.client.send(&serde_json::json!({ "text": device_says, "degrees": 21.5 })).await.unwrap();
    browser.shows("\"degrees\": 21.5").await;
    assert_eq!(browser.value("document.querySelectorAll('.log img').length").await, 0);
    device.client.send(&"abc\u{202e}fed\u{85}").await.unwrap();
    browser.shows("\"abc\\u202efed\\u0085\"").await;

    browser.value("document.getElementById('label').focus()").await;
    browser.tab_to("id", "message").await;
    browser.type_keys(&["{\"fan\":"]).await;
    browser.type_control_enter().await;
    browser.shows("Not valid JSON").await;
    assert_eq!(browser.value("document.activeElement.ariaInvalid").await, "true");
    browser.type_keys(&["9007199254740993}"]).await;
    browser.type_control_enter().await;
    // Too big for a JavaScript number.
    let expected = Term::Map(vec![("fan".into(), 9_007_199_254_740_993_i64.into())]);
    assert_eq!(device.message().await, expected);
    browser.shows("Sent to the device").await;
    browser.shows("\"fan\": 9007199254740993").await;
    browser.picture("device").await;

    browser.value("document.getElementById('message').select()").await;
    browser.type_keys(&["{\"$ref\":1}"]).await;
    browser.type_control_enter().await;
    browser.shows("literal=true").await;
    // The browser logs the refusal too.
    assert_eq!(browser.complaints().await.len(), 1);
    browser.value("document.getElementById('literal').click()").await;
    browser.type_control_enter().await;
    assert_eq!(device.message().await, Term::Map(vec![("$ref".into(), 1.into())]));

    device.client.shutdown().await;
    browser.until("document.querySelector('.state').textContent === 'offline'").await;
    browser.value("document.querySelector('.brand').click()").await;
    browser.until(&format!("{} === 'offline'", row("kitchen-1"))).await;
    browser.press("Sign out").await;
    browser.until("document.activeElement.id === 'token'").await;
    assert_eq!(browser.complaints().await, Vec::<String>::new());
    let log = server.log();
    assert!(!log.contains(&token) && !log.contains("degrees"));
}

#[tokio::test]
async fn a_device_is_labelled_blocked_unblocked_and_revoked() {
    let server = Server::start().await;
    let Some(browser) = open(server.address).await else { return };
    let mut device = server.device("kitchen-1").await;
    sign_in(&browser, &server.token(Role::ALL).await).await;
    browser.go("#/devices/kitchen-1").await;
    let state = |word: &str| format!("document.querySelector('.state')?.textContent === '{word}'");
    browser.until(&state("connected")).await;
    live(&browser).await;
    browser.until("document.querySelectorAll('.details time').length === 4").await;
    browser.value("document.getElementById('label').focus()").await;
    browser.type_keys(&["Second floor", ENTER]).await;
    browser.until("document.querySelector('.details dd').textContent === 'Second floor'").await;
    // Those of older versions may have marks of direction.
    let isolated = "[...document.querySelectorAll('.details dd bdi, h1 bdi')].map((one) => one.textContent).join()";
    assert_eq!(browser.value(isolated).await, "kitchen-1,Second floor,account:marvin");

    browser.press("Block").await;
    browser.press("Cancel").await;
    browser.until("!document.querySelector('dialog')").await;
    assert_eq!(browser.value(&state("connected")).await, true);
    browser.press("Block").await;
    browser.type_keys(&[TAB, ENTER]).await;
    browser.until(&state("blocked")).await;
    browser.shows("Refused").await;
    browser.press("Unblock").await;
    device.until_connected().await;
    browser.until(&state("connected")).await;

    browser.press("Revoke").await;
    browser.until("document.querySelector('dialog[open]')").await;
    browser.picture("dialog").await;
    browser.type_keys(&[TAB, ENTER]).await;
    device.until(|event| *event == Event::Unregistered).await;
    browser.until(&state("offline")).await;
    device.try_login("marvin", "wrong!!!").await.unwrap_err();
    browser.shows("bad-credentials").await;
    browser.picture("refused").await;
    assert_eq!(browser.complaints().await, Vec::<String>::new());
}

#[tokio::test]
async fn the_page_offers_what_the_token_allows_until_it_is_revoked() {
    let mut server = CloudProcess::start(PROGRAM, "").await;
    let Some(browser) = open(server.address).await else { return };
    let _device = server.device("kitchen-1").await;
    let token = server.token("ci", &["--role", "read", "--devices", "kitchen-*"]).await;
    sign_in(&browser, &token).await;
    browser.shows("Your token is limited to kitchen-*").await;
    browser.go("#/devices/kitchen-1").await;
    browser.shows("Your token does not have the role admin.").await;
    browser.shows("Your token does not have the role send.").await;
    let enabled =
        "[...document.querySelectorAll('main :is(button, input, textarea):enabled')].length";
    assert_eq!(browser.value(enabled).await, 0);
    server.revoke("ci", &token).await;
    // The next request finds out.
    browser.go("#/").await;
    browser.shows("The session has ended. Sign in again.").await;
    browser.go("#/devices/kitchen-1").await;
    browser.shows("The session has ended. Sign in again.").await;

    sign_in(&browser, &server.token("all", EVERYTHING).await).await;
    live(&browser).await;
    server.kill().await;
    browser.shows("Reconnecting…").await;
    server.start_again().await;
    // Sessions are in memory.
    browser.shows("The session has ended. Sign in again.").await;
}

#[tokio::test]
async fn every_page_is_accessible_and_fits_a_narrow_screen() {
    let Some(axe) = std::env::var_os("FEDECKS_AXE") else {
        return skip("expected FEDECKS_AXE to name axe-core's axe.min.js; ci/test fetches it");
    };
    let axe = std::fs::read_to_string(axe).unwrap();
    let server = Server::start().await;
    let Some(browser) = open(server.address).await else { return };
    let long = "a-device-whose-id-is-about-as-long-as-they-come-0123456789-0123456789-0123456789";
    let device = server.device(long).await;
    let _blocked = server.device("blocked-1").await;
    server.store.block(&"blocked-1".parse().unwrap(), &Actor::cli()).await.unwrap();
    let token = server.token(Role::ALL).await;
    let check = async |name: &str| {
        for width in [1200, 360] {
            browser.resize(width).await;
            for scheme in ["dark", "light"] {
                browser.prefer(scheme).await;
                let found = browser.violations(&axe).await;
                assert_eq!(found, Vec::<String>::new(), "{name} {width} {scheme}");
                browser.picture(&format!("{name}-{width}-{scheme}")).await;
            }
            let wider =
                "document.documentElement.scrollWidth - document.documentElement.clientWidth";
            assert_eq!(browser.value(wider).await, 0, "{name} {width}");
        }
    };
    browser.shows("API token").await;
    check("sign-in").await;

    sign_in(&browser, &token).await;
    browser.shows("Connects per minute").await;
    browser.until(&format!("{} === 'blocked'", row("blocked-1"))).await;
    check("fleet").await;

    browser.go(&format!("#/devices/{long}")).await;
    live(&browser).await;
    device.client.send(&vec!["0123456789".repeat(30); 3]).await.unwrap();
    browser.shows("Message from the device").await;
    browser.until("document.querySelectorAll('.details time').length >= 3").await;
    browser.value("document.getElementById('keep').click()").await;
    browser.value("document.getElementById('message').focus()").await;
    browser.type_keys(&["1"]).await;
    browser.type_control_enter().await;
    browser.until("document.querySelector('tbody .state')").await;
    let mut requests = device.client.requests().unwrap();
    browser.value("document.getElementById('question').focus()").await;
    browser.type_keys(&["1"]).await;
    browser.type_control_enter().await;
    requests.next().await.unwrap().reply(&vec!["0123456789".repeat(30); 20]).await.unwrap();
    browser.until("!document.getElementById('answer').hidden").await;
    check("device").await;

    browser.press("Revoke").await;
    browser.until("document.querySelector('dialog[open]')").await;
    check("dialog").await;
    assert_eq!(browser.complaints().await, Vec::<String>::new());
}
