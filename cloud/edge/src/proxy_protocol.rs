//! Reads the header of the PROXY protocol, version 2.

use std::io;
use std::net::SocketAddr;

use ppp::v2::{Addresses, Command, Header, PROTOCOL_PREFIX, ParseError};
use tokio::io::{AsyncRead, AsyncReadExt};

/// Why a connection has no valid PROXY header.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HeaderError {
    #[error("the connection ended in the middle of the PROXY header: {0}")]
    Ended(#[from] io::Error),
    #[error("the connection does not begin with a PROXY header, version 2")]
    Missing,
    #[error("the PROXY header has {0} bytes, at most {MAX_LENGTH} are read")]
    TooLong(usize),
    #[error("the PROXY header is malformed: {0}")]
    Malformed(ParseError),
}

/// Length of the fixed part: the signature, version and command, the family, and the length of the
/// rest.
const FIXED: usize = 16;

/// Maximum length of the rest. Addresses take up to 216 bytes; load balancers add more, such as the name
/// in the client's certificate.
const MAX_LENGTH: usize = 2048;

/// Reads a header of version 2 and not a byte more. `None` if it names no client: for a health check by
/// the load balancer itself, or a client without an IP address.
pub(crate) async fn read(
    stream: &mut (impl AsyncRead + Unpin),
) -> Result<Option<SocketAddr>, HeaderError> {
    let mut header = vec![0; FIXED];
    // The signature first: a client of another protocol may never send as much as a header.
    let (signature, rest) = header.split_at_mut(PROTOCOL_PREFIX.len());
    stream.read_exact(signature).await?;
    if signature != PROTOCOL_PREFIX {
        return Err(HeaderError::Missing);
    }
    stream.read_exact(rest).await?;
    let length = usize::from(u16::from_be_bytes([header[FIXED - 2], header[FIXED - 1]]));
    if length > MAX_LENGTH {
        return Err(HeaderError::TooLong(length));
    }
    header.resize(FIXED + length, 0);
    stream.read_exact(&mut header[FIXED..]).await?;
    let header = Header::try_from(header.as_slice()).map_err(HeaderError::Malformed)?;
    Ok(match (header.command, header.addresses) {
        (Command::Local, _) | (Command::Proxy, Addresses::Unspecified | Addresses::Unix(_)) => None,
        (Command::Proxy, Addresses::IPv4(addresses)) => {
            Some((addresses.source_address, addresses.source_port).into())
        }
        (Command::Proxy, Addresses::IPv6(addresses)) => Some(SocketAddr::new(
            std::net::IpAddr::V6(addresses.source_address).to_canonical(),
            addresses.source_port,
        )),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let mut header = PROTOCOL_PREFIX.to_vec();
        header.extend([0x20 | command, family]);
        header.extend(u16::try_from(rest.len()).unwrap().to_be_bytes());
        header.extend(rest);
        header
    }

    const IPV4: [u8; 12] = [203, 0, 113, 5, 10, 0, 0, 1, 0x12, 0x67, 0x01, 0xbb];

    async fn read_all(bytes: &[u8]) -> (Result<Option<SocketAddr>, String>, usize) {
        let mut stream = bytes;
        let read = read(&mut stream).await.map_err(|error| error.to_string());
        (read, stream.len())
    }

    #[tokio::test]
    async fn a_header_is_read_and_nothing_after_it() {
        let client = |address: &str| Some(address.parse().unwrap());
        // With a TLV that a load balancer adds: type, length, value.
        let more = [&IPV4[..], &[0x04, 0, 3, 1, 2, 3]].concat();
        let mut ipv6 = vec![0; 36];
        ipv6[..4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
        ipv6[15] = 5;
        ipv6[33] = 80;
        for (header, named) in [
            (header(1, 0x11, &IPV4), client("203.0.113.5:4711")),
            (header(1, 0x11, &more), client("203.0.113.5:4711")),
            (header(1, 0x21, &ipv6), client("[2001:db8::5]:80")),
            // Health checks of the load balancer.
            (header(0, 0x00, &[]), None),
            (header(0, 0x11, &IPV4), None),
            (header(1, 0x00, &[]), None),
            (header(1, 0x31, &[0; 216]), None),
        ] {
            let bytes = [&header[..], b"GET /"].concat();
            assert_eq!(read_all(&bytes).await, (Ok(named), 5), "{header:?}");
        }
    }

    #[tokio::test]
    async fn an_invalid_header_is_refused_with_its_cause() {
        let missing = "the connection does not begin with a PROXY header, version 2";
        let ended = "the connection ended in the middle of the PROXY header: ";
        let malformed = "the PROXY header is malformed: ";
        for (bytes, cause) in [
            (b"GET / HTTP/1.1\r\n\r\n".to_vec(), missing),
            (b"PROXY TCP4 203.0.113.5 10.0.0.1 1 2\r\n".to_vec(), missing),
            (header(1, 0x11, &IPV4)[..20].to_vec(), ended),
            (PROTOCOL_PREFIX[..5].to_vec(), ended),
            (header(1, 0x11, &[0; 2049]), "the PROXY header has 2049 bytes, at most 2048 are read"),
            (header(1, 0x11, &IPV4[..11]), malformed),
            (header(2, 0x11, &IPV4), malformed),
            (header(1, 0x41, &IPV4), malformed),
            (header(1, 0x13, &IPV4), malformed),
        ] {
            let error = read_all(&bytes).await.0.unwrap_err();
            assert!(error.starts_with(cause), "{bytes:?}: {error}");
        }
    }

    #[tokio::test]
    async fn arbitrary_bytes_do_not_panic() {
        for version in 0..=255 {
            for family in 0..=255 {
                for length in [0, 1, 11, 12, 35, 36, 215, 216] {
                    let mut bytes = header(0, family, &vec![7; length]);
                    bytes[12] = version;
                    let _ = read_all(&bytes).await;
                }
            }
        }
    }
}
