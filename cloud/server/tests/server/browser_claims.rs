//! Claims and approvals in the dashboard, in a real browser.

use fedecks_store::{ClaimSecret, RegistrationOutcome, RegistrationProof, RegistrationStore, Role};
use fedecks_testing::browser::{Browser, ENTER, TAB};
use fedecks_testing::registration::registration;

use crate::support::Server;

async fn sign_in(server: &Server, roles: &[Role]) -> Option<Browser> {
    let browser = Browser::open(format!("http://{}/", server.address)).await?;
    browser.until("document.activeElement.id === 'token'").await;
    browser.type_keys(&[&server.token(roles).await, ENTER]).await;
    browser.until("document.querySelector('h1')?.textContent === 'Fleet'").await;
    browser.tab_to("textContent", "Claims").await;
    browser.type_keys(&[ENTER]).await;
    browser.until("document.activeElement.textContent === 'Claims'").await;
    browser.until("document.getElementById('live').textContent === 'Live'").await;
    Some(browser)
}

async fn register(server: &Server, device: &str, secret: &str) -> RegistrationOutcome {
    let proof = RegistrationProof::from(&secret.parse::<ClaimSecret>().unwrap());
    let request = registration(device, proof);
    server.store.register(&request).await.unwrap()
}

/// Types into a field instead of what is there.
async fn fill(browser: &Browser, field: &str, text: &str) {
    browser.value(&format!("document.getElementById('{field}').select()")).await;
    browser.type_keys(&[text]).await;
}

#[tokio::test]
async fn a_claim_is_made_approved_and_revoked() {
    let server = Server::start().await;
    let Some(browser) = sign_in(&server, Role::ALL).await else { return };
    browser.shows("No device waits for an approval.").await;
    browser.shows("No claims have been made.").await;
    fill(&browser, "devices", "board-*").await;
    fill(&browser, "uses", "7").await;
    fill(&browser, "days", "30").await;
    fill(&browser, "note", "<b>batch</b>").await;
    browser.value("document.getElementById('approval').click()").await;
    browser.press("Make claims").await;
    browser.until("document.getElementById('secrets').value.startsWith('fdc_')").await;
    browser.until("document.activeElement.id === 'secrets'").await;
    browser.shows("0 of 7").await;
    browser.shows("needs approval, <b>batch</b>").await;
    let secret = browser.value("document.getElementById('secrets').value").await;
    let secret = secret.as_str().unwrap();
    let link = browser.value("document.querySelector('a[download]').href").await;
    assert!(link.as_str().unwrap().starts_with("blob:"), "{link}");

    let pending = register(&server, "board-1", secret).await;
    assert!(matches!(pending, RegistrationOutcome::Refused(_)), "{pending:?}");
    browser.shows("192.0.2.7").await;
    browser.picture("claims").await;
    browser.press("Approve").await;
    browser.shows("No device waits for an approval.").await;
    let registered = register(&server, "board-1", secret).await;
    assert!(matches!(registered, RegistrationOutcome::Registered { .. }), "{registered:?}");
    browser.shows("1 of 7").await;
    browser.go("#/devices/board-1").await;
    browser.shows("Registered by").await;
    browser.shows("claim:").await;
    browser.press("Allow to register again").await;
    browser.until("document.querySelector('dialog[open]')").await;
    browser.type_keys(&[TAB, ENTER]).await;
    browser.shows("May register again until").await;

    browser.go("#/claims").await;
    browser.press("Revoke").await;
    browser.until("document.querySelector('dialog[open]')").await;
    browser.type_keys(&[TAB, ENTER]).await;
    browser.until("document.querySelector('.state.revoked')").await;
    fill(&browser, "devices", "a/b").await;
    browser.press("Make claims").await;
    browser.shows("a pattern has 1 to 128 characters").await;
    // The browser logs the refusal too.
    assert_eq!(browser.complaints().await.len(), 1);
}

#[tokio::test]
async fn claims_are_read_with_the_role_read_and_changed_with_admin() {
    let server = Server::start().await;
    let Some(browser) = sign_in(&server, &[Role::Read]).await else { return };
    browser.shows("Your token does not have the role admin.").await;
    let enabled = "[...document.querySelectorAll('main :is(button, input:not([type=search])):enabled')].length";
    assert_eq!(browser.value(enabled).await, 0);
    assert_eq!(browser.complaints().await, Vec::<String>::new());
}
