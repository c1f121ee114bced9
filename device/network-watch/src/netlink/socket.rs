//! The rtnetlink sockets: notifications from the kernel, and dumps of its tables.

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

/// Notifications from the kernel.
pub(super) struct Notifications(AsyncFd<OwnedFd>);

const GROUPS: u32 = (libc::RTMGRP_LINK
    | libc::RTMGRP_IPV4_IFADDR
    | libc::RTMGRP_IPV6_IFADDR
    | libc::RTMGRP_IPV4_ROUTE
    | libc::RTMGRP_IPV6_ROUTE) as u32;

/// Size of the kernel's receive buffer, in bytes. Messages that do not fit are lost, which the kernel
/// reports as `ENOBUFS`.
const RECEIVE_BUFFER: usize = 128 * 1_024;
/// Maximum number of messages that are read without yielding.
const MAX_BATCH: usize = 1_024;
/// Bytes at the beginning of a message that suffice to decide on its relevance.
const PEEKED: usize = 64;

impl Notifications {
    /// Subscribes from now on. Must be called within a tokio runtime with I/O enabled.
    pub(super) fn subscribe() -> io::Result<Self> {
        let socket = open()?;
        // With a lower limit of the system, more messages are lost.
        let _ = setsockopt(&socket, sockopt::RcvBuf, &RECEIVE_BUFFER);
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, GROUPS))?;
        #[expect(
            unsafe_code,
            reason = "tokio has no safe way to register a custom file descriptor"
        )]
        // SAFETY: an `OwnedFd` is the same open descriptor for its whole lifetime.
        let socket = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) }?;
        Ok(Self(socket))
    }

    /// Waits for a message that is relevant, judging by its first bytes.
    pub(super) async fn wait_for(&self, is_relevant: impl Fn(&[u8]) -> bool) -> io::Result<()> {
        loop {
            let mut ready = self.0.readable().await?;
            if self.drain(&is_relevant)? {
                return Ok(());
            }
            ready.clear_ready();
        }
    }

    /// Reads all pending messages. Returns true if one was relevant, judging by its first bytes, or if a
    /// relevant one may have been lost.
    pub(super) fn drain(&self, is_relevant: impl Fn(&[u8]) -> bool) -> io::Result<bool> {
        let mut relevant = false;
        let mut bytes = [0; PEEKED];
        for _ in 0..MAX_BATCH {
            match receive(self.0.get_ref(), &mut bytes) {
                Ok(message) => relevant |= is_relevant(message),
                Err(Errno::EAGAIN) => return Ok(relevant),
                Err(Errno::ENOBUFS) => relevant = true,
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }
}

/// A request to dump a table of the kernel.
#[derive(Debug, Clone, Copy)]
pub(super) struct DumpRequest {
    /// `RTM_GETLINK`, for example.
    pub(super) kind: u16,
    /// Size of the fixed part after the header, in bytes; zeros request everything.
    pub(super) body: usize,
}

const HEADER: usize = 16;
/// Size of the buffer for a part of a dump: the maximum that the kernel sends at once.
const PART: usize = 32 * 1_024;
/// Maximum number of parts that are read. Default routes come first in a table.
const MAX_PARTS: usize = 256;

/// Dumps a table, and passes on each message: its type, and its payload. Returns false if the table
/// changed meanwhile, so that the dump may be inconsistent.
pub(super) fn dump(request: DumpRequest, mut each: impl FnMut(u16, &[u8])) -> io::Result<bool> {
    let DumpRequest { kind, body } = request;
    let socket = open()?;
    let mut request = vec![0; HEADER + body];
    let length = u32::try_from(request.len()).map_err(io::Error::other)?;
    let mut header = NetlinkBuffer::new(&mut request);
    header.set_length(length);
    header.set_message_type(kind);
    header.set_flags(NLM_F_REQUEST | NLM_F_DUMP);
    sendto(socket.as_raw_fd(), &request, &NetlinkAddr::new(0, 0), MsgFlags::empty())?;

    let mut is_consistent = true;
    let mut part = vec![0; PART];
    for _ in 0..MAX_PARTS {
        // The kernel produces the next part during this call, which therefore never waits.
        let mut rest = match receive(&socket, &mut part) {
            Ok(received) => received,
            Err(Errno::EINTR) => continue,
            Err(error) => return Err(error.into()),
        };
        while let Ok(message) = NetlinkBuffer::new_checked(rest) {
            is_consistent &= message.flags() & NLM_F_DUMP_INTR == 0;
            match message.message_type() {
                NLMSG_DONE => return Ok(is_consistent),
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

/// A message, truncated to the buffer's size; empty if it was not sent by the kernel.
fn receive<'a>(socket: &OwnedFd, buffer: &'a mut [u8]) -> nix::Result<&'a [u8]> {
    let (length, sender) = recvfrom::<NetlinkAddr>(socket.as_raw_fd(), buffer)?;
    let is_from_kernel = sender.is_some_and(|sender| sender.pid() == 0);
    Ok(buffer.get(..length).filter(|_| is_from_kernel).unwrap_or_default())
}
