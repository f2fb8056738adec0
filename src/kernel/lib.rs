//! The only crate that talks to the kernel: route netlink, nftables, connection tracking, kernel
//! parameters, network namespaces and announcements, each synchronous and without any other program.
//!
//! [`LinuxKernel`] implements the port of `egress`; [`Netns`] makes, opens and removes namespaces.
//! Everything else is private. No thread of the caller ever changes its namespace: sockets are
//! opened, and parameters read and written, on a thread of their own.

mod announce;
mod cause;
mod conntrack;
mod error;
mod linux;
mod namespace;
mod netlink;
mod netns;
mod nft;
mod ownership;
mod readings;
mod resident;
mod sysctl;

pub use conntrack::{FlowKey, Statistics};
pub use error::Error;
pub use linux::{LinuxKernel, Places};
pub use netlink::link::{LinkState, Traffic};
pub use netns::Netns;
pub use nft::{Counter, ElementCounter};
