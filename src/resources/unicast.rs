//! Addresses that a packet of a node can come from: VTEPs, next hops, egress IPs.

use std::net::IpAddr;

use egret_types::{Family, Prefix};

use crate::{Problem, cursor::Cursor};

/// Blocks from which no node sends to another (RFC 6890), each with its name.
const BLOCKS: [(&str, &str); 10] = [
    ("0.0.0.0/8", "\"this network\""),
    ("127.0.0.0/8", "loopback"),
    ("169.254.0.0/16", "link-local"),
    ("224.0.0.0/4", "multicast"),
    ("240.0.0.0/4", "reserved"),
    ("::/128", "unspecified"),
    ("::1/128", "loopback"),
    ("::ffff:0:0/96", "IPv4-mapped"),
    ("fe80::/10", "link-local"),
    ("ff00::/8", "multicast"),
];

/// The block of these addresses that no node may use, if they touch one. Both are of one family.
pub(crate) fn unusable(first: IpAddr, last: IpAddr) -> Option<&'static str> {
    let family = Family::of(first);
    let (first, last) = (Family::number(first), Family::number(last));
    BLOCKS.iter().find_map(|(block, name)| {
        let block: Prefix = block.parse().ok().filter(|b: &Prefix| b.family() == family)?;
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
