//! The egress guard: which addresses may be called. Denies by numbers everything that is not public, and the
//! address that is checked is the address that is connected.
//!
//! Must not know: events, configuration files.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::event::CanonicalUrl;

/// Decides about addresses. Cheap to clone.
///
/// An entry of the allow list admits the addresses inside it. An IPv4 entry admits also their IPv4-mapped form
/// (`::ffff:a.b.c.d`), which is the same address to the kernel; the translated forms (NAT64, 6to4, …) leave
/// through a relay and need an IPv6 entry of their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EgressGuard {
    allow: Arc<[IpNet]>,
}

/// An address that must not be called.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the address {address} is not public ({range}) and not listed in egress.allow")]
pub struct BlockedAddress {
    /// The address as it was given or resolved.
    pub address: IpAddr,
    /// The denied range that holds it, or holds the IPv4 address inside it.
    pub range: IpNet,
}

impl EgressGuard {
    /// Denies everything that is not public, except what lies in one of `allow`.
    #[must_use]
    pub fn new(allow: &[IpNet]) -> Self {
        Self { allow: allow.into() }
    }

    /// Denies nothing: for what an operator has named.
    pub(super) fn open() -> Self {
        Self::new(&[IpNet::V4(Ipv4Net::default()), IpNet::V6(Ipv6Net::default())])
    }

    /// Checks one address.
    ///
    /// # Errors
    /// [`BlockedAddress`] names the range.
    pub fn check(&self, address: IpAddr) -> Result<(), BlockedAddress> {
        match denied_range(address) {
            Some(range) if !self.allows(address) => Err(BlockedAddress { address, range }),
            _ => Ok(()),
        }
    }

    /// Checks a URL whose host is an address; names pass, they are checked when they are resolved. The
    /// connector asks no resolver for an address, so this has to be called before each attempt.
    ///
    /// # Errors
    /// [`BlockedAddress`] names the range.
    pub fn check_literal(&self, url: &CanonicalUrl) -> Result<(), BlockedAddress> {
        url.ip_literal().map_or(Ok(()), |address| self.check(address))
    }

    fn allows(&self, address: IpAddr) -> bool {
        // Only the mapped form: the kernel connects it as the IPv4 address itself.
        let mapped = match address {
            IpAddr::V6(v6) => v6.to_ipv4_mapped().map(IpAddr::V4),
            IpAddr::V4(_) => None,
        };
        let holds = |address: &IpAddr| self.allow.iter().any(|net| net.contains(address));
        holds(&address) || mapped.as_ref().is_some_and(holds)
    }
}

/// The denied range of an address, if there is one.
fn denied_range(address: IpAddr) -> Option<IpNet> {
    match address {
        IpAddr::V4(v4) => denied_v4(v4),
        IpAddr::V6(v6) => match embedded_v4(v6) {
            // The range of the outer form does not matter: the packet arrives at the inner address.
            Some(inner) => denied_v4(inner),
            None => DENIED_V6.iter().find(|net| net.contains(&v6)).copied().map(IpNet::V6),
        },
    }
}

fn denied_v4(address: Ipv4Addr) -> Option<IpNet> {
    DENIED_V4.iter().find(|net| net.contains(&address)).copied().map(IpNet::V4)
}

/// The IPv4 address that a packet to `address` reaches in the end: IPv4-mapped, NAT64 with the well-known
/// prefix, 6to4. These are as public as what is inside them.
fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let segments = address.segments();
    let [.., high, low] = segments;
    let last = Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match segments {
        [0, 0, 0, 0, 0, 0xffff, _, _] | [0x64, 0xff9b, 0, 0, 0, 0, _, _] => Some(last),
        [0x2002, high, low, ..] => Some(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low))),
        _ => None,
    }
}

const fn v4(a: u8, b: u8, c: u8, prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, 0), prefix)
}

const fn v6(head: [u16; 6], prefix: u8) -> Ipv6Net {
    let [a, b, c, d, e, f] = head;
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, e, f, 0, 0), prefix)
}

/// Special-purpose IPv4 ranges (IANA registry, RFC 6890), and multicast and reserved space.
const DENIED_V4: [Ipv4Net; 15] = [
    v4(0, 0, 0, 8),
    v4(10, 0, 0, 8),
    v4(100, 64, 0, 10),
    v4(127, 0, 0, 8),
    v4(169, 254, 0, 16),
    v4(172, 16, 0, 12),
    v4(192, 0, 0, 24),
    v4(192, 0, 2, 24),
    v4(192, 88, 99, 24),
    v4(192, 168, 0, 16),
    v4(198, 18, 0, 15),
    v4(198, 51, 100, 24),
    v4(203, 0, 113, 24),
    v4(224, 0, 0, 4),
    v4(240, 0, 0, 4),
];

/// Special-purpose IPv6 ranges. `::/96` holds the unspecified and the loopback address and the old
/// IPv4-compatible form; `::ffff:0:0:0/96` is the translated form of SIIT; `2001::/23` holds Teredo; `3fff::/20`
/// is for documentation, `5f00::/16` for segment routing inside a network (RFC 9637, RFC 9602).
const DENIED_V6: [Ipv6Net; 12] = [
    v6([0, 0, 0, 0, 0, 0], 96),
    v6([0, 0, 0, 0, 0xffff, 0], 96),
    v6([0x64, 0xff9b, 1, 0, 0, 0], 48),
    v6([0x100, 0, 0, 0, 0, 0], 64),
    v6([0x2001, 0, 0, 0, 0, 0], 23),
    v6([0x2001, 0xdb8, 0, 0, 0, 0], 32),
    v6([0x3fff, 0, 0, 0, 0, 0], 20),
    v6([0x5f00, 0, 0, 0, 0, 0], 16),
    v6([0xfc00, 0, 0, 0, 0, 0], 7),
    v6([0xfe80, 0, 0, 0, 0, 0], 10),
    v6([0xfec0, 0, 0, 0, 0, 0], 10),
    v6([0xff00, 0, 0, 0, 0, 0], 8),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn blocked(guard: &EgressGuard, text: &str) -> bool {
        guard.check(text.parse().expect(text)).is_err()
    }

    #[test]
    fn every_range_is_denied_to_its_edges_and_no_further() {
        let guard = EgressGuard::new(&[]);
        // First and last address of each range, and the neighbours where those are public.
        let v4_inside = [
            "0.0.0.0",
            "0.255.255.255",
            "10.0.0.0",
            "10.255.255.255",
            "100.64.0.0",
            "100.127.255.255",
            "127.0.0.0",
            "127.255.255.255",
            "169.254.0.0",
            "169.254.255.255",
            "172.16.0.0",
            "172.31.255.255",
            "192.0.0.0",
            "192.0.0.255",
            "192.0.2.0",
            "192.0.2.255",
            "192.88.99.0",
            "192.88.99.255",
            "192.168.0.0",
            "192.168.255.255",
            "198.18.0.0",
            "198.19.255.255",
            "198.51.100.0",
            "198.51.100.255",
            "203.0.113.0",
            "203.0.113.255",
            "224.0.0.0",
            "239.255.255.255",
            "240.0.0.0",
            "255.255.255.255",
        ];
        let v4_outside = [
            "1.0.0.0",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "169.253.255.255",
            "169.255.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "191.255.255.255",
            "192.0.1.0",
            "192.0.1.255",
            "192.0.3.0",
            "192.88.98.255",
            "192.88.100.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "198.51.99.255",
            "198.51.101.0",
            "203.0.112.255",
            "203.0.114.0",
            "223.255.255.255",
        ];
        for text in v4_inside {
            assert!(blocked(&guard, text), "{text}");
            assert!(blocked(&guard, &format!("::ffff:{text}")), "mapped {text}");
            assert!(blocked(&guard, &format!("64:ff9b::{text}")), "nat64 {text}");
        }
        for text in v4_outside {
            assert!(!blocked(&guard, text), "{text}");
            assert!(!blocked(&guard, &format!("::ffff:{text}")), "mapped {text}");
            assert!(!blocked(&guard, &format!("64:ff9b::{text}")), "nat64 {text}");
        }
    }

    #[test]
    fn every_ipv6_range_is_denied_to_its_edges_and_no_further() {
        let guard = EgressGuard::new(&[]);
        let inside = [
            "::",
            "::1",
            "::127.0.0.1",
            "::8.8.8.8",
            "::ffff:ffff",
            "::ffff:0:8.8.8.8",
            "64:ff9b:1::",
            "64:ff9b:1:ffff:ffff:ffff:ffff:ffff",
            "100::",
            "100::ffff:ffff:ffff:ffff",
            "2001::",
            "2001:1ff:ffff::",
            "2001:db8::",
            "2001:db8:ffff::1",
            "2002:7f00:1::",
            "2002:a00::",
            "3fff::",
            "3fff:fff:ffff::1",
            "5f00::",
            "5f00:ffff::1",
            "fc00::",
            "fd00:ec2::254",
            "fdff:ffff::1",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "feff:ffff::1",
            "ff00::",
            "ff02::1",
            "ffff::1",
        ];
        let outside = [
            "::1:0:0:1",
            "64:ff9b:2::",
            "100:0:0:1::",
            "2001:200::",
            "2001:db7:ffff::1",
            "2001:db9::",
            "2002:808:808::",
            "2606:4700::1111",
            "2a00::1",
            "3ffe:ffff::1",
            "3fff:1000::",
            "5eff:ffff::1",
            "5f01::",
            "fbff:ffff::1",
            "fe00::1",
        ];
        for text in inside {
            assert!(blocked(&guard, text), "{text}");
        }
        for text in outside {
            assert!(!blocked(&guard, text), "{text}");
        }
    }

    #[test]
    fn spellings_of_inside_addresses_are_all_seen() {
        let guard = EgressGuard::new(&[]);
        let open = EgressGuard::new(&["0.0.0.0/0".parse().expect("net"), "::/0".parse().expect("net")]);
        for host in [
            "127.0.0.1",
            "127.1",
            "2130706433",
            "0x7f.1",
            "0x7f000001",
            "017700000001",
            "0",
            "127.0.0.1.",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "[::127.0.0.1]",
            "[64:ff9b::7f00:1]",
            "[2002:7f00:1::]",
            "169.254.169.254",
            "[fd00:ec2::254]",
            "１２７.0.0.1",
            "127。0。0。1",
        ] {
            let url = CanonicalUrl::parse(&format!("http://{host}/x")).expect(host);
            assert!(guard.check_literal(&url).is_err(), "{host}");
            // The control: the same spelling passes a guard that lets everything out.
            assert_eq!(open.check_literal(&url), Ok(()), "{host}");
        }
        let public = CanonicalUrl::parse("http://8.8.8.8/").expect("valid");
        assert_eq!(guard.check_literal(&public), Ok(()));
        let name = CanonicalUrl::parse("http://localhost/").expect("valid");
        assert_eq!(guard.check_literal(&name), Ok(()), "names are the resolver's business");
    }

    #[test]
    fn an_allowed_range_opens_itself_and_its_mapped_form_only() {
        let guard = EgressGuard::new(&["10.1.0.0/16".parse().expect("net")]);
        for text in ["10.1.0.0", "10.1.255.255", "::ffff:10.1.2.3"] {
            assert!(!blocked(&guard, text), "{text}");
        }
        for text in
            ["10.0.255.255", "10.2.0.0", "127.0.0.1", "64:ff9b::10.1.2.3", "2002:a01:203::", "::10.1.2.3"]
        {
            assert!(blocked(&guard, text), "{text}");
        }
    }
}
