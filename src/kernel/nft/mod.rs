//! nftables over netlink: makes, removes, compares and counts what the values of
//! [`egret_egress::nft`] say, without the `nft` program.
//!
//! | file | what |
//! |---|---|
//! | `socket.rs`, `message.rs`, `attribute.rs` | one netlink socket: pipelined reads, dumps, transactions |
//! | `batch.rs`, `table.rs` | the bytes of one transaction, object by object |
//! | `rule.rs`, `expression.rs` | a rule's expressions as `nf_tables` bytecode |
//! | `element.rs`, `interval.rs` | keys, values and intervals of sets |
//! | `found.rs`, `hook.rs`, `bytecode.rs`, `snapshot.rs` | what the kernel has, read back |
//! | `ensure.rs` with `chain.rs`, `remove.rs`, `differences.rs`, `counters.rs` | the operations |
//!
//! Every change follows one pattern: read, plan one transaction, send it under the generation that
//! was read, and begin again when somebody else wrote meanwhile. A plan deletes only what is there
//! and adds only what does not conflict, because a refused transaction costs an RCU grace period
//! (milliseconds, with nftables of the namespace locked) where a good one costs microseconds.

mod attribute;
mod batch;
mod bytecode;
mod chain;
mod counters;
mod differences;
mod element;
mod ensure;
mod error;
mod expression;
mod found;
mod hook;
mod interval;
mod message;
mod remove;
mod rule;
mod snapshot;
mod socket;
mod table;
#[cfg(test)]
mod tests;

pub use counters::{Counter, ElementCounter};
pub(crate) use error::Error;
pub(crate) use socket::Socket;
