//! Against the kernel, each test in a network namespace of its own, with `nft` as the oracle.
//! They need root.

mod lifecycle;
mod testbed;
