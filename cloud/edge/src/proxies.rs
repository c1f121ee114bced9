//! The client as trusted proxies name it: `X-Forwarded-For` and `X-Forwarded-Proto`.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName};
use ipnet::IpNet;

/// The proxies that may name their client.
#[derive(Debug)]
pub(crate) struct TrustedProxies(Vec<IpNet>);

static X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The longest chain of proxies that is followed.
const MAX_HOPS: usize = 16;

impl TrustedProxies {
    pub(crate) fn new(networks: Vec<IpNet>) -> Self {
        Self(networks)
    }

    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// The client of a request that was received from `from`, the nearest proxy.
    ///
    /// Each proxy appends to `X-Forwarded-For` the address that it received the request from. The list is
    /// therefore read from its end, for as long as a trusted proxy wrote the entry; the client may have
    /// made up everything before that. An address without a port gets port 0.
    pub(crate) fn client(&self, from: SocketAddr, headers: &HeaderMap) -> SocketAddr {
        let lines = headers.get_all(&X_FORWARDED_FOR).into_iter().rev();
        let hops = lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','));
        let mut client = from;
        for hop in hops.take(MAX_HOPS) {
            if !self.contains(client.ip()) {
                break;
            }
            // A trusted proxy wrote something invalid: the chain is not known any further.
            let Some(before) = std::str::from_utf8(hop).ok().and_then(|hop| parse(hop.trim()))
            else {
                break;
            };
            client = before;
        }
        client
    }
}

/// Whether the nearest proxy says that its client's connection is encrypted.
pub(crate) fn is_encrypted(headers: &HeaderMap) -> bool {
    let last = headers.get_all(&X_FORWARDED_PROTO).into_iter().next_back();
    let last = last.and_then(|line| line.as_bytes().rsplit(|byte| *byte == b',').next());
    last.is_some_and(|word| word.trim_ascii().eq_ignore_ascii_case(b"https"))
}

/// An address with or without a port.
fn parse(text: &str) -> Option<SocketAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let address = match bare.parse::<IpAddr>() {
        Ok(address) => SocketAddr::new(address, 0),
        Err(_) => text.parse().ok()?,
    };
    Some(SocketAddr::new(address.ip().to_canonical(), address.port()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trusted() -> TrustedProxies {
        TrustedProxies::new(
            ["10.0.0.0/8", "192.0.2.7/32", "fd00::/8"].map(|net| net.parse().unwrap()).to_vec(),
        )
    }

    fn client(from: &str, forwarded: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for line in forwarded {
            headers.append(&X_FORWARDED_FOR, line.parse().unwrap());
        }
        trusted().client(from.parse().unwrap(), &headers).to_string()
    }

    #[test]
    fn a_trusted_proxy_names_its_client() {
        assert_eq!(client("10.1.1.1:99", &["203.0.113.5"]), "203.0.113.5:0");
        assert_eq!(client("10.1.1.1:99", &["203.0.113.5:4711"]), "203.0.113.5:4711");
        assert_eq!(client("[fd00::1]:99", &["2001:db8::5"]), "[2001:db8::5]:0");
        assert_eq!(client("[fd00::1]:99", &["[2001:db8::5]"]), "[2001:db8::5]:0");
        assert_eq!(client("[fd00::1]:99", &["[2001:db8::5]:4711"]), "[2001:db8::5]:4711");
        assert_eq!(client("10.1.1.1:99", &["::ffff:203.0.113.5"]), "203.0.113.5:0");
    }

    #[test]
    fn an_untrusted_proxy_cannot_name_its_client() {
        assert_eq!(client("203.0.113.9:99", &["198.51.100.1"]), "203.0.113.9:99");
        assert_eq!(client("192.0.2.8:99", &["198.51.100.1"]), "192.0.2.8:99");
    }

    #[test]
    fn entries_written_by_the_client_are_ignored() {
        let made_up = ["198.51.100.1, 10.9.9.9, 203.0.113.5"];
        assert_eq!(client("10.1.1.1:99", &made_up), "203.0.113.5:0");
        assert_eq!(client("10.1.1.1:99", &["10.0.0.1, 203.0.113.5, 10.2.2.2"]), "203.0.113.5:0");
    }

    #[test]
    fn several_header_lines_are_one_list() {
        let lines = ["198.51.100.1", "203.0.113.5 , 192.0.2.7", " 10.2.2.2"];
        assert_eq!(client("10.1.1.1:99", &lines), "203.0.113.5:0");
    }

    #[test]
    fn the_proxy_is_the_client_if_it_names_none() {
        assert_eq!(client("10.1.1.1:99", &[]), "10.1.1.1:99");
        assert_eq!(client("10.1.1.1:99", &[""]), "10.1.1.1:99");
    }

    #[test]
    fn an_invalid_entry_ends_the_chain() {
        assert_eq!(client("10.1.1.1:99", &["unknown"]), "10.1.1.1:99");
        assert_eq!(client("10.1.1.1:99", &["203.0.113.5, unknown, 10.2.2.2"]), "10.2.2.2:0");
        assert_eq!(client("10.1.1.1:99", &["203.0.113.5, , 10.2.2.2"]), "10.2.2.2:0");
        for invalid in ["1.2.3", "[::1", "::1]", "1.2.3.4:99999", "[1.2.3.4]x", "_hidden"] {
            assert_eq!(client("10.1.1.1:99", &[invalid]), "10.1.1.1:99", "{invalid}");
        }
    }

    #[test]
    fn the_first_entry_is_the_client_if_all_are_trusted() {
        assert_eq!(client("10.1.1.1:99", &["10.3.3.3, 10.2.2.2"]), "10.3.3.3:0");
    }

    #[test]
    fn a_chain_is_followed_for_16_hops_at_most() {
        let endless = vec!["10.2.2.2"; 10_000].join(",");
        assert_eq!(client("10.1.1.1:99", &[&endless]), "10.2.2.2:0");
        let deep = format!("203.0.113.5{}", ",10.2.2.2".repeat(MAX_HOPS));
        assert_eq!(client("10.1.1.1:99", &[&deep]), "10.2.2.2:0");
    }

    #[test]
    fn the_nearest_proxy_says_whether_it_is_encrypted() {
        let encrypted = |lines: &[&str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(&X_FORWARDED_PROTO, line.parse().unwrap());
            }
            is_encrypted(&headers)
        };
        assert!(encrypted(&["https"]));
        assert!(encrypted(&["http", "HTTPS "]));
        assert!(!encrypted(&["https, http"]));
        assert!(!encrypted(&["https", "http"]));
        assert!(!encrypted(&[]));
    }
}
