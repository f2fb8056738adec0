//! Leases and who holds them, for those who only look: `egretctl leases` and `pools`. Nothing here
//! writes, except that a damaged record is set aside when it is met.

use std::path::Path;

use egret_ipam::{BootId, Holder, HolderPort, Lease, LeasePort, PortError};

use crate::{HolderDir, LeaseDir};

/// A lease and the attachments that use it now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldBy {
    /// The lease.
    pub lease: Lease,
    /// Holders of this boot; none: it is reserved for its owner and nobody uses it.
    pub holders: Vec<Holder>,
}

/// What a node has given out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Inventory {
    /// Every lease, by pool id and index.
    pub leases: Vec<HeldBy>,
    /// Holders of this boot whose lease does not exist. There should be none.
    pub stray: Vec<Holder>,
    /// Files that cannot be read any more.
    pub lost: Vec<String>,
}

/// Reads all of it.
pub fn read(state_dir: &Path, boot: &BootId) -> Result<Inventory, PortError> {
    let (leases, holders) = (LeaseDir::new(state_dir), HolderDir::new(state_dir).list()?);
    let mut inventory = Inventory { lost: holders.lost, ..Inventory::default() };
    let live: Vec<Holder> = holders.found.into_iter().filter(|h| h.boot == *boot).collect();
    for pool in leases.pools()? {
        let listing = leases.leases(pool)?;
        inventory.lost.extend(listing.lost);
        for lease in listing.found {
            let uses = |holder: &&Holder| {
                holder.leases.iter().any(|held| held.identity() == lease.identity())
            };
            let holders = live.iter().filter(uses).cloned().collect();
            inventory.leases.push(HeldBy { lease, holders });
        }
    }
    inventory.stray = live.into_iter().filter(|holder| !is_backed(holder, &inventory)).collect();
    Ok(inventory)
}

fn is_backed(holder: &Holder, inventory: &Inventory) -> bool {
    holder
        .leases
        .iter()
        .all(|held| inventory.leases.iter().any(|entry| entry.lease.identity() == held.identity()))
}
