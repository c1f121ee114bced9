//! A device on the `fedecks-device` library, without the service `fedecksd`: commands on standard
//! input, events on standard output.
//!
//! ```text
//! example-device wss://localhost:4433 kitchen-1 ./device-data ./cloud-data/ca.pem
//! login {"username":"marvin","password":"forty-two"}
//! send ["hello","matey"]
//! ```

use std::error::Error;

use fedecks_device::{Client, Credentials, DeviceId, Event, Term, Trust};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};

const USAGE: &str = "\
usage: example-device URL DEVICE_ID DATA_FOLDER [CA_FILE]

Commands on standard input, one per line:
  login {\"username\":...,\"password\":...}   log in; needed once
  logout                                  forget the token
  send JSON                               send any value
  quit                                    close the connection and exit";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
    let mut arguments = std::env::args().skip(1);
    let (Some(url), Some(device), Some(folder)) =
        (arguments.next(), arguments.next(), arguments.next())
    else {
        return Err(USAGE.into());
    };
    let trust = arguments.next().map_or(Trust::Public, |file| Trust::Only(file.into()));
    let client = Client::builder(url.parse()?, DeviceId::new(device)?).data_dir(folder).tls(trust);
    let (client, mut events) = client.start().await?;

    let printer = tokio::spawn(async move {
        while let Some(event) = events.next().await {
            print_event(&describe(&event));
        }
    });
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        if line.trim() == "quit" {
            break;
        }
        if let Err(error) = execute(&client, &line).await {
            print_event(&json!({"event": "error", "error": error.to_string()}));
        }
    }
    client.shutdown().await;
    printer.await?;
    Ok(())
}

async fn execute(client: &Client, line: &str) -> Result<(), Box<dyn Error>> {
    let (command, rest) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
    match command {
        "" => {}
        "login" => {
            let values: Value = serde_json::from_str(rest)?;
            let done = client.login(Credentials::from_serialize(&values)?).await?;
            print_event(&json!({"event": "logged_in", "persisted": done.persisted}));
        }
        "logout" => client.logout().await?,
        "send" => client.send(&serde_json::from_str::<Value>(rest)?).await?,
        _ => return Err(format!("unknown command {command:?}\n{USAGE}").into()),
    }
    Ok(())
}

fn describe(event: &Event) -> Value {
    match event {
        Event::Unregistered => json!({"event": "unregistered"}),
        Event::TokenLate => json!({"event": "token_late"}),
        Event::ConnectionScheduled { delay } => {
            json!({"event": "connection_scheduled", "seconds": delay.as_secs_f64()})
        }
        Event::Connecting { attempt } => json!({"event": "connecting", "attempt": attempt.0}),
        Event::Connected => json!({"event": "connected"}),
        Event::ConnectionFailed { reason } => {
            json!({"event": "connection_failed", "reason": reason.to_string()})
        }
        Event::ConnectionLost { reason } => {
            json!({"event": "connection_lost", "reason": reason.to_string()})
        }
        Event::Replaced => json!({"event": "replaced"}),
        Event::Message(term) => json!({"event": "message", "message": readable(term)}),
        Event::RawMessage(bytes) => json!({"event": "raw_message", "size": bytes.len()}),
        Event::StoreFailed { error } => json!({"event": "store_failed", "error": error}),
        Event::Missed { count } => json!({"event": "missed", "count": count}),
        event => json!({"event": "other", "text": event.to_string()}),
    }
}

/// As JSON if the term can be written so, as `Debug` shows it otherwise.
fn readable(term: &Term) -> Value {
    serde_json::to_value(term).unwrap_or_else(|_| Value::String(format!("{term:?}")))
}

#[expect(clippy::print_stdout, reason = "standard output is this program's interface")]
fn print_event(value: &Value) {
    println!("{value}");
}
