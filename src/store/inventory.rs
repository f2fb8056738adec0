//! Leases and who holds them, for those who only look: `egretctl leases` and `pools`. Nothing here
//! writes, except that a damaged record is set aside when it is met.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use egret_ipam::{
    BootId, Holder, HolderPort, Lease, LeaseKey, LeasePort, PortError, Purpose, ports::Record,
};

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
    let (leases, holders) =
        (LeaseDir::new(state_dir), HolderDir::new(state_dir, Purpose::Egress).list()?);
    let mut inventory = Inventory { lost: holders.lost, ..Inventory::default() };
    let live: Vec<Holder> = holders.found.into_iter().filter(|h| h.boot == *boot).collect();
    let mut by_lease: BTreeMap<LeaseKey, Vec<&Holder>> = BTreeMap::new();
    for holder in &live {
        for held in &holder.leases {
            by_lease.entry(held.key()).or_default().push(holder);
        }
    }
    let mut keys = BTreeSet::new();
    for pool in leases.pools()? {
        let listing = leases.leases(pool)?;
        inventory.lost.extend(listing.lost);
        for lease in listing.found {
            let holders = by_lease.get(&lease.key()).into_iter().flatten().copied().cloned();
            keys.insert(lease.key());
            inventory.leases.push(HeldBy { holders: holders.collect(), lease });
        }
    }
    let is_backed = |holder: &Holder| holder.leases.iter().all(|held| keys.contains(&held.key()));
    inventory.stray = live.iter().filter(|holder| !is_backed(holder)).cloned().collect();
    Ok(inventory)
}
