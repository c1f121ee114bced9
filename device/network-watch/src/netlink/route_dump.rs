//! A look at the kernel's tables, and what of it matters.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;

use fedecks_device_core::{DefaultRoute, Routes};
use netlink_packet_core::{NetlinkBuffer, NlaBuffer, NlasIterator};
use netlink_packet_route::address::AddressMessageBuffer;
use netlink_packet_route::link::LinkMessageBuffer;
use netlink_packet_route::route::RouteMessageBuffer;
use nix::libc;

use super::socket::{Question, ask};

/// What was seen.
#[derive(Debug, Default)]
pub(super) struct RouteSnapshot {
    /// Links that are up and have a carrier; but for the loopback.
    carrying: BTreeSet<u32>,
    addresses: BTreeSet<(u32, IpAddr)>,
    defaults: BTreeSet<DefaultRoute>,
}

const LINKS: Question = Question { kind: libc::RTM_GETLINK, body: 16 };
const ADDRESSES: Question = Question { kind: libc::RTM_GETADDR, body: 8 };
const ROUTES: Question = Question { kind: libc::RTM_GETROUTE, body: 12 };

/// How often a look is repeated during which something changed. Another one follows anyway: the
/// change is told of.
const TRIES: usize = 3;

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
    /// Looks now.
    pub(super) fn take() -> io::Result<Self> {
        let mut seen = Self::default();
        for _ in 0..TRIES {
            seen = Self::default();
            let mut is_whole = true;
            for question in [LINKS, ADDRESSES, ROUTES] {
                is_whole &= ask(question, |kind, payload| seen.add(kind, payload))?;
            }
            if is_whole {
                break;
            }
        }
        Ok(seen)
    }

    /// The default routes over links that carry, and those links' addresses.
    pub(super) fn routes(&self) -> Routes {
        let carries = |route: &&DefaultRoute| self.carrying.contains(&route.link);
        let defaults: BTreeSet<_> = self.defaults.iter().filter(carries).cloned().collect();
        let is_used = |link: u32| defaults.iter().any(|route| route.link == link);
        let addresses = self.addresses.iter().filter(|(link, _)| is_used(*link)).copied().collect();
        Routes { defaults, addresses }
    }

    /// Whether a next look may show something else, by the beginning of a message that the kernel
    /// sent unasked. What cannot be understood may mean anything.
    pub(super) fn may_change_by(&self, message: &[u8]) -> bool {
        if message.is_empty() {
            return false;
        }
        let Some(payload) = message.get(16..) else { return true };
        let header = NetlinkBuffer::new(message);
        if (header.length() as usize) < message.len() {
            // Several at once.
            return true;
        }
        match header.message_type() {
            NEW_LINK => link(payload)
                .is_none_or(|(index, carries)| self.carrying.contains(&index) != carries),
            DEL_LINK => link(payload).is_none_or(|(index, _)| self.carrying.contains(&index)),
            NEW_ADDRESS | DEL_ADDRESS => AddressMessageBuffer::new_checked(payload)
                .map_or(true, |message| self.carrying.contains(&message.index())),
            NEW_ROUTE | DEL_ROUTE => {
                RouteMessageBuffer::new_checked(payload).map_or(true, |route| is_default(&route))
            }
            _ => true,
        }
    }

    /// What does not have the form that it should is passed over.
    fn add(&mut self, kind: u16, payload: &[u8]) {
        match kind {
            NEW_LINK => {
                if let Some((index, true)) = link(payload) {
                    self.carrying.insert(index);
                }
            }
            NEW_ADDRESS => {
                if let Ok(message) = AddressMessageBuffer::new_checked(payload) {
                    // Link-local addresses and those of this host lead nowhere.
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

/// Its index, and whether it can carry anything.
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

/// The address of this end.
fn address(attributes: &[u8]) -> Option<IpAddr> {
    let mut address = None;
    for attribute in NlasIterator::new(attributes).map_while(Result::ok) {
        match attribute.kind() {
            // On a link from point to point the other one is that of the other end.
            IFA_LOCAL => return ip(attribute.value()),
            IFA_ADDRESS => address = ip(attribute.value()),
            _ => {}
        }
    }
    address
}

/// The ways of a route: more than one where it is spread over several links.
fn hops(attributes: &[u8]) -> Vec<DefaultRoute> {
    let mut metric = 0;
    let mut several = Vec::new();
    let (mut link, mut gateway) = (None, None);
    for attribute in NlasIterator::new(attributes).map_while(Result::ok) {
        let value = attribute.value();
        match attribute.kind() {
            RTA_OIF => link = number(value),
            RTA_PRIORITY => metric = number(value).unwrap_or(0),
            RTA_MULTIPATH => several = next_hops(value),
            _ => gateway = gateway.or(gateway_in(&attribute)),
        }
    }
    let one = link.map(|link| (link, gateway));
    let all = one.into_iter().chain(several);
    all.map(|(link, gateway)| DefaultRoute { link, gateway, metric }).collect()
}

/// An array of `rtnexthop`: length, two bytes, index of the link, attributes.
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
        // A gateway of the other family; its number comes first.
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
        RouteAddress, RouteAttribute, RouteMessage, RouteNextHop, RouteType, RouteVia,
    };
    use proptest::prelude::*;

    use super::*;

    /// The kernel's bytes for it, as the library makes them, which has its own tests.
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

    fn route(attributes: Vec<RouteAttribute>) -> RouteMessage {
        let mut message = RouteMessage::default();
        message.header.address_family = AddressFamily::Inet;
        message.header.kind = RouteType::Unicast;
        message.header.table = 254;
        message.attributes = attributes;
        message
    }

    fn four(last: u8) -> Ipv4Addr {
        Ipv4Addr::new(192, 0, 2, last)
    }

    fn default_over(link: u32, gateway: IpAddr, metric: u32) -> DefaultRoute {
        DefaultRoute { link, gateway: Some(gateway), metric }
    }

    #[test]
    fn default_routes_count_where_the_link_carries() {
        let mut seen = RouteSnapshot::default();
        seen.add(NEW_LINK, &up(2, LinkFlags::Running));
        seen.add(NEW_LINK, &up(3, LinkFlags::empty()));
        seen.add(NEW_LINK, &up(1, LinkFlags::Running | LinkFlags::Loopback));
        for link in [1, 2, 3] {
            seen.add(
                NEW_ROUTE,
                &bytes(&route(vec![
                    RouteAttribute::Gateway(RouteAddress::Inet(four(1))),
                    RouteAttribute::Priority(100),
                    RouteAttribute::Oif(link),
                ])),
            );
        }
        let defaults = [default_over(2, four(1).into(), 100)].into();
        assert_eq!(seen.routes(), Routes { defaults, addresses: BTreeSet::new() });
    }

    #[test]
    fn every_way_of_a_route_over_several_links_counts() {
        let mut first = RouteNextHop::default();
        first.interface_index = 2;
        first.attributes = vec![RouteAttribute::Gateway(RouteAddress::Inet(four(1)))];
        let mut second = RouteNextHop::default();
        second.interface_index = 3;
        let six: Ipv6Addr = "fe80::1".parse().unwrap();
        second.attributes = vec![RouteAttribute::Via(RouteVia::Inet6(six))];
        let found =
            hops(&bytes(&route(vec![RouteAttribute::MultiPath(vec![first, second])]))[12..]);
        assert_eq!(found, [default_over(2, four(1).into(), 0), default_over(3, six.into(), 0)]);
    }

    #[test]
    fn other_routes_do_not_count() {
        let over = |link| vec![RouteAttribute::Oif(link)];
        let mut net = route(over(2));
        net.header.destination_prefix_length = 24;
        let mut unreachable = route(over(2));
        unreachable.header.kind = RouteType::Unreachable;
        let mut local = route(over(2));
        local.header.table = libc::RT_TABLE_LOCAL;
        let mut multicast = route(over(2));
        multicast.header.address_family = AddressFamily::from(128);
        for message in [net, unreachable, local, multicast] {
            let mut seen = RouteSnapshot::default();
            seen.add(NEW_ROUTE, &bytes(&message));
            assert_eq!(seen.defaults, BTreeSet::new());
        }
    }

    #[test]
    fn the_addresses_of_the_links_in_use_count_but_not_those_that_lead_nowhere() {
        let mut seen = RouteSnapshot::default();
        seen.add(NEW_LINK, &up(2, LinkFlags::Running));
        seen.add(NEW_LINK, &up(4, LinkFlags::Running));
        seen.add(NEW_ROUTE, &bytes(&route(vec![RouteAttribute::Oif(2)])));
        let mut give = |index, scope, attributes: Vec<AddressAttribute>| {
            let mut message = AddressMessage::default();
            message.header.index = index;
            message.header.scope = scope;
            message.attributes = attributes;
            seen.add(NEW_ADDRESS, &bytes(&message));
        };
        let six = "2001:db8::2".parse::<IpAddr>().unwrap();
        give(
            2,
            AddressScope::Universe,
            vec![
                AddressAttribute::Address(four(9).into()),
                AddressAttribute::Local(four(2).into()),
            ],
        );
        give(2, AddressScope::Universe, vec![AddressAttribute::Address(six)]);
        give(2, AddressScope::Link, vec![AddressAttribute::Address("fe80::2".parse().unwrap())]);
        give(4, AddressScope::Universe, vec![AddressAttribute::Local(four(4).into())]);
        assert_eq!(seen.routes().addresses, [(2, four(2).into()), (2, six)].into());
    }

    #[test]
    fn only_what_may_change_the_sight_calls_for_a_look() {
        let mut seen = RouteSnapshot::default();
        seen.add(NEW_LINK, &up(2, LinkFlags::Running));
        let message = |kind: u16, payload: &[u8]| {
            let mut bytes = vec![0; 16];
            let mut header = NetlinkBuffer::new(&mut bytes);
            header.set_length(u32::try_from(16 + payload.len()).unwrap());
            header.set_message_type(kind);
            bytes.extend(payload);
            bytes
        };
        let mut net = route(vec![]);
        net.header.destination_prefix_length = 24;
        let net = bytes(&net);
        let of_link = |index| {
            let mut message = AddressMessage::default();
            message.header.index = index;
            bytes(&message)
        };
        for (kind, payload, may) in [
            (NEW_LINK, up(2, LinkFlags::Running), false),
            (NEW_LINK, up(2, LinkFlags::empty()), true),
            (NEW_LINK, up(3, LinkFlags::empty()), false),
            (NEW_LINK, up(3, LinkFlags::Running), true),
            (DEL_LINK, up(2, LinkFlags::empty()), true),
            (DEL_LINK, up(3, LinkFlags::empty()), false),
            (NEW_ADDRESS, of_link(2), true),
            (DEL_ADDRESS, of_link(3), false),
            (NEW_ROUTE, bytes(&route(vec![])), true),
            (DEL_ROUTE, net, false),
            (NEW_LINK, vec![1, 2, 3], true),
            (DEL_ROUTE, vec![], true),
            (9_999, vec![0; 20], true),
        ] {
            let bytes = message(kind, &payload);
            assert_eq!(seen.may_change_by(&bytes), may, "{kind} {payload:?}");
            let mut two = bytes.clone();
            two.extend(&bytes);
            assert!(seen.may_change_by(&two));
        }
        assert!(!seen.may_change_by(&[]), "not of the kernel");
        assert!(seen.may_change_by(&[0; 15]));
    }

    #[test]
    fn the_kernel_answers_here() {
        let mut links = 0;
        let is_whole = ask(LINKS, |kind, payload| {
            links += usize::from(kind == NEW_LINK && link(payload).is_some());
        });
        assert!(is_whole.is_ok(), "{is_whole:?}");
        assert!(links >= 1, "not even a loopback");
        RouteSnapshot::take().unwrap();
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(
            kind in prop_oneof![16_u16..30, any::<u16>()],
            bytes in prop::collection::vec(any::<u8>(), 0..128)
        ) {
            let mut seen = RouteSnapshot::default();
            seen.add(kind, &bytes);
            let _ = (seen.may_change_by(&bytes), seen.routes(), hops(&bytes), address(&bytes));
        }
    }
}
