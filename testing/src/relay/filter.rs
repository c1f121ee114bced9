//! Which packets a relay swallows.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Matches packets that meet every condition. Without a condition it matches all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    from: Option<IpAddr>,
    to: Option<IpAddr>,
    protocol: Option<Protocol>,
    from_port: Option<u16>,
    to_port: Option<u16>,
    has_data: bool,
}

/// A protocol above IP, by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// ICMP for IPv4.
    Icmp = 1,
    /// TCP.
    Tcp = 6,
    /// UDP.
    Udp = 17,
    /// ICMP for IPv6.
    Icmp6 = 58,
}

impl Filter {
    /// Matches every packet.
    pub fn all() -> Self {
        Self::default()
    }

    /// Only those from this address.
    pub fn from(self, address: impl Into<IpAddr>) -> Self {
        Self { from: Some(address.into()), ..self }
    }

    /// Only those to this address.
    pub fn to(self, address: impl Into<IpAddr>) -> Self {
        Self { to: Some(address.into()), ..self }
    }

    /// Only those of this protocol.
    pub fn protocol(self, protocol: Protocol) -> Self {
        Self { protocol: Some(protocol), ..self }
    }

    /// Only those from this port, of TCP or UDP.
    pub fn from_port(self, port: u16) -> Self {
        Self { from_port: Some(port), ..self }
    }

    /// Only those to this port, of TCP or UDP.
    pub fn to_port(self, port: u16) -> Self {
        Self { to_port: Some(port), ..self }
    }

    /// Only TCP segments that carry data: the handshake passes, what follows does not.
    pub fn tcp_data(self) -> Self {
        Self { protocol: Some(Protocol::Tcp), has_data: true, ..self }
    }

    pub(super) fn matches(&self, packet: &Packet) -> bool {
        fn is<T: PartialEq>(wanted: Option<T>, found: T) -> bool {
            wanted.is_none_or(|wanted| wanted == found)
        }
        is(self.from, packet.from)
            && is(self.to, packet.to)
            && is(self.protocol.map(|it| it as u8), packet.protocol)
            && is(self.from_port.map(Some), packet.ports.map(|it| it[0]))
            && is(self.to_port.map(Some), packet.ports.map(|it| it[1]))
            && (!self.has_data || packet.has_data)
    }
}

/// What filters look at.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Packet {
    from: IpAddr,
    to: IpAddr,
    protocol: u8,
    /// Source and destination, if it is TCP or UDP and the first fragment.
    ports: Option<[u16; 2]>,
    /// Whether it is TCP with a payload.
    has_data: bool,
}

impl Packet {
    /// `None` if it is not a whole IP packet. IPv6 extension headers are not followed.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let (from, to, protocol, above) = match bytes.first()? >> 4 {
            4 => {
                let header = bytes.get(..20)?;
                let address = |at: usize| {
                    Some(Ipv4Addr::from(<[u8; 4]>::try_from(&header[at..at + 4]).ok()?))
                };
                let length = usize::from(header[0] & 0xf) * 4;
                let is_first = u16::from_be_bytes([header[6], header[7]]) & 0x1fff == 0;
                let above = if is_first { bytes.get(length..)? } else { &[] };
                (address(12)?.into(), address(16)?.into(), header[9], above)
            }
            6 => {
                let header = bytes.get(..40)?;
                let address = |at: usize| {
                    Some(Ipv6Addr::from(<[u8; 16]>::try_from(&header[at..at + 16]).ok()?))
                };
                (address(8)?.into(), address(24)?.into(), header[6], &bytes[40..])
            }
            _ => return None,
        };
        let is_tcp = protocol == Protocol::Tcp as u8;
        let has_ports = is_tcp || protocol == Protocol::Udp as u8;
        let ports = above.get(..4).filter(|_| has_ports);
        let ports = ports.map(|it| [[it[0], it[1]], [it[2], it[3]]].map(u16::from_be_bytes));
        let offset = above.get(12).map(|it| usize::from(it >> 4) * 4);
        let has_data = is_tcp && offset.is_some_and(|offset| above.len() > offset);
        Some(Self { from, to, protocol, ports, has_data })
    }

    pub(super) fn is_multicast(&self) -> bool {
        self.to.is_multicast()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// TCP from 10.9.0.1 port 258 to 10.9.0.2 port 772.
    fn segment(data: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, 6, 0, 0, 10, 9, 0, 1, 10, 9, 0, 2];
        bytes.extend([1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x10, 0, 0, 0, 0, 0, 0]);
        bytes.extend(data);
        bytes
    }

    #[test]
    fn a_filter_matches_what_meets_all_of_its_conditions() {
        let with_data = Packet::parse(&segment(b"x")).unwrap();
        let without = Packet::parse(&segment(b"")).unwrap();
        let cases = [
            (Filter::all(), true, true),
            (Filter::all().from([10, 9, 0, 1]), true, true),
            (Filter::all().from([10, 9, 0, 2]), false, false),
            (Filter::all().to([10, 9, 0, 2]).tcp_data(), true, false),
            (Filter::all().to([10, 9, 0, 1]).tcp_data(), false, false),
            (Filter::all().protocol(Protocol::Tcp).to_port(772), true, true),
            (Filter::all().protocol(Protocol::Udp).to_port(772), false, false),
            (Filter::all().from_port(258).to_port(772), true, true),
            (Filter::all().from_port(772), false, false),
        ];
        for (filter, data, none) in cases {
            assert_eq!(
                (filter.matches(&with_data), filter.matches(&without)),
                (data, none),
                "{filter:?}"
            );
        }
    }

    #[test]
    fn a_later_fragment_has_no_ports() {
        let mut bytes = segment(b"x");
        bytes[7] = 1;
        let packet = Packet::parse(&bytes).unwrap();
        assert_eq!((packet.ports, packet.has_data), (None, false));
        assert!(!Filter::all().to_port(772).matches(&packet));
    }

    #[test]
    fn what_is_no_whole_packet_is_none() {
        assert_eq!(Packet::parse(&[]), None);
        assert_eq!(Packet::parse(&segment(b"")[..19]), None);
        assert_eq!(Packet::parse(&[0x60; 39]), None);
        assert_eq!(Packet::parse(&[0x10; 80]), None);
    }
}
