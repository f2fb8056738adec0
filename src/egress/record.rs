//! The record of an attachment: written before the kernel is touched, it is what DEL removes, what
//! CHECK compares with, and what the operator is shown. It describes kernel objects, so it is worth
//! nothing after a reboot; the boot id tells.

use std::net::IpAddr;
use std::path::PathBuf;

use egret_types::{DualStack, Identity, IfIndex, Namespace, PoolName};
use serde::{Deserialize, Serialize};

use crate::decision::Decision;
use crate::nft::{Removal, Ruleset};
use crate::object::{Object, Place, Placed};

/// What is known of one attachment of ours; the journal keeps whose it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AttachmentRecord {
    /// How far ADD has come.
    pub stage: Stage,
    /// The pod's namespace in the kernel, and whether it is still the same one.
    pub netns: NetnsRecord,
    /// The pod, as far as the runtime told.
    pub pod: PodRecord,
    /// The egress pairs it leaves with.
    pub leases: Vec<LeaseRecord>,
    /// What its policies meant at ADD.
    pub decision: Decision,
    /// What it stands on: the tunnel and the worker side of the node. Never removed with it.
    pub shared: Vec<Placed>,
    /// The links that its filter names; absent until they exist.
    pub links: Option<LinkNumbers>,
    /// What is its own, in the order in which it was made.
    pub objects: Vec<Placed>,
}

/// The filter of an attachment names links by number. A link that was deleted and made again under
/// its name has another one: the filter is then about a link that is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkNumbers {
    /// The node's end of the pod's link.
    pub veth: IfIndex,
    /// The tunnel.
    pub tunnel: IfIndex,
}

/// How far ADD has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Begun; some of it may exist.
    Pending,
    /// All of it exists.
    Committed,
}

/// A pod's network namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NetnsRecord {
    /// Where the runtime put it.
    pub path: PathBuf,
    /// Its inode: another one under the same path is another namespace.
    pub inode: u64,
    /// The boot in which that is true.
    pub boot_id: String,
}

/// A pod, as far as the runtime told.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodRecord {
    /// Its Kubernetes namespace.
    pub namespace: Option<Namespace>,
    /// Its name.
    pub name: Option<String>,
    /// Its addresses on the primary link.
    pub addresses: Vec<IpAddr>,
}

/// An egress pair that an attachment uses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LeaseRecord {
    /// The pool.
    pub pool: PoolName,
    /// The pair's number on the wire.
    pub identity: Identity,
    /// Its addresses.
    #[serde(flatten)]
    pub pair: DualStack<IpAddr>,
}

impl AttachmentRecord {
    /// Its guard: what of its own is in the node's namespace.
    pub fn guard(&self) -> impl Iterator<Item = &Placed> {
        self.objects.iter().filter(|placed| placed.place == Place::Root)
    }

    /// Everything `self` describes is still what `new` wants, so that making it so again converges
    /// to the same attachment.
    pub fn serves(&self, new: &AttachmentRecord) -> bool {
        self.stage == Stage::Committed
            && (&self.netns, &self.pod) == (&new.netns, &new.pod)
            && self.guard().eq(new.guard())
            && (&self.leases, &self.decision, &self.shared)
                == (&new.leases, &new.decision, &new.shared)
    }

    /// The destinations of its decisions, as sets without their chains: those are compared entry by
    /// entry. With the chain, a set counts as filled when nobody has touched the chain, which is
    /// quick, and wrong where somebody emptied the set by hand.
    pub fn destinations(&self) -> Vec<Placed> {
        let sets = |placed: &Placed| {
            let Object::Nft(ruleset) = &placed.object else { return None };
            let sets: Vec<_> =
                ruleset.sets.iter().filter(|set| set.removal == Removal::Unused).cloned().collect();
            let alone = Ruleset { sets, chains: vec![], elements: vec![], ..ruleset.clone() };
            (!alone.sets.is_empty())
                .then_some(Placed { place: placed.place, object: Object::Nft(alone) })
        };
        self.objects.iter().filter_map(sets).collect()
    }
}
