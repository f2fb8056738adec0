//! `egretctl leases release`: takes a lease away from its owner, so that its pair can become another's.
//! Never from under a pod: whoever holds it must be gone.

use egret_ipam::{Lease, Released};
use egret_store::boot_id;
use egret_store::inventory::{self, HeldBy};
use egret_types::PoolName;

use crate::args::PairArg;
use crate::error::CliError;
use crate::holders::Book;
use crate::node::Local;
use crate::output::{self, Outcome};

/// Releases the lease, if there is one that no living pod uses.
pub(crate) fn run(local: &Local, pool: &PoolName, pair: PairArg) -> Result<Outcome, CliError> {
    let _alone = local.lock_node()?;
    let inventory = inventory::read(&local.config.state_dir, &boot_id::read()?)?;
    let mut of_pool = inventory.leases.iter().filter(|entry| entry.lease.pool == *pool);
    let Some(entry) = of_pool.find(|entry| is_at(&entry.lease, pair)) else {
        return Ok(refuse(&CliError::NoLease { pool: pool.clone(), pair }));
    };
    let book = Book::open(local)?;
    if let Some(alive) = entry.holders.iter().find(|holder| book.may_live(holder)) {
        let (lease, attachment) = (entry.lease.clone(), alive.attachment.clone());
        return Ok(refuse(&CliError::LeaseInUse { lease: Box::new(lease), attachment }));
    }
    release(&book, entry)
}

fn is_at(lease: &Lease, pair: PairArg) -> bool {
    match pair {
        PairArg::Index(index) => lease.index.number() == index,
        PairArg::Address(address) => lease.pair.iter().any(|(_, own)| *own == address),
    }
}

fn release(book: &Book, entry: &HeldBy) -> Result<Outcome, CliError> {
    for holder in &entry.holders {
        book.drop_holder(holder)?;
        let attachment = &holder.attachment;
        output::line(format_args!("{attachment} does not exist: it holds nothing any more"))?;
    }
    let lease = || Box::new(entry.lease.clone());
    Ok(match book.release(&entry.lease)? {
        Released::Gone => {
            output::line(format_args!("released: {}", entry.lease))?;
            Outcome::Fine
        }
        Released::Held => refuse(&CliError::LeaseHeld(lease())),
        Released::Changed => refuse(&CliError::LeaseChanged(lease())),
    })
}

fn refuse(why: &CliError) -> Outcome {
    output::complain(why);
    Outcome::Problem
}
