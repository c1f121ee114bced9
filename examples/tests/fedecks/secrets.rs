//! Neither end logs credentials or tokens, at any log level.

use std::io::Write;
use std::sync::{Mutex, OnceLock, PoisonError};

use fedecks_device::Term;
use fedecks_testing::PASSWORD;
use tracing::level_filters::LevelFilter;

use crate::support::{By, DEVICE, downstream, logged_in_device, next_connection, start_cloud};

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

#[tokio::test]
async fn credentials_tokens_and_messages_are_in_no_log_line() {
    listen();
    tracing::trace!("{LOWEST}");
    let mut cloud = start_cloud().await;
    let device = logged_in_device(cloud.address).await;
    next_connection(&mut cloud).await;
    let file = String::from_utf8(device.token_on_disk()).unwrap();
    let token = file.lines().find_map(|line| line.strip_prefix("token ")).unwrap();
    device.client.send("a message up that no one else reads").await.unwrap();

    let mut back = device.restart().await;
    assert_eq!(next_connection(&mut cloud).await, By::Token);
    let down = Term::from("a message down that no one else reads");
    cloud.hub.publish(downstream(DEVICE), &down).await.unwrap();
    back.message().await;
    back.try_login("x", PASSWORD).await.unwrap_err();

    let logged = LOGGED.lock().unwrap_or_else(PoisonError::into_inner);
    let logged = String::from_utf8_lossy(&logged);
    assert!(logged.contains("connected"), "the log is not listened to");
    assert!(logged.contains(LOWEST), "the log is not listened to at its lowest level");
    // The header is base64: any part of the token or the password in it would show as this.
    let encode = |text: &str| {
        (0..3).map(|skip| data_encoding::BASE64.encode(&text.as_bytes()[skip..][..12])).collect()
    };
    let mut secrets = vec![PASSWORD.to_owned(), token.to_owned(), token[20..].to_owned()];
    secrets.extend::<Vec<_>>(encode(PASSWORD));
    secrets.extend::<Vec<_>>(encode(&token[30..]));
    secrets.push("that no one else reads".to_owned());
    for secret in secrets {
        if let Some(line) = logged.lines().find(|line| line.contains(&secret)) {
            panic!("{secret:?} is in the log: {line}");
        }
    }
}
