//! A network between two namespaces that delays, loses and swallows packets as a test wants: a TUN device
//! in each, and a thread that passes packets between them. The kernel need not have netem.

mod behaviour;
mod filter;
mod line;
mod tun;

use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;

pub use self::behaviour::{Behaviour, Counts};
pub use self::filter::{Filter, Protocol};
use self::line::Line;
pub use self::tun::End;
use self::tun::Tun;
use crate::wait::skip;

/// Which way packets go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the first end to the second.
    Up,
    /// From the second end to the first.
    Down,
}

/// Passes packets between two namespaces as long as it lives.
///
/// Everything random comes from the seed: what happens to the nth packet of a direction depends only on the seed,
/// on n and on the behaviour at that time. Multicast is not relayed, and does not count: kernels send it unasked.
pub struct Relay {
    lines: Arc<[Mutex<Line>; 2]>,
    // The thread ends when this is closed.
    stop: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    /// Whether this machine has TUN devices; reports the test as skipped if not.
    pub fn is_possible() -> bool {
        let result = Tun::is_available();
        if let Err(error) = &result {
            skip(&format!("/dev/net/tun: {error}"));
        }
        result.is_ok()
    }

    /// A relay that passes everything at once. Both devices are up and have their addresses. `first` and `second`
    /// may be the same namespace only if their addresses are routed by the test.
    pub async fn start(seed: u64, first: End<'_>, second: End<'_>) -> Self {
        let tuns = [Tun::open(first), Tun::open(second)];
        for end in [first, second] {
            let link = end.link;
            // Without a generated address, the kernel has nothing to solicit routers with.
            let mut script =
                format!("ip link set {link} addrgenmode none\nip link set {link} up\n");
            for address in end.addresses {
                let no_detection = if address.contains(':') { "nodad" } else { "" };
                script += &format!("ip addr add {address} dev {link} {no_detection}\n");
            }
            end.namespace.run(&script).await;
        }
        let line = |number: u64| Mutex::new(Line::new(seed.wrapping_add(number << 32)));
        let lines = Arc::new([line(1), line(2)]);
        let (stop, stopped) = UnixStream::pair().unwrap();
        let shared = Arc::clone(&lines);
        let thread = std::thread::Builder::new()
            .name("relay".to_owned())
            .spawn(move || pass(&tuns, &shared, &stopped))
            .unwrap();
        Self { lines, stop: Some(stop), thread: Some(thread) }
    }

    /// From now on packets in this direction are treated like this. What is in transit arrives as it would have before.
    pub fn set(&self, direction: Direction, behaviour: Behaviour) {
        self.line(direction).behaviour = behaviour;
    }

    /// The same for both directions.
    pub fn set_both(&self, behaviour: &Behaviour) {
        for direction in [Direction::Up, Direction::Down] {
            self.set(direction, behaviour.clone());
        }
    }

    /// Counts of the packets in this direction.
    pub fn counts(&self, direction: Direction) -> Counts {
        self.line(direction).counts()
    }

    fn line(&self, direction: Direction) -> MutexGuard<'_, Line> {
        self.lines[direction as usize].lock().unwrap()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It has panicked if this fails; the test then fails by itself, or does not mind.
            let _ = thread.join();
        }
    }
}

/// Passes packets until the other end of `stop` is closed.
fn pass(tuns: &[Tun; 2], lines: &[Mutex<Line>; 2], stop: &UnixStream) {
    loop {
        let now = Instant::now();
        let mut next = now + Duration::from_secs(1);
        for (from, line) in lines.iter().enumerate() {
            let mut line = line.lock().unwrap();
            while let Some(packet) = line.take_due(now) {
                tuns[1 - from].write(&packet);
            }
            next = line.next_due().map_or(next, |at| at.min(next));
        }
        let timeout = TimeSpec::from(next.saturating_duration_since(Instant::now()));
        let fds = [tuns[0].as_fd(), tuns[1].as_fd(), stop.as_fd()];
        let mut fds = fds.map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        // An interruption is the same as nothing having come.
        let _ = ppoll(&mut fds, Some(timeout), None);
        if fds[2].any() == Some(true) {
            return;
        }
        for (tun, line) in tuns.iter().zip(lines) {
            while let Some(packet) = tun.read() {
                line.lock().unwrap().offer(Instant::now(), packet);
            }
        }
    }
}
