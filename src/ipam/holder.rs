//! Holders: which attachment on this node uses which leases. They never leave the node, and die
//! with the boot in which they were made; leases outlive both.

use std::path::PathBuf;

use egret_types::{Attachment, Identity, Invalid, PairIndex, PoolId, PoolName};
use serde::{Deserialize, Serialize};

use crate::{Lease, LeaseKey, Owner, Timestamp, Token};

/// The kernel's name for one run of the machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BootId(String);

impl TryFrom<String> for BootId {
    type Error = Invalid;
    fn try_from(text: String) -> Result<Self, Invalid> {
        let right = (1..=64).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if right { Ok(Self(text)) } else { Err(Invalid::new(text, "a boot id")) }
    }
}

impl From<BootId> for String {
    fn from(boot: BootId) -> String {
        boot.0
    }
}

/// A network namespace: the inode names one as long as that lives, and the path is where to look
/// whether it does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HolderNetns {
    /// Where the runtime put it.
    pub path: PathBuf,
    /// Its inode.
    pub inode: u64,
}

/// One lease that an attachment uses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HeldLease {
    /// The pool, for people.
    pub pool: PoolName,
    /// The pool, as identities name it.
    pub pool_id: PoolId,
    /// The pair.
    pub index: PairIndex,
    /// Whose lease it was.
    pub owner: Owner,
    /// Which making of the lease it was.
    pub token: Token,
}

impl HeldLease {
    /// Where the lease is found.
    pub fn key(&self) -> LeaseKey {
        LeaseKey { pool: self.pool_id, index: self.index }
    }

    /// The 32 bits that travel in frames.
    pub fn identity(&self) -> Identity {
        Identity::new(self.pool_id, self.index)
    }
}

impl From<&Lease> for HeldLease {
    fn from(lease: &Lease) -> Self {
        Self {
            pool: lease.pool.clone(),
            pool_id: lease.pool_id,
            index: lease.index,
            owner: lease.owner.clone(),
            token: lease.token,
        }
    }
}

/// An attachment and all leases it uses: one record, so that an ADD that needs several is written
/// at once or not at all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Holder {
    /// Who.
    pub attachment: Attachment,
    /// The attachment's namespace when ADD came. Absent when the runtime named none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub netns: Option<HolderNetns>,
    /// The run of the machine in which ADD came.
    pub boot: BootId,
    /// What it uses, in the order of the requests.
    pub leases: Vec<HeldLease>,
    /// When ADD came.
    pub since: Timestamp,
}

impl Holder {
    /// It uses this pair, and the machine has not been started again since.
    pub fn uses(&self, key: LeaseKey, boot: &BootId) -> bool {
        self.boot == *boot && self.leases.iter().any(|lease| lease.key() == key)
    }
}
