//! The handshake with `egret` (docs/design.md, section 5): requests in, leases out, in one order.

use std::net::IpAddr;

use egret_cni::{CniError, Code};
use egret_ipam::{Lease, Owner, Pair, Pool, Scope, Want};
use egret_resources::{Resources, explicit_pairs};
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
    scope: String,
    key: String,
    namespace: Namespace,
    /// Facts for rules that pools cannot have yet.
    #[serde(rename = "namespaceLabels")]
    _namespace_labels: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    ordinal: u64,
    ipv4: Option<IpAddr>,
    ipv6: Option<IpAddr>,
}

/// One egress pair that `egret` wants.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) pool: PoolName,
    pub(crate) owner: Owner,
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
    if entry.scope != "Namespace" {
        let scope = &entry.scope;
        return Err(refuse(format!("scope {scope:?} is not honoured yet, only \"Namespace\" is")));
    }
    if entry.ordinal != 0 {
        return Err(refuse(format!("ordinal {} is not honoured yet, only 0 is", entry.ordinal)));
    }
    if entry.key != entry.namespace.as_str() {
        let (key, namespace) = (&entry.key, entry.namespace.as_str());
        return Err(wrong(format!(
            "key {key:?} of scope Namespace is not namespace {namespace:?}"
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
        owner: Owner { scope: Scope::Namespace, key: entry.key },
        explicit: Pair { v4: entry.ipv4, v6: entry.ipv6 },
    })
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
                request.owner
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
        owner: request.owner.clone(),
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
