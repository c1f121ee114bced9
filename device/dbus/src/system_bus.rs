//! The one connection to the system bus that a program keeps.

use std::pin::Pin;
use std::time::Duration;

use fedecks_common::Backoff;
use futures_util::StreamExt;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, info, warn};
use zbus::message::Type;
use zbus::{Connection, MatchRule, MessageStream, connection};

/// How long the bus may take to let this program in.
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);

/// How long the answer to any call over this connection may take.
const CALL_DEADLINE: Duration = Duration::from_secs(10);

/// Keeps a connection to the system bus, whose address `DBUS_SYSTEM_BUS_ADDRESS` may change. While
/// there is no bus it tries again, after 1 s at first and 60 s at last; a bus that comes late or is
/// started anew is found that way. Dropping it ends its task; a connection lasts as long as somebody
/// has it.
#[derive(Debug)]
pub struct SystemBus {
    connection: watch::Receiver<Option<Connection>>,
    task: JoinHandle<()>,
}

impl SystemBus {
    /// Starts as a task of the tokio runtime in which this is called.
    pub fn start() -> Self {
        let (sender, connection) = watch::channel(None);
        Self { connection, task: tokio::spawn(keep(sender)) }
    }

    /// Sees the connection as it comes and goes; none while there is none. Every call over it ends
    /// after ten seconds at the latest.
    pub fn subscribe(&self) -> watch::Receiver<Option<Connection>> {
        self.connection.clone()
    }
}

impl Drop for SystemBus {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn keep(sender: watch::Sender<Option<Connection>>) {
    let mut wait = Backoff::default();
    let mut is_told = false;
    loop {
        match connect().await {
            Ok((connection, end)) => {
                info!(
                    name = connection.unique_name().map(|name| name.as_str()),
                    "on the system bus"
                );
                let since = Instant::now();
                sender.send_replace(Some(connection));
                ended(end).await;
                sender.send_replace(None);
                warn!("the system bus is gone: it is looked for until it is back");
                is_told = true;
                if since.elapsed() > wait.cap() {
                    wait = Backoff::default();
                }
            }
            Err(error) if is_told => debug!(%error, "still no system bus"),
            Err(error) => {
                warn!(%error, "no system bus: it is looked for until it is there");
                is_told = true;
            }
        }
        sleep(wait.next_delay()).await;
    }
}

/// A connection that works, and a stream that tells nothing but its end.
async fn connect() -> zbus::Result<(Connection, MessageStream)> {
    let made = timeout(CONNECT_DEADLINE, async {
        let connection =
            connection::Builder::system()?.method_timeout(CALL_DEADLINE).build().await?;
        // It takes its place among the connection's readers in a task of its own, and a call that comes
        // before is lost: so long before anybody knows this connection by a name.
        connection.object_server();
        // No error has an interface: nothing matches. The end of the connection goes to every stream.
        let nothing = MatchRule::builder().msg_type(Type::Error).interface("org.fedecks.None")?;
        let end = messages(&connection, nothing.build(), Some(1)).await?;
        // A connection that ended before the stream was there would never be known as ended.
        let bus = Some("org.freedesktop.DBus");
        connection.call_method(bus, "/org/freedesktop/DBus", bus, "GetId", &()).await?;
        Ok((connection, end))
    });
    // The future is big, and this is needed only now and then.
    Box::pin(made).await.unwrap_or_else(|_| {
        let seconds = CONNECT_DEADLINE.as_secs();
        Err(zbus::Error::Failure(format!("the bus did not answer within {seconds} s")))
    })
}

/// The messages that `rule` matches, with so many kept until they are taken. Boxed, so that the code behind
/// it, which is big, is in a program once and not in each crate that calls it.
pub fn messages<'a>(
    connection: &'a Connection,
    rule: MatchRule<'a>,
    kept: Option<usize>,
) -> Pin<Box<dyn Future<Output = zbus::Result<MessageStream>> + Send + 'a>> {
    Box::pin(MessageStream::for_match_rule(rule, connection, kept))
}

async fn ended(mut end: MessageStream) {
    while let Some(Ok(_)) = end.next().await {}
}
