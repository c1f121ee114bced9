//! The command at a terminal: questions, signals, colours.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::process::Stdio;
use std::sync::mpsc;

use fedecks_protocol::Term;
use nix::fcntl::OFlag;
use nix::libc;
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::termios::{LocalFlags, Termios, tcgetattr};
use nix::unistd::Pid;
use tokio::process::Child;

use crate::support::bus::Bus;
use crate::support::process::{gone, id_in, write_id};
use crate::support::scene::Scene;
use crate::support::{By, PASSWORD, PATIENCE, Seen, USER, fedecks, push, within};

/// A terminal with the command as its foreground process.
pub(super) struct Session {
    child: Child,
    keyboard: File,
    terminal: OwnedFd,
    shown: mpsc::Receiver<Vec<u8>>,
    pub(super) screen: String,
    before: Termios,
}

/// Both ends of a new terminal, which no child inherits.
fn open_terminal() -> (File, OwnedFd) {
    let master = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname_r(&master).unwrap();
    let mut open = OpenOptions::new();
    let terminal = open.read(true).write(true).custom_flags(libc::O_NOCTTY).open(name).unwrap();
    (File::from(OwnedFd::from(master)), terminal.into())
}

impl Session {
    fn start(scene: &Scene, arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        Self::start_on(&scene.bus, arguments, variables)
    }

    pub(super) fn start_on(bus: &Bus, arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let (master, terminal) = open_terminal();
        let before = tcgetattr(&terminal).unwrap();
        let end = || Stdio::from(terminal.try_clone().unwrap());
        // setsid makes it the controlling terminal, so that Ctrl-C is a signal.
        let child = tokio::process::Command::new("setsid")
            .args(["--ctty", "--wait"])
            .arg(fedecks())
            .args(arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("TERM", "xterm")
            .env("DBUS_SYSTEM_BUS_ADDRESS", bus.address())
            .envs(variables.iter().copied())
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut reader = master.try_clone().unwrap();
        let (sender, shown) = mpsc::channel();
        std::thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(count @ 1..) = reader.read(&mut chunk) {
                if sender.send(chunk[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { child, keyboard: master, terminal, shown, screen: String::new(), before }
    }

    pub(super) fn sees(&mut self, text: &str) {
        while !self.screen.contains(text) {
            let Ok(more) = self.shown.recv_timeout(PATIENCE) else {
                panic!("no {text:?} on the screen: {:?}", self.screen);
            };
            self.screen.push_str(&String::from_utf8_lossy(&more));
        }
    }

    pub(super) fn types(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    pub(super) fn is_echoing(&self) -> bool {
        tcgetattr(self.terminal.as_fd()).unwrap().local_flags.contains(LocalFlags::ECHO)
    }

    /// Closes the terminal, as a lost connection does, and returns the exit status.
    async fn hangs_up(self) -> Option<i32> {
        let Self { mut child, mut keyboard, shown, .. } = self;
        // The echo ends the thread that reads from the terminal.
        drop(shown);
        keyboard.write_all(b"x").unwrap();
        drop(keyboard);
        within(child.wait()).await.unwrap().code()
    }

    /// Its exit status; the terminal must be as it was before.
    pub(super) async fn end(&mut self) -> Option<i32> {
        let status = within(self.child.wait()).await.unwrap();
        let after = tcgetattr(self.terminal.as_fd()).unwrap();
        assert_eq!(after.local_flags, self.before.local_flags);
        assert_eq!(after.control_chars, self.before.control_chars);
        status.code()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn login_prompts_for_what_is_missing_and_hides_passwords() {
    let Some(mut scene) = Scene::unregistered().await else { return };
    let mut session = Session::start(&scene, &["login", "--secret", "pin"], &[]);
    session.sees("username: ");
    assert!(session.is_echoing());
    session.types(&format!("{USER}\n"));
    session.sees("password: ");
    assert!(!session.is_echoing());
    session.types(&format!("{PASSWORD}\n"));
    session.sees("pin: ");
    assert!(!session.is_echoing());
    session.types("2468\n");
    session.sees("logged in");
    assert_eq!(session.end().await, Some(0));
    assert!(session.screen.contains(USER));
    assert!(!session.screen.contains(PASSWORD) && !session.screen.contains("2468"));
    assert_eq!(scene.cloud.next().await, Seen::Connected(By::Credentials));
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_at_the_password_prompt_restores_the_terminal() {
    let Some(scene) = Scene::unregistered().await else { return };
    let mut session = Session::start(&scene, &["login", "--username", USER], &[]);
    session.sees("password: ");
    assert!(!session.is_echoing());
    session.types("half\x1a\x03");
    assert_eq!(session.end().await, Some(130));
    assert!(!session.screen.contains("half"));

    let mut session = Session::start(&scene, &["login", "-u", USER], &[]);
    session.sees("password: ");
    // Ctrl-D, the end of the input.
    session.types("\x04");
    session.sees("no password was given");
    assert_eq!(session.end().await, Some(2));
}

/// `listen --exec` while its program, which does not end by itself, handles a message.
async fn handling(scene: &Scene) -> (Session, Pid) {
    let file = scene.setup.folder.path().join("id");
    // In a separate process group, which the terminal does not send its signals to.
    let script = format!("{}; exec sleep 600", write_id("$$", &file));
    let mut session = Session::start(scene, &["listen", "--exec", "sh", "--", "-c", &script], &[]);
    session.sees("listening");
    push(&scene.cloud, Term::Nil).await;
    (session, id_in(&file).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_also_ends_the_program_of_a_message() {
    let Some(scene) = Scene::connected().await else { return };
    let (mut session, program) = handling(&scene).await;
    session.types("\x03");
    assert_eq!(session.end().await, Some(130));
    gone(program).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_terminal_also_ends_the_program_of_a_message() {
    let Some(scene) = Scene::connected().await else { return };
    let (session, program) = handling(&scene).await;
    assert_eq!(session.hangs_up().await, Some(129));
    gone(program).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn colours_depend_on_the_terminal_and_no_color() {
    let Some(scene) = Scene::unregistered().await else { return };
    for (variables, coloured) in
        [(&[][..], true), (&[("NO_COLOR", "1")], false), (&[("TERM", "dumb")], false)]
    {
        let mut session = Session::start(&scene, &["status"], variables);
        session.sees("version");
        assert_eq!(session.end().await, Some(0));
        assert_eq!(session.screen.contains('\x1b'), coloured, "{:?}", session.screen);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_sent_is_said_on_a_terminal_only() {
    let Some(mut scene) = Scene::connected().await else { return };
    let mut session = Session::start(&scene, &["send", "1"], &[]);
    session.sees("sent");
    assert_eq!(session.end().await, Some(0));
    assert_eq!(scene.cloud.next().await, Seen::Message(Term::Int(1)));
    assert_eq!(scene.run(&["send", "2"]).await.succeeds().stdout, "");
}
