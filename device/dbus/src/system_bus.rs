//! A persistent connection to the system bus: reconnects when the bus restarts.

use std::pin::Pin;
use std::time::Duration;

use fedecks_common::Backoff;
use futures_util::StreamExt;
use tokio::net::UnixStream;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, info, warn};
use zbus::address::Transport;
use zbus::address::transport::UnixSocket;
use zbus::message::Type;
use zbus::{Address, Connection, DBusError, MatchRule, Message, MessageStream, connection};

use crate::bounded_socket::{BoundedSocket, MAX_MESSAGE, SkippedCall};
use crate::error::Device1Error;

/// How long connecting to the bus may take.
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);

/// How long a reply to a call over this connection may take.
const CALL_DEADLINE: Duration = Duration::from_secs(10);

/// Maintains a connection to the system bus, whose address can be set by `DBUS_SYSTEM_BUS_ADDRESS`.
/// While there is no bus, it retries with backoff from 1 s to 60 s, which finds a bus that starts late
/// or restarts. Dropping it ends its task; a connection stays open while it is in use.
#[derive(Debug)]
pub struct SystemBus {
    connection: watch::Receiver<Option<Connection>>,
    task: JoinHandle<()>,
}

impl SystemBus {
    /// Starts as a task of the tokio runtime in which this is called.
    pub fn start() -> Self {
        let (sender, connection) = watch::channel(None);
        Self { connection, task: tokio::spawn(maintain(sender)) }
    }

    /// Observes the current connection; none while there is no bus. Every call over it ends within ten
    /// seconds.
    pub fn subscribe(&self) -> watch::Receiver<Option<Connection>> {
        self.connection.clone()
    }
}

impl Drop for SystemBus {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn maintain(sender: watch::Sender<Option<Connection>>) {
    let mut backoff = Backoff::default();
    let mut is_reported = false;
    loop {
        match connect().await {
            Ok((connection, end, skipped)) => {
                let name = connection.unique_name().map(|name| name.as_str());
                info!(name, "connected to the system bus");
                let since = Instant::now();
                sender.send_replace(Some(connection.clone()));
                tokio::select! {
                    () = ended(end) => {}
                    () = answer_skipped(&connection, skipped) => {}
                }
                drop(connection);
                sender.send_replace(None);
                warn!("the system bus is gone, will reconnect");
                if since.elapsed() > backoff.cap() {
                    backoff.reset();
                }
            }
            Err(error) if is_reported => debug!(%error, "still no system bus"),
            Err(error) => warn!(%error, "cannot connect to the system bus, will retry"),
        }
        is_reported = true;
        sleep(backoff.next_delay()).await;
    }
}

/// An established connection, a stream that yields nothing but its end, and the calls that its socket skips.
async fn connect() -> zbus::Result<(Connection, MessageStream, mpsc::Receiver<SkippedCall>)> {
    let made = timeout(CONNECT_DEADLINE, async {
        let (report, skipped) = mpsc::channel(16);
        let builder = builder(report).await?;
        let connection = builder.method_timeout(CALL_DEADLINE).build().await?;
        // The object server subscribes in a separate task, and a call that arrives earlier is lost: so
        // start it long before this connection acquires a name.
        connection.object_server();
        // Errors have no interface, so this matches nothing. The end of the connection ends every stream.
        let nothing = MatchRule::builder().msg_type(Type::Error).interface("org.fedecks.None")?;
        let end = messages(&connection, nothing.build(), Some(1)).await?;
        // The end of a connection before the stream existed would go unnoticed.
        let bus = Some("org.freedesktop.DBus");
        connection.call_method(bus, "/org/freedesktop/DBus", bus, "GetId", &()).await?;
        Ok((connection, end, skipped))
    });
    // Boxed, since the future is big and rarely needed.
    Box::pin(made).await.unwrap_or_else(|_| {
        let seconds = CONNECT_DEADLINE.as_secs();
        Err(zbus::Error::Failure(format!("the bus did not answer within {seconds} s")))
    })
}

/// A connection to the system bus that skips messages which are too big, if its address is that of a socket
/// in the file system, as it is nearly everywhere.
async fn builder(report: mpsc::Sender<SkippedCall>) -> zbus::Result<connection::Builder<'static>> {
    let address = Address::system()?;
    if let Transport::Unix(unix) = address.transport() {
        if let UnixSocket::File(path) = unix.path() {
            let stream = UnixStream::connect(path).await?;
            return Ok(connection::Builder::socket(BoundedSocket::new(stream, report)));
        }
    }
    connection::Builder::address(address)
}

/// Answers calls that were too big to be received. Never returns.
async fn answer_skipped(connection: &Connection, mut skipped: mpsc::Receiver<SkippedCall>) {
    while let Some(call) = skipped.recv().await {
        if let Err(error) = refuse(connection, &call).await {
            debug!(%error, "cannot answer a call that was skipped");
        }
    }
    std::future::pending().await
}

async fn refuse(connection: &Connection, call: &SkippedCall) -> zbus::Result<()> {
    let text = format!("the message is too big: at most {MAX_MESSAGE} bytes are received");
    let error = Device1Error::TooBig(text.clone());
    // It stands for the call, of which only this is known.
    let received = Message::method_call("/", "Skipped")?.sender(call.sender.as_str())?.build(&())?;
    let reply = Message::error(&received.header(), error.name())?
        .reply_serial(Some(call.serial))
        .build(&(text,))?;
    connection.send(&reply).await
}

/// The messages that `rule` matches; up to `max_queued` of them are queued. Boxed, so that the large code
/// behind it is compiled once and not into each calling crate.
pub fn messages<'a>(
    connection: &'a Connection,
    rule: MatchRule<'a>,
    max_queued: Option<usize>,
) -> Pin<Box<dyn Future<Output = zbus::Result<MessageStream>> + Send + 'a>> {
    Box::pin(MessageStream::for_match_rule(rule, connection, max_queued))
}

async fn ended(mut end: MessageStream) {
    while let Some(Ok(_)) = end.next().await {}
}
