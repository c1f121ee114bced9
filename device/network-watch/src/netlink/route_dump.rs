//! A snapshot of the kernel's tables, reduced to the default routes and the addresses of their links.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;

use fedecks_device_core::{DefaultRoute, Routes};
use netlink_packet_core::{NetlinkBuffer, NlaBuffer, NlasIterator};
use netlink_packet_route::address::AddressMessageBuffer;
use netlink_packet_route::link::LinkMessageBuffer;
use netlink_packet_route::route::RouteMessageBuffer;
use nix::libc;

use super::socket::{DumpRequest, dump};

/// The relevant content of the kernel's tables.
#[derive(Debug, Default)]
pub(super) struct RouteSnapshot {
    /// Links that are up and have a carrier, except the loopback.
    running: BTreeSet<u32>,
    addresses: BTreeSet<(u32, IpAddr)>,
    defaults: BTreeSet<DefaultRoute>,
}

const LINKS: DumpRequest = DumpRequest { kind: libc::RTM_GETLINK, body: 16 };
const ADDRESSES: DumpRequest = DumpRequest { kind: libc::RTM_GETADDR, body: 8 };
const ROUTES: DumpRequest = DumpRequest { kind: libc::RTM_GETROUTE, body: 12 };

/// How often dumps are attempted if the tables change meanwhile. The change is also notified, which
/// triggers another snapshot.
const ATTEMPTS: usize = 3;

const NEW_LINK: u16 = libc::RTM_NEWLINK;
const DEL_LINK: u16 = libc::RTM_DELLINK;
const NEW_ADDRESS: u16 = libc::RTM_NEWADDR;
const DEL_ADDRESS: u16 = libc::RTM_DELADDR;
const NEW_ROUTE: u16 = libc::RTM_NEWROUTE;
const DEL_ROUTE: u16 = libc::RTM_DELROUTE;

const IFA_ADDRESS: u16 = libc::IFA_ADDRESS;
const IFA_LOCAL: u16 = libc::IFA_LOCAL;
const RTA_OIF: u16 = libc::RTA_OIF;
const RTA_GATEWAY: u16 = libc::RTA_GATEWAY;
const RTA_PRIORITY: u16 = libc::RTA_PRIORITY;
const RTA_MULTIPATH: u16 = libc::RTA_MULTIPATH;
const RTA_VIA: u16 = 18;

impl RouteSnapshot {
    /// Dumps the tables.
    pub(super) fn take() -> io::Result<Self> {
        let mut snapshot = Self::default();
        for _ in 0..ATTEMPTS {
            snapshot = Self::default();
            let mut is_consistent = true;
            for request in [LINKS, ADDRESSES, ROUTES] {
                is_consistent &= dump(request, |kind, payload| snapshot.add(kind, payload))?;
            }
            if is_consistent {
                break;
            }
        }
        Ok(snapshot)
    }

    /// The default routes over running links, and the addresses of these links.
    pub(super) fn routes(&self) -> Routes {
        let is_usable = |route: &&DefaultRoute| self.running.contains(&route.link);
        let defaults: BTreeSet<_> = self.defaults.iter().filter(is_usable).cloned().collect();
        let is_used = |link: u32| defaults.iter().any(|route| route.link == link);
        let addresses = self.addresses.iter().filter(|(link, _)| is_used(*link)).copied().collect();
        Routes { defaults, addresses }
    }

    /// Returns true if the next snapshot may differ, judging by the first bytes of a notification from
    /// the kernel. A message that cannot be parsed may mean anything.
    pub(super) fn may_change_by(&self, message: &[u8]) -> bool {
        if message.is_empty() {
            return false;
        }
        let Some(payload) = message.get(16..) else { return true };
        let header = NetlinkBuffer::new(message);
        if (header.length() as usize) < message.len() {
            // Several messages at once.
            return true;
        }
        match header.message_type() {
            NEW_LINK => {
                link(payload).is_none_or(|(index, runs)| self.running.contains(&index) != runs)
            }
            DEL_LINK => link(payload).is_none_or(|(index, _)| self.running.contains(&index)),
            NEW_ADDRESS | DEL_ADDRESS => AddressMessageBuffer::new_checked(payload)
                .map_or(true, |message| self.running.contains(&message.index())),
            NEW_ROUTE | DEL_ROUTE => {
                RouteMessageBuffer::new_checked(payload).map_or(true, |route| is_default(&route))
            }
            _ => true,
        }
    }

    /// Adds a message of a dump. Ignores malformed ones.
    fn add(&mut self, kind: u16, payload: &[u8]) {
        match kind {
            NEW_LINK => {
                if let Some((index, true)) = link(payload) {
                    self.running.insert(index);
                }
            }
            NEW_ADDRESS => {
                if let Ok(message) = AddressMessageBuffer::new_checked(payload) {
                    // Link-local and host-local addresses cannot reach the cloud.
                    if message.scope() < libc::RT_SCOPE_LINK {
                        let address = address(message.payload());
                        self.addresses.extend(address.map(|it| (message.index(), it)));
                    }
                }
            }
            NEW_ROUTE => {
                if let Ok(message) = RouteMessageBuffer::new_checked(payload) {
                    if is_default(&message) {
                        self.defaults.extend(hops(message.payload()));
                    }
                }
            }
            _ => {}
        }
    }
}

/// The link's index, and whether it is up with a carrier and not the loopback.
fn link(payload: &[u8]) -> Option<(u32, bool)> {
    let message = LinkMessageBuffer::new_checked(payload).ok()?;
    let (up, loopback) = ((libc::IFF_UP | libc::IFF_RUNNING) as u32, libc::IFF_LOOPBACK as u32);
    let flags = message.flags();
    Some((message.link_index(), flags & up == up && flags & loopback == 0))
}

fn is_default(message: &RouteMessageBuffer<&[u8]>) -> bool {
    let family = i32::from(message.address_family());
    message.destination_prefix_length() == 0
        && (family == libc::AF_INET || family == libc::AF_INET6)
        && message.kind() == libc::RTN_UNICAST
        && message.table() != libc::RT_TABLE_LOCAL
}

/// The local address.
fn address(attributes: &[u8]) -> Option<IpAddr> {
    let mut address = None;
    for attribute in NlasIterator::new(attributes).map_while(Result::ok) {
        match attribute.kind() {
            // On a point-to-point link, IFA_ADDRESS is the peer's.
            IFA_LOCAL => return ip(attribute.value()),
            IFA_ADDRESS => address = ip(attribute.value()),
            _ => {}
        }
    }
    address
}

/// The next hops of a route: more than one for a multipath route.
fn hops(attributes: &[u8]) -> Vec<DefaultRoute> {
    let mut metric = 0;
    let mut multipath = Vec::new();
    let (mut link, mut gateway) = (None, None);
    for attribute in NlasIterator::new(attributes).map_while(Result::ok) {
        let value = attribute.value();
        match attribute.kind() {
            RTA_OIF => link = number(value),
            RTA_PRIORITY => metric = number(value).unwrap_or(0),
            RTA_MULTIPATH => multipath = next_hops(value),
            _ => gateway = gateway.or(gateway_in(&attribute)),
        }
    }
    let single = link.map(|link| (link, gateway));
    let all = single.into_iter().chain(multipath);
    all.map(|(link, gateway)| DefaultRoute { link, gateway, metric }).collect()
}

/// Parses an array of `rtnexthop`: length, two bytes, link index, attributes.
fn next_hops(mut bytes: &[u8]) -> Vec<(u32, Option<IpAddr>)> {
    let mut hops = Vec::new();
    while let Some(length) = bytes.first_chunk().map(|bytes| u16::from_ne_bytes(*bytes)) {
        let length = usize::from(length);
        let Some((head, attributes)) = bytes.get(..length).and_then(|hop| hop.split_at_checked(8))
        else {
            break;
        };
        let gateway = NlasIterator::new(attributes)
            .map_while(Result::ok)
            .find_map(|attribute| gateway_in(&attribute));
        hops.extend(head.get(4..).and_then(number).map(|link| (link, gateway)));
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    hops
}

fn gateway_in(attribute: &NlaBuffer<&[u8]>) -> Option<IpAddr> {
    match attribute.kind() {
        RTA_GATEWAY => ip(attribute.value()),
        // A gateway of the other family, whose number precedes the address.
        RTA_VIA => ip(attribute.value().get(2..)?),
        _ => None,
    }
}

fn number(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => bytes.first_chunk::<4>().map(|bytes| IpAddr::from(*bytes)),
        16 => bytes.first_chunk::<16>().map(|bytes| IpAddr::from(*bytes)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use netlink_packet_core::Emitable;
    use netlink_packet_route::AddressFamily;
    use netlink_packet_route::address::{AddressAttribute, AddressMessage, AddressScope};
    use netlink_packet_route::link::{LinkFlags, LinkMessage};
    use netlink_packet_route::route::{
        RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteNextHop, RouteType, RouteVia,
    };
    use proptest::prelude::*;

    use super::*;

    /// The message in the kernel's format, as the library encodes it.
    fn bytes(message: &impl Emitable) -> Vec<u8> {
        let mut bytes = vec![0; message.buffer_len()];
        message.emit(&mut bytes);
        bytes
    }

    fn up(index: u32, flags: LinkFlags) -> Vec<u8> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.header.flags = LinkFlags::Up | flags;
        bytes(&message)
    }

    /// A default route, changed by `change`.
    fn route(attributes: Vec<RouteAttribute>, change: impl Fn(&mut RouteHeader)) -> Vec<u8> {
        let mut message = RouteMessage::default();
        message.header.address_family = AddressFamily::Inet;
        message.header.kind = RouteType::Unicast;
        message.header.table = 254;
        change(&mut message.header);
        message.attributes = attributes;
        bytes(&message)
    }

    fn address_of(index: u32, scope: AddressScope, attributes: Vec<AddressAttribute>) -> Vec<u8> {
        let mut message = AddressMessage::default();
        message.header.index = index;
        message.header.scope = scope;
        message.attributes = attributes;
        bytes(&message)
    }

    fn snapshot(messages: impl IntoIterator<Item = (u16, Vec<u8>)>) -> RouteSnapshot {
        let mut snapshot = RouteSnapshot::default();
        for (kind, payload) in messages {
            snapshot.add(kind, &payload);
        }
        snapshot
    }

    fn v4(last: u8) -> Ipv4Addr {
        Ipv4Addr::new(192, 0, 2, last)
    }

    fn gateway() -> RouteAttribute {
        RouteAttribute::Gateway(RouteAddress::Inet(v4(1)))
    }

    fn via(link: u32, gateway: IpAddr, metric: u32) -> DefaultRoute {
        DefaultRoute { link, gateway: Some(gateway), metric }
    }

    #[test]
    fn default_routes_count_if_their_link_is_running() {
        let links = [
            (1, LinkFlags::Running | LinkFlags::Loopback),
            (2, LinkFlags::Running),
            (3, LinkFlags::empty()),
        ];
        let snapshot = snapshot(links.into_iter().flat_map(|(link, flags)| {
            let attributes =
                vec![gateway(), RouteAttribute::Priority(100), RouteAttribute::Oif(link)];
            [(NEW_LINK, up(link, flags)), (NEW_ROUTE, route(attributes, |_| {}))]
        }));
        let defaults = [via(2, v4(1).into(), 100)].into();
        assert_eq!(snapshot.routes(), Routes { defaults, addresses: BTreeSet::new() });
    }

    #[test]
    fn every_next_hop_of_a_multipath_route_counts() {
        let v6: Ipv6Addr = "fe80::1".parse().unwrap();
        let next_hops = [(2, gateway()), (3, RouteAttribute::Via(RouteVia::Inet6(v6)))];
        let next_hops = next_hops.map(|(link, gateway)| {
            let mut hop = RouteNextHop::default();
            hop.interface_index = link;
            hop.attributes = vec![gateway];
            hop
        });
        let route = route(vec![RouteAttribute::MultiPath(next_hops.to_vec())], |_| {});
        assert_eq!(hops(&route[12..]), [via(2, v4(1).into(), 0), via(3, v6.into(), 0)]);
    }

    #[test]
    fn other_routes_do_not_count() {
        for change in [
            |header: &mut RouteHeader| header.destination_prefix_length = 24,
            |header: &mut RouteHeader| header.kind = RouteType::Unreachable,
            |header: &mut RouteHeader| header.table = libc::RT_TABLE_LOCAL,
            |header: &mut RouteHeader| header.address_family = AddressFamily::from(128),
        ] {
            let route = route(vec![RouteAttribute::Oif(2)], change);
            assert_eq!(snapshot([(NEW_ROUTE, route)]).defaults, BTreeSet::new());
        }
    }

    #[test]
    fn global_addresses_of_links_with_a_default_route_count() {
        let v6 = "2001:db8::2".parse::<IpAddr>().unwrap();
        let address = AddressAttribute::Address;
        let local = |last| AddressAttribute::Local(v4(last).into());
        let addresses = [
            // A peer's, and our own.
            address_of(2, AddressScope::Universe, vec![address(v4(9).into()), local(2)]),
            address_of(2, AddressScope::Universe, vec![address(v6)]),
            address_of(2, AddressScope::Link, vec![address("fe80::2".parse().unwrap())]),
            address_of(4, AddressScope::Universe, vec![local(4)]),
        ];
        let others = [
            (NEW_LINK, up(2, LinkFlags::Running)),
            (NEW_LINK, up(4, LinkFlags::Running)),
            (NEW_ROUTE, route(vec![RouteAttribute::Oif(2)], |_| {})),
        ];
        let addresses = addresses.map(|address| (NEW_ADDRESS, address));
        let snapshot = snapshot(others.into_iter().chain(addresses));
        assert_eq!(snapshot.routes().addresses, [(2, v4(2).into()), (2, v6)].into());
    }

    #[test]
    fn only_a_relevant_notification_triggers_a_snapshot() {
        let snapshot = snapshot([(NEW_LINK, up(2, LinkFlags::Running))]);
        let message = |kind: u16, payload: &[u8]| {
            let mut bytes = vec![0; 16];
            let mut header = NetlinkBuffer::new(&mut bytes);
            header.set_length(u32::try_from(16 + payload.len()).unwrap());
            header.set_message_type(kind);
            bytes.extend(payload);
            bytes
        };
        let address = |link| address_of(link, AddressScope::Universe, vec![]);
        let net = route(vec![], |header| header.destination_prefix_length = 24);
        for (kind, payload, is_relevant) in [
            (NEW_LINK, up(2, LinkFlags::Running), false),
            (NEW_LINK, up(2, LinkFlags::empty()), true),
            (NEW_LINK, up(3, LinkFlags::empty()), false),
            (NEW_LINK, up(3, LinkFlags::Running), true),
            (DEL_LINK, up(2, LinkFlags::empty()), true),
            (DEL_LINK, up(3, LinkFlags::empty()), false),
            (NEW_ADDRESS, address(2), true),
            (DEL_ADDRESS, address(3), false),
            (NEW_ROUTE, route(vec![], |_| {}), true),
            (DEL_ROUTE, net, false),
            (NEW_LINK, vec![1, 2, 3], true),
            (DEL_ROUTE, vec![], true),
            (9_999, vec![0; 20], true),
        ] {
            let bytes = message(kind, &payload);
            assert_eq!(snapshot.may_change_by(&bytes), is_relevant, "{kind} {payload:?}");
            assert!(snapshot.may_change_by(&bytes.repeat(2)));
        }
        assert!(!snapshot.may_change_by(&[]), "not from the kernel");
        assert!(snapshot.may_change_by(&[0; 15]));
    }

    #[test]
    fn the_kernel_answers_here() {
        let mut links = 0;
        let is_consistent = dump(LINKS, |kind, payload| {
            links += usize::from(kind == NEW_LINK && link(payload).is_some());
        });
        assert!(is_consistent.is_ok(), "{is_consistent:?}");
        assert!(links >= 1, "not even a loopback");
        RouteSnapshot::take().unwrap();
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_cause_a_panic(
            kind in prop_oneof![16_u16..30, any::<u16>()],
            bytes in prop::collection::vec(any::<u8>(), 0..128)
        ) {
            let snapshot = snapshot([(kind, bytes.clone())]);
            let _ = (snapshot.may_change_by(&bytes), snapshot.routes(), hops(&bytes), address(&bytes));
        }
    }
}
