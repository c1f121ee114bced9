//! The dashboard in many tabs and windows of one browser, and its liveness.

use fedecks_store::Role;
use fedecks_testing::browser::{Browser, ENTER, SHIFT};
use fedecks_testing::cloud_process::CloudProcess;
use nix::sys::signal::Signal;
use tokio::sync::Mutex;

use crate::support::{PROGRAM, Server};

const LIVE: &str = "document.getElementById('live').textContent === 'Live'";

/// More than the connections that a browser opens to a server.
const PAGES: usize = 8;

/// One of these tests at a time: each has many pages.
static TURN: Mutex<()> = Mutex::const_new(());

/// Opens the dashboard and signs in.
async fn signed_in(address: std::net::SocketAddr, token: &str) -> Option<Browser> {
    let browser = Browser::open(format!("http://{address}/")).await?;
    browser.until("document.activeElement.id === 'token'").await;
    browser.type_keys(&[token, ENTER]).await;
    browser.until(LIVE).await;
    Some(browser)
}

/// A server, and the dashboard in as many pages, each of which was live when it was opened.
async fn eight_pages(open: impl AsyncFn(&Browser)) -> Option<(Server, Browser)> {
    let server = Server::start().await;
    let browser = signed_in(server.address, &server.token(Role::ALL).await).await?;
    for _ in 1..PAGES {
        open(&browser).await;
        browser.until(LIVE).await;
    }
    Some((server, browser))
}

/// The pages show the fleet, and each follows it when it is used.
async fn follow_the_fleet(server: &Server, browser: &Browser) {
    for index in 0..PAGES {
        browser.bring_to_front(index).await;
        browser.type_keys(&[SHIFT]).await;
        browser.until(LIVE).await;
        let _device = server.device(&format!("kitchen-{index}")).await;
        browser.shows(&format!("kitchen-{index}")).await;
    }
}

#[tokio::test]
async fn eight_tabs_of_one_browser_are_live_when_used() {
    let _turn = TURN.lock().await;
    let Some((server, browser)) = eight_pages(async |browser| browser.open_tab("").await).await
    else {
        return;
    };
    follow_the_fleet(&server, &browser).await;
    assert_eq!(browser.complaints().await, Vec::<String>::new());
}

#[tokio::test]
async fn eight_windows_of_one_browser_are_live_when_used() {
    let _turn = TURN.lock().await;
    let Some((server, browser)) = eight_pages(async |browser| browser.open_window("").await).await
    else {
        return;
    };
    // All of them are visible, and only some can follow.
    browser.bring_to_front(0).await;
    browser.until("document.getElementById('live').textContent.startsWith('Paused')").await;
    follow_the_fleet(&server, &browser).await;
    assert_eq!(browser.complaints().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_page_that_slept_does_not_claim_to_be_live() {
    let _turn = TURN.lock().await;
    let server = CloudProcess::start(PROGRAM, "").await;
    let token = server.token("reader", &["--role", "read"]).await;
    let Some(browser) = signed_in(server.address, &token).await else { return };
    // The connection is open and silent, as after a sleep.
    server.signal(Signal::SIGSTOP);
    browser.value("(Date.now = ((now) => () => now() + 60000)(Date.now.bind(Date)), 0)").await;
    browser.until("document.getElementById('live').textContent === 'Reconnecting…'").await;
    server.signal(Signal::SIGCONT);
    browser.until(LIVE).await;
    let _device = server.device("kitchen-1").await;
    browser.shows("kitchen-1").await;
}
