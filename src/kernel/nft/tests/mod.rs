//! Against the kernel, each test in a network namespace of its own, with `nft` as the oracle.
//! They need root.

mod comparison;
mod concurrency;
mod golden;
mod lifecycle;
mod oracle;
mod sets;
mod testbed;
