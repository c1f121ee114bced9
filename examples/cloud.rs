//! A cloud with its own handler on the `fedecks-cloud` library: commands on standard input, events on
//! standard output. Not the ready-made server, which is `fedecks-cloud serve`.
//!
//! ```text
//! fedecks-cloud account add marvin
//! fedecks-cloud serve --self-signed   # once, then Ctrl-C: generates the secret and the certificate
//! example-cloud ./fedecks-data 127.0.0.1:4433
//! listen kitchen-1
//! push kitchen-1 ["hi","there"]
//! ```

use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use fedecks_cloud::accounts::AccountHandler;
use fedecks_cloud::messaging::{Presence, TopicEvent};
use fedecks_cloud::serve::Tls;
use fedecks_cloud::session::Disconnected;
use fedecks_cloud::store::SqliteStore;
use fedecks_cloud::{
    Decision, Fedecks, Handler, Hub, Keyring, Listen, Login, Outcome, Published, Session, serve,
};
use fedecks_device::{DeviceId, Term};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};

const USAGE: &str = "\
usage: example-cloud DATA_FOLDER ADDRESS:PORT

Commands on standard input, one per line:
  listen DEVICE     print what this device sends
  push DEVICE JSON  send any value to this device";

struct Topics {
    accounts: AccountHandler,
}

impl Handler for Topics {
    async fn authenticate(&self, login: Login<'_>) -> Decision {
        self.accounts.authenticate(login).await
    }

    async fn on_connect(&self, session: &Session) {
        session.subscribe(format!("downstream.{}", session.device()));
        let by = session.authenticated_by().as_str();
        print_event(&json!({"event": "connected", "device": session.device(), "by": by}));
    }

    async fn on_published(&self, _session: &Session, published: Published) -> Outcome {
        Outcome::Send(published.message)
    }

    async fn on_message(&self, session: &Session, message: Term) -> Outcome {
        let topic = format!("upstream.{}", session.device());
        match session.hub().publish(topic, &message).await {
            Ok(()) => Outcome::Ok,
            Err(error) => Outcome::send(&error.to_string()),
        }
    }

    fn on_disconnect(&self, presence: &Presence, why: &Disconnected) {
        print_event(
            &json!({"event": "disconnected", "device": presence.device, "why": why.to_string()}),
        );
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
    let mut arguments = std::env::args().skip(1);
    let (Some(folder), Some(address)) = (arguments.next(), arguments.next()) else {
        return Err(USAGE.into());
    };
    // As `fedecks-cloud` generated them for a trial; a real cloud has others.
    let file = |name: &str| Path::new(&folder).join(name);
    let read = |name: &str| std::fs::read_to_string(file(name));
    let keyring = Keyring::new(read("secret")?.trim(), read("salt")?.trim())?;
    let tls = Tls::from_pem_files(file("self-signed/cert.pem"), file("self-signed/key.pem"))?;
    let store = Arc::new(SqliteStore::open(file("fedecks.sqlite"))?);

    let handler = Topics { accounts: AccountHandler::new(store.clone()) };
    let fedecks = Fedecks::builder(handler, keyring, store).build().await?;
    let server = serve(fedecks.routes(), Listen::tls(address.parse()?, tls))?;
    print_event(&json!({"event": "listening", "address": server.addresses()[0].to_string()}));

    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        if let Err(error) = execute(&fedecks.hub(), &line).await {
            print_event(&json!({"event": "error", "error": error.to_string()}));
        }
    }
    Ok(())
}

async fn execute(hub: &Hub, line: &str) -> Result<(), Box<dyn Error>> {
    let words: Vec<&str> = line.trim().splitn(3, ' ').collect();
    match words[..] {
        ["listen", device] => {
            let device = DeviceId::new(device)?;
            tokio::spawn(print_messages(hub.clone(), device));
        }
        ["push", device, value] => {
            let value: Value = serde_json::from_str(value)?;
            hub.publish(format!("downstream.{}", DeviceId::new(device)?), &value).await?;
        }
        _ => return Err(USAGE.into()),
    }
    Ok(())
}

async fn print_messages(hub: Hub, device: DeviceId) {
    let mut messages = hub.subscribe(format!("upstream.{device}"));
    while let Some(event) = messages.next().await {
        match event {
            TopicEvent::Message(info) => {
                let message = serde_json::to_value(&*info.message)
                    .unwrap_or_else(|_| Value::String(format!("{:?}", &*info.message)));
                print_event(&json!({"event": "message", "device": device, "message": message}));
            }
            TopicEvent::Missed { count } => {
                print_event(&json!({"event": "missed", "count": count}))
            }
            _ => {}
        }
    }
}

#[expect(clippy::print_stdout, reason = "standard output is this program's interface")]
fn print_event(value: &Value) {
    println!("{value}");
}
