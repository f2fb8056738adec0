//! The handshake with the IPAM plugin: one request for each egress pair that the policies of a pod
//! need, and the leases that come back in the same order.

use std::net::IpAddr;

use egret_cni::{CniError, Code, IpamResult, RawObject};
use egret_egress::decision::Claim;
use egret_egress::record::LeaseRecord;
use egret_resources::{EgressIp, EgressPolicy, LocalConfig, Resources};
use egret_types::{DualStack, Identity, Namespace, PairIndex, PoolName};
use serde::{Deserialize, Serialize};

use crate::node;

const LEASES: &str = "egret.dev/leases";

/// One egress pair that is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct LeaseRequest {
    pool: PoolName,
    scope: &'static str,
    key: String,
    namespace: Namespace,
    ordinal: u32,
    #[serde(flatten)]
    pair: DualStack<IpAddr>,
}

/// One egress pair that was given.
#[derive(Debug, Deserialize)]
struct LeaseAnswer {
    pool: PoolName,
    index: PairIndex,
    #[serde(flatten)]
    pair: DualStack<IpAddr>,
}

/// Which pairs the selected policies need: each once, and for each policy the place of its pair.
pub(crate) struct Wanted {
    pub(crate) requests: Vec<LeaseRequest>,
    places: Vec<usize>,
}

impl Wanted {
    /// What these policies need for a pod of this namespace.
    pub(crate) fn by(
        policies: &[&EgressPolicy],
        namespace: Option<&Namespace>,
    ) -> Result<Self, CniError> {
        let mut wanted = Wanted { requests: Vec::new(), places: Vec::new() };
        for policy in policies {
            let namespace = namespace.cloned().ok_or_else(|| {
                let msg = format!(
                    "policy {}: egressIP.scope Namespace needs the pod's namespace, and the runtime gave no K8S_POD_NAMESPACE",
                    policy.name
                );
                CniError::new(Code::NOT_APPLICABLE, msg)
            })?;
            let pair = match &policy.egress_ip {
                EgressIp::Namespace => DualStack::default(),
                EgressIp::Pair(pair) => *pair,
            };
            let request = LeaseRequest {
                pool: policy.pool.clone(),
                scope: "Namespace",
                key: namespace.to_string(),
                namespace,
                ordinal: 0,
                pair,
            };
            let place = wanted.requests.iter().position(|known| *known == request);
            wanted.places.push(place.unwrap_or(wanted.requests.len()));
            if place.is_none() {
                wanted.requests.push(request);
            }
        }
        Ok(wanted)
    }

    /// What each policy claims as long as nobody knows with which pair: as one that has neither
    /// family.
    pub(crate) fn reach(policies: &[&EgressPolicy], resources: &Resources) -> Vec<Claim> {
        let without_pair = |policy: &&EgressPolicy| {
            let pool = resources.pool(&policy.pool)?;
            let identity = Identity::new(pool.id, PairIndex::FIRST);
            Some(claim(policy, identity, DualStack::default()))
        };
        policies.iter().filter_map(without_pair).collect()
    }

    /// What each policy claims, its pair known.
    pub(crate) fn claims(&self, policies: &[&EgressPolicy], leases: &[LeaseRecord]) -> Vec<Claim> {
        let with_pair = |(policy, place): (&&EgressPolicy, &usize)| {
            let lease = leases.get(*place)?;
            Some(claim(policy, lease.identity, lease.pair))
        };
        policies.iter().zip(&self.places).filter_map(with_pair).collect()
    }
}

fn claim(policy: &EgressPolicy, identity: Identity, pair: DualStack<IpAddr>) -> Claim {
    Claim {
        policy: policy.name.clone(),
        destinations: policy.destinations.clone(),
        except: policy.except.clone(),
        identity,
        pair,
    }
}

/// The `ipam` section as the IPAM plugin reads it: what stood there, our directories, the requests.
pub(crate) fn ipam_section(
    mut section: RawObject,
    config: &LocalConfig,
    requests: &[LeaseRequest],
) -> Result<RawObject, CniError> {
    let node = node::name(config)?;
    let set = |section: &mut RawObject| -> serde_json::Result<()> {
        if section.get("type").is_none() {
            section.set("type", &"egret-ipam")?;
        }
        section.set("resourcesDir", &config.resources_dir)?;
        section.set("stateDir", &config.state_dir)?;
        section.set("runDir", &config.run_dir)?;
        section.set("nodeName", &node)?;
        section.set("requests", &requests)
    };
    match set(&mut section) {
        Ok(()) => Ok(section),
        Err(error) => {
            Err(CniError::caused_by(Code::INTERNAL, &error).in_context("write the ipam section"))
        }
    }
}

/// The leases of an IPAM result, one for each request.
pub(crate) fn read_leases(
    result: &IpamResult,
    requests: &[LeaseRequest],
    resources: &Resources,
) -> Result<Vec<LeaseRecord>, CniError> {
    let wrong = |text: String| {
        CniError::new(Code::DECODING_FAILURE, format!("result of the IPAM plugin: {text}"))
    };
    let answers: Option<Vec<LeaseAnswer>> = result.extra(LEASES)?;
    let answers = answers.ok_or_else(|| wrong(format!("key {LEASES:?} is missing")))?;
    if answers.len() != requests.len() {
        return Err(wrong(format!("{} leases for {} requests", answers.len(), requests.len())));
    }
    let lease = |(answer, request): (LeaseAnswer, &LeaseRequest)| {
        let LeaseAnswer { pool, index, pair } = answer;
        let known = resources.pool(&pool).filter(|_| pool == request.pool && !pair.is_empty());
        let known = known.ok_or_else(|| wrong(format!("no pair of pool {}", request.pool)))?;
        Ok(LeaseRecord { identity: Identity::new(known.id, index), pool, pair })
    };
    answers.into_iter().zip(requests).map(lease).collect()
}
