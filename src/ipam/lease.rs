//! Leases and claims: the two records that say who owns an egress pair.
//!
//! The lease is the truth, one record per pair. The claim is the way from an owner to its lease,
//! one record per owner and pool. [`ports`](crate::ports) tells how the two are kept in step.

use std::net::IpAddr;

use egret_resources::Scope;
use egret_types::{DualStack, Identity, Namespace, PairIndex, PoolId, PoolName};
use serde::{Deserialize, Serialize};

use crate::{
    Mark, Timestamp, Token,
    ports::{Record, Swap},
};

/// The addresses of an egress pair, one or both families.
pub type Pair = DualStack<IpAddr>;

/// Who owns a lease: a scope, and as key which of its kind. Keys are `*` for Cluster,
/// `namespace/name` or `/name` for Policy, the namespace, `namespace/workload`, and
/// `namespace/pod/uid`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Owner {
    /// Who shares it.
    pub scope: Scope,
    /// Which of them.
    pub key: String,
}

impl std::fmt::Display for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.scope {
            Scope::Cluster => f.write_str("the cluster"),
            Scope::Policy => write!(f, "policy {:?}", self.key),
            Scope::Namespace => write!(f, "namespace {:?}", self.key),
            Scope::Workload => write!(f, "workload {:?}", self.key),
            Scope::Pod => write!(f, "pod {:?}", self.key),
        }
    }
}

/// How a lease came to its pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Origin {
    /// Chosen by us. Its owner's claim points to it.
    Allocated,
    /// Named by a policy. It needs no claim: the policy is the way to it.
    Reserved,
}

/// Whether a lease may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum LeaseState {
    /// On its way in or out; nobody may use it.
    Pending,
    /// Its owner's.
    Bound,
}

/// Who owns one egress pair.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Lease {
    /// The pool, for people.
    pub pool: PoolName,
    /// The pool, as identities name it.
    pub pool_id: PoolId,
    /// Which pair.
    pub index: PairIndex,
    /// Its addresses when the lease was made. They must still be the pool's.
    pub pair: Pair,
    /// Whose it is.
    pub owner: Owner,
    /// The namespace of the pod for which it was made. A quota counts it there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<Namespace>,
    /// The slot of that namespace's quota that it takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<u32>,
    /// Since when nobody has held it, if it runs out and somebody said or saw so. That it is written
    /// does not say that nobody holds the lease now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left: Option<Mark>,
    /// How it came to its pair.
    pub origin: Origin,
    /// Whether it may be used.
    pub state: LeaseState,
    /// When it was made.
    pub since: Timestamp,
    /// Which making it was.
    pub token: Token,
    /// Goes up with every change.
    pub version: u32,
}

impl Lease {
    /// The 32 bits that travel in frames.
    pub fn identity(&self) -> Identity {
        Identity::new(self.pool_id, self.index)
    }

    /// The same lease in another state. Its version differs from every one before, so a swap that
    /// expects this one cannot succeed on an older or a newer one.
    pub(crate) fn turned(&self, state: LeaseState) -> Self {
        Self { state, version: self.version.wrapping_add(1), ..self.clone() }
    }

    /// The same lease, from now on without a holder.
    pub(crate) fn marked(&self, left: Mark) -> Self {
        Self { left: Some(left), ..self.turned(self.state) }
    }
}

impl std::fmt::Display for Lease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "lease of {} on pair {} of pool {:?} (",
            self.owner,
            self.index.number(),
            self.pool.as_str()
        )?;
        render_pair(&self.pair, f)?;
        f.write_str(")")
    }
}

/// `203.0.113.50 and 2001:db8::1`, or the one there is.
pub(crate) fn render_pair(pair: &Pair, f: &mut impl std::fmt::Write) -> std::fmt::Result {
    let mut first = true;
    for (_, address) in pair.iter() {
        write!(f, "{}{address}", if first { "" } else { " and " })?;
        first = false;
    }
    if first { f.write_str("no address") } else { Ok(()) }
}

/// Where a lease is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LeaseKey {
    /// The pool.
    pub pool: PoolId,
    /// The pair.
    pub index: PairIndex,
}

impl std::fmt::Display for LeaseKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "lease of pair {} of pool id {}", self.index.number(), self.pool.number())
    }
}

impl Record for Lease {
    type Key = LeaseKey;

    fn key(&self) -> LeaseKey {
        LeaseKey { pool: self.pool_id, index: self.index }
    }
}

/// Which lease an owner has in a pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Claim {
    /// The pool, by the name that policies use: giving a pool another id must be noticed, not
    /// turn into new addresses.
    pub pool: PoolName,
    /// Whose it is.
    pub owner: Owner,
    /// The lease's pool id.
    pub pool_id: PoolId,
    /// The lease's pair.
    pub index: PairIndex,
    /// The lease's token: a lease made anew on the same pair is another lease.
    pub lease: Token,
    /// Which making of this record it was.
    pub token: Token,
}

impl Claim {
    /// The claim of the lease's owner to it.
    pub(crate) fn to(lease: &Lease, pool: &PoolName, token: Token) -> Self {
        Self {
            pool: pool.clone(),
            owner: lease.owner.clone(),
            pool_id: lease.pool_id,
            index: lease.index,
            lease: lease.token,
            token,
        }
    }

    /// It points to exactly this making of the lease.
    pub(crate) fn names(&self, lease: &Lease) -> bool {
        self.lease_key() == lease.key() && self.lease == lease.token
    }

    /// Where this claim is found.
    pub(crate) fn key_of(&self) -> ClaimKey {
        ClaimKey { pool: self.pool.clone(), owner: self.owner.clone() }
    }

    /// Where the lease is found.
    pub fn lease_key(&self) -> LeaseKey {
        LeaseKey { pool: self.pool_id, index: self.index }
    }
}

/// Where a claim is found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClaimKey {
    /// The pool.
    pub pool: PoolName,
    /// The owner.
    pub owner: Owner,
}

impl std::fmt::Display for ClaimKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "claim of {} in pool {:?}", self.owner, self.pool.as_str())
    }
}

impl Record for Claim {
    type Key = ClaimKey;

    fn key(&self) -> ClaimKey {
        self.key_of()
    }
}

impl Swap {
    /// The swap took place.
    pub fn is_done(self) -> bool {
        self == Swap::Done
    }
}
