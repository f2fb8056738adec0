//! What the allocator needs from a store, in its own words.
//!
//! # How processes agree without a lock
//!
//! Every change is a swap of one record: create if absent, replace if unchanged, delete if
//! unchanged. On files that is `link(2)` and a comparison; on the Kubernetes API it is a create
//! that answers 409 and a resource version. Two records have to agree, and the order of swaps
//! keeps them so:
//!
//! 1. create the *lease*, pending (unique by pair);
//! 2. create the *claim* to it (unique by pool and owner);
//! 3. replace the lease by itself, bound.
//!
//! A lease is its owner's when it is bound, and only then. It can be bound only while the claim
//! names its token, and a claim is deleted only after the lease that it names is gone for ever (a
//! token is never made twice). So an owner never has two bound leases that were allocated, and a
//! pair never has two owners. Whoever sees a claim to a pending lease may do step 3.
//!
//! The third step is what makes cleaning safe: a pending lease that no claim names may be deleted
//! by anybody, on however old knowledge, for either the swap of its deletion or the swap that binds
//! it fails. With two steps only, a cleaner that read the claim of an owner, then slept while that
//! owner released and allocated anew, would delete a lease in use.
//!
//! Whoever loses step 2 deletes its own lease and follows the winner's claim. What a crash leaves:
//!
//! | killed after | remains | who repairs |
//! |---|---|---|
//! | 1 | pending lease, no claim | the next allocation for its owner completes it; an allocation that finds the pool full deletes it |
//! | 2 | pending lease, claim | the next allocation for its owner binds it |
//! | losing 2 | pending lease, claim to another | an allocation that finds the pool full deletes it |
//!
//! *Release* goes back: replace the lease by itself, pending; look whether an attachment holds it;
//! if so bind it again, else delete lease, then claim. An attachment writes its holder record first
//! and looks at the lease again afterwards, so one of the two sees the other.
//!
//! In a pool with a quota a lease takes a [slot](Slot) between the first and the second swap. The way
//! back may be begun by anybody for a lease that ran out, or that a full pool needs: see
//! [`Ipam::expire`](crate::Ipam::expire).
//!
//! A lease *reserved* because a policy names its pair has no claim; it is created bound, or, where it
//! needs a slot, pending. Found
//! pending it was on its way out: its owner may bind it again, nobody but a release may delete it.

use std::collections::BTreeSet;

use egret_types::{ContainerId, IfName, Namespace, PairIndex, PoolId};

use crate::{Claim, Holder, Lease, Purpose, Slot};

/// Something that is kept under a key.
pub trait Record: Clone + PartialEq {
    /// Its key.
    type Key: Ord + Clone + std::fmt::Display;

    /// Where it is found.
    fn key(&self) -> Self::Key;
}

/// What a store has under a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup<R> {
    /// Nothing.
    Absent,
    /// This.
    Found(R),
    /// There was a record, but it cannot be read any more and was set aside. The key is not free.
    Lost,
}

/// Outcome of a creation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Creation {
    /// The record is there, and durable.
    Created,
    /// Another one was there.
    Exists,
}

/// Outcome of a swap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Swap {
    /// Done.
    Done,
    /// The record is not what was expected, or gone; nothing was done.
    Changed,
}

/// Everything of a kind, and what could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing<R> {
    /// The records.
    pub found: Vec<R>,
    /// Names of records that cannot be read, as the store calls them.
    pub lost: Vec<String>,
}

impl<R> Default for Listing<R> {
    fn default() -> Self {
        Self { found: Vec::new(), lost: Vec::new() }
    }
}

/// Notes about a pool that save work and decide nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hint {
    /// The pair chosen last: where the search for the next one begins.
    Cursor,
    /// The ranges with which all leases of the pool were last compared.
    CheckedRanges,
}

/// Whether an operation may succeed when it is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// Later, yes.
    Later,
    /// Not before somebody has repaired something.
    Pointless,
}

/// A store could not do what it was asked. Reads as the store's own error.
#[derive(Debug)]
pub struct PortError {
    error: Box<dyn std::error::Error + Send + Sync>,
    retry: Retry,
}

impl PortError {
    /// The store's own error.
    pub fn new(error: impl std::error::Error + Send + Sync + 'static, retry: Retry) -> Self {
        Self { error: Box::new(error), retry }
    }

    /// Whether to try again.
    pub fn retry(&self) -> Retry {
        self.retry
    }
}

impl std::fmt::Display for PortError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(&self.error, f)
    }
}

impl std::error::Error for PortError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.error.source()
    }
}

/// Compare-and-swap on records of one kind.
pub trait Records<R: Record> {
    /// Puts the record where there is none. What this returns is durable.
    fn create(&self, record: &R) -> Result<Creation, PortError>;

    /// What is under the key.
    fn get(&self, key: &R::Key) -> Result<Lookup<R>, PortError>;

    /// Puts `new` in the place of `old`, if that is still what is there. Both have the same key.
    /// Atomic; what a power failure leaves may be either.
    fn replace(&self, old: &R, new: &R) -> Result<Swap, PortError>;

    /// Removes `old`, if that is still what is there.
    fn delete(&self, old: &R) -> Result<Swap, PortError>;
}

/// Where leases, claims and slots live: on the node in file mode, in the cluster's engine in Kubernetes
/// mode.
pub trait LeasePort: Records<Lease> + Records<Claim> + Records<Slot> {
    /// The pairs of a pool that have a lease of any kind, readable or not. Need not open a record.
    fn occupied(&self, pool: PoolId) -> Result<BTreeSet<PairIndex>, PortError>;

    /// The pending leases of a pool. One may be missing after a power failure.
    fn pending(&self, pool: PoolId) -> Result<Vec<Lease>, PortError>;

    /// All leases of a pool.
    fn leases(&self, pool: PoolId) -> Result<Listing<Lease>, PortError>;

    /// The slots of a namespace in a pool by their numbers, in order, readable or not.
    fn slots(
        &self,
        pool: PoolId,
        namespace: &Namespace,
    ) -> Result<Vec<(u32, Lookup<Slot>)>, PortError>;

    /// A note about a pool. It may be wrong, torn or missing; who reads it checks.
    fn hint(&self, pool: PoolId, hint: Hint) -> Option<String>;

    /// Leaves a note, if that is possible.
    fn set_hint(&self, pool: PoolId, hint: Hint, text: &str);
}

/// Where holders of one purpose live: on the node, always. An attachment is found by container id and
/// interface name.
pub trait HolderPort {
    /// The purpose.
    fn purpose(&self) -> Purpose;

    /// Writes the holder of an attachment, durably, in place of the one before.
    fn put(&self, holder: &Holder) -> Result<(), PortError>;

    /// The holder of an attachment.
    fn get(&self, container: &ContainerId, ifname: &IfName) -> Result<Lookup<Holder>, PortError>;

    /// Removes the holder of an attachment, readable or not. Absent is removed.
    fn remove(&self, container: &ContainerId, ifname: &IfName) -> Result<(), PortError>;

    /// All holders, of every purpose: whoever asks whether a lease is held must see all.
    fn list(&self) -> Result<Listing<Holder>, PortError>;
}
