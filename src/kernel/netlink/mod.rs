//! Route netlink, one file for each kind of object. Requests are the typed messages of
//! `netlink-packet-route`; of answers only the attributes that matter are looked at
//! (`attribute.rs`), so that what newer kernels add can neither fail nor hide an object.

pub(crate) mod address;
pub(crate) mod attribute;
pub(crate) mod fdb;
pub(crate) mod link;
pub(crate) mod macvlan;
pub(crate) mod neighbour;
pub(crate) mod route;
pub(crate) mod rule;
pub(crate) mod socket;
pub(crate) mod veth;
pub(crate) mod vxlan;

use egret_types::Family;
use netlink_packet_route::AddressFamily;

/// The kernel's number of a family.
fn address_family(family: Family) -> AddressFamily {
    match family {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    }
}

/// The family of an answer.
fn family_of(family: AddressFamily) -> Option<Family> {
    Family::BOTH.into_iter().find(|known| address_family(*known) == family)
}
