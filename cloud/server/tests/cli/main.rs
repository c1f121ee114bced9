//! The real program, for what needs a process: start, signals, systemd, a terminal, a running server.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests may fail the test")]

use std::os::unix::net::UnixDatagram;

use fedecks_testing::cloud_process::CloudProgram;
use fedecks_testing::wait::PATIENCE;

mod certificates;
mod checks;
mod client_certificates;
mod commands;
mod handshakes;
mod logs;
mod missing_store;
mod output;
mod places;
mod root;
mod serving;
mod statuses;
mod two_servers;

const PROGRAM: &str = env!("CARGO_BIN_EXE_fedecks-cloud");

/// A free port, for a server without a configuration file.
const LISTEN: [&str; 2] = ["--listen", "127.0.0.1:0"];

/// The socket on which systemd receives a service's notifications.
struct Systemd(UnixDatagram);

impl Systemd {
    /// In the folder of the program, which it sets the variable for.
    fn listen(program: CloudProgram) -> (Self, CloudProgram) {
        let socket = program.folder.path().join("notify");
        let program = program.variable("NOTIFY_SOCKET", socket.to_str().unwrap());
        let socket = UnixDatagram::bind(socket).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        (Self(socket), program)
    }

    fn received(&self) -> String {
        let mut message = [0; 256];
        let length = self.0.recv(&mut message).unwrap();
        String::from_utf8_lossy(&message[..length]).trim_end().to_owned()
    }
}
