//! Addresses that a packet of a node can come from: VTEPs, next hops, egress IPs.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use egret_types::{Family, Prefix};

use crate::{Problem, cursor::Cursor};

/// Blocks from which no node sends to another (RFC 6890), each with its name.
const BLOCKS: [(IpAddr, u8, &str); 10] = [
    (v4(0, 0), 8, "\"this network\""),
    (v4(127, 0), 8, "loopback"),
    (v4(169, 254), 16, "link-local"),
    (v4(224, 0), 4, "multicast"),
    (v4(240, 0), 4, "reserved"),
    (IpAddr::V6(Ipv6Addr::UNSPECIFIED), 128, "unspecified"),
    (IpAddr::V6(Ipv6Addr::LOCALHOST), 128, "loopback"),
    (v6(0, 0xffff), 96, "IPv4-mapped"),
    (v6(0xfe80, 0), 10, "link-local"),
    (v6(0xff00, 0), 8, "multicast"),
];

/// `a.b.0.0`
const fn v4(a: u8, b: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(a, b, 0, 0))
}

/// `first::mapped:0:0`
const fn v6(first: u16, mapped: u16) -> IpAddr {
    IpAddr::V6(Ipv6Addr::new(first, 0, 0, 0, 0, mapped, 0, 0))
}

/// The block of these addresses that no node may use, if they touch one. Both are of one family.
pub(crate) fn unusable(first: IpAddr, last: IpAddr) -> Option<&'static str> {
    let family = Family::of(first);
    let (first, last) = (Family::number(first), Family::number(last));
    BLOCKS.iter().find_map(|(address, length, name)| {
        let block = Prefix::containing(*address, *length).filter(|b| b.family() == family)?;
        let (begin, end) = block.range();
        (begin <= last && first <= end).then_some(*name)
    })
}

/// An address that a node can have. `fe80::/10` is for links: next hops are read elsewhere.
pub(crate) fn read_address(at: &Cursor<'_>) -> Result<IpAddr, Problem> {
    let address = read_any(at)?;
    match unusable(address, address) {
        Some(block) => Err(at.problem(format!("{address} is a {block} address; no node has it"))),
        None => Ok(address),
    }
}

/// Any address.
pub(crate) fn read_any(at: &Cursor<'_>) -> Result<IpAddr, Problem> {
    let text = at.text("an address")?;
    text.parse().map_err(|_| at.problem(format!("{text:?} is not an address")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_refused_from_its_first_to_its_last_address() {
        for (address, block) in [
            ("0.255.255.255", Some("\"this network\"")),
            ("1.0.0.0", None),
            ("126.255.255.255", None),
            ("127.0.0.0", Some("loopback")),
            ("169.253.255.255", None),
            ("169.254.0.0", Some("link-local")),
            ("169.255.0.0", None),
            ("223.255.255.255", None),
            ("239.255.255.255", Some("multicast")),
            ("255.255.255.255", Some("reserved")),
            ("::", Some("unspecified")),
            ("::1", Some("loopback")),
            ("::2", None),
            ("::ffff:192.0.2.1", Some("IPv4-mapped")),
            ("fe7f::", None),
            ("febf::", Some("link-local")),
            ("fec0::", None),
            ("ff02::1", Some("multicast")),
        ] {
            let address: IpAddr = address.parse().unwrap();
            assert_eq!(unusable(address, address), block, "{address}");
        }
    }

    #[test]
    fn a_range_around_a_block_is_refused() {
        let ends = ["100.0.0.0", "200.0.0.0"].map(|end| end.parse().unwrap());
        assert_eq!(unusable(ends[0], ends[1]), Some("loopback"));
    }
}
