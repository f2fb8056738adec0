//! The node's end of a pod's primary link: where the pod guard stands. Not every link has one, and
//! at not every one can all be seen that the pod sends.

use egret_types::{IfIndex, LinkName};

use crate::desired::HostEnd;
use crate::kernel::{Failure, Kernel, Link};
use crate::object::Place;

/// The kind of link that has an end on the node.
const VETH: &str = "veth";
/// A master between whose ports the node forwards, where the guard sees it.
const VRF: &str = "vrf";

/// Why a primary link cannot be guarded.
#[derive(Debug, thiserror::Error)]
pub enum HostEndError {
    /// macvlan, ipvlan, a device of the hardware.
    #[error(
        "the pod guard is impossible: {link} is a {kind} link and has no end on the node at which it could stand"
    )]
    NoEnd {
        /// The link.
        link: LinkName,
        /// What it is.
        kind: String,
    },
    /// A veth into some other namespace.
    #[error("the pod guard is impossible: the other end of {link} is not in the node's namespace")]
    Elsewhere {
        /// The link.
        link: LinkName,
    },
    /// Frames can leave the node without being forwarded by it.
    #[error(
        "the pod guard is impossible: {link} ends on bridge {bridge}, and its port {port} leads out of the node past the guard"
    )]
    WayAround {
        /// The link.
        link: LinkName,
        /// The bridge on the node.
        bridge: LinkName,
        /// A port that is no veth.
        port: LinkName,
    },
    /// The kernel could not be asked.
    #[error(transparent)]
    Kernel(#[from] Failure),
}

/// The node's end of the primary link of a pod.
pub fn host_end(kernel: &mut dyn Kernel, primary: &Link) -> Result<HostEnd, HostEndError> {
    let link = || primary.name.clone();
    if primary.kind.as_deref() != Some(VETH) {
        let kind = primary.kind.clone().unwrap_or_else(|| "hardware".into());
        return Err(HostEndError::NoEnd { link: link(), kind });
    }
    let elsewhere = || HostEndError::Elsewhere { link: link() };
    let index = kernel.host_end(&primary.name)?.ok_or_else(elsewhere)?;
    let links = kernel.list_links(Place::Root)?;
    let end = links.iter().find(|link| link.index == index).ok_or_else(elsewhere)?;
    if let Some((bridge, port)) = way_around(&links, end) {
        return Err(HostEndError::WayAround { link: link(), bridge, port });
    }
    Ok(HostEnd { name: end.name.clone(), index })
}

/// A bridge with the end as a port, and a port of it that may lead out of the node.
fn way_around(links: &[Link], end: &Link) -> Option<(LinkName, LinkName)> {
    let bridge = bridge_of(links, end)?;
    let port = port_out(links, bridge, &mut Vec::new())?;
    Some((bridge.name.clone(), port.name.clone()))
}

fn bridge_of<'a>(links: &'a [Link], port: &Link) -> Option<&'a Link> {
    let master = links.iter().find(|link| Some(link.index) == port.master);
    master.filter(|link| link.kind.as_deref() != Some(VRF))
}

/// Every kind of port but veth, behind which is a namespace of this node; or another bridge of this
/// one, with a port that does. `seen` are the bridges that have been looked at.
fn port_out<'a>(links: &'a [Link], bridge: &Link, seen: &mut Vec<IfIndex>) -> Option<&'a Link> {
    seen.push(bridge.index);
    links.iter().filter(|link| link.master == Some(bridge.index)).find(|port| {
        if port.kind.as_deref() != Some(VETH) {
            return true;
        }
        let peer = links.iter().find(|link| Some(link.index) == port.peer);
        let next = peer.and_then(|peer| bridge_of(links, peer));
        let next = next.filter(|next| !seen.contains(&next.index));
        next.is_some_and(|next| port_out(links, next, seen).is_some())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use egret_types::ours;

    fn link(index: u32, name: &str, kind: Option<&str>, master: Option<u32>) -> Link {
        Link {
            index: IfIndex(index),
            name: ours::link(name),
            kind: kind.map(str::to_owned),
            mac: None,
            mtu: 1500,
            up: true,
            master: master.map(IfIndex),
            vxlan: None,
            peer: None,
            addresses: vec![],
        }
    }

    #[test]
    fn a_port_that_is_no_veth_is_a_way_around() {
        let end = link(7, "veth7", Some("veth"), Some(3));
        let mut links = vec![
            link(2, "eth0", None, None),
            link(3, "cni0", Some("bridge"), None),
            end.clone(),
            link(8, "veth8", Some("veth"), Some(3)),
        ];
        assert_eq!(way_around(&links, &end), None);
        links.push(link(9, "eth1", None, Some(3)));
        assert_eq!(way_around(&links, &end), Some((ours::link("cni0"), ours::link("eth1"))));
        // The same behind a veth between two bridges.
        let patch = |index: u32, name: &str, master: u32, peer: u32| Link {
            peer: Some(IfIndex(peer)),
            ..link(index, name, Some("veth"), Some(master))
        };
        links.retain(|link| link.index != IfIndex(9));
        links.push(link(4, "br1", Some("bridge"), None));
        links.extend([patch(11, "patch0", 3, 12), patch(12, "patch1", 4, 11)]);
        assert_eq!(way_around(&links, &end), None);
        links.push(link(9, "eth1", None, Some(4)));
        assert_eq!(way_around(&links, &end), Some((ours::link("cni0"), ours::link("patch0"))));
        // A veth of its own, as ptp and Calico have it.
        let alone = link(10, "cali10", Some("veth"), None);
        assert_eq!(way_around(&links, &alone), None);
    }
}
