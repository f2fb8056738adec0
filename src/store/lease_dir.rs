//! Leases and claims as files, for the file mode. Below `stateDir/leases`:
//!
//! | path | is |
//! |---|---|
//! | `<pool id>/pairs/<index>.json` | a lease; the name is the unique key, `link(2)` the swap |
//! | `<pool id>/pending/<index>-<token>` | empty: this making of the lease was not bound when last seen |
//! | `<pool id>/cursor`, `<pool id>/ranges` | hints |
//! | `<pool id>/lock` | held while one lease is compared and changed |
//! | `<pool id>/slots/<hash of namespace>/<number>.json` | a slot of a quota; changed under the pool's lock |
//! | `claims/<hash>.json`, `claims/lock` | likewise for claims |
//!
//! A creation takes no lock. Replacement and deletion do, because no system call compares contents:
//! under the lock nobody else can take the name away, and while it is there nobody can create it.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::Duration,
};

use egret_ipam::{
    Claim, ClaimKey, Lease, LeaseKey, LeasePort, LeaseState, PortError, Slot, SlotKey, Token,
    ports::{Creation, Hint, Listing, Lookup, Records, Swap},
};
use egret_types::{Namespace, PairIndex, PoolId};

use crate::{
    atomic::{self, Durability},
    envelope,
    error::Error,
    lock::FileLock,
    record_dir::{EXTENSION, Filed, RecordDir},
};

/// A swap holds its lock for some microseconds; longer waits mean that its holder is stopped.
const SWAP_DEADLINE: Duration = Duration::from_secs(5);

/// The cursor is as wide as the largest index, so that each one covers the one before.
const CURSOR_WIDTH: usize = 8;

impl Filed for Lease {
    fn file_name(&self) -> String {
        lease_name(self.index)
    }

    /// The directory is a part of the key.
    fn is_at(&self, dir: &Path) -> bool {
        dir.ends_with(Path::new(&pool_dir(self.pool_id)).join("pairs"))
    }
}

impl Filed for Claim {
    fn file_name(&self) -> String {
        claim_name(&ClaimKey { pool: self.pool.clone(), owner: self.owner.clone() })
    }
}

impl Filed for Slot {
    fn file_name(&self) -> String {
        slot_name(self.number)
    }

    /// The directory is a part of the key.
    fn is_at(&self, dir: &Path) -> bool {
        dir.ends_with(slots_path(self.pool_id, &self.namespace))
    }
}

fn slot_name(number: u32) -> String {
    format!("{number:04}{EXTENSION}")
}

/// Below the root.
fn slots_path(pool: PoolId, namespace: &Namespace) -> PathBuf {
    let name = envelope::file_name(&[namespace.as_str()]);
    Path::new(&pool_dir(pool)).join("slots").join(name.trim_end_matches(EXTENSION))
}

fn lease_name(index: PairIndex) -> String {
    format!("{:08}{EXTENSION}", index.number())
}

fn claim_name(key: &ClaimKey) -> String {
    let scope = format!("{:?}", key.owner.scope);
    envelope::file_name(&[key.pool.as_str(), &scope, &key.owner.key])
}

fn pool_dir(pool: PoolId) -> String {
    format!("{:03}", pool.number())
}

/// The leases of this node.
#[derive(Debug)]
pub struct LeaseDir {
    root: PathBuf,
}

impl LeaseDir {
    /// Those below this `stateDir`.
    pub fn new(state_dir: &Path) -> Self {
        Self { root: state_dir.join("leases") }
    }

    /// The pools that have, or had, leases here.
    pub fn pools(&self) -> Result<Vec<PoolId>, Error> {
        let number = |name: &String| name.parse().ok().and_then(|n: u32| PoolId::try_from(n).ok());
        Ok(atomic::names(&self.root)?.iter().filter_map(number).collect())
    }

    fn pairs(&self, pool: PoolId) -> RecordDir<Lease> {
        RecordDir::new(&self.root, Path::new(&pool_dir(pool)).join("pairs"))
    }

    fn claims(&self) -> RecordDir<Claim> {
        RecordDir::new(&self.root, "claims")
    }

    fn slots_of(&self, pool: PoolId, namespace: &Namespace) -> RecordDir<Slot> {
        RecordDir::new(&self.root, slots_path(pool, namespace))
    }

    fn lock(&self, below: &str) -> Result<FileLock, Error> {
        FileLock::exclusive(&self.root.join(below).join("lock"), SWAP_DEADLINE)
    }

    fn pending_dir(&self, pool: PoolId) -> PathBuf {
        self.root.join(pool_dir(pool)).join("pending")
    }

    fn marker(&self, lease: &Lease) -> PathBuf {
        let name = format!("{:08}-{}", lease.index.number(), String::from(lease.token));
        self.pending_dir(lease.pool_id).join(name)
    }

    /// Says that a lease is pending before it is.
    fn mark(&self, lease: &Lease) -> Result<(), Error> {
        atomic::ensure_directory(&self.pending_dir(lease.pool_id))?;
        atomic::replace(&self.marker(lease), &[], Durability::Process)
    }

    fn unmark(&self, lease: &Lease) -> Result<(), Error> {
        atomic::remove(&self.marker(lease), Durability::Process)
    }

    fn create_lease(&self, lease: &Lease) -> Result<Creation, Error> {
        let pairs = self.pairs(lease.pool_id);
        pairs.ensure()?;
        if lease.state == LeaseState::Bound {
            return pairs.create(lease);
        }
        self.mark(lease)?;
        let created = pairs.create(lease)?;
        if created == Creation::Exists {
            self.unmark(lease)?;
        }
        Ok(created)
    }

    fn replace_lease(&self, old: &Lease, new: &Lease) -> Result<Swap, Error> {
        let pairs = self.pairs(old.pool_id);
        if !has(&pairs, old)? {
            return Ok(Swap::Changed);
        }
        let _lock = self.lock(&pool_dir(old.pool_id))?;
        if !has(&pairs, old)? {
            return Ok(Swap::Changed);
        }
        if new.state == LeaseState::Pending {
            self.mark(new)?;
        }
        pairs.put(new, Durability::Content)?;
        if new.state == LeaseState::Bound {
            self.unmark(new)?;
        }
        Ok(Swap::Done)
    }

    fn delete_lease(&self, old: &Lease) -> Result<Swap, Error> {
        let pairs = self.pairs(old.pool_id);
        if !has(&pairs, old)? {
            return Ok(Swap::Changed);
        }
        let _lock = self.lock(&pool_dir(old.pool_id))?;
        if !has(&pairs, old)? {
            return Ok(Swap::Changed);
        }
        pairs.remove(&old.file_name(), Durability::Power)?;
        self.unmark(old)?;
        Ok(Swap::Done)
    }

    fn swap_claim(&self, old: &Claim, new: Option<&Claim>) -> Result<Swap, Error> {
        self.swap(&self.claims(), "claims", old, new)
    }

    fn swap_slot(&self, old: &Slot, new: Option<&Slot>) -> Result<Swap, Error> {
        let slots = self.slots_of(old.pool_id, &old.namespace);
        self.swap(&slots, &pool_dir(old.pool_id), old, new)
    }

    fn swap<T: Filed>(
        &self,
        records: &RecordDir<T>,
        lock: &str,
        old: &T,
        new: Option<&T>,
    ) -> Result<Swap, Error> {
        if !has(records, old)? {
            return Ok(Swap::Changed);
        }
        let _lock = self.lock(lock)?;
        if !has(records, old)? {
            return Ok(Swap::Changed);
        }
        match new {
            Some(new) => records.put(new, Durability::Content)?,
            None => records.remove(&old.file_name(), Durability::Power)?,
        }
        Ok(Swap::Done)
    }

    fn list_slots(
        &self,
        pool: PoolId,
        namespace: &Namespace,
    ) -> Result<Vec<(u32, Lookup<Slot>)>, Error> {
        let records = self.slots_of(pool, namespace);
        let mut slots = Vec::new();
        for name in records.names()? {
            let number = name.strip_suffix(EXTENSION).and_then(|number| number.parse().ok());
            let Some(number) = number else { continue };
            match records.get(&name)? {
                Lookup::Absent => {}
                found => slots.push((number, found)),
            }
        }
        slots.sort_by_key(|(number, _)| *number);
        Ok(slots)
    }

    fn list_pending(&self, pool: PoolId) -> Result<Vec<Lease>, Error> {
        let (pairs, dir) = (self.pairs(pool), self.pending_dir(pool));
        let mut pending = Vec::new();
        for name in atomic::names(&dir)? {
            let Some((index, token)) = parse_marker(&name) else { continue };
            match pairs.get(&lease_name(index))? {
                Lookup::Found(lease)
                    if lease.token == token && lease.state == LeaseState::Pending =>
                {
                    pending.push(lease);
                }
                // It was bound, or another making of the lease is there.
                Lookup::Found(_) => atomic::remove(&dir.join(name), Durability::Process)?,
                // Perhaps the creation is just about to happen.
                Lookup::Absent => atomic::remove_abandoned(&dir.join(name)),
                Lookup::Lost => {}
            }
        }
        Ok(pending)
    }

    fn hint_path(&self, pool: PoolId, hint: Hint) -> PathBuf {
        let name = match hint {
            Hint::Cursor => "cursor",
            Hint::CheckedRanges => "ranges",
        };
        self.root.join(pool_dir(pool)).join(name)
    }
}

/// Exactly this record is there.
fn has<T: Filed>(dir: &RecordDir<T>, record: &T) -> Result<bool, Error> {
    Ok(matches!(dir.get(&record.file_name())?, Lookup::Found(found) if found == *record))
}

fn parse_marker(name: &str) -> Option<(PairIndex, Token)> {
    let (index, token) = name.split_once('-')?;
    let index = PairIndex::try_from(index.parse::<u32>().ok()?).ok()?;
    Some((index, Token::try_from(token.to_owned()).ok()?))
}

impl Records<Lease> for LeaseDir {
    fn create(&self, lease: &Lease) -> Result<Creation, PortError> {
        Ok(self.create_lease(lease)?)
    }

    fn get(&self, key: &LeaseKey) -> Result<Lookup<Lease>, PortError> {
        Ok(self.pairs(key.pool).get(&lease_name(key.index))?)
    }

    fn replace(&self, old: &Lease, new: &Lease) -> Result<Swap, PortError> {
        Ok(self.replace_lease(old, new)?)
    }

    fn delete(&self, old: &Lease) -> Result<Swap, PortError> {
        Ok(self.delete_lease(old)?)
    }
}

impl Records<Claim> for LeaseDir {
    fn create(&self, claim: &Claim) -> Result<Creation, PortError> {
        let claims = self.claims();
        claims.ensure()?;
        Ok(claims.create(claim)?)
    }

    fn get(&self, key: &ClaimKey) -> Result<Lookup<Claim>, PortError> {
        Ok(self.claims().get(&claim_name(key))?)
    }

    fn replace(&self, old: &Claim, new: &Claim) -> Result<Swap, PortError> {
        Ok(self.swap_claim(old, Some(new))?)
    }

    fn delete(&self, old: &Claim) -> Result<Swap, PortError> {
        Ok(self.swap_claim(old, None)?)
    }
}

impl Records<Slot> for LeaseDir {
    fn create(&self, slot: &Slot) -> Result<Creation, PortError> {
        let slots = self.slots_of(slot.pool_id, &slot.namespace);
        slots.ensure()?;
        Ok(slots.create(slot)?)
    }

    fn get(&self, key: &SlotKey) -> Result<Lookup<Slot>, PortError> {
        Ok(self.slots_of(key.pool, &key.namespace).get(&slot_name(key.number))?)
    }

    fn replace(&self, old: &Slot, new: &Slot) -> Result<Swap, PortError> {
        Ok(self.swap_slot(old, Some(new))?)
    }

    fn delete(&self, old: &Slot) -> Result<Swap, PortError> {
        Ok(self.swap_slot(old, None)?)
    }
}

impl LeasePort for LeaseDir {
    fn occupied(&self, pool: PoolId) -> Result<BTreeSet<PairIndex>, PortError> {
        let index = |name: &String| {
            let number = name.strip_suffix(EXTENSION)?.parse::<u32>().ok()?;
            PairIndex::try_from(number).ok()
        };
        Ok(self.pairs(pool).names()?.iter().filter_map(index).collect())
    }

    fn pending(&self, pool: PoolId) -> Result<Vec<Lease>, PortError> {
        Ok(self.list_pending(pool)?)
    }

    fn leases(&self, pool: PoolId) -> Result<Listing<Lease>, PortError> {
        Ok(self.pairs(pool).list()?)
    }

    fn slots(
        &self,
        pool: PoolId,
        namespace: &Namespace,
    ) -> Result<Vec<(u32, Lookup<Slot>)>, PortError> {
        Ok(self.list_slots(pool, namespace)?)
    }

    fn hint(&self, pool: PoolId, hint: Hint) -> Option<String> {
        let bytes = atomic::read(&self.hint_path(pool, hint)).ok()??;
        let text = String::from_utf8(bytes).ok()?;
        Some(if hint == Hint::Cursor { text.trim_start().to_owned() } else { text })
    }

    fn set_hint(&self, pool: PoolId, hint: Hint, text: &str) {
        let path = self.hint_path(pool, hint);
        let left = match hint {
            Hint::Cursor => atomic::overwrite(&path, format!("{text:>CURSOR_WIDTH$}").as_bytes()),
            Hint::CheckedRanges => atomic::replace(&path, text.as_bytes(), Durability::Process),
        };
        if let Err(error) = left {
            log::debug!("leave a hint: {error}");
        }
    }
}
