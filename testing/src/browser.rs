//! A headless Chromium with one window, for the dashboard.

use std::fmt::Debug;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use thirtyfour::common::command::FormatRequestData;
use thirtyfour::extensions::cdp::ChromeDevTools;
use thirtyfour::{
    CapabilitiesHelper, ChromiumLikeCapabilities, DesiredCapabilities, Key, RequestData, SessionId,
    WebDriver, WindowHandle,
};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use crate::process_group::ProcessGroup;
use crate::wait::{PATIENCE, skip, within};

/// The Enter key, as WebDriver writes it.
pub const ENTER: &str = "\u{e007}";
/// The Shift key.
pub const SHIFT: &str = "\u{e008}";
/// The Tab key.
pub const TAB: &str = "\u{e004}";

/// A browser. It is killed when this is dropped.
pub struct Browser {
    // Taken when this is dropped.
    web: Option<WebDriver>,
    home: String,
    /// Of chromedriver and the browser.
    _processes: ProcessGroup,
}

impl Browser {
    /// Opens `home`; skips the test and returns `None` where there is no Chromium.
    pub async fn open(home: String) -> Option<Self> {
        let mut command = Command::new("chromedriver");
        command.arg("--port=0").stdout(Stdio::piped()).stderr(Stdio::null());
        let Ok(mut driver) = ProcessGroup::spawn(&mut command) else {
            skip("expected chromedriver, of Debian's packages chromium and chromium-driver");
            return None;
        };
        let mut lines = BufReader::new(driver.0.stdout.take().unwrap()).lines();
        let mut browser = Self { web: None, home, _processes: driver };
        let port = within(async {
            loop {
                let line = lines.next_line().await.unwrap().expect("chromedriver has ended");
                if let Some((_, port)) = line.split_once("started successfully on port ") {
                    return port.trim_end_matches('.').to_owned();
                }
            }
        })
        .await;
        // It logs more later; a full pipe would block it.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let mut capabilities = DesiredCapabilities::chrome();
        for argument in
            ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1200,900"]
        {
            capabilities.add_arg(argument).unwrap();
        }
        let logs = json!({ "browser": "ALL" });
        capabilities.set_base_capability("goog:loggingPrefs", logs).unwrap();
        let web = WebDriver::new(format!("http://127.0.0.1:{port}"), capabilities);
        browser.web = Some(within(web).await.unwrap());
        browser.go("").await;
        Some(browser)
    }

    fn web(&self) -> &WebDriver {
        self.web.as_ref().unwrap()
    }

    /// Opens a page, given by what follows the home page in its URL.
    pub async fn go(&self, page: &str) {
        within(self.web().goto(format!("{}{page}", self.home))).await.unwrap();
    }

    /// Opens a page in a new tab, which hides the one before.
    pub async fn open_tab(&self, page: &str) {
        let tab = within(self.web().new_tab()).await.unwrap();
        self.switch(tab).await;
        self.go(page).await;
    }

    /// Opens a page in a new window, next to the one before.
    pub async fn open_window(&self, page: &str) {
        let window = within(self.web().new_window()).await.unwrap();
        self.switch(window).await;
        self.go(page).await;
    }

    /// Brings the tab or window to the front that was opened as this one, counted from 0.
    pub async fn bring_to_front(&self, index: usize) {
        let windows = within(self.web().windows()).await.unwrap();
        self.switch(windows[index].clone()).await;
        self.devtools("Page.bringToFront", json!({})).await;
    }

    async fn switch(&self, to: WindowHandle) {
        within(self.web().switch_to_window(to)).await.unwrap();
    }

    /// Types into the element that has the focus, one key after the other.
    pub async fn type_keys(&self, texts: &[&str]) {
        within(self.web().action_chain().send_keys(texts.concat()).perform()).await.unwrap();
    }

    /// Presses Enter while Control is held.
    pub async fn type_control_enter(&self) {
        let keys = self.web().action_chain().key_down(Key::Control).send_keys(ENTER);
        within(keys.key_up(Key::Control).perform()).await.unwrap();
    }

    /// Presses Tab until this property of the element that has the focus is `value`.
    pub async fn tab_to(&self, property: &str, value: &str) {
        let property = format!("document.activeElement.{property}");
        for _ in 0..40 {
            if self.value(&property).await == value {
                return;
            }
            self.type_keys(&[TAB]).await;
        }
        panic!("{value:?} cannot be reached by the Tab key");
    }

    /// Clicks the button with this text, as soon as it is enabled.
    pub async fn press(&self, text: &str) {
        let find = format!(
            "[...document.querySelectorAll('dialog[open] button, button')]\
             .find((one) => one.textContent === {})",
            json!(text)
        );
        self.until(&format!("{find} && !{find}.disabled")).await;
        let found = self.web().execute(format!("return {find}"), []).await.unwrap();
        within(found.element().unwrap().click()).await.unwrap();
    }

    /// Evaluates an expression in the page.
    pub async fn value(&self, expression: &str) -> Value {
        let script = format!("return {expression}");
        within(self.web().execute(script, [])).await.unwrap().json().clone()
    }

    /// Waits until an expression is true in the page.
    pub async fn until(&self, expression: &str) {
        let truth = format!("Boolean({expression})");
        let awaited = async {
            while self.value(&truth).await != true {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        if tokio::time::timeout(PATIENCE, awaited).await.is_err() {
            let text = self.value("document.body.innerText").await;
            panic!("{expression} never became true in this page:\n{}", text.as_str().unwrap());
        }
    }

    /// Waits until the page shows a text.
    pub async fn shows(&self, text: &str) {
        self.until(&format!("document.body.innerText.includes({})", json!(text))).await;
    }

    /// Sets the colour scheme that the user prefers.
    pub async fn prefer(&self, scheme: &str) {
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.devtools("Emulation.setEmulatedMedia", json!({ "features": features })).await;
    }

    /// Sets the width of the window, in pixels.
    pub async fn resize(&self, width: u32) {
        let size =
            json!({ "width": width, "height": 800, "deviceScaleFactor": 1, "mobile": false });
        self.devtools("Emulation.setDeviceMetricsOverride", size).await;
    }

    async fn devtools(&self, command: &str, parameters: Value) {
        let devtools = ChromeDevTools::new(self.web().handle.clone());
        within(devtools.execute_cdp_with_params(command, parameters)).await.unwrap();
    }

    /// The accessibility violations that axe-core, given as a script, finds in the page.
    pub async fn violations(&self, axe: &str) -> Vec<String> {
        let script = format!(
            "{axe}; const done = arguments[arguments.length - 1]; \
             axe.run().then((found) => done(found.violations.map((one) => \
             one.id + ': ' + one.nodes.map((node) => node.html + ' ' + node.failureSummary).join(', '))))"
        );
        within(self.web().execute_async(script, [])).await.unwrap().convert().unwrap()
    }

    /// Saves a picture of the window in the folder `FEDECKS_SCREENSHOTS`, if that is set.
    pub async fn picture(&self, name: &str) {
        let Some(folder) = std::env::var_os("FEDECKS_SCREENSHOTS") else { return };
        let file = Path::new(&folder).join(format!("dash-{name}.png"));
        within(self.web().screenshot(&file)).await.unwrap();
    }

    /// What the browser has logged since the last call: script errors, violations of the policy,
    /// responses with an error status.
    pub async fn complaints(&self) -> Vec<String> {
        let entries = within(self.web().cmd(BrowserLog)).await.unwrap().value_json().unwrap();
        let message = |entry: &Value| entry["message"].as_str().unwrap().to_owned();
        entries.as_array().unwrap().iter().map(message).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if let Some(web) = self.web.take() {
            // Dropped as it is, it would wait for an orderly end of the session.
            let _ = web.leak();
        }
    }
}

/// Reads the browser's log, which chromedriver adds to the standard.
#[derive(Debug)]
struct BrowserLog;

impl FormatRequestData for BrowserLog {
    fn format_request(&self, session: &SessionId) -> RequestData {
        RequestData::new(http::Method::POST, format!("/session/{session}/se/log"))
            .add_body(json!({ "type": "browser" }))
    }
}
