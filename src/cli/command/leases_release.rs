//! `egretctl leases release`: takes a lease away from its owner, so that its pair can become another's.
//! Never from under a pod: whoever holds it must be gone.

use std::hash::{BuildHasher, RandomState};

use egret_ipam::{Holder, HolderPort, Ipam, Lease, Released, Stamps};
use egret_kernel::Netns;
use egret_store::inventory::{self, HeldBy};
use egret_store::{HolderDir, LeaseDir, boot_id, clock};
use egret_types::PoolName;

use crate::args::PairArg;
use crate::error::CliError;
use crate::node::Local;
use crate::output::{self, Outcome};

/// Releases the lease, if there is one that no living pod uses.
pub(crate) fn run(local: &Local, pool: &PoolName, pair: PairArg) -> Result<Outcome, CliError> {
    let _alone = local.lock_node()?;
    let boot = boot_id::read()?;
    let inventory = inventory::read(&local.config.state_dir, &boot)?;
    let of_pool = inventory.leases.iter().filter(|entry| entry.lease.pool == *pool);
    let Some(entry) = of_pool.into_iter().find(|entry| is_at(&entry.lease, pair)) else {
        return Ok(refuse(&CliError::NoLease { pool: pool.clone(), pair }));
    };
    if let Some(alive) = entry.holders.iter().find(|holder| may_live(holder)) {
        let (lease, attachment) = (entry.lease.clone(), alive.attachment.clone());
        return Ok(refuse(&CliError::LeaseInUse { lease: Box::new(lease), attachment }));
    }
    release(local, entry)
}

fn is_at(lease: &Lease, pair: PairArg) -> bool {
    match pair {
        PairArg::Index(index) => lease.index.number() == index,
        PairArg::Address(address) => lease.pair.iter().any(|(_, own)| *own == address),
    }
}

/// One of which nobody knows the namespace, or whose namespace cannot be looked at, may live.
fn may_live(holder: &Holder) -> bool {
    holder.netns.as_ref().is_none_or(|netns| {
        Netns::inode_at(&netns.path).map_or(true, |inode| inode == Some(netns.inode))
    })
}

fn release(local: &Local, entry: &HeldBy) -> Result<Outcome, CliError> {
    let (leases, holders) =
        (LeaseDir::new(&local.config.state_dir), HolderDir::new(&local.config.state_dir));
    for holder in &entry.holders {
        let attachment = &holder.attachment;
        holders.remove(&attachment.container_id, &attachment.ifname)?;
        output::line(format_args!("{attachment} does not exist: it holds nothing any more"))?;
    }
    let random = RandomState::new().hash_one(std::process::id());
    let stamps = Stamps::new(clock::read()?, random);
    match Ipam::new((&leases, &holders), &stamps).release(&entry.lease)? {
        Released::Gone => {
            output::line(format_args!("released: {}", entry.lease))?;
            Ok(Outcome::Fine)
        }
        Released::Held => Ok(refuse(&CliError::LeaseHeld(Box::new(entry.lease.clone())))),
        Released::Changed => Ok(refuse(&CliError::LeaseChanged(Box::new(entry.lease.clone())))),
    }
}

fn refuse(why: &CliError) -> Outcome {
    output::complain(why);
    Outcome::Problem
}
