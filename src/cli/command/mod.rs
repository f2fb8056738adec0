//! One file for each subcommand.

pub(crate) mod check;
pub(crate) mod gateway_down;
pub(crate) mod gateway_status;
pub(crate) mod gateway_up;
pub(crate) mod gc;
pub(crate) mod leases;
pub(crate) mod leases_release;
pub(crate) mod pools;
pub(crate) mod repair;
pub(crate) mod status;
pub(crate) mod validate;
