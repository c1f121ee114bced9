//! A name server that answers some questions, and leaves others without an answer.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};

use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

/// What it does with a question.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Reply {
    Address(IpAddr),
    /// This code, of RFC 1035, section 4.1.1, and no records; 0 says that there are none.
    Code(u8),
    Silence,
}

/// The replies to the questions for an IPv4 and for an IPv6 address of a name.
pub(crate) type Replies = [Reply; 2];

pub(crate) struct NameServer(JoinHandle<()>);

impl NameServer {
    /// Listens on 127.0.0.1 in the namespace of this thread. Unknown names do not exist.
    pub(crate) fn start(zone: HashMap<&'static str, Replies>) -> Self {
        let socket = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 53)).unwrap();
        socket.set_nonblocking(true).unwrap();
        let socket = UdpSocket::from_std(socket).unwrap();
        Self(tokio::spawn(async move {
            let mut bytes = [0; 512];
            while let Ok((size, from)) = socket.recv_from(&mut bytes).await {
                if let Some(answer) = answer(&bytes[..size], &zone) {
                    let _ = socket.send_to(&answer, from).await;
                }
            }
        }))
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn answer(query: &[u8], zone: &HashMap<&'static str, Replies>) -> Option<Vec<u8>> {
    let mut labels = Vec::new();
    let mut at = 12;
    while query[at] != 0 {
        let end = at + 1 + usize::from(query[at]);
        labels.push(std::str::from_utf8(&query[at + 1..end]).unwrap());
        at = end;
    }
    let question = &query[12..at + 5];
    let family = match query[at + 2] {
        1 => Some(0),
        28 => Some(1),
        _ => None,
    };
    let reply = match (zone.get(labels.join(".").as_str()), family) {
        (None, _) => Reply::Code(3),
        (Some(_), None) => Reply::Code(0),
        (Some(replies), Some(family)) => replies[family],
    };
    let (code, address) = match reply {
        Reply::Silence => return None,
        Reply::Code(code) => (code, None),
        Reply::Address(address) => (0, Some(address)),
    };
    let mut bytes = query[..2].to_vec();
    bytes.extend([0x81, 0x80 | code, 0, 1, 0, u8::from(address.is_some()), 0, 0, 0, 0]);
    bytes.extend(question);
    if let Some(address) = address {
        let address = match address {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        // The name of the question, the type and class of the question, a minute to live.
        bytes.extend([0xc0, 12]);
        bytes.extend(&question[question.len() - 4..]);
        bytes.extend([0, 0, 0, 60, 0, u8::try_from(address.len()).unwrap()]);
        bytes.extend(address);
    }
    Some(bytes)
}
