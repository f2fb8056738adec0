//! A store that stops answering after some operations: a process that is killed. What it had done is
//! done, and nothing is cleaned up.

use std::{cell::Cell, collections::BTreeSet};

use egret_ipam::{
    Holder, HolderPort, Lease, LeasePort, Memory, PortError, Purpose, Slot,
    ports::{Creation, Hint, Listing, Lookup, Record, Records, Retry, Swap},
};
use egret_types::{ContainerId, IfName, Namespace, PairIndex, PoolId};

pub(crate) struct Flaky<'a> {
    store: &'a Memory,
    left: Cell<u32>,
}

#[derive(Debug, thiserror::Error)]
#[error("killed")]
struct Killed;

impl<'a> Flaky<'a> {
    /// Answers so many times.
    pub(crate) fn new(store: &'a Memory, answers: u32) -> Self {
        Self { store, left: Cell::new(answers) }
    }

    fn step(&self) -> Result<&'a Memory, PortError> {
        let left = self.left.get();
        self.left.set(left.saturating_sub(1));
        if left == 0 { Err(PortError::new(Killed, Retry::Pointless)) } else { Ok(self.store) }
    }
}

impl<R: Record> Records<R> for Flaky<'_>
where
    Memory: Records<R>,
{
    fn create(&self, record: &R) -> Result<Creation, PortError> {
        self.step()?.create(record)
    }

    fn get(&self, key: &R::Key) -> Result<Lookup<R>, PortError> {
        Records::get(self.step()?, key)
    }

    fn replace(&self, old: &R, new: &R) -> Result<Swap, PortError> {
        self.step()?.replace(old, new)
    }

    fn delete(&self, old: &R) -> Result<Swap, PortError> {
        self.step()?.delete(old)
    }
}

impl LeasePort for Flaky<'_> {
    fn occupied(&self, pool: PoolId) -> Result<BTreeSet<PairIndex>, PortError> {
        self.step()?.occupied(pool)
    }

    fn pending(&self, pool: PoolId) -> Result<Vec<Lease>, PortError> {
        self.step()?.pending(pool)
    }

    fn leases(&self, pool: PoolId) -> Result<Listing<Lease>, PortError> {
        self.step()?.leases(pool)
    }

    fn slots(
        &self,
        pool: PoolId,
        namespace: &Namespace,
    ) -> Result<Vec<(u32, Lookup<Slot>)>, PortError> {
        self.step()?.slots(pool, namespace)
    }

    fn hint(&self, pool: PoolId, hint: Hint) -> Option<String> {
        self.store.hint(pool, hint)
    }

    fn set_hint(&self, pool: PoolId, hint: Hint, text: &str) {
        self.store.set_hint(pool, hint, text);
    }
}

impl HolderPort for Flaky<'_> {
    fn purpose(&self) -> Purpose {
        self.store.purpose()
    }

    fn put(&self, holder: &Holder) -> Result<(), PortError> {
        self.step()?.put(holder)
    }

    fn get(&self, container: &ContainerId, ifname: &IfName) -> Result<Lookup<Holder>, PortError> {
        HolderPort::get(self.step()?, container, ifname)
    }

    fn remove(&self, container: &ContainerId, ifname: &IfName) -> Result<(), PortError> {
        self.step()?.remove(container, ifname)
    }

    fn list(&self) -> Result<Listing<Holder>, PortError> {
        self.step()?.list()
    }
}
