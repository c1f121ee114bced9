//! A relay for TCP on loopback whose link a test cuts silently, resets, slows and restores. Unlike `relay`, which
//! treats packets, it needs no namespaces and no rights: it acknowledges bytes itself, so what a cut swallows is lost.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::{Either, select, try_join};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep_until};

/// The most bytes that are read at once.
const CHUNK: usize = 4096;

/// How many chunks are in transit in one direction of a connection. Further bytes stay with their sender.
const IN_TRANSIT: usize = 16;

/// Bytes in transit, and when they arrive.
type Chunk = (Instant, Vec<u8>);

/// How the link treats connections.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Link {
    /// Everything passes at once.
    #[default]
    Up,
    /// Nothing passes, and no end is notified: bytes vanish, and so do the ends of connections. A connection that
    /// has lost something, or was opened during the cut, stays silent after it, as one does whose proxy has
    /// forgotten it; others continue.
    Cut(NewConnections),
    /// Everything passes, but slowly.
    Slow {
        /// Of all connections together, in each direction. At least 1.
        bytes_per_second: u64,
        /// From one end to the other.
        latency: Duration,
    },
}

/// What happens to connections that are opened during a cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NewConnections {
    /// They are accepted, and nothing comes back.
    Silent,
    /// They are reset as soon as they are accepted.
    Refused,
}

/// Counts of what a relay has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections that were accepted, refused ones included.
    pub accepted: u64,
    /// Those that [`TcpRelay::reset`] has reset, and those that were refused.
    pub reset: u64,
    /// Bytes that were handed to the other end, in both directions.
    pub passed: u64,
    /// Bytes that vanished, in both directions.
    pub swallowed: u64,
}

/// Passes connections to a target as long as it lives. Dropping it closes them.
pub struct TcpRelay {
    /// Where it listens.
    pub address: SocketAddr,
    shared: Arc<Shared>,
    task: AbortHandle,
}

struct Shared {
    target: SocketAddr,
    state: watch::Sender<State>,
    counts: Mutex<Counts>,
    /// When the last byte of each direction has left its sender, at the given rate.
    sent_at: [Mutex<Option<Instant>>; 2],
}

#[derive(Debug, Clone, Copy, Default)]
struct State {
    link: Link,
    /// How often connections were reset.
    resets: u64,
}

impl TcpRelay {
    /// A relay on a free port of 127.0.0.1 that passes everything at once.
    pub async fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            target,
            state: watch::Sender::default(),
            counts: Mutex::default(),
            sent_at: Default::default(),
        });
        let task = tokio::spawn(accept(listener, Arc::clone(&shared))).abort_handle();
        Self { address, shared, task }
    }

    /// From now on the link is like this. What is in transit on a slow link arrives as it would have before, unless
    /// the link is cut by then.
    pub fn set(&self, link: Link) {
        self.shared.state.send_modify(|state| state.link = link);
    }

    /// Resets every connection at both ends. New ones are treated as before.
    pub fn reset(&self) {
        self.shared.state.send_modify(|state| state.resets += 1);
    }

    /// What it has done.
    pub fn counts(&self) -> Counts {
        *self.shared.counts.lock().unwrap()
    }
}

impl Drop for TcpRelay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    fn link(&self) -> Link {
        self.state.borrow().link
    }

    fn count(&self, change: impl FnOnce(&mut Counts)) {
        change(&mut self.counts.lock().unwrap());
    }

    /// When bytes that are sent now arrive.
    fn due(&self, direction: usize, bytes: usize) -> Instant {
        let now = Instant::now();
        let Link::Slow { bytes_per_second, latency } = self.link() else { return now };
        let mut sent_at = self.sent_at[direction].lock().unwrap();
        let takes = Duration::from_secs_f64(bytes as f64 / bytes_per_second.max(1) as f64);
        let sent = sent_at.map_or(now, |at| at.max(now)) + takes;
        *sent_at = Some(sent);
        sent + latency
    }

    /// How many bytes are read at once: on a slow link what passes in a tenth of a second.
    fn chunk(&self) -> usize {
        match self.link() {
            Link::Slow { bytes_per_second, .. } => {
                usize::try_from(bytes_per_second / 10).unwrap_or(CHUNK).clamp(1, CHUNK)
            }
            Link::Up | Link::Cut(_) => CHUNK,
        }
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    // Dropped, and with it every connection, when this task is aborted.
    let mut connections = JoinSet::new();
    loop {
        let Ok((near, _)) = listener.accept().await else { continue };
        while connections.try_join_next().is_some() {}
        // Before it is counted, so that a test that has seen the count can reset it.
        let state = *shared.state.borrow();
        shared.count(|counts| counts.accepted += 1);
        if state.link == Link::Cut(NewConnections::Refused) {
            shared.count(|counts| counts.reset += 1);
            reset_when_dropped(&near);
            continue;
        }
        connections.spawn(connection(near, state, Arc::clone(&shared)));
    }
}

/// Passes a connection to the target until both directions have ended, one has failed, or it is reset.
async fn connection(mut near: TcpStream, accepted: State, shared: Arc<Shared>) {
    let mut state = shared.state.subscribe();
    // The sender lives as long as this task.
    let mut is_reset = pin!(state.wait_for(|state| state.resets != accepted.resets));
    let mut far = None;
    let passing = async {
        if matches!(accepted.link, Link::Cut(_)) {
            return silence(&mut near, &shared).await;
        }
        let far = far.insert(TcpStream::connect(shared.target).await?);
        let lost = AtomicBool::new(false);
        let (near_reader, near_writer) = near.split();
        let (far_reader, far_writer) = far.split();
        let up = Pass { direction: 0, lost: &lost, shared: &shared };
        let down = Pass { direction: 1, lost: &lost, shared: &shared };
        try_join(up.pass(near_reader, far_writer), down.pass(far_reader, near_writer)).await?;
        Ok(())
    };
    let failed = match select(&mut is_reset, pin!(passing)).await {
        Either::Left(_) => {
            shared.count(|counts| counts.reset += 1);
            true
        }
        Either::Right((result, _)) => result.is_err(),
    };
    if failed {
        reset_when_dropped(&near);
        far.iter().for_each(reset_when_dropped);
    }
}

fn reset_when_dropped(stream: &TcpStream) {
    // Fails only if the other end has reset it already.
    let _ = stream.set_zero_linger();
}

/// Reads what the client sends and never answers, until the client ends the connection.
async fn silence(near: &mut TcpStream, shared: &Shared) -> io::Result<()> {
    let mut bytes = [0; CHUNK];
    loop {
        let count = near.read(&mut bytes).await?;
        if count == 0 {
            return Ok(());
        }
        shared.count(|counts| counts.swallowed += count as u64);
    }
}

/// One direction of a connection.
struct Pass<'a> {
    direction: usize,
    /// Whether the connection has lost something, in any direction.
    lost: &'a AtomicBool,
    shared: &'a Shared,
}

impl Pass<'_> {
    async fn pass(self, reader: ReadHalf<'_>, writer: WriteHalf<'_>) -> io::Result<()> {
        let (sender, receiver) = mpsc::channel(IN_TRANSIT);
        try_join(self.read(reader, sender), self.write(receiver, writer)).await.map(drop)
    }

    async fn read(&self, mut reader: ReadHalf<'_>, sender: Sender<Chunk>) -> io::Result<()> {
        let mut bytes = [0; CHUNK];
        loop {
            let result = reader.read(&mut bytes[..self.shared.chunk()]).await;
            if self.swallows() {
                match result {
                    // The other end does not notice.
                    Ok(0) | Err(_) => return Ok(()),
                    Ok(count) => self.swallow(count),
                }
                continue;
            }
            let count = result?;
            if count == 0 {
                return Ok(());
            }
            let due = self.shared.due(self.direction, count);
            if sender.send((due, bytes[..count].to_vec())).await.is_err() {
                return Ok(());
            }
        }
    }

    async fn write(
        &self,
        mut receiver: Receiver<Chunk>,
        mut writer: WriteHalf<'_>,
    ) -> io::Result<()> {
        while let Some((due, bytes)) = receiver.recv().await {
            sleep_until(due).await;
            let result = if self.swallows() { Ok(()) } else { writer.write_all(&bytes).await };
            if self.swallows() {
                self.swallow(bytes.len());
            } else {
                result?;
                self.shared.count(|counts| counts.passed += bytes.len() as u64);
            }
        }
        if self.swallows() { Ok(()) } else { writer.shutdown().await }
    }

    /// Whether what happens now is swallowed, and with it everything after it.
    fn swallows(&self) -> bool {
        if matches!(self.shared.link(), Link::Cut(_)) {
            self.lost.store(true, Relaxed);
        }
        self.lost.load(Relaxed)
    }

    fn swallow(&self, bytes: usize) {
        self.shared.count(|counts| counts.swallowed += bytes as u64);
    }
}
