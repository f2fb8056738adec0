//! The only crate that reads and writes files.
//!
//! What is in `stateDir` survives a reboot: `leases` and `holders` for the `egret-ipam` plugin,
//! `attachments` for the `egret` plugin. Each record is a file of its own whose name is a hash or a
//! number, never something from outside. `runDir` has the locks of the node.

mod atomic;
pub mod boot_id;
pub mod clock;
pub mod detect;
mod envelope;
mod error;
mod holder_dir;
pub mod inventory;
pub mod journal;
mod lease_dir;
pub mod lock;
mod record_dir;
pub mod resource_dir;
mod tidy;

pub use error::{Error, Operation};
pub use holder_dir::HolderDir;
pub use lease_dir::LeaseDir;
pub use tidy::tidy;
