//! The key that limits are counted by.

use std::net::IpAddr;
use std::num::NonZeroU64;

/// The client that limits are counted for: an IPv4 address or an IPv6 /64 network, the smallest that a
/// customer is assigned. IPv4 addresses are mapped into a reserved IPv6 range, so the two never collide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RateLimitKey(NonZeroU64);

/// Marks an IPv4 address; the IPv6 networks with this bit are reserved.
const IPV4: u64 = 1 << 32;

impl RateLimitKey {
    /// The key of an address.
    pub fn of(address: IpAddr) -> Self {
        let number = match address.to_canonical() {
            IpAddr::V4(address) => IPV4 | u64::from(address.to_bits()),
            IpAddr::V6(address) => (address.to_bits() >> 64) as u64,
        };
        // Network 0 is that of ::1.
        Self(NonZeroU64::new(number).unwrap_or(NonZeroU64::MIN))
    }

    /// The inverse of [`RateLimitKey::number`].
    #[cfg(feature = "serve")]
    pub(crate) fn from_number(number: u64) -> Option<Self> {
        NonZeroU64::new(number).map(Self)
    }

    /// The key as a number for an atomic, never 0.
    #[cfg(feature = "serve")]
    pub(crate) fn number(self) -> u64 {
        self.0.get()
    }

    /// The address, or the first address of the network.
    pub fn address(self) -> IpAddr {
        let number = self.0.get();
        if number >> 32 == 1 {
            IpAddr::V4((number as u32).into())
        } else {
            IpAddr::V6((u128::from(number) << 64).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> RateLimitKey {
        RateLimitKey::of(text.parse().unwrap())
    }

    #[test]
    fn a_key_is_an_ipv4_address_or_an_ipv6_network() {
        assert_eq!(key("192.0.2.1"), key("::ffff:192.0.2.1"));
        assert_ne!(key("192.0.2.1"), key("192.0.2.2"));
        assert_eq!(key("2001:db8:0:1::1"), key("2001:db8:0:1:ffff::2"));
        assert_ne!(key("2001:db8:0:1::1"), key("2001:db8:0:2::1"));
        assert_ne!(key("::1"), key("0.0.0.0"));
    }

    #[test]
    fn a_key_can_be_turned_into_an_address_and_a_number() {
        for (text, shown) in [("192.0.2.1", "192.0.2.1"), ("2001:db8::1:2:3:4", "2001:db8::")] {
            assert_eq!(key(text).address().to_string(), shown);
            #[cfg(feature = "serve")]
            assert_eq!(RateLimitKey::from_number(key(text).number()), Some(key(text)));
        }
    }
}
