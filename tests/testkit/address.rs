//! The address plan of a laboratory, the same in every one; only the namespaces differ.

use std::net::IpAddr;

use egret_types::{Family, Prefix};

fn at(family: Family, v4: &str, v6: &str) -> IpAddr {
    let text = match family {
        Family::V4 => v4,
        Family::V6 => v6,
    };
    text.parse().unwrap_or_else(|error| panic!("{text} in the address plan: {error}"))
}

/// A node's address on the underlay (`172.18.0.0/24`, `fd00:172:18::/64`): its VTEP.
pub fn underlay(family: Family, host: u8) -> IpAddr {
    at(family, &format!("172.18.0.{host}"), &format!("fd00:172:18::{host}"))
}

/// An address on the external network (`203.0.113.0/24`, `2001:db8:ff::/64`). Host 10 is the outside
/// host, a node has the host number of its underlay address.
pub fn external(family: Family, host: u8) -> IpAddr {
    at(family, &format!("203.0.113.{host}"), &format!("2001:db8:ff::{host}"))
}

/// The egress address at an index of the pool that [`crate::resources::pool`] writes:
/// `203.0.113.50` to `.59` and `2001:db8:ff::50` to `::59`.
pub fn egress_ip(family: Family, index: u8) -> IpAddr {
    external(family, 50 + index)
}

/// The host behind the outside host, over a link with an MTU of 1300.
pub fn far(family: Family) -> IpAddr {
    at(family, "198.51.100.77", "2001:db8:51::77")
}

/// The outside host's end of that link.
pub(crate) fn far_router(family: Family) -> IpAddr {
    at(family, "198.51.100.1", "2001:db8:51::1")
}

/// The network of the pods on the node with this host number.
pub fn pod_network(family: Family, host: u8) -> Prefix {
    let (v4, v6) = (format!("10.244.{host}.0"), format!("fd00:10:244:{host}::"));
    let length = match family {
        Family::V4 => 24,
        Family::V6 => 64,
    };
    Prefix::containing(at(family, &v4, &v6), length)
        .unwrap_or_else(|| panic!("no pod network of length {length}"))
}
