//! Slots: the third record, of pools with a quota. A namespace has as many as its quota says, and
//! each lease made for one of its pods takes one.
//!
//! A slot is created after the lease that it names and before that lease is bound, so one that names a
//! lease which does not exist is garbage for ever, and anybody may delete it if unchanged. The lease
//! remembers its slot once it is bound; another slot that names it is garbage as well.

use egret_types::{Namespace, PairIndex, PoolId};
use serde::{Deserialize, Serialize};

use crate::{Lease, LeaseKey, Token, ports::Record};

/// A part of a namespace's quota that a lease takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Slot {
    /// The pool, and that of the lease.
    pub pool_id: PoolId,
    /// Whose quota it is.
    pub namespace: Namespace,
    /// Which part of it, from 0.
    pub number: u32,
    /// The lease's pair.
    pub index: PairIndex,
    /// The lease's token.
    pub lease: Token,
    /// Which making of this record it was.
    pub token: Token,
}

impl Slot {
    /// Where the lease is found.
    pub fn lease_key(&self) -> LeaseKey {
        LeaseKey { pool: self.pool_id, index: self.index }
    }

    /// It was made for exactly this making of the lease.
    pub(crate) fn names(&self, lease: &Lease) -> bool {
        self.lease_key() == lease.key() && self.lease == lease.token
    }
}

/// Where a slot is found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SlotKey {
    /// The pool.
    pub pool: PoolId,
    /// The namespace.
    pub namespace: Namespace,
    /// Which part.
    pub number: u32,
}

impl std::fmt::Display for SlotKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (namespace, pool) = (self.namespace.as_str(), self.pool.number());
        write!(f, "slot {} of namespace {namespace:?} in pool id {pool}", self.number)
    }
}

impl Record for Slot {
    type Key = SlotKey;

    fn key(&self) -> SlotKey {
        let Self { pool_id, namespace, number, .. } = self;
        SlotKey { pool: *pool_id, namespace: namespace.clone(), number: *number }
    }
}
