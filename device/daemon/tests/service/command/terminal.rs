use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::Stdio;
use std::sync::mpsc;

use nix::pty::openpty;
use nix::sys::termios::{LocalFlags, Termios, tcgetattr};
use tokio::process::Child;

use super::desk::{Desk, command};
use crate::support::cloud::{By, PASSWORD, Seen, USER};
use crate::support::{PATIENCE, within};

/// Somebody at a terminal of which the command is the foreground process.
struct Sitting {
    child: Child,
    keyboard: File,
    terminal: OwnedFd,
    shown: mpsc::Receiver<Vec<u8>>,
    screen: String,
    before: Termios,
}

impl Sitting {
    fn begin(desk: &Desk, arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let pair = openpty(None, None).unwrap();
        let before = tcgetattr(&pair.slave).unwrap();
        let direct = command(&desk.bus.address(), arguments);
        // Makes the terminal that of a new session, so that Ctrl-C becomes a signal.
        let mut child = tokio::process::Command::new("setsid");
        let end = || Stdio::from(pair.slave.try_clone().unwrap());
        let child = child
            .args(["--ctty", "--wait"])
            .arg(direct.as_std().get_program())
            .args(direct.as_std().get_args())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("TERM", "xterm")
            .env("DBUS_SYSTEM_BUS_ADDRESS", desk.bus.address())
            .envs(variables.iter().copied())
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut reader = File::from(pair.master.try_clone().unwrap());
        let (sender, shown) = mpsc::channel();
        std::thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(count @ 1..) = reader.read(&mut chunk) {
                if sender.send(chunk[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        let keyboard = File::from(pair.master);
        Self { child, keyboard, terminal: pair.slave, shown, screen: String::new(), before }
    }

    fn sees(&mut self, text: &str) {
        while !self.screen.contains(text) {
            let Ok(more) = self.shown.recv_timeout(PATIENCE) else {
                panic!("no {text:?} on the screen: {:?}", self.screen);
            };
            self.screen.push_str(&String::from_utf8_lossy(&more));
        }
    }

    fn types(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    fn is_echoing(&self) -> bool {
        tcgetattr(self.terminal.as_fd()).unwrap().local_flags.contains(LocalFlags::ECHO)
    }

    /// Its exit status; the terminal is as it was.
    async fn end(&mut self) -> Option<i32> {
        let status = within(self.child.wait()).await.unwrap();
        let after = tcgetattr(self.terminal.as_fd()).unwrap();
        assert_eq!(after.local_flags, self.before.local_flags);
        assert_eq!(after.control_chars, self.before.control_chars);
        status.code()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_asks_for_what_is_missing_and_shows_no_password() {
    let Some(mut desk) = Desk::unregistered().await else { return };
    let mut sitting = Sitting::begin(&desk, &["login", "--secret", "pin"], &[]);
    sitting.sees("username: ");
    assert!(sitting.is_echoing());
    sitting.types(&format!("{USER}\n"));
    sitting.sees("password: ");
    assert!(!sitting.is_echoing());
    sitting.types(&format!("{PASSWORD}\n"));
    sitting.sees("pin: ");
    assert!(!sitting.is_echoing());
    sitting.types("2468\n");
    sitting.sees("logged in");
    assert_eq!(sitting.end().await, Some(0));
    assert!(sitting.screen.contains(USER));
    assert!(!sitting.screen.contains(PASSWORD) && !sitting.screen.contains("2468"));
    assert_eq!(desk.cloud.next().await, Seen::Connected(By::Credentials));
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_while_the_password_is_asked_for_gives_the_terminal_back() {
    let Some(desk) = Desk::unregistered().await else { return };
    let mut sitting = Sitting::begin(&desk, &["login", "--username", USER], &[]);
    sitting.sees("password: ");
    assert!(!sitting.is_echoing());
    sitting.types("half\x1a\x03");
    assert_eq!(sitting.end().await, Some(130));
    assert!(!sitting.screen.contains("half"));

    let mut sitting = Sitting::begin(&desk, &["login", "-u", USER], &[]);
    sitting.sees("password: ");
    // The end of the input, as Ctrl-D types it.
    sitting.types("\x04");
    sitting.sees("no password was given");
    assert_eq!(sitting.end().await, Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn colours_are_for_terminals_that_want_them() {
    let Some(desk) = Desk::unregistered().await else { return };
    for (variables, coloured) in
        [(&[][..], true), (&[("NO_COLOR", "1")], false), (&[("TERM", "dumb")], false)]
    {
        let mut sitting = Sitting::begin(&desk, &["status"], variables);
        sitting.sees("version");
        assert_eq!(sitting.end().await, Some(0));
        assert_eq!(sitting.screen.contains('\x1b'), coloured, "{:?}", sitting.screen);
    }
}
