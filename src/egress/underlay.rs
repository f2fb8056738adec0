//! The underlay link: where the tunnel's outer packets leave, and so how large they may be.

use std::net::IpAddr;

use egret_types::{LinkName, NodeName};

use crate::kernel::{Failure, Kernel, Link};
use crate::object::Place;

/// Why there is no underlay link.
#[derive(Debug, thiserror::Error)]
pub enum UnderlayError {
    /// The resources and the machine disagree about its address.
    #[error("VTEP {vtep} of EgressNode {node} is on no link of this node")]
    NotHere {
        /// The address.
        vtep: IpAddr,
        /// Whose it should be.
        node: NodeName,
    },
    /// `underlay.interface` names no link.
    #[error("underlay.interface {0}: there is no such link on this node")]
    NoSuchLink(LinkName),
    /// The kernel could not be asked.
    #[error(transparent)]
    Kernel(#[from] Failure),
}

/// The underlay link of this node: the configured one; else the one that packets to `toward`, the
/// VTEP of another node, would use; else the one that has this node's `vtep`.
pub fn underlay_link(
    kernel: &mut dyn Kernel,
    (node, vtep): (&NodeName, IpAddr),
    configured: Option<&LinkName>,
    toward: Option<IpAddr>,
) -> Result<Link, UnderlayError> {
    let links = kernel.list_links(Place::Root)?;
    let has_vtep = |link: &Link| link.addresses.iter().any(|(address, _)| *address == vtep);
    let Some(own) = links.iter().find(|link| has_vtep(link)) else {
        return Err(UnderlayError::NotHere { vtep, node: node.clone() });
    };
    if let Some(name) = configured {
        let found = links.iter().find(|link| link.name == *name);
        return found.cloned().ok_or_else(|| UnderlayError::NoSuchLink(name.clone()));
    }
    let index = match toward.filter(|address| *address != vtep) {
        Some(address) => kernel.link_toward(Place::Root, address)?,
        None => own.index,
    };
    Ok(links.iter().find(|link| link.index == index).unwrap_or(own).clone())
}
