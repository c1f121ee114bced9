//! A headless Chromium of Debian's, driven as the WebDriver standard says.

use std::process::Stdio;
use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::support::{Http, Server, skip, within};

pub(super) const ENTER: &str = "\u{e007}";
pub(super) const TAB: &str = "\u{e004}";
pub(super) const CONTROL: &str = "\u{e009}";

/// A browser with one window. It is killed when the test ends.
pub(super) struct Browser {
    http: Http,
    session: String,
    home: String,
    driver: Child,
}

/// How often a page is looked at again while something is awaited.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

impl Browser {
    /// At the dashboard of a server; `None` where there is no Chromium.
    pub(super) async fn open(server: &Server) -> Option<Self> {
        let driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            // The browser is in this group too.
            .process_group(0)
            .spawn();
        let Ok(mut driver) = driver else {
            skip("expected chromedriver, of Debian's packages chromium and chromium-driver");
            return None;
        };
        let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
        let port = within(async {
            loop {
                let line = lines.next_line().await.unwrap().expect("chromedriver has ended");
                if let Some((_, port)) = line.split_once("started successfully on port ") {
                    return port.trim_end_matches('.').parse::<u16>().unwrap();
                }
            }
        })
        .await;
        // It says more later, and must find somebody who reads.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let http =
            Http::to(([127, 0, 0, 1], port).into()).header("content-type", "application/json");
        let home = format!("http://{}/", server.address);
        let mut browser = Self { http, session: String::new(), home, driver };
        let arguments =
            ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1200,900"];
        let capabilities = json!({
            "goog:chromeOptions": { "args": arguments },
            "goog:loggingPrefs": { "browser": "ALL" },
        });
        let answer = browser
            .command(Method::POST, "", json!({ "capabilities": { "alwaysMatch": capabilities } }))
            .await;
        browser.session = format!("/{}", answer["sessionId"].as_str().unwrap());
        browser.go("").await;
        Some(browser)
    }

    /// Signs in with a token, as somebody does it with the keyboard alone.
    pub(super) async fn sign_in(&self, token: &str) {
        self.until("document.activeElement.id === 'token'").await;
        self.type_keys(&[token, ENTER]).await;
        self.until("document.querySelector('h1')?.textContent !== 'Sign in'").await;
    }

    /// A page of the dashboard.
    pub(super) async fn go(&self, page: &str) {
        let url = format!("{}{page}", self.home);
        self.command(Method::POST, "/url", json!({ "url": url })).await;
    }

    /// Types into whatever has the focus, one key after the other.
    pub(super) async fn type_keys(&self, texts: &[&str]) {
        let keys = texts.iter().flat_map(|text| text.chars());
        let presses: Vec<_> = keys
            .flat_map(|key| ["keyDown", "keyUp"].map(|kind| json!({ "type": kind, "value": key })))
            .collect();
        self.perform(presses).await;
    }

    /// Holds a key while another one is pressed.
    pub(super) async fn type_chord(&self, held: &str, key: &str) {
        let press = |kind: &str, key: &str| json!({ "type": kind, "value": key });
        self.perform(vec![
            press("keyDown", held),
            press("keyDown", key),
            press("keyUp", key),
            press("keyUp", held),
        ])
        .await;
    }

    async fn perform(&self, actions: Vec<Value>) {
        let actions = json!({ "actions": [{ "type": "key", "id": "keys", "actions": actions }] });
        self.command(Method::POST, "/actions", actions).await;
    }

    /// Goes on to what has this text by the tab key.
    pub(super) async fn tab_to(&self, text: &str) {
        for _ in 0..40 {
            if self.value("document.activeElement.textContent").await == text {
                return;
            }
            self.type_keys(&[TAB]).await;
        }
        panic!("{text:?} cannot be reached by the tab key");
    }

    /// Clicks at the button of this text, once it can be.
    pub(super) async fn press(&self, text: &str) {
        let find = format!(
            "[...document.querySelectorAll('dialog[open] button, button')]\
             .find((one) => one.textContent === {})",
            json!(text)
        );
        self.until(&format!("{find} && !{find}.disabled")).await;
        let element = self.value(&find).await;
        let (_, id) = element.as_object().unwrap().iter().next().unwrap();
        let click = format!("/element/{}/click", id.as_str().unwrap());
        self.command(Method::POST, &click, json!({})).await;
    }

    /// What an expression is in the page.
    pub(super) async fn value(&self, expression: &str) -> Value {
        let script = format!("return {expression}");
        self.command(Method::POST, "/execute/sync", json!({ "script": script, "args": [] })).await
    }

    /// Waits until an expression is true in the page.
    pub(super) async fn until(&self, expression: &str) {
        let truth = format!("Boolean({expression})");
        let awaited = async {
            while self.value(&truth).await != true {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        };
        if tokio::time::timeout(crate::support::PATIENCE, awaited).await.is_err() {
            let text = self.value("document.body.innerText").await;
            panic!("{expression} never became true in this page:\n{}", text.as_str().unwrap());
        }
    }

    /// Waits until the page shows a text.
    pub(super) async fn shows(&self, text: &str) {
        self.until(&format!("document.body.innerText.includes({})", json!(text))).await;
    }

    /// As somebody's system says that it likes it.
    pub(super) async fn prefers(&self, scheme: &str) {
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.devtools("Emulation.setEmulatedMedia", json!({ "features": features })).await;
    }

    pub(super) async fn resize(&self, width: u32) {
        let size =
            json!({ "width": width, "height": 800, "deviceScaleFactor": 1, "mobile": false });
        self.devtools("Emulation.setDeviceMetricsOverride", size).await;
    }

    async fn devtools(&self, command: &str, parameters: Value) {
        let body = json!({ "cmd": command, "params": parameters });
        self.command(Method::POST, "/goog/cdp/execute", body).await;
    }

    /// What axe-core has to complain about the page.
    pub(super) async fn violations(&self, axe: &str) -> Vec<String> {
        let script = format!(
            "{axe}; const done = arguments[arguments.length - 1]; \
             axe.run().then((found) => done(found.violations.map((one) => \
             one.id + ': ' + one.nodes.map((node) => node.html + ' ' + node.failureSummary).join(', '))))"
        );
        let found = self
            .command(Method::POST, "/execute/async", json!({ "script": script, "args": [] }))
            .await;
        found.as_array().unwrap().iter().map(|one| one.as_str().unwrap().to_owned()).collect()
    }

    /// Keeps a picture of the window where `FEDECKS_SCREENSHOTS` says, if it does.
    pub(super) async fn picture(&self, name: &str) {
        let Some(folder) = std::env::var_os("FEDECKS_SCREENSHOTS") else { return };
        let picture = self.ask(Method::GET, "/screenshot", "".into()).await;
        let picture = data_encoding::BASE64.decode(picture.as_str().unwrap().as_bytes()).unwrap();
        std::fs::write(std::path::Path::new(&folder).join(format!("dash-{name}.png")), picture)
            .unwrap();
    }

    /// What the browser has complained about since this was asked last: errors of scripts, violations of
    /// the policy, answers that are no success.
    pub(super) async fn complaints(&self) -> Vec<String> {
        let entries = self.command(Method::POST, "/se/log", json!({ "type": "browser" })).await;
        entries
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["message"].as_str().unwrap().into())
            .collect()
    }

    async fn command(&self, method: Method, path: &str, body: Value) -> Value {
        self.ask(method, path, body.to_string()).await
    }

    async fn ask(&self, method: Method, path: &str, body: String) -> Value {
        let answer = self.http.ask(method, &format!("/session{}{path}", self.session), body).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {answer:?}");
        answer.json()["value"].take()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The driver and the browser that it has started.
        let group = self.driver.id().and_then(|id| i32::try_from(id).ok());
        if let Some(group) = group {
            let group = nix::unistd::Pid::from_raw(group);
            let _ = nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGKILL);
        }
    }
}
