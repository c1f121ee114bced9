//! What trusted proxies say of their clients: `X-Forwarded-For` and `X-Forwarded-Proto`.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName};
use ipnet::IpNet;

/// The proxies that are believed when they say who their client is.
#[derive(Debug)]
pub(crate) struct TrustedProxies(Vec<IpNet>);

static X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// How many proxies may stand one behind the other.
const MAX_HOPS: usize = 16;

impl TrustedProxies {
    pub(crate) fn new(networks: Vec<IpNet>) -> Self {
        Self(networks)
    }

    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// Who the client of a request is that came from `from`, the nearest proxy.
    ///
    /// Each proxy adds to `X-Forwarded-For`, at its end, the address that it got the request from. So
    /// this is read from the end for as long as a trusted proxy has written it; what stands before
    /// that may be made up by the client. An address without a port has port 0.
    pub(crate) fn client(&self, from: SocketAddr, headers: &HeaderMap) -> SocketAddr {
        let lines = headers.get_all(&X_FORWARDED_FOR).into_iter().rev();
        let hops = lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','));
        let mut client = from;
        for hop in hops.take(MAX_HOPS) {
            if !self.contains(client.ip()) {
                break;
            }
            // Rubbish of a trusted proxy: it is as far as anybody knows.
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
pub(crate) fn says_encrypted(headers: &HeaderMap) -> bool {
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
    fn nobody_else_does() {
        assert_eq!(client("203.0.113.9:99", &["198.51.100.1"]), "203.0.113.9:99");
        assert_eq!(client("192.0.2.8:99", &["198.51.100.1"]), "192.0.2.8:99");
    }

    #[test]
    fn what_the_client_wrote_itself_is_not_believed() {
        let made_up = ["198.51.100.1, 10.9.9.9, 203.0.113.5"];
        assert_eq!(client("10.1.1.1:99", &made_up), "203.0.113.5:0");
        assert_eq!(client("10.1.1.1:99", &["10.0.0.1, 203.0.113.5, 10.2.2.2"]), "203.0.113.5:0");
    }

    #[test]
    fn several_lines_are_one_list() {
        let lines = ["198.51.100.1", "203.0.113.5 , 192.0.2.7", " 10.2.2.2"];
        assert_eq!(client("10.1.1.1:99", &lines), "203.0.113.5:0");
    }

    #[test]
    fn without_a_word_the_proxy_is_the_client() {
        assert_eq!(client("10.1.1.1:99", &[]), "10.1.1.1:99");
        assert_eq!(client("10.1.1.1:99", &[""]), "10.1.1.1:99");
    }

    #[test]
    fn rubbish_ends_the_chain_at_the_last_one_that_is_known() {
        assert_eq!(client("10.1.1.1:99", &["unknown"]), "10.1.1.1:99");
        assert_eq!(client("10.1.1.1:99", &["203.0.113.5, unknown, 10.2.2.2"]), "10.2.2.2:0");
        assert_eq!(client("10.1.1.1:99", &["203.0.113.5, , 10.2.2.2"]), "10.2.2.2:0");
        for rubbish in ["1.2.3", "[::1", "::1]", "1.2.3.4:99999", "[1.2.3.4]x", "_hidden"] {
            assert_eq!(client("10.1.1.1:99", &[rubbish]), "10.1.1.1:99", "{rubbish}");
        }
    }

    #[test]
    fn where_all_are_trusted_the_first_one_is_the_client() {
        assert_eq!(client("10.1.1.1:99", &["10.3.3.3, 10.2.2.2"]), "10.3.3.3:0");
    }

    #[test]
    fn a_chain_without_end_is_not_followed_for_ever() {
        let endless = vec!["10.2.2.2"; 10_000].join(",");
        assert_eq!(client("10.1.1.1:99", &[&endless]), "10.2.2.2:0");
        let deep = format!("203.0.113.5{}", ",10.2.2.2".repeat(MAX_HOPS));
        assert_eq!(client("10.1.1.1:99", &[&deep]), "10.2.2.2:0");
    }

    #[test]
    fn the_nearest_proxys_word_about_encryption_counts() {
        let says = |lines: &[&str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(&X_FORWARDED_PROTO, line.parse().unwrap());
            }
            says_encrypted(&headers)
        };
        assert!(says(&["https"]));
        assert!(says(&["http", "HTTPS "]));
        assert!(!says(&["https, http"]));
        assert!(!says(&["https", "http"]));
        assert!(!says(&[]));
    }
}
