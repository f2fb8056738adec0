//! STATUS: whether an address can be given to whoever comes next.

use egret_cni::{CniError, Code};
use egret_ipam::{Ipam, IpamError, Owner, Pool, Scope};
use egret_resources::{EgressIp, EgressPolicy, Resources, Selector, explicit_pairs};
use egret_store::{HolderDir, LeaseDir};
use egret_types::{Namespace, NodeName};

use crate::pods::PodPool;

/// Fails when no pool from which this node allocates can serve its policies. A pool that is full
/// serves them all the same when everybody whom they name has a pair already: that is how a
/// pool looks that was made as large as needed.
pub(crate) fn check(
    ipam: &Ipam<'_, LeaseDir, HolderDir>,
    resources: &Resources,
    node: &NodeName,
) -> Result<(), CniError> {
    let mut reasons = Vec::new();
    for definition in &resources.pools {
        let allocates = |policy: &&EgressPolicy| {
            policy.pool == definition.name && matches!(policy.egress_ip, EgressIp::Shared(_))
        };
        let policies: Vec<_> = resources.policies.iter().filter(allocates).collect();
        let elsewhere = definition.node.as_ref().is_some_and(|own| own != node);
        if elsewhere || policies.is_empty() {
            continue;
        }
        let pool = Pool::new(definition, explicit_pairs(resources, &definition.name));
        match serves(ipam, &pool, &policies) {
            Ok(()) => return Ok(()),
            Err(error) => reasons.push(error.to_string()),
        }
    }
    if reasons.is_empty() {
        return Ok(());
    }
    let msg = format!("no address can be given: {}", reasons.join("; "));
    Err(CniError::new(Code::NOT_AVAILABLE, msg))
}

/// Fails when one of these pools has no address left, or gives none on this node: ADD needs one of
/// each.
pub(crate) fn check_pods(
    ipam: &Ipam<'_, LeaseDir, HolderDir>,
    pools: &[PodPool<'_>],
    node: &NodeName,
) -> Result<(), CniError> {
    let unavailable =
        |why: String| CniError::new(Code::NOT_AVAILABLE, format!("no address can be given: {why}"));
    for PodPool { pool, .. } in pools {
        if let Some(own) = pool.node().filter(|own| *own != node) {
            let (pool, own, node) = (pool.name().as_str(), own.as_str(), node.as_str());
            return Err(unavailable(format!("pool {pool:?} is for node {own}, this is {node}")));
        }
        ipam.room(pool).map_err(|error| unavailable(error.to_string()))?;
    }
    Ok(())
}

fn serves(
    ipam: &Ipam<'_, LeaseDir, HolderDir>,
    pool: &Pool,
    policies: &[&EgressPolicy],
) -> Result<(), IpamError> {
    let full = match ipam.room(pool) {
        Err(full @ IpamError::Exhausted { .. }) => full,
        room => return room,
    };
    for policy in policies {
        let Some(owners) = owners(policy) else { return Err(full) };
        for owner in owners {
            if !ipam.has_lease(pool, &owner)? {
                return Err(full);
            }
        }
    }
    Ok(())
}

/// Who can want a pair by a policy; `None`: nobody can list them.
fn owners(policy: &EgressPolicy) -> Option<Vec<Owner>> {
    let EgressIp::Shared(scope) = policy.egress_ip else { return Some(Vec::new()) };
    let one = |key: String| Some(vec![Owner { scope, key }]);
    match (scope, &policy.selector) {
        (Scope::Cluster, _) => one("*".to_owned()),
        (Scope::Policy, _) => one(policy.name.to_string()),
        (Scope::Namespace, Selector::Namespace(namespace)) => one(namespace.to_string()),
        (Scope::Namespace, Selector::Namespaces(namespaces)) => {
            let owner = |namespace: &Namespace| Owner { scope, key: namespace.to_string() };
            Some(namespaces.iter().map(owner).collect())
        }
        (Scope::Namespace, Selector::Everything) | (Scope::Workload | Scope::Pod, _) => None,
    }
}
