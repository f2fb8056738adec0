//! The handshake with `egret` (docs/design.md, section 5): requests in, leases out, in one order.

use std::net::IpAddr;

use egret_cni::{CniError, Code};
use egret_ipam::{Applicant, Lease, Owner, Pair, Pool, Scope, Want};
use egret_resources::{Labels, Resources, explicit_pairs};
use egret_types::{Namespace, PairIndex, PoolName};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The key of the result under which the leases stand.
pub(crate) const LEASES: &str = "egret.dev/leases";

/// One entry of `ipam.requests`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Entry {
    pool: PoolName,
    scope: Scope,
    key: String,
    /// Absent when the runtime named none.
    namespace: Option<Namespace>,
    namespace_labels: Option<Labels>,
    #[serde(default)]
    ordinal: u64,
    ipv4: Option<IpAddr>,
    ipv6: Option<IpAddr>,
}

/// One egress pair that `egret` wants.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) pool: PoolName,
    pub(crate) applicant: Applicant,
    explicit: Pair,
}

/// Reads `ipam.requests`.
pub(crate) fn read(requests: &Value) -> Result<Vec<Request>, CniError> {
    let Value::Array(items) = requests else {
        let msg = format!("key \"ipam.requests\" is {requests}, not a list");
        return Err(CniError::new(Code::INVALID_CONFIG, msg));
    };
    items
        .iter()
        .enumerate()
        .map(|(n, item)| read_one(&format!("ipam.requests[{n}]"), item))
        .collect()
}

fn read_one(path: &str, item: &Value) -> Result<Request, CniError> {
    let wrong = |text: String| CniError::new(Code::INVALID_CONFIG, format!("{path}: {text}"));
    let refuse = |text: String| CniError::new(Code::NOT_APPLICABLE, format!("{path}: {text}"));
    let entry = Entry::deserialize(item).map_err(|error| wrong(error.to_string()))?;
    if entry.ordinal != 0 {
        return Err(refuse(format!("ordinal {} is not honoured yet, only 0 is", entry.ordinal)));
    }
    if !is_key(entry.scope, &entry.key, entry.namespace.as_ref()) {
        let namespace = entry.namespace.as_ref().map_or("", Namespace::as_str);
        return Err(wrong(format!(
            "key {:?} is none of scope {:?} for namespace {namespace:?}",
            entry.key, entry.scope
        )));
    }
    for (key, address, right) in [
        ("ipv4", entry.ipv4, entry.ipv4.is_none_or(|a| a.is_ipv4())),
        ("ipv6", entry.ipv6, entry.ipv6.is_none_or(|a| a.is_ipv6())),
    ] {
        if let Some(address) = address.filter(|_| !right) {
            return Err(wrong(format!("{key} is {address}, an address of the other family")));
        }
    }
    Ok(Request {
        pool: entry.pool,
        applicant: Applicant {
            owner: Owner { scope: entry.scope, key: entry.key },
            namespace: entry.namespace,
            labels: entry.namespace_labels,
        },
        explicit: Pair { v4: entry.ipv4, v6: entry.ipv6 },
    })
}

/// The key has the form of its scope, and is not another namespace's.
fn is_key(scope: Scope, key: &str, namespace: Option<&Namespace>) -> bool {
    let parts: Vec<&str> = key.split('/').collect();
    let own = |part: &str| namespace.is_some_and(|namespace| namespace.as_str() == part);
    let whole = |parts: &[&str]| parts.iter().all(|part| !part.is_empty());
    match (scope, parts.as_slice()) {
        (Scope::Cluster, ["*"]) => true,
        (Scope::Policy, [of, name]) => (of.is_empty() || own(of)) && whole(&[name]),
        (Scope::Namespace, [of]) => own(of),
        (Scope::Workload, [of, rest @ ..]) => own(of) && !rest.is_empty() && whole(rest),
        (Scope::Pod, [of, pod, id]) => own(of) && whole(&[pod, id]),
        _ => false,
    }
}

/// The pools of these requests, one for each.
pub(crate) fn pools(requests: &[Request], resources: &Resources) -> Result<Vec<Pool>, CniError> {
    let pool = |request: &Request| {
        let Some(definition) = resources.pool(&request.pool) else {
            let msg = format!("no resource defines pool {:?}", request.pool.as_str());
            return Err(CniError::new(Code::INVALID_CONFIG, msg));
        };
        if definition.gateway().is_none() {
            let pool = request.pool.as_str();
            let msg = format!(
                "pool {pool:?} has no \"gateway\": it gives pods their addresses and {} no egress IP",
                request.applicant.owner
            );
            return Err(CniError::new(Code::INVALID_CONFIG, msg));
        }
        Ok(Pool::new(definition, explicit_pairs(resources, &request.pool)))
    };
    requests.iter().map(pool).collect()
}

/// What the requests want of their pools.
pub(crate) fn wants<'a>(requests: &[Request], pools: &'a [Pool]) -> Vec<Want<'a>> {
    let want = |(request, pool): (&Request, &'a Pool)| Want {
        pool,
        applicant: request.applicant.clone(),
        explicit: request.explicit,
    };
    requests.iter().zip(pools).map(want).collect()
}

/// One entry of [`LEASES`].
#[derive(Debug, Serialize)]
pub(crate) struct Answer<'a> {
    pool: &'a PoolName,
    index: PairIndex,
    #[serde(flatten)]
    pair: Pair,
}

impl<'a> From<&'a Lease> for Answer<'a> {
    fn from(lease: &'a Lease) -> Self {
        Self { pool: &lease.pool, index: lease.index, pair: lease.pair }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_the_form_of_its_scope_and_is_of_the_pods_namespace() {
        let shop: Namespace = "shop".parse().unwrap();
        for (scope, key, right) in [
            (Scope::Cluster, "*", true),
            (Scope::Cluster, "shop", false),
            (Scope::Policy, "shop/partners", true),
            (Scope::Policy, "/everyone", true),
            (Scope::Policy, "bank/partners", false),
            (Scope::Policy, "partners", false),
            (Scope::Namespace, "shop", true),
            (Scope::Namespace, "bank", false),
            (Scope::Workload, "shop/deployment/web", true),
            (Scope::Workload, "shop/web", true),
            (Scope::Workload, "shop", false),
            (Scope::Workload, "shop/", false),
            (Scope::Pod, "shop/web-0/uid", true),
            (Scope::Pod, "shop/web-0", false),
            (Scope::Pod, "bank/web-0/uid", false),
        ] {
            assert_eq!(is_key(scope, key, Some(&shop)), right, "{scope:?} {key:?}");
        }
        assert!(is_key(Scope::Cluster, "*", None) && is_key(Scope::Policy, "/everyone", None));
        assert!(!is_key(Scope::Namespace, "", None));
    }
}
