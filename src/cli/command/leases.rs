//! `egretctl leases`: who owns which pair on this node, and which attachments use it.

use std::net::IpAddr;

use egret_ipam::{Clock, Holder, Pool, Scope, Standing};
use egret_store::inventory::{self, HeldBy, Inventory};
use egret_store::{clock, resource_dir};
use egret_types::PoolName;
use serde::Serialize;

use crate::args::Format;
use crate::error::CliError;
use crate::node::Local;
use crate::output::{self, Outcome};

/// So much of a container's id tells it from the others of a node, as in other tools' tables.
const SHORT_ID: usize = 13;

/// What a lease is to its owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    /// Some attachment uses it.
    Held,
    /// None does, and it stays its owner's.
    Retained,
    /// None does, its owner has given it up, and its pair rests.
    Quarantined,
}

impl State {
    /// `None`: only its record is still there. Without its pool nobody knows whether it ran out.
    pub(crate) fn of(entry: &HeldBy, pool: Option<&Pool>, clock: &Clock) -> Option<Self> {
        if !entry.holders.is_empty() {
            return Some(State::Held);
        }
        match pool.map(|pool| pool.standing(&entry.lease, clock)) {
            None | Some(Standing::Kept | Standing::Unmarked | Standing::Retained) => {
                Some(State::Retained)
            }
            Some(Standing::Quarantined) => Some(State::Quarantined),
            Some(Standing::Free) => None,
        }
    }

    fn word(self) -> &'static str {
        match self {
            State::Held => "held",
            State::Retained => "retained",
            State::Quarantined => "quarantined",
        }
    }
}

#[derive(Debug, Serialize)]
struct Row<'a> {
    pool: &'a PoolName,
    index: u32,
    ipv4: Option<IpAddr>,
    ipv6: Option<IpAddr>,
    scope: Scope,
    key: &'a str,
    state: State,
    holders: Vec<User<'a>>,
    since: String,
}

/// An attachment that uses a lease.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct User<'a> {
    #[serde(rename = "containerID")]
    container: &'a str,
    ifname: &'a str,
    since: String,
}

impl<'a> From<&'a Holder> for User<'a> {
    fn from(holder: &'a Holder) -> Self {
        Self {
            container: holder.attachment.container_id.as_str(),
            ifname: holder.attachment.ifname.as_str(),
            since: holder.since.to_string(),
        }
    }
}

impl<'a> Row<'a> {
    fn new(entry: &'a HeldBy, state: State) -> Self {
        let lease = &entry.lease;
        Self {
            pool: &lease.pool,
            index: lease.index.number(),
            ipv4: lease.pair.v4,
            ipv6: lease.pair.v6,
            scope: lease.owner.scope,
            key: &lease.owner.key,
            state,
            holders: entry.holders.iter().map(User::from).collect(),
            since: lease.since.to_string(),
        }
    }
}

/// Prints all leases of this node. Resources that cannot be read hide none of them.
pub(crate) fn run(local: &Local, format: Format) -> Result<Outcome, CliError> {
    let clock = clock::read()?;
    let inventory = inventory::read(&local.config.state_dir, &clock.boot)?;
    let (pools, told) = pools(local);
    let mut rows = Vec::new();
    for entry in &inventory.leases {
        let pool = pools.iter().find(|pool| pool.id() == entry.lease.pool_id);
        rows.extend(State::of(entry, pool, &clock).map(|state| Row::new(entry, state)));
    }
    match format {
        Format::Json => output::json(&rows)?,
        Format::Table => print(&rows)?,
    }
    let problems = tell_problems(&inventory);
    Ok(if told == Outcome::Fine { problems } else { told })
}

fn pools(local: &Local) -> (Vec<Pool>, Outcome) {
    match resource_dir::load(&local.config.resources_dir) {
        Ok(resources) => {
            let pools = resources.pools.iter().map(|definition| Pool::new(definition, []));
            (pools.collect(), Outcome::Fine)
        }
        Err(error) => {
            output::complain(&error.into());
            (Vec::new(), Outcome::Problem)
        }
    }
}

/// What is wrong with the records goes to stderr: the answer is a list of leases.
pub(crate) fn tell_problems(inventory: &Inventory) -> Outcome {
    for file in &inventory.lost {
        output::complain(&CliError::DamagedRecord(file.into()));
    }
    for holder in &inventory.stray {
        output::complain(&CliError::StrayHolder(holder.attachment.clone()));
    }
    let fine = inventory.lost.is_empty() && inventory.stray.is_empty();
    if fine { Outcome::Fine } else { Outcome::Problem }
}

fn print(rows: &[Row<'_>]) -> Result<(), CliError> {
    let address = |address: Option<IpAddr>| address.map_or("-".to_owned(), |it| it.to_string());
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            vec![
                row.pool.to_string(),
                row.index.to_string(),
                address(row.ipv4),
                address(row.ipv6),
                format!("{:?}", row.scope),
                row.key.to_owned(),
                row.state.word().to_owned(),
                row.since.clone(),
                users(&row.holders),
            ]
        })
        .collect();
    let headers =
        ["POOL", "INDEX", "IPV4", "IPV6", "SCOPE", "KEY", "STATE", "SINCE (UTC)", "HELD BY"];
    output::table(&headers, &cells)
}

/// `0123456789abc/eth0`, the first of them; a namespace may have hundreds.
fn users(holders: &[User<'_>]) -> String {
    let short = |id: &str| id.chars().take(SHORT_ID).collect::<String>();
    match holders {
        [] => "-".to_owned(),
        [first, others @ ..] => {
            let more = if others.is_empty() {
                String::new()
            } else {
                format!(" and {} more", others.len())
            };
            format!("{}/{}{more}", short(first.container), first.ifname)
        }
    }
}
