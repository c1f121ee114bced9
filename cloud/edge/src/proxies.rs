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

    fn headers(name: &HeaderName, lines: &[&str]) -> HeaderMap {
        lines.iter().map(|line| (name.clone(), line.parse().unwrap())).collect()
    }

    fn client(from: &str, forwarded: &[&str]) -> String {
        let networks = ["10.0.0.0/8", "192.0.2.7/32", "fd00::/8"].map(|net| net.parse().unwrap());
        let headers = headers(&X_FORWARDED_FOR, forwarded);
        TrustedProxies::new(networks.into()).client(from.parse().unwrap(), &headers).to_string()
    }

    #[test]
    fn the_client_is_the_last_address_named_by_a_trusted_proxy() {
        let endless = vec!["10.2.2.2"; 10_000].join(",");
        let too_deep = format!("203.0.113.5{}", ",10.2.2.2".repeat(MAX_HOPS));
        for (forwarded, expected) in [
            (&["203.0.113.5"][..], "203.0.113.5:0"),
            (&["203.0.113.5:4711"], "203.0.113.5:4711"),
            (&["2001:db8::5"], "[2001:db8::5]:0"),
            (&["[2001:db8::5]"], "[2001:db8::5]:0"),
            (&["[2001:db8::5]:4711"], "[2001:db8::5]:4711"),
            (&["::ffff:203.0.113.5"], "203.0.113.5:0"),
            // What the client wrote itself is ignored.
            (&["198.51.100.1, 10.9.9.9, 203.0.113.5"], "203.0.113.5:0"),
            (&["10.0.0.1, 203.0.113.5, 10.2.2.2"], "203.0.113.5:0"),
            // Several header lines are one list.
            (&["198.51.100.1", "203.0.113.5 , 192.0.2.7", " 10.2.2.2"], "203.0.113.5:0"),
            // Without any client, it is the first proxy.
            (&["10.3.3.3, 10.2.2.2"], "10.3.3.3:0"),
            (&[], "10.1.1.1:99"),
            (&[""], "10.1.1.1:99"),
            // An invalid entry ends the chain.
            (&["203.0.113.5, unknown, 10.2.2.2"], "10.2.2.2:0"),
            (&["203.0.113.5, , 10.2.2.2"], "10.2.2.2:0"),
            // A chain is followed for 16 hops at most.
            (&[&endless], "10.2.2.2:0"),
            (&[&too_deep], "10.2.2.2:0"),
        ] {
            assert_eq!(client("10.1.1.1:99", forwarded), expected, "{forwarded:?}");
        }
        for invalid in
            ["unknown", "1.2.3", "[::1", "::1]", "1.2.3.4:99999", "[1.2.3.4]x", "_hidden"]
        {
            assert_eq!(client("10.1.1.1:99", &[invalid]), "10.1.1.1:99", "{invalid}");
        }
        assert_eq!(client("[fd00::1]:99", &["2001:db8::5"]), "[2001:db8::5]:0");
        for untrusted in ["203.0.113.9:99", "192.0.2.8:99"] {
            assert_eq!(client(untrusted, &["198.51.100.1"]), untrusted);
        }
    }

    #[test]
    fn the_nearest_proxy_says_whether_it_is_encrypted() {
        for (lines, encrypted) in [
            (&["https"][..], true),
            (&["http", "HTTPS "], true),
            (&["https, http"], false),
            (&["https", "http"], false),
            (&[], false),
        ] {
            assert_eq!(is_encrypted(&headers(&X_FORWARDED_PROTO, lines)), encrypted, "{lines:?}");
        }
    }
}
