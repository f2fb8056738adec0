//! Flows that keep the next owner of their pod's address out. A gateway knows no pods, so it notes
//! them when it drops a packet because of them; those packets would keep them alive for ever.

use std::collections::BTreeSet;

use egret_egress::desired::counted;
use egret_egress::nft::{DataType, Datum, TableFamily};
use egret_egress::object::Place;
use egret_kernel::{FlowKey, LinuxKernel};
use egret_types::ours;

use crate::error::CliError;

/// Those that were noted within the last hour; some have ended since.
pub(crate) fn noted(kernel: &mut LinuxKernel) -> Result<BTreeSet<FlowKey>, CliError> {
    let table = (TableFamily::Inet, ours::NFT_TABLE);
    let kinds = [DataType::Mark, DataType::Mark];
    let keys = kernel.element_keys(Place::Egret, table, counted::BLOCKED, &kinds)?;
    let flow = |key: &Vec<Datum>| match key[..] {
        [Datum::Mark(number), Datum::Mark(mark)] => Some(FlowKey { number, mark }),
        _ => None,
    };
    Ok(keys.iter().filter_map(flow).collect())
}

/// Deletes them: the next packet is the first of a flow of its own. Returns how many there were.
pub(crate) fn delete(kernel: &mut LinuxKernel) -> Result<u64, CliError> {
    let noted = noted(kernel)?;
    Ok(kernel.delete_flows(Place::Egret, &noted)?)
}
