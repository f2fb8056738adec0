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

/// What an attachment has leases for. One attachment may have its own address from us and an egress
/// pair as well, given and taken by two plugins of its chain that know nothing of each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Purpose {
    /// Egress IPs.
    #[default]
    Egress,
    /// Its own address.
    Address,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes it so")]
fn is_default(purpose: &Purpose) -> bool {
    *purpose == Purpose::default()
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
    /// What DEL has to do for it.
    #[serde(default, skip_serializing_if = "Farewell::is_none")]
    pub farewell: Farewell,
}

/// Whether whoever leaves a lease says so in its record. DEL knows no resources, so ADD writes down
/// what they said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Farewell {
    /// No: the lease never runs out.
    #[default]
    None,
    /// Yes.
    Mark,
}

impl Farewell {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
    fn is_none(&self) -> bool {
        *self == Farewell::None
    }
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

impl HeldLease {
    /// The use of a lease.
    pub(crate) fn of(lease: &Lease, farewell: Farewell) -> Self {
        Self {
            farewell,
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
    /// What for.
    #[serde(default, skip_serializing_if = "is_default")]
    pub purpose: Purpose,
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
