//! Interval sets: ranges of addresses as start and end elements, and back.

use std::net::IpAddr;

use egret_egress::nft::Datum;
use egret_types::Family;
use netlink_packet_netfilter::nftables::{ListAttribute, SetElementAttribute, SetElementFlags};

use super::element::{ElementNla, address, bytes, key_attribute, user_number};

const UDATA_ELEMENT_FLAGS: u8 = 1;
const UDATA_OPEN_INTERVAL: u32 = 1;

/// A start element for each range, and an end element one past its last address. A range that
/// reaches the last address of its family has no end; nft knows it by the start's user data.
pub(super) fn elements(ranges: &[(IpAddr, IpAddr)]) -> Vec<ElementNla> {
    let mut elements = Vec::with_capacity(2 * ranges.len() + 1);
    if let Some((first, _)) = ranges.first() {
        // As nft does. The kernel needs it not.
        let zero = Family::of(*first).address(0);
        if zero != *first {
            elements.push(interval_end(zero));
        }
    }
    for (start, last) in ranges {
        let mut attributes = vec![key_attribute(&bytes(&Datum::Address(*start)))];
        let end = after(*last);
        if end.is_none() {
            let open = user_number(UDATA_ELEMENT_FLAGS, UDATA_OPEN_INTERVAL);
            attributes.push(SetElementAttribute::UserData(open));
        }
        elements.push(ListAttribute::Element(attributes));
        elements.extend(end.map(interval_end));
    }
    elements
}

fn interval_end(address: IpAddr) -> ElementNla {
    ListAttribute::Element(vec![
        key_attribute(&bytes(&Datum::Address(address))),
        SetElementAttribute::Flags(SetElementFlags::IntervalEnd),
    ])
}

fn after(address: IpAddr) -> Option<IpAddr> {
    let family = Family::of(address);
    let number = Family::number(address);
    (number < family.last()).then(|| family.address(number + 1))
}

/// The ranges that starts and ends (true: an end) make; the inverse of what is written.
pub(super) fn ranges(mut boundaries: Vec<(Vec<u8>, bool)>) -> Vec<(IpAddr, IpAddr)> {
    // At one address an end stands before the start of the next range.
    boundaries.sort_by(|a, b| a.0.cmp(&b.0).then(b.1.cmp(&a.1)));
    let mut ranges = Vec::new();
    let mut open: Option<IpAddr> = None;
    for (key, end) in boundaries {
        let Some(boundary) = address(&key) else { continue };
        let family = Family::of(boundary);
        if let Some(start) = open.take() {
            ranges.push((start, family.address(Family::number(boundary).saturating_sub(1))));
        }
        open = (!end).then_some(boundary);
    }
    ranges.extend(open.map(|start| (start, Family::of(start).address(Family::of(start).last()))));
    ranges
}
