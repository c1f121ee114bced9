//! The sockets to the kernel.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR, NetlinkBuffer,
};
use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recvfrom, sendto,
    setsockopt, socket, sockopt,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// What the kernel tells unasked.
pub(super) struct Events(AsyncFd<OwnedFd>);

const GROUPS: u32 = (libc::RTMGRP_LINK
    | libc::RTMGRP_IPV4_IFADDR
    | libc::RTMGRP_IPV6_IFADDR
    | libc::RTMGRP_IPV4_ROUTE
    | libc::RTMGRP_IPV6_ROUTE) as u32;

/// Bytes of messages that the kernel keeps. What does not fit is lost, and that is told.
const KEPT: usize = 128 * 1_024;
/// Messages that are taken before somebody else has a turn.
const MOST: usize = 1_024;
/// Bytes at the beginning of a message that tell what it is about.
const BEGINNING: usize = 64;

impl Events {
    /// From now on. Must be called within a tokio runtime with I/O.
    pub(super) fn subscribe() -> io::Result<Self> {
        let socket = open()?;
        // A smaller limit of the system's only loses more.
        let _ = setsockopt(&socket, sockopt::RcvBuf, &KEPT);
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, GROUPS))?;
        #[expect(unsafe_code, reason = "tokio has no safe way for a file descriptor of one's own")]
        // SAFETY: an `OwnedFd` is the same open descriptor for as long as it lives.
        let socket = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) }?;
        Ok(Self(socket))
    }

    /// Waits for one that `concerns`, by its beginning.
    pub(super) async fn concerning(&self, concerns: impl Fn(&[u8]) -> bool) -> io::Result<()> {
        loop {
            let mut ready = self.0.readable().await?;
            if self.have_come(&concerns)? {
                return Ok(());
            }
            ready.clear_ready();
        }
    }

    /// Takes all that have come; whether there was one that `concerns`, by its beginning, or may have
    /// been one that was lost.
    pub(super) fn have_come(&self, concerns: impl Fn(&[u8]) -> bool) -> io::Result<bool> {
        let mut concerning = false;
        let mut bytes = [0; BEGINNING];
        for _ in 0..MOST {
            match receive(self.0.get_ref(), &mut bytes) {
                Ok(message) => concerning |= concerns(message),
                Err(Errno::EAGAIN) => return Ok(concerning),
                Err(Errno::ENOBUFS) => concerning = true,
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }
}

/// A question to the kernel about a whole table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Question {
    /// `RTM_GETLINK`, for example.
    pub(super) kind: u16,
    /// Bytes of the fixed part that goes with it; zeros ask for everything.
    pub(super) body: usize,
}

const HEADER: usize = 16;
/// Bytes of a part of an answer: the most that the kernel gives at once.
const PART: usize = 32 * 1_024;
/// Parts that are read. Default routes come first in a table; what is beyond is no loss.
const MOST_PARTS: usize = 256;

/// Asks, and hands on each message of the answer: its type, and what follows its header. `false` if
/// the table changed meanwhile, so that something may be missing.
pub(super) fn ask(question: Question, mut each: impl FnMut(u16, &[u8])) -> io::Result<bool> {
    let socket = open()?;
    let mut request = vec![0; HEADER + question.body];
    let length = u32::try_from(request.len()).map_err(io::Error::other)?;
    let mut header = NetlinkBuffer::new(&mut request);
    header.set_length(length);
    header.set_message_type(question.kind);
    header.set_flags(NLM_F_REQUEST | NLM_F_DUMP);
    sendto(socket.as_raw_fd(), &request, &NetlinkAddr::new(0, 0), MsgFlags::empty())?;

    let mut is_whole = true;
    let mut part = vec![0; PART];
    for _ in 0..MOST_PARTS {
        // The kernel makes the next part while it is asked for it: there is no waiting here.
        let mut rest = match receive(&socket, &mut part) {
            Ok(received) => received,
            Err(Errno::EINTR) => continue,
            Err(error) => return Err(error.into()),
        };
        while let Ok(message) = NetlinkBuffer::new_checked(rest) {
            is_whole &= message.flags() & NLM_F_DUMP_INTR == 0;
            match message.message_type() {
                NLMSG_DONE => return Ok(is_whole),
                NLMSG_ERROR => return Err(error_in(message.payload())),
                kind => each(kind, message.payload()),
            }
            let length = message.length() as usize;
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
    }
    Ok(false)
}

fn error_in(payload: &[u8]) -> io::Error {
    let number = payload.first_chunk().map_or(0, |bytes| i32::from_ne_bytes(*bytes));
    io::Error::from_raw_os_error(number.saturating_neg())
}

fn open() -> nix::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute)
}

/// What came, as much of it as there is room for. What is not of the kernel is empty.
fn receive<'a>(socket: &OwnedFd, room: &'a mut [u8]) -> nix::Result<&'a [u8]> {
    let (length, sender) = recvfrom::<NetlinkAddr>(socket.as_raw_fd(), room)?;
    let is_of_the_kernel = sender.is_some_and(|sender| sender.pid() == 0);
    Ok(room.get(..length).filter(|_| is_of_the_kernel).unwrap_or_default())
}
