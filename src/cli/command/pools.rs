//! `egretctl pools`: what each pool has and what of it is given out on this node.

use std::collections::BTreeMap;

use egret_ipam::{Clock, LeasePort, Pool};
use egret_resources::{AddressRange, EgressPool, Resources, explicit_pairs};
use egret_store::inventory::{self, Inventory};
use egret_store::{LeaseDir, clock};
use egret_types::{GatewayName, PoolId, PoolName};
use serde::Serialize;

use crate::args::Format;
use crate::command::leases::{self, State};
use crate::error::CliError;
use crate::node::Node;
use crate::output::{self, Outcome};

#[derive(Debug, Serialize)]
struct Row<'a> {
    name: &'a PoolName,
    id: u32,
    /// Absent: the pool gives pod addresses.
    gateway: Option<&'a GatewayName>,
    /// Positions in its ranges that have an address of each of its families.
    pairs: u32,
    /// Addresses of the larger family that have no partner.
    unpaired: u128,
    /// The first of the pairs; the rest is for a cluster.
    usable: u32,
    held: u32,
    retained: u32,
    quarantined: u32,
    free: u32,
    /// Usable pairs without a lease that allocation does not give out: excluded, named by a policy, or
    /// with a damaged record.
    closed: u32,
    ipv4: Vec<String>,
    ipv6: Vec<String>,
}

/// What is given out, and when that was looked at.
struct Books {
    inventory: Inventory,
    leases: LeaseDir,
    clock: Clock,
}

/// Prints all pools of the resources.
pub(crate) fn run(node: &Node, format: Format) -> Result<Outcome, CliError> {
    let state_dir = &node.local.config.state_dir;
    let clock = clock::read()?;
    let inventory = inventory::read(state_dir, &clock.boot)?;
    let books = Books { inventory, leases: LeaseDir::new(state_dir), clock };
    let pools = &node.resources.pools;
    let rows: Vec<Row<'_>> =
        pools.iter().map(|pool| row(pool, &node.resources, &books)).collect::<Result<_, _>>()?;
    match format {
        Format::Json => output::json(&rows)?,
        Format::Table => print(&rows)?,
    }
    let strange = tell_strange(pools, &books.inventory);
    let damaged = leases::tell_problems(&books.inventory);
    Ok(if strange == Outcome::Fine { damaged } else { strange })
}

fn row<'a>(
    definition: &'a EgressPool,
    resources: &Resources,
    books: &Books,
) -> Result<Row<'a>, CliError> {
    let pool = Pool::new(definition, explicit_pairs(resources, &definition.name));
    let mut occupied = books.leases.occupied(pool.id())?;
    let [mut held, mut retained, mut quarantined] = [0; 3];
    let own = books.inventory.leases.iter().filter(|entry| entry.lease.pool_id == pool.id());
    for entry in own {
        match State::of(entry, Some(&pool), &books.clock) {
            Some(State::Held) => held += 1,
            Some(State::Retained) => retained += 1,
            Some(State::Quarantined) => quarantined += 1,
            None => {
                occupied.remove(&entry.lease.index);
            }
        }
    }
    let free = pool.free(&occupied);
    let texts = |ranges: &[AddressRange]| ranges.iter().map(ToString::to_string).collect();
    Ok(Row {
        name: &definition.name,
        id: pool.id().number().into(),
        gateway: definition.gateway(),
        pairs: pool.pairs(),
        unpaired: pool.unpaired(),
        usable: pool.usable(),
        held,
        retained,
        quarantined,
        free,
        closed: pool.usable().saturating_sub(held + retained + quarantined + free),
        ipv4: texts(&definition.ipv4),
        ipv6: texts(&definition.ipv6),
    })
}

/// Leases of pools that are not in the resources: nobody can use them, and their addresses may be
/// somebody else's by now.
fn tell_strange(pools: &[EgressPool], inventory: &Inventory) -> Outcome {
    let mut strange: BTreeMap<(PoolId, &PoolName), usize> = BTreeMap::new();
    for entry in &inventory.leases {
        let lease = &entry.lease;
        if !pools.iter().any(|pool| pool.id == lease.pool_id) {
            *strange.entry((lease.pool_id, &lease.pool)).or_default() += 1;
        }
    }
    for ((id, name), leases) in &strange {
        output::complain(&CliError::NoSuchPool { id: *id, name: (*name).clone(), leases: *leases });
    }
    if strange.is_empty() { Outcome::Fine } else { Outcome::Problem }
}

fn print(rows: &[Row<'_>]) -> Result<(), CliError> {
    let cells: Vec<Vec<String>> = rows.iter().map(Row::cells).collect();
    let headers = [
        "POOL",
        "ID",
        "GATEWAY",
        "PAIRS",
        "USABLE",
        "HELD",
        "RETAINED",
        "QUARANTINED",
        "FREE",
        "CLOSED",
        "UNPAIRED ADDRESSES",
        "RANGES",
    ];
    output::table(&headers, &cells)
}

impl Row<'_> {
    fn cells(&self) -> Vec<String> {
        let gateway = self.gateway.map_or("(pods)".to_owned(), ToString::to_string);
        let mut cells = vec![self.name.to_string(), self.id.to_string(), gateway];
        let numbers = [
            self.pairs,
            self.usable,
            self.held,
            self.retained,
            self.quarantined,
            self.free,
            self.closed,
        ];
        cells.extend(numbers.iter().map(ToString::to_string));
        cells.push(self.unpaired.to_string());
        cells.push([self.ipv4.as_slice(), &self.ipv6].concat().join(","));
        cells
    }
}
