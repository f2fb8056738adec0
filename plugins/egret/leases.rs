//! The handshake with the IPAM plugin: one request for each egress pair that the policies of a pod
//! need, and the leases that come back in the same order.

use std::net::IpAddr;

use egret_cni::{CniArgs, CniError, Code, IpamResult, RawObject};
use egret_egress::decision::Claim;
use egret_egress::record::LeaseRecord;
use egret_resources::{EgressIp, EgressPolicy, LocalConfig, Resources, Scope};
use egret_types::{Attachment, DualStack, Identity, Namespace, PairIndex, PoolName};
use serde::{Deserialize, Serialize};

use crate::node;

const LEASES: &str = "egret.dev/leases";

/// One egress pair that is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct LeaseRequest {
    pool: PoolName,
    scope: Scope,
    key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<Namespace>,
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

/// Who asks: what the runtime told of the pod.
pub(crate) struct Asker<'a> {
    pub(crate) args: &'a CniArgs,
    pub(crate) attachment: &'a Attachment,
}

impl Asker<'_> {
    /// Which of its kind owns the pair that a policy gives (docs/design.md, section 5).
    fn key(&self, scope: Scope, policy: &EgressPolicy) -> Result<String, CniError> {
        let namespace =
            || told(scope, policy, "K8S_POD_NAMESPACE", self.args.pod_namespace.as_ref());
        Ok(match scope {
            Scope::Cluster => "*".to_owned(),
            Scope::Policy => policy.name.to_string(),
            Scope::Namespace => namespace()?.to_string(),
            Scope::Workload => {
                let msg = format!(
                    "policy {}: egressIP.scope Workload needs the pod's workload, and nobody told it",
                    policy.name
                );
                return Err(CniError::new(Code::NOT_APPLICABLE, msg));
            }
            Scope::Pod => {
                let pod = told(scope, policy, "K8S_POD_NAME", self.args.pod_name.as_ref())?;
                let container = self.attachment.container_id.as_str();
                let id = self.args.pod_uid.as_deref().unwrap_or(container);
                format!("{}/{pod}/{id}", namespace()?)
            }
        })
    }
}

/// What a scope needs and the runtime must have told.
fn told<'a, T>(
    scope: Scope,
    policy: &EgressPolicy,
    argument: &str,
    value: Option<&'a T>,
) -> Result<&'a T, CniError> {
    value.ok_or_else(|| {
        let msg = format!(
            "policy {}: egressIP.scope {scope:?} needs the pod's {argument}, and the runtime gave none",
            policy.name
        );
        CniError::new(Code::NOT_APPLICABLE, msg)
    })
}

/// Which pairs the selected policies need: each once, and for each policy the place of its pair.
pub(crate) struct Wanted {
    pub(crate) requests: Vec<LeaseRequest>,
    places: Vec<usize>,
}

impl Wanted {
    /// What these policies need for a pod.
    pub(crate) fn by(policies: &[&EgressPolicy], pod: &Asker<'_>) -> Result<Self, CniError> {
        let mut wanted = Wanted { requests: Vec::new(), places: Vec::new() };
        for policy in policies {
            let (scope, pair) = match &policy.egress_ip {
                EgressIp::Shared(scope) => (*scope, DualStack::default()),
                EgressIp::Pair(pair) => (Scope::Namespace, *pair),
            };
            let request = LeaseRequest {
                pool: policy.pool.clone(),
                scope,
                key: pod.key(scope, policy)?,
                namespace: pod.args.pod_namespace.clone(),
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
