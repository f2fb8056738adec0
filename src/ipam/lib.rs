//! Which egress pair belongs to whom.
//!
//! * A *pool* is ranges of addresses of one or both families; position *i* in the ranges of each
//!   family makes *egress pair* `i` ([`Pool`]).
//! * A *lease* says who owns a pair: an owner is a scope and a key, for example namespace `shop`.
//! * A *slot* is a part of a namespace's quota, which a lease takes.
//! * A *holder* says which attachment on this node uses which leases.
//!
//! Everything here is pure. Records are kept behind two ports, [`LeasePort`] and [`HolderPort`],
//! which [`Memory`] and the store on disk implement and [`contract`] tests. The ports stay apart
//! because leases move into the cluster's engine in Kubernetes mode and holders never do.
//!
//! How two processes agree on a pair without a lock is told in [`ports`].

mod allocate;
mod collect;
pub mod contract;
mod error;
mod grant;
mod holder;
mod lease;
mod memory;
mod pool;
pub mod ports;
mod quota;
mod range;
mod reclaim;
mod release;
mod reserve;
mod room;
mod rules;
mod slot;
mod stamp;

pub use allocate::{Allocator, Applicant, Granted, Novelty};
pub use collect::Collected;
pub use egret_resources::Scope;
pub use error::{IpamError, PairError};
pub use grant::{Arrival, Ipam, Want};
pub use holder::{BootId, Farewell, HeldLease, Holder, HolderNetns, Purpose};
pub use lease::{Claim, ClaimKey, Lease, LeaseKey, LeaseState, Origin, Owner, Pair};
pub use memory::Memory;
pub use pool::{FILE_MODE_PAIRS, Pool};
pub use ports::{HolderPort, LeasePort, PortError};
pub use release::Released;
pub use rules::Standing;
pub use slot::{Slot, SlotKey};
pub use stamp::{Clock, Mark, Stamps, Timestamp, Token, Witness};
