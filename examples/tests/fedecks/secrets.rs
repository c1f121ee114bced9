//! Credentials and tokens are in no log line of either end, however much is logged.

use std::io::Write;
use std::sync::{Mutex, OnceLock, PoisonError};

use fedecks_device::{Event, Term};
use tracing::level_filters::LevelFilter;

use crate::support::{BY_TOKEN, Cloud, DEVICE, Device, PASSWORD, downstream, folder, within};

/// Everything that any test of this program has logged, by `tracing` or by `log`.
static LOGGED: Mutex<Vec<u8>> = Mutex::new(Vec::new());

/// A line at the lowest level, to be sure that it is kept.
const LOWEST: &str = "this is traced";

struct Keep;

impl Write for Keep {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LOGGED.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl log::Log for Keep {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        writeln!(Keep, "{} {}", record.target(), record.args()).unwrap();
    }

    fn flush(&self) {}
}

/// Keeps all that is logged from now on, at every level.
fn listen() {
    static LISTENING: OnceLock<()> = OnceLock::new();
    LISTENING.get_or_init(|| {
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(LevelFilter::TRACE)
            .with_ansi(false)
            .with_writer(|| Keep)
            .finish();
        tracing::subscriber::set_global_default(subscriber).unwrap();
        log::set_logger(&Keep).unwrap();
        log::set_max_level(log::LevelFilter::Trace);
    });
}

fn token_on_disk(data: &std::path::Path) -> String {
    let file = std::fs::read_to_string(data.join("token")).unwrap();
    file.lines().find_map(|line| line.strip_prefix("token ")).unwrap().to_owned()
}

#[tokio::test]
async fn credentials_tokens_and_messages_are_in_no_log_line() {
    listen();
    tracing::trace!("{LOWEST}");
    let mut cloud = Cloud::start().await;
    let data = folder();
    let device = Device::logged_in(cloud.address, data.path()).await;
    cloud.next_connection().await;
    let token = token_on_disk(data.path());
    device.client.send("a message up that nobody else reads").await.unwrap();
    device.client.shutdown().await;

    let mut back = Device::start(cloud.address, data.path());
    assert_eq!(cloud.next_connection().await, BY_TOKEN);
    let down = Term::from("a message down that nobody else reads");
    cloud.hub.publish(downstream(DEVICE), down).await.unwrap();
    back.until(|event| matches!(event, Event::Message(_))).await;
    let wrong = fedecks_device::Credentials::new().with("username", "x").with("password", PASSWORD);
    within(back.client.login(wrong)).await.unwrap_err();

    let logged = LOGGED.lock().unwrap_or_else(PoisonError::into_inner);
    let logged = String::from_utf8_lossy(&logged);
    assert!(logged.contains("connected"), "the log is not listened to");
    assert!(logged.contains(LOWEST), "the log is not listened to at its lowest level");
    // The header is base64: any part of the token or the password in it would show as this.
    let encode = |text: &str| {
        (0..3).map(|skip| data_encoding::BASE64.encode(&text.as_bytes()[skip..][..12])).collect()
    };
    let mut secrets = vec![PASSWORD.to_owned(), token.clone(), token[20..].to_owned()];
    secrets.extend::<Vec<_>>(encode(PASSWORD));
    secrets.extend::<Vec<_>>(encode(&token[30..]));
    secrets.push("that nobody else reads".to_owned());
    for secret in secrets {
        if let Some(line) = logged.lines().find(|line| line.contains(&secret)) {
            panic!("{secret:?} is in the log: {line}");
        }
    }
}
