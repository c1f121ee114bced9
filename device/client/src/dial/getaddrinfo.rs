//! The system's resolver, for both families of addresses or one. The standard library asks only for both at once.
//! Whatever the system is configured for applies: `/etc/hosts`, DNS, mDNS.

use std::ffi::{CStr, CString};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::ptr;

use nix::libc;

/// The number of addresses that are taken from a reply; more than are ever tried.
const MAX_ADDRESSES: usize = 64;

/// The family of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

/// The addresses of a host in this family, or in both, sorted (RFC 6724). Blocks, for half a minute if no name server
/// answers.
pub(super) fn getaddrinfo(
    host: &str,
    port: u16,
    family: Option<Family>,
) -> io::Result<Vec<SocketAddr>> {
    let host = CString::new(host)?;
    let list = List::get(&host, family)?;
    Ok(list.addresses(port))
}

/// What `getaddrinfo` returned; freed when it is dropped.
struct List(*mut libc::addrinfo);

#[expect(unsafe_code, reason = "no safe wrapper of getaddrinfo in a crate that we have")]
impl List {
    fn get(host: &CStr, family: Option<Family>) -> io::Result<Self> {
        // SAFETY: a C structure of integers and pointers, for which all zeros are valid: no hints.
        let mut hints: libc::addrinfo = unsafe { std::mem::zeroed() };
        hints.ai_family = match family {
            None => libc::AF_UNSPEC,
            Some(Family::V4) => libc::AF_INET,
            Some(Family::V6) => libc::AF_INET6,
        };
        hints.ai_socktype = libc::SOCK_STREAM;
        let mut list = ptr::null_mut();
        // SAFETY: the host ends with a zero, there is no service, and both structures live until it returns.
        match unsafe {
            libc::getaddrinfo(host.as_ptr(), ptr::null(), &raw const hints, &raw mut list)
        } {
            0 => Ok(Self(list)),
            libc::EAI_SYSTEM => Err(io::Error::last_os_error()),
            error => {
                // SAFETY: it returns a static text for every number.
                let text = unsafe { CStr::from_ptr(libc::gai_strerror(error)) };
                let text = text.to_string_lossy();
                Err(io::Error::other(format!("failed to lookup address information: {text}")))
            }
        }
    }

    fn addresses(&self, port: u16) -> Vec<SocketAddr> {
        let mut addresses = Vec::new();
        let mut next = self.0;
        // SAFETY: a list that getaddrinfo made, whose last entry has a null pointer; it is not freed yet.
        while let Some(entry) = unsafe { next.as_ref() } {
            if addresses.len() == MAX_ADDRESSES {
                break;
            }
            next = entry.ai_next;
            let address = entry.ai_addr;
            match entry.ai_family {
                libc::AF_INET if !address.is_null() => {
                    // SAFETY: an entry of this family has an address of this type, maybe not aligned.
                    let v4 = unsafe { address.cast::<libc::sockaddr_in>().read_unaligned() };
                    let ip = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
                    addresses.push(SocketAddr::new(IpAddr::V4(ip), port));
                }
                libc::AF_INET6 if !address.is_null() => {
                    // SAFETY: as above.
                    let v6 = unsafe { address.cast::<libc::sockaddr_in6>().read_unaligned() };
                    let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
                    addresses.push(SocketAddrV6::new(ip, port, 0, v6.sin6_scope_id).into());
                }
                _ => {}
            }
        }
        addresses
    }
}

#[expect(unsafe_code, reason = "no safe wrapper of freeaddrinfo in a crate that we have")]
impl Drop for List {
    fn drop(&mut self) {
        // SAFETY: getaddrinfo succeeded and made it, and nothing else frees it.
        unsafe { libc::freeaddrinfo(self.0) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_only_addresses_of_the_family_asked_for() {
        let v4 = getaddrinfo("localhost", 7, Some(Family::V4)).unwrap();
        assert!(v4.contains(&"127.0.0.1:7".parse().unwrap()), "{v4:?}");
        assert!(v4.iter().all(SocketAddr::is_ipv4), "{v4:?}");
        for (host, family, expected) in [
            ("10.1.2.3", Some(Family::V4), "10.1.2.3:7"),
            ("fd00::1:2", Some(Family::V6), "[fd00::1:2]:7"),
            ("fe80::1%1", None, "[fe80::1%1]:7"),
        ] {
            assert_eq!(getaddrinfo(host, 7, family).unwrap(), [expected.parse().unwrap()]);
        }
    }

    #[test]
    fn a_failure_is_described_as_the_system_does() {
        for (host, family) in [("10.1.2.3", Family::V6), ("::1", Family::V4)] {
            let error = getaddrinfo(host, 7, Some(family)).unwrap_err().to_string();
            assert!(error.starts_with("failed to lookup address information: "), "{error}");
        }
        assert!(getaddrinfo("a\0b", 7, None).is_err());
    }
}
