//! Both ports in memory: for tests, and the shortest statement of what a store must do.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use egret_types::{ContainerId, IfName, Namespace, PairIndex, PoolId};

use crate::{
    Claim, ClaimKey, Holder, HolderPort, Lease, LeaseKey, LeasePort, LeaseState, PortError,
    Purpose, Slot, SlotKey,
    ports::{Creation, Hint, Listing, Lookup, Record, Records, Swap},
};

/// A store that forgets.
#[derive(Debug, Default)]
pub struct Memory {
    leases: Mutex<BTreeMap<LeaseKey, Lease>>,
    claims: Mutex<BTreeMap<ClaimKey, Claim>>,
    slots: Mutex<BTreeMap<SlotKey, Slot>>,
    hints: Mutex<BTreeMap<(PoolId, Hint), String>>,
    holders: Mutex<BTreeMap<(ContainerId, IfName), Holder>>,
}

/// No operation leaves a map half-changed, so a panic elsewhere does not spoil it.
fn open<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The map of one kind of record.
trait Shelf<R: Record> {
    fn shelf(&self) -> MutexGuard<'_, BTreeMap<R::Key, R>>;
}

impl Shelf<Lease> for Memory {
    fn shelf(&self) -> MutexGuard<'_, BTreeMap<LeaseKey, Lease>> {
        open(&self.leases)
    }
}

impl Shelf<Claim> for Memory {
    fn shelf(&self) -> MutexGuard<'_, BTreeMap<ClaimKey, Claim>> {
        open(&self.claims)
    }
}

impl Shelf<Slot> for Memory {
    fn shelf(&self) -> MutexGuard<'_, BTreeMap<SlotKey, Slot>> {
        open(&self.slots)
    }
}

impl<R: Record> Records<R> for Memory
where
    Memory: Shelf<R>,
{
    fn create(&self, record: &R) -> Result<Creation, PortError> {
        let mut records = self.shelf();
        if records.contains_key(&record.key()) {
            return Ok(Creation::Exists);
        }
        records.insert(record.key(), record.clone());
        Ok(Creation::Created)
    }

    fn get(&self, key: &R::Key) -> Result<Lookup<R>, PortError> {
        Ok(self.shelf().get(key).map_or(Lookup::Absent, |record| Lookup::Found(record.clone())))
    }

    fn replace(&self, old: &R, new: &R) -> Result<Swap, PortError> {
        match self.shelf().get_mut(&old.key()) {
            Some(record) if record == old => {
                *record = new.clone();
                Ok(Swap::Done)
            }
            _ => Ok(Swap::Changed),
        }
    }

    fn delete(&self, old: &R) -> Result<Swap, PortError> {
        let mut records = self.shelf();
        if records.get(&old.key()) != Some(old) {
            return Ok(Swap::Changed);
        }
        records.remove(&old.key());
        Ok(Swap::Done)
    }
}

impl LeasePort for Memory {
    fn occupied(&self, pool: PoolId) -> Result<BTreeSet<PairIndex>, PortError> {
        Ok(open(&self.leases).keys().filter(|key| key.pool == pool).map(|key| key.index).collect())
    }

    fn pending(&self, pool: PoolId) -> Result<Vec<Lease>, PortError> {
        let pending = |lease: &Lease| lease.state == LeaseState::Pending;
        Ok(self.leases(pool)?.found.into_iter().filter(pending).collect())
    }

    fn leases(&self, pool: PoolId) -> Result<Listing<Lease>, PortError> {
        let leases = open(&self.leases);
        let found = leases.values().filter(|lease| lease.pool_id == pool).cloned().collect();
        Ok(Listing { found, lost: Vec::new() })
    }

    fn slots(
        &self,
        pool: PoolId,
        namespace: &Namespace,
    ) -> Result<Vec<(u32, Lookup<Slot>)>, PortError> {
        let slots = open(&self.slots);
        let own = slots.values().filter(|s| s.pool_id == pool && s.namespace == *namespace);
        Ok(own.map(|slot| (slot.number, Lookup::Found(slot.clone()))).collect())
    }

    fn hint(&self, pool: PoolId, hint: Hint) -> Option<String> {
        open(&self.hints).get(&(pool, hint)).cloned()
    }

    fn set_hint(&self, pool: PoolId, hint: Hint, text: &str) {
        open(&self.hints).insert((pool, hint), text.to_owned());
    }
}

impl HolderPort for Memory {
    fn purpose(&self) -> Purpose {
        Purpose::Egress
    }

    fn put(&self, holder: &Holder) -> Result<(), PortError> {
        let key = (holder.attachment.container_id.clone(), holder.attachment.ifname.clone());
        open(&self.holders).insert(key, holder.clone());
        Ok(())
    }

    fn get(&self, container: &ContainerId, ifname: &IfName) -> Result<Lookup<Holder>, PortError> {
        let holders = open(&self.holders);
        let holder = holders.get(&(container.clone(), ifname.clone()));
        Ok(holder.map_or(Lookup::Absent, |holder| Lookup::Found(holder.clone())))
    }

    fn remove(&self, container: &ContainerId, ifname: &IfName) -> Result<(), PortError> {
        open(&self.holders).remove(&(container.clone(), ifname.clone()));
        Ok(())
    }

    fn list(&self) -> Result<Listing<Holder>, PortError> {
        Ok(Listing { found: open(&self.holders).values().cloned().collect(), lost: Vec::new() })
    }
}
