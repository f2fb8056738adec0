//! No pool holds an address that is somebody else's already: a gateway would answer for it outside,
//! or the cluster's own traffic would go to it. `nodeCIDRs` are no such thing: the network outside
//! and that of the nodes may be one.

use std::fmt;

use egret_types::Family;

use crate::{
    AddressRange, EgressPool, UplinkSpec,
    cursor::Cursor,
    problem::Problems,
    resource::{Draft, Drafts},
};

/// Addresses that no pool can have, whose they are, and where that was written.
struct Taken<'d, 'a> {
    range: AddressRange,
    owner: Owner<'d>,
    at: Cursor<'a>,
}

enum Owner<'d> {
    Vtep(&'d str),
    Uplink { key: &'static str, of: &'d str },
    Cluster(&'static str),
}

pub(crate) fn check(drafts: &Drafts<'_>, problems: &mut Problems) {
    let taken = collect(drafts);
    for pool in &drafts.pools {
        for family in Family::BOTH {
            for (index, range) in pool.value.ranges(family).iter().enumerate() {
                let of_pool = |taken: &&Taken<'_, '_>| {
                    taken.owner.excludes(&pool.value) && is_in(taken.range, *range, &pool.value)
                };
                for taken in taken.iter().filter(of_pool) {
                    let at = pool.document.item(&["spec", &family.to_string()], index);
                    problems.add(at.problem(format!(
                        "{range} of pool {} overlaps {}, {} ({})",
                        pool.value.name,
                        taken.range,
                        taken.owner,
                        taken.at.whereabouts()
                    )));
                }
            }
        }
    }
}

fn collect<'d, 'a>(drafts: &'d Drafts<'a>) -> Vec<Taken<'d, 'a>> {
    let mut taken = Vec::new();
    for Draft { value: node, document } in &drafts.nodes {
        let at = document.along(&["spec", "vtep"]);
        let vteps = node.vtep.iter();
        taken.extend(vteps.map(|(_, vtep)| Taken {
            range: (*vtep).into(),
            owner: Owner::Vtep(node.name.as_str()),
            at,
        }));
        uplink(&node.uplink, node.name.as_str(), document, &mut taken);
    }
    for Draft { value: gateway, document } in &drafts.gateways {
        uplink(&gateway.uplink, gateway.name.as_str(), document, &mut taken);
    }
    for Draft { value: cluster, document } in &drafts.clusters {
        let services = cluster.service_cidrs.as_deref().unwrap_or_default();
        for (key, networks) in
            [("clusterCIDRs", &cluster.cluster_cidrs[..]), ("serviceCIDRs", services)]
        {
            taken.extend(networks.iter().enumerate().map(|(index, network)| Taken {
                range: (*network).into(),
                owner: Owner::Cluster(key),
                at: document.item(&["spec", key], index),
            }));
        }
    }
    taken
}

fn uplink<'d, 'a>(
    uplink: &UplinkSpec,
    of: &'d str,
    document: &Cursor<'a>,
    taken: &mut Vec<Taken<'d, 'a>>,
) {
    let own = uplink.addresses.iter().flatten().map(|address| address.address());
    let hops = uplink.next_hops.iter().flatten().copied();
    let own = own.enumerate().map(|entry| ("addresses", entry));
    taken.extend(own.chain(hops.enumerate().map(|entry| ("nextHops", entry))).map(
        |(key, (index, address))| Taken {
            range: address.into(),
            owner: Owner::Uplink { key, of },
            at: document.item(&["spec", "uplink", key], index),
        },
    ));
}

/// Whether a range of a pool has an address of `taken` that no exclusion takes out whole.
fn is_in(taken: AddressRange, range: AddressRange, pool: &EgressPool) -> bool {
    range.overlaps(taken) && {
        let first = range.first().max(taken.first());
        let last = range.last().min(taken.last());
        !pool.exclude.iter().any(|hole| hole.contains(first) && hole.contains(last))
    }
}

impl Owner<'_> {
    /// Pod addresses are the cluster's own: there they belong.
    fn excludes(&self, pool: &EgressPool) -> bool {
        match self {
            Owner::Cluster("clusterCIDRs") => pool.gateway().is_some(),
            _ => true,
        }
    }
}

impl fmt::Display for Owner<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Owner::Vtep(node) => write!(f, "a VTEP of {node}"),
            Owner::Uplink { key, of } => write!(f, "of uplink.{key} of {of}"),
            Owner::Cluster(key) => write!(f, "of {key}"),
        }
    }
}
