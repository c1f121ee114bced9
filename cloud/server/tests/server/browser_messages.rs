//! Kept messages and questions to a device in the dashboard, in a real browser.

use fedecks_device::kept::Lane;
use fedecks_store::Role;
use fedecks_testing::browser::{Browser, ENTER};
use fedecks_testing::device::Device;
use fedecks_testing::wait::within;

use crate::device_messages::known;
use crate::support::Server;

/// The dashboard's page of a device that is away.
async fn page(server: &Server) -> Option<Browser> {
    known(server).await;
    let browser = Browser::open(format!("http://{}/", server.address)).await?;
    browser.until("document.activeElement.id === 'token'").await;
    browser.type_keys(&[&server.token(Role::ALL).await, ENTER]).await;
    browser.shows("kitchen-1").await;
    browser.go("#/devices/kitchen-1").await;
    browser.until("document.getElementById('live').textContent === 'Live'").await;
    Some(browser)
}

/// Types into a field, instead of what is there, and sends it.
async fn submit(browser: &Browser, field: &str, text: &str) {
    browser.value(&format!("document.getElementById('{field}').focus()")).await;
    browser.value(&format!("document.getElementById('{field}').select()")).await;
    browser.type_keys(&[text]).await;
    browser.type_control_enter().await;
}

/// The states in the list, newest first.
async fn states(browser: &Browser, expected: &str) {
    let states =
        "[...document.querySelectorAll('tbody .state')].map((it) => it.textContent).join()";
    browser.until(&format!("{states} === '{expected}'")).await;
}

/// The state of the message that was sent last.
async fn outcome(browser: &Browser, expected: &str) {
    browser
        .until(&format!("document.getElementById('outcome').textContent.endsWith(': {expected}')"))
        .await;
}

#[tokio::test]
async fn a_message_is_kept_and_its_states_are_shown() {
    let server = Server::start().await;
    let Some(browser) = page(&server).await else { return };
    browser.shows("No messages are kept for the device").await;
    browser.value("document.getElementById('keep').click()").await;
    submit(&browser, "message", "1").await;
    outcome(&browser, "queued").await;
    states(&browser, "queued").await;
    browser.shows("1 queued.").await;
    browser.press("Take back").await;
    states(&browser, "dropped").await;
    outcome(&browser, "dropped (cancelled)").await;
    submit(&browser, "message", "2").await;
    states(&browser, "queued,dropped").await;
    submit(&browser, "message", "3").await;
    states(&browser, "queued,queued,dropped").await;
    browser.picture("kept").await;

    let mut device = Device::start(server.address, "kitchen-1").await;
    // Before it is connected: what comes in a lane without a consumer is an event.
    let mut deliveries = device.client.deliveries(Lane::Normal).unwrap();
    server.allow_reregistration("kitchen-1").await;
    device.login().await;
    let second = within(deliveries.next()).await.unwrap();
    let third = within(deliveries.next()).await.unwrap();
    states(&browser, "sent,sent,dropped").await;
    outcome(&browser, "sent").await;
    assert_eq!((second.parse::<u8>().unwrap(), third.parse::<u8>().unwrap()), (2, 3));
    second.reject();
    third.ack();
    states(&browser, "delivered,rejected,dropped").await;
    outcome(&browser, "delivered").await;
    browser.shows("1 delivered, 1 rejected, 1 dropped.").await;
    assert_eq!(browser.complaints().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_device_is_asked_and_its_answer_or_error_is_shown() {
    let server = Server::start().await;
    let Some(browser) = page(&server).await else { return };
    submit(&browser, "question", "[").await;
    browser.shows("Not valid JSON").await;
    assert_eq!(browser.value("document.activeElement.id").await, "question");
    submit(&browser, "question", "1").await;
    browser.shows("The device is not connected").await;
    // The browser logs the refusal too.
    assert_eq!(browser.complaints().await.len(), 1);

    server.allow_reregistration("kitchen-1").await;
    let device = server.device("kitchen-1").await;
    let mut requests = device.client.requests().unwrap();
    submit(&browser, "question", "9007199254740993").await;
    let request = within(requests.next()).await.unwrap();
    // Too big for a JavaScript number.
    let number: u64 = request.parse().unwrap();
    assert_eq!(number, 9_007_199_254_740_993);
    browser.shows("Waiting for the answer").await;
    request.reply(&("<b>sum</b>", number)).await.unwrap();
    browser.shows("\"<b>sum</b>\",\n 9007199254740993").await;
    browser.picture("answer").await;
    submit(&browser, "question", "2").await;
    within(requests.next()).await.unwrap().fail("the fan is stuck").await.unwrap();
    browser.shows("the fan is stuck").await;
    browser.until("document.getElementById('answer').hidden").await;
    assert_eq!(browser.complaints().await.len(), 1);
}
