//! Whom limits count for.

use std::net::IpAddr;
use std::num::NonZeroU64;

/// Who limits count for: an IPv4 address, or a network of IPv6 with 64 bits, which is the least that
/// one customer has. IPv4 addresses are mapped into a reserved IPv6 range, so the two never collide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RateLimitKey(NonZeroU64);

/// Says that an IPv4 address follows; these networks of IPv6 are reserved.
const IPV4: u64 = 1 << 32;

impl RateLimitKey {
    /// Whom an address belongs to.
    pub fn of(address: IpAddr) -> Self {
        let number = match address.to_canonical() {
            IpAddr::V4(address) => IPV4 | u64::from(address.to_bits()),
            IpAddr::V6(address) => (address.to_bits() >> 64) as u64,
        };
        // Network 0 is that of ::1.
        Self(NonZeroU64::new(number).unwrap_or(NonZeroU64::MIN))
    }

    /// The opposite of [`RateLimitKey::number`].
    #[cfg(feature = "serve")]
    pub(crate) fn from_number(number: u64) -> Option<Self> {
        NonZeroU64::new(number).map(Self)
    }

    /// Another form of it, which an atomic can hold. Never 0.
    #[cfg(feature = "serve")]
    pub(crate) fn number(self) -> u64 {
        self.0.get()
    }

    /// The address, or the first one of the network.
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

    fn client(text: &str) -> RateLimitKey {
        RateLimitKey::of(text.parse().unwrap())
    }

    #[test]
    fn a_client_is_an_address_or_a_network_of_ipv6() {
        assert_eq!(client("192.0.2.1"), client("::ffff:192.0.2.1"));
        assert_ne!(client("192.0.2.1"), client("192.0.2.2"));
        assert_eq!(client("2001:db8:0:1::1"), client("2001:db8:0:1:ffff::2"));
        assert_ne!(client("2001:db8:0:1::1"), client("2001:db8:0:2::1"));
        assert_ne!(client("::1"), client("0.0.0.0"));
    }

    #[test]
    fn a_client_can_be_shown() {
        for (text, shown) in [("192.0.2.1", "192.0.2.1"), ("2001:db8::1:2:3:4", "2001:db8::")] {
            assert_eq!(client(text).address().to_string(), shown);
            #[cfg(feature = "serve")]
            assert_eq!(RateLimitKey::from_number(client(text).number()), Some(client(text)));
        }
    }
}
