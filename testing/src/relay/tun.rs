//! A TUN device: what the kernel sends over it is read here, what is written here the kernel receives.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;

use nix::libc;

use crate::namespace::Namespace;

/// One end of a relay.
#[derive(Clone, Copy)]
pub struct End<'a> {
    /// Where its device is created.
    pub namespace: &'a Namespace,
    /// The name of the device, at most 15 bytes.
    pub link: &'a str,
    /// Its addresses with their prefix, such as `10.9.0.1/24` or `fd09::1/64`. Further routes are up to the test:
    /// `ip route add default dev LINK`.
    pub addresses: &'a [&'a str],
}

/// The device exists as long as this.
pub(super) struct Tun(File);

/// The kernel's `struct ifreq` for `TUNSETIFF`.
#[repr(C)]
struct Request {
    name: [u8; libc::IFNAMSIZ],
    flags: libc::c_short,
    rest: [u8; 22],
}

/// The largest packet.
const MTU: usize = 65_535;

impl Tun {
    pub(super) fn is_available() -> std::io::Result<()> {
        open().map(drop)
    }

    /// Creates the device in the namespace.
    pub(super) fn open(End { namespace, link, .. }: End<'_>) -> Self {
        let _inside = namespace.inside();
        let file = open().expect("/dev/net/tun");
        let mut name = [0; libc::IFNAMSIZ];
        assert!(link.len() < name.len(), "{link}: longer than 15 bytes");
        name[..link.len()].copy_from_slice(link.as_bytes());
        let flags = libc::c_short::try_from(libc::IFF_TUN | libc::IFF_NO_PI).unwrap();
        set_interface(&file, &Request { name, flags, rest: [0; 22] });
        Self(file)
    }

    /// The next packet that the kernel has sent, if there is one.
    pub(super) fn read(&self) -> Option<Vec<u8>> {
        let mut bytes = [0; MTU];
        let length = (&self.0).read(&mut bytes).ok()?;
        Some(bytes[..length].to_vec())
    }

    /// Has the kernel receive a packet. One that it does not take is lost, as on any link.
    pub(super) fn write(&self, packet: &[u8]) {
        let _ = (&self.0).write(packet);
    }
}

impl AsFd for Tun {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn open() -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).custom_flags(libc::O_NONBLOCK);
    options.open("/dev/net/tun")
}

fn set_interface(file: &File, request: &Request) {
    mod raw {
        use nix::libc;

        nix::ioctl_write_ptr_bad!(
            tunsetiff,
            nix::request_code_write!(b'T', 202, size_of::<libc::c_int>()),
            super::Request
        );
    }
    #[expect(
        unsafe_code,
        reason = "the request is as long as the kernel's, and lives until it returns"
    )]
    let result = unsafe { raw::tunsetiff(file.as_raw_fd(), request) };
    result.expect("TUNSETIFF");
}
