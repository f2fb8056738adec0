//! `egretctl gateway up`: this node becomes the gateway for the pools that are its own. It may be
//! run again at any time, after a node or pool was added for instance: what is right stays as it
//! is, and no packet is lost. What is not its own any more, or was taken, is given up and named.

use std::net::IpAddr;

use egret_egress::apply;
use egret_egress::desired::{GatewayFacts, OwnedPair, UplinkFacts, gateway};
use egret_egress::kernel::{Kernel, Link, MainRoute};
use egret_egress::object::{Object, Place, Placed};
use egret_egress::obsolete::obsolete;
use egret_ipam::Pool;
use egret_resources::EgressGateway;
use egret_types::{Family, Identity, Prefix};

use crate::blocked;
use crate::error::CliError;
use crate::node::{Local, Node};
use crate::output::{self, Outcome};
use crate::role::{self, GatewayRecord, Served, Take};

/// Brings the gateway side up.
pub(crate) fn run(local: Local, take: Take) -> Result<Outcome, CliError> {
    let _locks = local.lock_shared_objects()?;
    let node = Node::read(local)?;
    let served = role::served(&node, take)?;
    let mut kernel = node.local.kernel();
    let facts = facts(&node, &served, &mut kernel)?;
    let old = node.local.gateway()?;
    let gone = match converge(&node, &mut kernel, &facts, old.as_ref()) {
        Ok(gone) => gone,
        Err(error) => {
            if old.is_none() {
                // There was no gateway, and there is none now.
                apply::remove_all(&mut kernel, &gateway(&facts));
                node.local.gateway_record().remove()?;
            }
            return Err(error);
        }
    };
    tell_given_up(&node, &served, &gone)?;
    let freed = blocked::delete(&mut kernel)?;
    if freed > 0 {
        output::line(format_args!(
            "deleted {freed} flows that kept the next owner of their address out"
        ))?;
    }
    output::line(format_args!(
        "gateway {}: {} egress pairs on node {} over {}",
        role::names(&served),
        facts.pairs.len(),
        node.name,
        facts.uplink.parent
    ))?;
    Ok(Outcome::Fine)
}

/// From what was made before to what is wanted now; gives what has been removed. Until all is done
/// the record lists both, so that a `gateway down` after a crash removes both.
fn converge(
    node: &Node,
    kernel: &mut dyn Kernel,
    facts: &GatewayFacts,
    old: Option<&GatewayRecord>,
) -> Result<Vec<Placed>, CliError> {
    let topology = node.topology()?;
    let objects = gateway(facts);
    let gone = old.map(|old| obsolete(&old.objects, &objects)).unwrap_or_default();
    let both = gone.iter().chain(&objects).cloned().collect();
    let record = node.local.gateway_record();
    record.put(&GatewayRecord { objects: both })?;
    let foundation = topology.foundation(&facts.node);
    apply::ensure_guarded(kernel, &topology.tunnel_guard()?, &foundation)?;
    apply::ensure_all(kernel, &objects)?;
    if let Some(failure) = apply::remove_all(kernel, &gone).into_iter().next() {
        return Err(failure.into());
    }
    record.put(&GatewayRecord { objects })?;
    Ok(gone)
}

/// A line for each gateway whose egress IPs this node had and has not any more: it took them once,
/// or was their first member.
fn tell_given_up(node: &Node, served: &[Served<'_>], gone: &[Placed]) -> Result<(), CliError> {
    let removed = |address: &IpAddr| {
        gone.iter().any(|p| matches!(&p.object, Object::Address(a) if a.address == *address))
    };
    for gateway in &node.resources.gateways {
        if served.iter().any(|served| served.gateway.name == gateway.name) {
            continue;
        }
        let pairs = pairs_of(node, gateway);
        let pairs = pairs.iter().filter(|owned| owned.pair.iter().any(|(_, a)| removed(a)));
        let (count, first) = (pairs.count(), gateway.members.first());
        if let (1.., Some(first)) = (count, first) {
            let name = &gateway.name;
            output::line(format_args!(
                "gateway {name}: gave up {count} egress pairs, its first member is {first}"
            ))?;
        }
    }
    Ok(())
}

fn facts(
    node: &Node,
    served: &[Served<'_>],
    kernel: &mut dyn Kernel,
) -> Result<GatewayFacts, CliError> {
    let topology = node.topology()?;
    let pairs = owned_pairs(node, served)?;
    Ok(GatewayFacts {
        node: topology.node_facts(node.underlay(kernel)?.mtu)?,
        peers: topology.peers()?,
        pods: topology.pod_networks(),
        uplink: uplink(kernel, served, &pairs)?,
        pairs,
        flows: flows(kernel)?,
    })
}

/// Entries of the connection tracking table, which is one size for all namespaces.
fn flows(kernel: &mut dyn Kernel) -> Result<u32, CliError> {
    let size = kernel.get_sysctl(Place::Root, "net/netfilter/nf_conntrack_max")?;
    size.and_then(|size| size.parse().ok()).ok_or(CliError::NoConnectionTracking)
}

/// Every usable pair of every pool of these gateways.
fn owned_pairs(node: &Node, served: &[Served<'_>]) -> Result<Vec<OwnedPair>, CliError> {
    let mut owned = Vec::new();
    for Served { gateway, .. } in served {
        let pairs = pairs_of(node, gateway);
        if pairs.is_empty() {
            return Err(CliError::NoPool(gateway.name.clone()));
        }
        owned.extend(pairs);
    }
    Ok(owned)
}

fn pairs_of(node: &Node, gateway: &EgressGateway) -> Vec<OwnedPair> {
    let pools = node.resources.pools_of(&gateway.name).map(|definition| Pool::new(definition, []));
    let owned = |pool: Pool| {
        let pairs = pool.all_pairs();
        let id = pool.id();
        let owned =
            pairs.map(|(index, pair)| OwnedPair { identity: Identity::new(id, index), pair });
        owned.collect::<Vec<_>>()
    };
    pools.flat_map(owned).collect()
}

/// The uplink as the resources give it; what they leave out is copied from the interface.
fn uplink(
    kernel: &mut dyn Kernel,
    served: &[Served<'_>],
    pairs: &[OwnedPair],
) -> Result<UplinkFacts, CliError> {
    let Some(Served { gateway, uplink }) = served.first() else {
        return Err(CliError::Nothing);
    };
    let links = kernel.list_links(Place::Root)?;
    let link = links.iter().find(|link| link.name == uplink.interface).ok_or_else(|| {
        let (gateway, interface) = (gateway.name.clone(), uplink.interface.clone());
        CliError::NoSuchLink { gateway, interface }
    })?;
    let mut routes = kernel.list_main_routes(Place::Root)?;
    routes.retain(|route| route.link == link.index);
    let addresses: Vec<_> = uplink.addresses.iter().map(|a| (a.address(), a.length())).collect();
    let given: Vec<Family> = addresses.iter().map(|(address, _)| Family::of(*address)).collect();
    // A given address brings its network along.
    let connected = connected(&routes).filter(|network| !given.contains(&network.family()));
    let connected: Vec<Prefix> = connected.collect();
    let mut next_hops = uplink.next_hops.clone();
    for family in Family::BOTH {
        if !next_hops.iter().any(|hop| Family::of(*hop) == family) {
            next_hops.extend(default_hop(&routes, family));
        }
    }
    let facts = UplinkFacts { parent: link.name.clone(), addresses, connected, next_hops };
    check_ways_out(link, &facts, pairs)?;
    check_taken(&links, &facts, pairs)?;
    Ok(facts)
}

fn connected(routes: &[MainRoute]) -> impl Iterator<Item = Prefix> {
    let link_local = |p: Prefix| match p.address() {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local() || address.is_multicast(),
    };
    routes
        .iter()
        .filter(|route| route.hop.is_none())
        .map(|route| route.destination)
        .filter(move |prefix| prefix.length() > 0 && !link_local(*prefix))
}

fn default_hop(routes: &[MainRoute], family: Family) -> Option<IpAddr> {
    let defaults = routes.iter().filter(|route| route.destination == Prefix::all(family));
    defaults.min_by_key(|route| route.metric).and_then(|route| route.hop)
}

/// A family that the pools have must lead somewhere.
fn check_ways_out(link: &Link, facts: &UplinkFacts, pairs: &[OwnedPair]) -> Result<(), CliError> {
    for family in Family::BOTH {
        let needed = pairs.iter().any(|owned| owned.pair.get(family).is_some());
        let way = facts.connected.iter().any(|network| network.family() == family)
            || facts.addresses.iter().any(|(address, _)| Family::of(*address) == family)
            || facts.next_hops.iter().any(|hop| Family::of(*hop) == family);
        if needed && !way {
            return Err(CliError::NoWayOut { interface: link.name.clone(), family });
        }
    }
    Ok(())
}

/// An egress address that is the router's, or this node's own, would cut somebody off.
fn check_taken(links: &[Link], facts: &UplinkFacts, pairs: &[OwnedPair]) -> Result<(), CliError> {
    for (_, address) in pairs.iter().flat_map(|owned| owned.pair.iter()) {
        let own = links.iter().find(|l| l.addresses.iter().any(|(own, _)| own == address));
        let what = match own {
            Some(link) => format!("an address of {} on this node", link.name),
            None if facts.next_hops.contains(address) => "the next hop of the uplink".to_owned(),
            None => continue,
        };
        return Err(CliError::TakenAddress { address: *address, what });
    }
    Ok(())
}
