//! Taking back leases that nobody holds: those that ran out, those that a full pool needs before they
//! have, and slots of a quota. Slower and more careful than allocation, and only where that fails.
//!
//! Each lease goes the way of a release: pending first, then a look for holders, then gone. So an
//! attachment that comes in between is seen, or sees.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use egret_types::Namespace;

use crate::{
    HolderPort, Ipam, IpamError, Lease, LeaseKey, LeasePort, LeaseState, Pool, Slot, Standing,
    Witness,
    ports::{Lookup, PortError},
};

/// What attachments of this boot hold, as far as it can be read.
struct Held {
    keys: BTreeSet<LeaseKey>,
    /// A holder that cannot be read may hold anything.
    unreadable: usize,
}

impl Held {
    fn has(&self, lease: &Lease) -> bool {
        use crate::ports::Record;
        self.unreadable > 0 || self.keys.contains(&lease.key())
    }
}

impl<L: LeasePort, H: HolderPort> Ipam<'_, L, H> {
    fn held(&self) -> Result<Held, PortError> {
        let (boot, holders) = (&self.stamps().clock().boot, self.holders.list()?);
        let here = holders.found.iter().filter(|holder| holder.boot == *boot);
        let keys = here.flat_map(|holder| &holder.leases).map(crate::HeldLease::key).collect();
        Ok(Held { keys, unreadable: holders.lost.len() })
    }

    /// Releases the leases of a pool that ran out; how many. What nobody is known to have left is
    /// marked, so that it runs out from now on.
    pub fn expire(&self, pool: &Pool) -> Result<usize, IpamError> {
        let unheld = self.unheld(pool)?;
        let free = unheld.into_iter().filter(|(standing, _)| *standing == Standing::Free);
        self.release_all(&free.map(|(_, lease)| lease).collect::<Vec<_>>())
    }

    /// For a pool that is full: what ran out, else the one that has been without a holder longest.
    /// Whether there is room now.
    pub(crate) fn make_room(&self, pool: &Pool) -> Result<bool, IpamError> {
        if self.expire(pool)? > 0 {
            return Ok(true);
        }
        let clock = self.stamps().clock();
        let mut idle: Vec<_> = self.unheld(pool)?.into_iter().filter(may_be_taken).collect();
        idle.retain(|(_, lease)| pool.is_open(lease.index));
        idle.sort_by_key(|(standing, lease)| {
            let since = lease.left.as_ref().map(|left| (clock.since(left), Reverse(left.at)));
            (Reverse(*standing), Reverse(since))
        });
        for (_, lease) in idle {
            if self.release_all(&[lease])? > 0 {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// A full pool could be given room.
    pub(crate) fn has_idle(&self, pool: &Pool) -> Result<bool, IpamError> {
        let (held, clock) = (self.held()?, self.stamps().clock());
        Ok(self.allocator.port.leases(pool.id())?.found.into_iter().any(|lease| {
            let standing = pool.standing(&lease, clock);
            pool.is_open(lease.index) && !held.has(&lease) && may_be_taken(&(standing, lease))
        }))
    }

    /// The lease stands in somebody's way although its owner has given it up. Whether it is gone now.
    pub(crate) fn clear(&self, pool: &Pool, lease: &Lease) -> Result<bool, IpamError> {
        let given_up = pool.standing(lease, self.stamps().clock()) >= Standing::Quarantined;
        Ok(given_up && self.release_all(std::slice::from_ref(lease))? > 0)
    }

    /// The leases of a pool that nobody holds, and what they are.
    fn unheld(&self, pool: &Pool) -> Result<Vec<(Standing, Lease)>, IpamError> {
        let (held, clock) = (self.held()?, self.stamps().clock());
        let port = self.allocator.port;
        let mut unheld = Vec::new();
        for lease in port.leases(pool.id())?.found {
            if held.has(&lease) {
                continue;
            }
            let standing = pool.standing(&lease, clock);
            if standing == Standing::Unmarked && lease.left.is_none() {
                port.replace(&lease, &lease.marked(self.stamps().mark(Witness::Seen)))?;
            }
            unheld.push((standing, lease));
        }
        Ok(unheld)
    }

    /// Releases those that nobody holds. One look for holders serves all of them.
    fn release_all(&self, leases: &[Lease]) -> Result<usize, IpamError> {
        let mut leaving = Vec::new();
        for lease in leases {
            leaving.extend(self.allocator.begin_release(lease)?);
        }
        if leaving.is_empty() {
            return Ok(0);
        }
        let held = self.held()?;
        let mut gone = 0;
        for lease in leaving {
            if held.has(&lease) {
                self.allocator.keep(&lease)?;
            } else {
                gone += usize::from(self.allocator.end_release(&lease)?);
            }
        }
        Ok(gone)
    }

    /// For a namespace whose quota is used up: what others have begun and not finished, and slots of
    /// leases that their owners have given up; their pairs rest on. Whether a slot came free.
    pub(crate) fn free_slots(&self, pool: &Pool, namespace: &Namespace) -> Result<bool, IpamError> {
        let port = self.allocator.port;
        self.unheld(pool)?;
        let mut freed = self.allocator.sweep(pool)?;
        for (_, slot) in port.slots(pool.id(), namespace)? {
            let Lookup::Found(slot) = slot else { continue };
            let Lookup::Found(lease) = self.allocator.lease(slot.lease_key())? else { continue };
            let standing = pool.standing(&lease, self.stamps().clock());
            if slot.names(&lease) && standing >= Standing::Quarantined {
                freed |= self.strip(&slot, &lease)?;
            }
        }
        Ok(freed)
    }

    /// Takes the slot from a lease. Its owner, should it come back, has to find another one.
    fn strip(&self, slot: &Slot, lease: &Lease) -> Result<bool, IpamError> {
        let port = self.allocator.port;
        let bare = Lease { slot: None, ..lease.turned(LeaseState::Pending) };
        if !port.replace(lease, &bare)?.is_done() {
            return Ok(false);
        }
        if self.held()?.has(&bare) {
            let back = Lease { slot: lease.slot, ..bare.turned(LeaseState::Bound) };
            port.replace(&bare, &back)?;
            return Ok(false);
        }
        // If its owner came back meanwhile, the slot has been touched.
        let freed = port.delete(slot)?.is_done();
        port.replace(&bare, &bare.turned(LeaseState::Bound))?;
        Ok(freed)
    }
}

/// Before it ran out, by a full pool.
fn may_be_taken((standing, _): &(Standing, Lease)) -> bool {
    *standing >= Standing::Retained
}
