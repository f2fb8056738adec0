//! STATUS: whether an address can be given to whoever comes next.

use egret_cni::{CniError, Code};
use egret_ipam::{Allocator, IpamError, Owner, Pool, Scope};
use egret_resources::{EgressIp, EgressPolicy, Resources, Selector, explicit_pairs};
use egret_store::LeaseDir;
use egret_types::NodeName;

/// Fails when no pool from which this node allocates can serve its policies. A pool that is full
/// serves them all the same when each namespace that they name has its pair already: that is how a
/// pool looks that was made as large as needed.
pub(crate) fn check(
    allocator: &Allocator<'_, LeaseDir>,
    resources: &Resources,
    node: &NodeName,
) -> Result<(), CniError> {
    let mut reasons = Vec::new();
    for definition in &resources.pools {
        let allocates = |policy: &&EgressPolicy| {
            policy.pool == definition.name && policy.egress_ip == EgressIp::Namespace
        };
        let policies: Vec<_> = resources.policies.iter().filter(allocates).collect();
        let elsewhere = definition.node.as_ref().is_some_and(|own| own != node);
        if elsewhere || policies.is_empty() {
            continue;
        }
        let pool = Pool::new(definition, explicit_pairs(resources, &definition.name));
        match serves(allocator, &pool, &policies) {
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

fn serves(
    allocator: &Allocator<'_, LeaseDir>,
    pool: &Pool,
    policies: &[&EgressPolicy],
) -> Result<(), IpamError> {
    let full = match allocator.room(pool) {
        Err(full @ IpamError::Exhausted { .. }) => full,
        room => return room,
    };
    for policy in policies {
        let namespaces = match &policy.selector {
            Selector::Everything => return Err(full),
            Selector::Namespace(namespace) => std::slice::from_ref(namespace),
            Selector::Namespaces(namespaces) => namespaces.as_slice(),
        };
        for namespace in namespaces {
            let owner = Owner { scope: Scope::Namespace, key: namespace.to_string() };
            if !allocator.has_lease(pool, &owner)? {
                return Err(full);
            }
        }
    }
    Ok(())
}
