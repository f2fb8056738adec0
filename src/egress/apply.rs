//! The three things that are done with a list of objects: make them so, take them away, compare.
//! Loops without a choice in them; what to do is in the list.

use crate::desired::tunnel_name;
use crate::kernel::{Failure, Kernel, unless_gone};
use crate::object::{Object, Place, Placed};

/// Makes every object what it should be, in order; stops at the first failure.
pub fn ensure_all(kernel: &mut dyn Kernel, objects: &[Placed]) -> Result<(), Failure> {
    objects.iter().try_for_each(|placed| kernel.ensure(placed.place, &placed.object))
}

/// Makes what all of a node share: the guard before the tunnel that it guards. A tunnel that exists
/// is looked at first: if it is not what is wanted now, on another port for instance, that is
/// refused, and the guard stays as it is, on the port that is open.
pub fn ensure_guarded(
    kernel: &mut dyn Kernel,
    guard: &Placed,
    foundation: &[Placed],
) -> Result<(), Failure> {
    let links = unless_gone(kernel.list_links(Place::Egret))?;
    if links.iter().any(|link| link.name == tunnel_name()) {
        ensure_all(kernel, foundation)?;
    } else {
        refuse_shared_port(kernel, foundation)?;
    }
    kernel.ensure(guard.place, &guard.object)?;
    ensure_all(kernel, foundation)
}

/// Refuses to begin where a VXLAN link of somebody else uses the tunnel's port: the kernel lets links
/// of several numbers share one, but the guard lets nobody else's frames pass. One with the tunnel's
/// own number is refused by the kernel.
pub fn refuse_shared_port(kernel: &mut dyn Kernel, foundation: &[Placed]) -> Result<(), Failure> {
    let tunnel = foundation.iter().find_map(|placed| match &placed.object {
        Object::Vxlan(tunnel) => Some(tunnel),
        _ => None,
    });
    let Some(tunnel) = tunnel else { return Ok(()) };
    let links = kernel.list_links(Place::Root)?;
    let other = links.iter().find_map(|link| {
        let used = link.vxlan.filter(|used| used.port == tunnel.port)?;
        (used.vni != u32::from(tunnel.vni)).then_some((&link.name, used.vni))
    });
    let Some((link, vni)) = other else { return Ok(()) };
    Err(Failure::Foreign {
        what: format!("UDP port {}", tunnel.port),
        place: Place::Root,
        found: format!(
            "VXLAN link {link} with VNI {vni} uses it, and would be cut off by the guard of the tunnel"
        ),
    })
}

/// Removes every object, the last one first, and goes on after a failure: one object that resists
/// must not keep the others alive. Returns the failures.
pub fn remove_all(kernel: &mut dyn Kernel, objects: &[Placed]) -> Vec<Failure> {
    let remove = |placed: &Placed| kernel.remove(placed.place, &placed.object).err();
    objects.iter().rev().filter_map(remove).collect()
}

/// What differs between the objects and what the kernel holds, one sentence each. Where a whole
/// namespace is gone, so is every object in it.
pub fn differences(kernel: &mut dyn Kernel, objects: &[Placed]) -> Result<Vec<String>, Failure> {
    let mut all = Vec::new();
    for Placed { place, object } in objects {
        match kernel.differences(*place, object) {
            Err(Failure::NoNamespace { place }) => all.push(format!("{object}: {place} is gone")),
            found => all.extend(found?),
        }
    }
    Ok(all)
}
