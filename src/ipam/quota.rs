//! Taking a slot of a namespace's quota for a lease, and giving it back.

use std::collections::BTreeSet;

use egret_types::Namespace;

use crate::{
    Allocator, IpamError, Lease, LeasePort, Pool, Slot, SlotKey,
    allocate::TRIES,
    ports::{Creation, Lookup},
};

impl<L: LeasePort> Allocator<'_, L> {
    /// The slot of a lease that is about to be bound, in a pool that has a quota. What else takes a
    /// slot counts, whatever its number: a quota that was made smaller takes nothing away, and gives
    /// nothing new until enough has gone.
    pub(crate) fn charge(&self, pool: &Pool, lease: &Lease) -> Result<Option<u32>, IpamError> {
        let Some(quota) = pool.quota().filter(|_| lease.slot.is_none()) else {
            return Ok(lease.slot);
        };
        // A pool with a quota admits nobody whose namespace is unknown.
        let Some(namespace) = &lease.namespace else { return Ok(None) };
        for _ in 0..TRIES {
            let used = match self.taken(pool, namespace, Some(lease))? {
                Taken::Own(number) => return Ok(Some(number)),
                Taken::By(used) => used,
            };
            let number = free_number(pool, namespace, &used, quota)?;
            let slot = self.new_slot(namespace, number, lease);
            if self.port.create(&slot)? == Creation::Created {
                return Ok(Some(number));
            }
        }
        Err(IpamError::Contended { pool: pool.name().clone() })
    }

    /// Refuses before anything is written what a look at the quota refuses.
    pub(crate) fn refuse_used_up(
        &self,
        pool: &Pool,
        namespace: Option<&Namespace>,
    ) -> Result<(), IpamError> {
        let (Some(quota), Some(namespace)) = (pool.quota(), namespace) else { return Ok(()) };
        match self.taken(pool, namespace, None)? {
            Taken::By(used) => free_number(pool, namespace, &used, quota).map(|_| ()),
            Taken::Own(_) => Ok(()),
        }
    }

    fn new_slot(&self, namespace: &Namespace, number: u32, lease: &Lease) -> Slot {
        Slot {
            pool_id: lease.pool_id,
            namespace: namespace.clone(),
            number,
            index: lease.index,
            lease: lease.token,
            token: self.stamps.token(),
        }
    }

    /// Which numbers are in use; what is garbage is deleted on the way. A slot that cannot be read
    /// is in use: nobody knows whose it was.
    fn taken(
        &self,
        pool: &Pool,
        namespace: &Namespace,
        own: Option<&Lease>,
    ) -> Result<Taken, IpamError> {
        let mut used = BTreeSet::new();
        for (number, found) in self.port.slots(pool.id(), namespace)? {
            let Lookup::Found(slot) = found else {
                used.insert(number);
                continue;
            };
            if own.is_some_and(|own| slot.names(own)) {
                if self.touch(&slot)? {
                    return Ok(Taken::Own(number));
                }
                // Deleted just now, or touched by somebody else: look again.
                return self.taken(pool, namespace, own);
            }
            if self.is_garbage(&slot)? && self.port.delete(&slot)?.is_done() {
                continue;
            }
            used.insert(number);
        }
        Ok(Taken::By(used))
    }

    /// Changes a slot, so that who is about to delete it as it was does not.
    fn touch(&self, slot: &Slot) -> Result<bool, IpamError> {
        let touched = Slot { token: self.stamps.token(), ..slot.clone() };
        Ok(self.port.replace(slot, &touched)?.is_done())
    }

    fn is_garbage(&self, slot: &Slot) -> Result<bool, IpamError> {
        Ok(match self.lease(slot.lease_key())? {
            Lookup::Absent => true,
            // The claim restores it, with the token that it had.
            Lookup::Lost => false,
            Lookup::Found(lease) => {
                !slot.names(&lease) || lease.slot.is_some_and(|own| own != slot.number)
            }
        })
    }

    /// Gives back the slot of a lease that is gone, or that has given it up.
    pub(crate) fn discharge(&self, lease: &Lease) -> Result<(), IpamError> {
        let (Some(number), Some(namespace)) = (lease.slot, lease.namespace.clone()) else {
            return Ok(());
        };
        let key = SlotKey { pool: lease.pool_id, namespace, number };
        let found: Lookup<Slot> = self.port.get(&key)?;
        if let Lookup::Found(slot) = found
            && slot.names(lease)
        {
            self.port.delete(&slot)?;
        }
        Ok(())
    }
}

/// The lowest number that nothing uses, if the namespace may have one more.
fn free_number(
    pool: &Pool,
    namespace: &Namespace,
    used: &BTreeSet<u32>,
    limit: u32,
) -> Result<u32, IpamError> {
    let more = usize::try_from(limit).is_ok_and(|limit| used.len() < limit);
    let free = (0..limit).find(|number| !used.contains(number)).filter(|_| more);
    free.ok_or_else(|| IpamError::QuotaUsed {
        pool: pool.name().clone(),
        namespace: namespace.clone(),
        used: used.len(),
        limit,
    })
}

/// What a namespace's slots are used for.
enum Taken {
    /// This lease has one.
    Own(u32),
    /// Others have these.
    By(BTreeSet<u32>),
}
