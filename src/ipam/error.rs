//! Why there is no address.

use std::net::IpAddr;

use egret_types::{Attachment, Namespace, NodeName, PoolName};

use crate::{Lease, Owner, Pair, lease::render_pair, ports::PortError};

/// Why addresses do not name a pair of a pool.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PairError {
    /// Neither address was given.
    #[error("a request for an explicit pair of pool {:?} names no address", pool.as_str())]
    NoAddress {
        /// The pool.
        pool: PoolName,
    },
    /// The address is in none of the ranges.
    #[error("{address} is not an address of pool {:?}", pool.as_str())]
    NotInPool {
        /// The pool.
        pool: PoolName,
        /// The address.
        address: IpAddr,
    },
    /// The addresses stand at different positions.
    #[error(
        "{ipv4} and {ipv6} belong to two different pairs of pool {:?}; a pair is made of the \
         addresses at one position of each family",
        pool.as_str()
    )]
    NotOnePair {
        /// The pool.
        pool: PoolName,
        /// The first address.
        ipv4: IpAddr,
        /// The second address.
        ipv6: IpAddr,
    },
    /// The address or its partner is excluded.
    #[error("the pair of {address} is excluded in pool {:?}", pool.as_str())]
    Hole {
        /// The pool.
        pool: PoolName,
        /// The address.
        address: IpAddr,
    },
    /// The other family has fewer addresses.
    #[error("{address} has no partner in the other family of pool {:?}", pool.as_str())]
    Unpaired {
        /// The pool.
        pool: PoolName,
        /// The address.
        address: IpAddr,
    },
    /// It would be new, and the pair gives out nothing new.
    #[error("{} is in a draining range of pool {:?}: it gives out nothing new", PairText(pair), pool.as_str())]
    Draining {
        /// The pool.
        pool: PoolName,
        /// The pair.
        pair: Pair,
    },
    /// Without a cluster only the first pairs are usable.
    #[error("{address} is not among the first {usable} pairs of pool {:?}, which are the usable ones", pool.as_str())]
    BeyondUsable {
        /// The pool.
        pool: PoolName,
        /// The address.
        address: IpAddr,
        /// How many are.
        usable: u32,
    },
}

/// Why an operation on leases failed. Only [`IpamError::Contended`] and a port's own "later" are
/// worth a second try.
#[derive(Debug, thiserror::Error)]
pub enum IpamError {
    /// Choosing a pair: there is none.
    #[error(
        "pool {:?} is exhausted: of {pairs} usable pairs {holes} are excluded, \
         {named} are named by policies, {draining} are draining and {leased} are leased",
        pool.as_str()
    )]
    Exhausted {
        /// The pool.
        pool: PoolName,
        /// Usable indexes.
        pairs: u32,
        /// Holes among them.
        holes: u32,
        /// Those that policies name.
        named: u32,
        /// Those that give out nothing new.
        draining: u32,
        /// Those that have a lease.
        leased: u32,
    },
    /// Finding the pair that a policy names.
    #[error(transparent)]
    Pair(#[from] PairError),
    /// Choosing a pair on a node that must not.
    #[error(
        "only node {:?} hands out addresses of pool {:?} (spec.node), and this is node {:?}; \
         here a policy must name its pair with egressIP.ipv4 or ipv6",
        node.as_str(), pool.as_str(), here.as_str()
    )]
    OtherNode {
        /// The pool.
        pool: PoolName,
        /// The pool's node.
        node: NodeName,
        /// This node.
        here: NodeName,
    },
    /// The pool is not for this namespace.
    #[error(
        "namespace {:?} may not use pool {:?}: the pool's \"namespaces\" do not name it",
        namespace.as_str(), pool.as_str()
    )]
    NotAdmitted {
        /// The pool.
        pool: PoolName,
        /// The pod's namespace.
        namespace: Namespace,
    },
    /// The pool is for some namespaces, and nobody knows that of the pod.
    #[error(
        "pool {:?} has \"namespaces\" or \"quotaPerNamespace\", and the runtime gave no \
         K8S_POD_NAMESPACE: nobody knows who asks",
        pool.as_str()
    )]
    NamespaceUnknown {
        /// The pool.
        pool: PoolName,
    },
    /// The pool is for namespaces with labels, and nobody knows those of this one.
    #[error(
        "pool {:?} is for namespaces with certain labels, and nobody told the labels of \
         namespace {:?}",
        pool.as_str(), namespace.as_str()
    )]
    LabelsUnknown {
        /// The pool.
        pool: PoolName,
        /// The pod's namespace.
        namespace: Namespace,
    },
    /// The namespace has as many leases as it may have.
    #[error(
        "namespace {:?} has used up its quota of pool {:?}: {used} of {limit} leases \
         (quotaPerNamespace)",
        namespace.as_str(), pool.as_str()
    )]
    QuotaUsed {
        /// The pool.
        pool: PoolName,
        /// The namespace.
        namespace: Namespace,
        /// How many it has.
        used: usize,
        /// How many it may have.
        limit: u32,
    },
    /// Reserving the pair that a policy names: somebody else has it.
    #[error("{owner} cannot have {}: it is the {held}", PairText(&held.pair))]
    Taken {
        /// Who asked.
        owner: Owner,
        /// The lease in the way.
        held: Box<Lease>,
    },
    /// Using a lease: the pool gives its pair other addresses now.
    #[error(
        "the {lease} stands in the way: pool {:?} was changed and now has {} there; \
         restore its id and the order of its ranges, or release the lease",
        pool.as_str(), PairText(now)
    )]
    Moved {
        /// The lease.
        lease: Box<Lease>,
        /// The pool as the request names it.
        pool: PoolName,
        /// What the pool has at the lease's index.
        now: Pair,
    },
    /// Reserving a pair whose record cannot be read.
    #[error(
        "{}: the record of its lease in pool {:?} was damaged and set aside; \
         see who uses it, then remove the file that ends in .corrupt",
        PairText(pair), pool.as_str()
    )]
    Lost {
        /// The pool.
        pool: PoolName,
        /// The pair.
        pair: Pair,
    },
    /// Others changed the same records at each of many tries.
    #[error("too many others change the leases of pool {:?} at the same time", pool.as_str())]
    Contended {
        /// The pool.
        pool: PoolName,
    },
    /// Checking: ADD left no record, or it cannot be read, or it is of another namespace or boot.
    #[error("no lease is held by {attachment}: {why}")]
    NotHeld {
        /// The attachment.
        attachment: Box<Attachment>,
        /// What is known.
        why: NotHeld,
    },
    /// Checking: a lease that the attachment holds is gone or another's.
    #[error(
        "{attachment} holds pair {index} of pool {:?} for {owner}, but {}",
        pool.as_str(),
        match held { Some(lease) => format!("there is the {lease}"), None => "its lease is missing".to_owned() }
    )]
    LeaseGone {
        /// The attachment.
        attachment: Box<Attachment>,
        /// The pool.
        pool: PoolName,
        /// The pair.
        index: u32,
        /// For whom it was held.
        owner: Owner,
        /// What is there instead.
        held: Option<Box<Lease>>,
    },
    /// The store failed.
    #[error(transparent)]
    Port(#[from] PortError),
}

/// Why an attachment holds nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotHeld {
    /// There is no record.
    #[error("there is no record of an ADD")]
    NoRecord,
    /// There is one, but it cannot be read.
    #[error("the record of its ADD is damaged")]
    Damaged,
    /// The machine was started again.
    #[error("the record of its ADD is from before the last boot")]
    OtherBoot,
    /// The record is of a namespace that had the same name.
    #[error("the record of its ADD is of another network namespace")]
    OtherNetns,
    /// The record does not have what is asked for.
    #[error("the record of its ADD does not have all that is asked for")]
    OtherRequests,
}

/// A pair as a person reads it.
struct PairText<'a>(&'a Pair);

impl std::fmt::Display for PairText<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        render_pair(self.0, f)
    }
}
