//! Everything of ours that a kernel can hold, as values: what `desired` plans, the record of an
//! attachment keeps, and `kernel` applies, compares and removes. One list of these is an ADD in
//! order, a DEL in reverse, and a CHECK item by item.

use std::fmt;
use std::net::IpAddr;

use egret_types::{Family, LinkName, MacAddr, Mtu, Prefix, Vni};
use serde::{Deserialize, Serialize};

use crate::nft::Ruleset;

/// The network namespace in which an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// The node's root namespace.
    Root,
    /// Our own namespace on the node.
    Egret,
    /// The pod's namespace.
    Pod,
}

/// An object and its namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placed {
    /// Where.
    pub place: Place,
    /// What.
    pub object: Object,
}

/// One kernel object. Each can be ensured, compared and removed any number of times.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Object {
    /// The network namespace of the place itself, which must be [`Place::Egret`].
    Namespace,
    /// A pair of veth links, both up, without automatic addresses. The near end is in the place of
    /// the object, the peer in [`Place::Egret`].
    Veth(Veth),
    /// The tunnel link. Its UDP socket is in [`Place::Root`], whatever the link's place.
    Vxlan(Vxlan),
    /// A macvlan link in bridge mode over a link of [`Place::Root`].
    Macvlan(Macvlan),
    /// An address of a link, without duplicate address detection.
    Address(Address),
    /// A route.
    Route(Route),
    /// A rule of routing policy.
    Rule(Rule),
    /// A permanent neighbour.
    Neighbour(Neighbour),
    /// A forwarding entry of the tunnel link.
    Fdb(Fdb),
    /// A kernel parameter.
    Sysctl(Sysctl),
    /// Part of an nft table.
    Nft(Ruleset),
}

/// See [`Object::Veth`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Veth {
    /// The near end.
    pub name: LinkName,
    /// Its MAC: by it a link of this name is known to be ours.
    pub mac: MacAddr,
    /// The end in the egret namespace. Removing the pair goes by this name alone.
    pub peer: LinkName,
    /// Of both ends.
    pub mtu: Mtu,
}

/// See [`Object::Vxlan`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vxlan {
    /// Its name.
    pub name: LinkName,
    /// Its MAC.
    pub mac: MacAddr,
    /// Network identifier.
    pub vni: Vni,
    /// UDP port, ours and the others'.
    pub port: u16,
    /// Outer source address.
    pub local: IpAddr,
    /// MTU of the inner packets.
    pub mtu: Mtu,
}

/// See [`Object::Macvlan`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Macvlan {
    /// Its name.
    pub name: LinkName,
    /// The link of the root namespace below it.
    pub parent: LinkName,
}

/// See [`Object::Address`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// The link.
    pub link: LinkName,
    /// The address.
    pub address: IpAddr,
    /// Length of the prefix of the connected network.
    pub length: u8,
    /// Whether neighbours are told that the address is here now.
    pub announce: Announce,
}

/// Whether a new address is announced by gratuitous ARP or unsolicited neighbour advertisement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Announce {
    /// Yes.
    Yes,
    /// No.
    No,
}

/// See [`Object::Route`]. Every route of ours has protocol [`egret_types::ours::ROUTE_PROTOCOL`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// Routing table; 254 is main.
    pub table: u32,
    /// Destination.
    pub destination: Prefix,
    /// What happens to matching packets.
    pub action: RouteAction,
    /// Lower wins; 0 is the kernel's default of the family.
    pub metric: u32,
}

/// What a route does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RouteAction {
    /// `via hop dev link onlink src source`
    Via {
        /// The next hop, on the link whether or not an address says so.
        hop: IpAddr,
        /// The link.
        link: LinkName,
        /// Source address of packets that have none yet.
        source: Option<IpAddr>,
    },
    /// `dev link scope link`: a connected network, without an address of ours in it.
    Direct {
        /// The link.
        link: LinkName,
    },
    /// `throw`: as if the table had no route; the next rule decides.
    Throw,
    /// `prohibit`: answered with "administratively prohibited".
    Prohibit,
    /// `unreachable`: answered with "host unreachable".
    Unreachable,
}

/// See [`Object::Rule`]. Every rule of ours has protocol [`egret_types::ours::ROUTE_PROTOCOL`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// Family of the packets.
    pub family: Family,
    /// Order among rules.
    pub priority: u32,
    /// Only packets with these bits of the mark; absent: all.
    pub mark: Option<Mark>,
    /// The table to look into.
    pub table: u32,
}

/// Bits of a packet mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The bits' values.
    pub value: u32,
    /// Which bits.
    pub mask: u32,
}

/// See [`Object::Neighbour`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Neighbour {
    /// The link.
    pub link: LinkName,
    /// The neighbour's address.
    pub address: IpAddr,
    /// Its MAC.
    pub mac: MacAddr,
}

/// See [`Object::Fdb`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fdb {
    /// The tunnel link.
    pub link: LinkName,
    /// Inner destination MAC.
    pub mac: MacAddr,
    /// The VTEP to which frames for it are sent.
    pub vtep: IpAddr,
}

/// See [`Object::Sysctl`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sysctl {
    /// Path below `/proc/sys`, with slashes (link names may contain dots).
    pub path: String,
    /// The value we want.
    pub value: String,
    /// The value that was there before; put back on removal if ours is still there. Absent where
    /// the parameter goes away with its link or namespace.
    pub was: Option<String>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Place::Root => "the node's namespace",
            Place::Egret => "the egret namespace",
            Place::Pod => "the pod's namespace",
        })
    }
}

/// An object's name in messages, near to how `ip` and `nft` write it.
impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Object::Namespace => f.write_str("network namespace"),
            Object::Veth(veth) => write!(f, "link {} (peer {})", veth.name, veth.peer),
            Object::Vxlan(vxlan) => write!(f, "link {}", vxlan.name),
            Object::Macvlan(macvlan) => write!(f, "link {}", macvlan.name),
            Object::Address(a) => write!(f, "address {}/{} dev {}", a.address, a.length, a.link),
            Object::Route(route) => route.fmt(f),
            Object::Rule(rule) => rule.fmt(f),
            Object::Neighbour(n) => {
                write!(f, "neighbour {} lladdr {} dev {}", n.address, n.mac, n.link)
            }
            Object::Fdb(fdb) => {
                write!(f, "fdb entry {} dst {} dev {}", fdb.mac, fdb.vtep, fdb.link)
            }
            Object::Sysctl(sysctl) => {
                write!(f, "sysctl {} = {}", sysctl.path.replace('/', "."), sysctl.value)
            }
            Object::Nft(ruleset) => write!(f, "nft table {} {}", ruleset.family, ruleset.table),
        }
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Route { table, destination, action, metric } = self;
        match action {
            RouteAction::Via { hop, link, source } => {
                write!(f, "route {destination} via {hop} dev {link}")?;
                if let Some(source) = source {
                    write!(f, " src {source}")?;
                }
            }
            RouteAction::Direct { link } => write!(f, "route {destination} dev {link}")?,
            RouteAction::Throw => write!(f, "route throw {destination}")?,
            RouteAction::Prohibit => write!(f, "route prohibit {destination}")?,
            RouteAction::Unreachable => write!(f, "route unreachable {destination}")?,
        }
        write!(f, " table {table}")?;
        if *metric != 0 {
            write!(f, " metric {metric}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} rule pref {}", self.family, self.priority)?;
        if let Some(mark) = self.mark {
            write!(f, " fwmark {:#x}/{:#x}", mark.value, mark.mask)?;
        }
        write!(f, " lookup {}", self.table)
    }
}
