//! Gateways and the data path, decided: which policies select a pod, what they mean together, and
//! what the kernel should hold for it. Pure; `kernel` does what is decided here.

pub mod apply;
pub mod cluster;
pub mod decision;
pub mod desired;
pub mod host_end;
pub mod kernel;
pub mod links;
pub mod nft;
mod nft_set;
mod nft_text;
pub mod object;
pub mod obsolete;
pub mod presence;
pub mod record;
pub mod selection;
pub mod topology;
pub mod underlay;
