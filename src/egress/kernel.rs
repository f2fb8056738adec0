//! The port to the kernel: what the programs of this workspace need of it, in their words. The
//! crate `kernel` implements it over netlink; tests wrap it to fail at a chosen step.

use std::net::IpAddr;

use egret_types::{Family, IfIndex, LinkName, MacAddr, Prefix};

use crate::object::{Object, Place};

/// Reads and changes kernel objects in the three namespaces.
///
/// A namespace is opened when it is first used. Using one that is not there is
/// [`Failure::NoNamespace`], except in [`Kernel::remove`], for which it means "already gone".
pub trait Kernel {
    /// Makes the object what it should be.
    ///
    /// # Guarantees
    /// Present afterwards, exactly as given; nothing changes if it was. One nft ruleset is one
    /// transaction (two, where a pod with traffic changes to a chain nobody has yet).
    ///
    /// # Errors
    /// [`Failure::Foreign`] when the name is taken by something that is not ours; nothing has been
    /// changed then.
    fn ensure(&mut self, place: Place, object: &Object) -> Result<(), Failure>;

    /// Removes the object; success when it, its link or its namespace is already gone. What others
    /// have put in its place meanwhile is left alone.
    fn remove(&mut self, place: Place, object: &Object) -> Result<(), Failure>;

    /// What differs between the object and what the kernel holds, one sentence each; empty: nothing.
    fn differences(&mut self, place: Place, object: &Object) -> Result<Vec<String>, Failure>;

    /// The links of a namespace with their addresses.
    fn list_links(&mut self, place: Place) -> Result<Vec<Link>, Failure>;

    /// The routes of table main with a link: connected networks and next hops.
    fn list_main_routes(&mut self, place: Place) -> Result<Vec<MainRoute>, Failure>;

    /// The link on which packets to this address would leave.
    fn link_toward(&mut self, place: Place, address: IpAddr) -> Result<IfIndex, Failure>;

    /// The number of the link in the node's namespace that is the other end of a link in the pod's,
    /// which must be a veth; `None`: it has no end there.
    fn host_end(&mut self, link: &LinkName) -> Result<Option<IfIndex>, Failure>;

    /// The value of a kernel parameter (path below `/proc/sys`, with slashes); `None`: no such one.
    fn get_sysctl(&mut self, place: Place, path: &str) -> Result<Option<String>, Failure>;
}

/// A link as the kernel reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its number in its namespace.
    pub index: IfIndex,
    /// Its name.
    pub name: LinkName,
    /// Its kind (`veth`, `bridge`, ...); absent for hardware and loopback.
    pub kind: Option<String>,
    /// Absent for links without one.
    pub mac: Option<MacAddr>,
    /// In bytes.
    pub mtu: u32,
    /// Administratively up.
    pub up: bool,
    /// The bridge, or the like, of which it is a port.
    pub master: Option<IfIndex>,
    /// The other end of a veth, where that is in the same namespace.
    pub peer: Option<IfIndex>,
    /// Addresses with the length of their prefix.
    pub addresses: Vec<(IpAddr, u8)>,
    /// What a VXLAN link has of its namespace for itself.
    pub vxlan: Option<VxlanUse>,
}

/// What tells VXLAN links of one namespace apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VxlanUse {
    /// Network identifier.
    pub vni: u32,
    /// UDP port, which several links can share.
    pub port: u16,
}

/// A route of table main.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MainRoute {
    /// Destination.
    pub destination: Prefix,
    /// The next hop; absent for a connected network.
    pub hop: Option<IpAddr>,
    /// The link.
    pub link: IfIndex,
    /// Lower wins.
    pub metric: u32,
}

impl MainRoute {
    /// The family of the route.
    pub fn family(&self) -> Family {
        self.destination.family()
    }
}

/// Why the kernel did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The namespace does not exist.
    #[error("{place} does not exist")]
    NoNamespace {
        /// Which.
        place: Place,
    },
    /// The name belongs to somebody else.
    #[error("{what} in {place} is not ours: {found}")]
    Foreign {
        /// The object as we wanted it.
        what: String,
        /// Where.
        place: Place,
        /// What is there instead.
        found: String,
    },
    /// The process may not do this.
    #[error("{operation}: not permitted (needs CAP_NET_ADMIN and CAP_SYS_ADMIN, run as root)")]
    NotPermitted {
        /// What was tried.
        operation: String,
    },
    /// The kernel refused.
    #[error("{operation}: {source}")]
    Refused {
        /// What was tried, with the object.
        operation: String,
        /// Its error, with its own words where it has any.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// What a namespace that does not exist answers: it has none of what is asked for.
pub fn unless_gone<T: Default>(answer: Result<T, Failure>) -> Result<T, Failure> {
    match answer {
        Err(Failure::NoNamespace { .. }) => Ok(T::default()),
        answer => answer,
    }
}
