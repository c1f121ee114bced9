//! A server of the cluster, which is started again whenever it ends, as systemd would.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::rc::Rc;
use std::time::Duration;

use fedecks_testing::cloud_process::{CloudProcess, CloudProgram};
use fedecks_testing::fleet_history::{FleetEntry, FleetHistory};
use fedecks_testing::wall_clock::WallClock;
use nix::sys::signal::Signal;
use tokio::time::sleep;

use crate::network::Host;

/// As in the unit.
const RESTART: Duration = Duration::from_secs(1);

/// A server.
pub(crate) struct Node {
    pub(crate) number: usize,
    pub(crate) address: SocketAddr,
    pub(crate) host: Host,
    pub(crate) clock: WallClock,
    process: RefCell<CloudProcess>,
    /// Whether it has to stay away when it has ended.
    is_held: Cell<bool>,
    /// Whether it was asked to end.
    has_to_end: Cell<bool>,
    history: Rc<FleetHistory>,
}

impl Node {
    /// Starts it. It serves at once, later, or when it has to take over.
    pub(crate) fn start(
        number: usize,
        host: Host,
        program: CloudProgram,
        clock: WallClock,
        history: &Rc<FleetHistory>,
    ) -> Rc<Self> {
        let address = SocketAddr::new(host.address, 8080);
        let process = {
            let _inside = host.namespace.inside();
            program.stand_by(&["--listen", &address.to_string()])
        };
        let process = RefCell::new(process);
        let (is_held, has_to_end) = (Cell::new(false), Cell::new(false));
        let history = Rc::clone(history);
        Rc::new(Self { number, address, host, clock, process, is_held, has_to_end, history })
    }

    /// Starts it again whenever it has ended. Never returns.
    pub(crate) async fn supervise(&self) {
        loop {
            sleep(Duration::from_millis(100)).await;
            let ended = self.process.borrow_mut().try_ended();
            let Some(status) = ended.filter(|_| !self.is_held.get()) else { continue };
            // 75: it has lost its lease; 1: what it needs cannot be reached.
            let is_killed = status.signal() == Some(Signal::SIGKILL as i32);
            let has_ended = self.has_to_end.take() && status.success();
            if !is_killed && !has_ended && !matches!(status.code(), Some(75 | 1)) {
                let text = format!("server {} ended with {status}", self.number);
                self.history.add(FleetEntry::Broken(text));
            }
            sleep(RESTART).await;
            self.start_again();
        }
    }

    fn start_again(&self) {
        let listen = self.address.to_string();
        {
            let _inside = self.host.namespace.inside();
            self.process.borrow_mut().spawn_again(&["--listen", &listen]);
        }
        self.history.add(FleetEntry::Returns(self.number));
    }

    /// Kills it as a crash would, and keeps it away for this time.
    pub(crate) async fn kill(&self, away: Duration) {
        self.is_held.set(true);
        self.signal(Signal::SIGKILL);
        sleep(away).await;
        self.is_held.set(false);
    }

    /// Ends it in order, and keeps it away for this time after that.
    pub(crate) async fn end(&self, away: Duration) {
        self.is_held.set(true);
        self.has_to_end.set(true);
        self.signal(Signal::SIGTERM);
        while self.process.borrow_mut().try_ended().is_none() {
            sleep(Duration::from_millis(100)).await;
        }
        sleep(away).await;
        self.is_held.set(false);
        // Until it is started again, which follows.
        while self.process.borrow_mut().try_ended().is_some() {
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// Stops it for this time.
    pub(crate) async fn pause(&self, lasts: Duration) {
        self.signal(Signal::SIGSTOP);
        sleep(lasts).await;
        self.signal(Signal::SIGCONT);
        self.history.add(FleetEntry::Returns(self.number));
    }

    fn signal(&self, signal: Signal) {
        let mut process = self.process.borrow_mut();
        if process.try_ended().is_none() {
            process.signal(signal);
        }
    }

    /// All that it has logged.
    pub(crate) fn log(&self) -> String {
        self.process.borrow().log()
    }
}
