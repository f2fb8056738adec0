//! `EgressPolicy` and `ClusterEgressPolicy`: which pods leave from which pool, to where.

use std::net::IpAddr;

use egret_types::{DualStack, Family, Namespace, PolicyName, PoolName, Prefix};

use crate::{
    Problem,
    cluster::read_networks,
    cursor::{Cursor, Fields, Keys},
    problem::Problems,
    unicast::read_address,
};

/// Which pods leave from which pool, to where. Its action is `Gateway`, the only one so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EgressPolicy {
    /// `metadata.namespace` and `metadata.name`; a `ClusterEgressPolicy` has no namespace.
    pub name: PolicyName,
    /// `selector`.
    pub selector: Selector,
    /// `destinations`, at least one; `None` is everything outside the cluster.
    pub destinations: Option<Vec<Prefix>>,
    /// `except`: taken out of this policy only.
    pub except: Vec<Prefix>,
    /// `pool`, an existing one.
    pub pool: PoolName,
    /// `egressIP`.
    pub egress_ip: EgressIp,
}

/// Which pods a policy selects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selector {
    /// Every pod of the namespace of an `EgressPolicy` (`{}`).
    Namespace(Namespace),
    /// Every pod of these namespaces (`namespaces.names` of a `ClusterEgressPolicy`), at least one.
    Namespaces(Vec<Namespace>),
    /// Every pod, also an attachment of which nobody knows the namespace (`{}` of a
    /// `ClusterEgressPolicy`).
    Everything,
}

/// Who shares an egress pair.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub enum Scope {
    /// All pods.
    Cluster,
    /// All pods of a policy.
    Policy,
    /// All pods of a namespace.
    Namespace,
    /// All pods of a workload.
    Workload,
    /// One pod.
    Pod,
}

impl Scope {
    /// Every scope by its word.
    pub const WORDS: [(&str, Scope); 5] = [
        ("Cluster", Scope::Cluster),
        ("Policy", Scope::Policy),
        ("Namespace", Scope::Namespace),
        ("Workload", Scope::Workload),
        ("Pod", Scope::Pod),
    ];
}

/// Which egress pair the pods get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EgressIp {
    /// One for all who share it (`scope`).
    Shared(Scope),
    /// This one: `ipv4`, `ipv6`, at least one of them. They lie in ranges of the pool and are not
    /// excluded; that they are one pair is for the index function of ipam to say.
    Pair(DualStack<IpAddr>),
}

impl EgressIp {
    /// The addresses that the policy names.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = (Family, IpAddr)> {
        let pair = match self {
            EgressIp::Shared(_) => DualStack::default(),
            EgressIp::Pair(pair) => *pair,
        };
        Family::BOTH.into_iter().filter_map(move |f| pair.get(f).map(|address| (f, *address)))
    }
}

impl Selector {
    /// The namespace of every pod it selects, if that is one.
    pub fn only_namespace(&self) -> Option<&Namespace> {
        match self {
            Selector::Namespace(namespace) => Some(namespace),
            Selector::Namespaces(list) => match list.as_slice() {
                [namespace] => Some(namespace),
                _ => None,
            },
            Selector::Everything => None,
        }
    }
}

const SPEC: Keys = Keys {
    honoured: &["selector", "destinations", "except", "action", "pool", "egressIP"],
    later: &["includeCluster", "onGatewayLoss", "missingFamily", "priority", "enforce"],
};
const SELECTOR: Keys = Keys { honoured: &[], later: &["pods"] };
const CLUSTER_SELECTOR: Keys = Keys { honoured: &["namespaces"], later: &["pods"] };
const NAMESPACES: Keys = Keys { honoured: &["names"], later: &["matchLabels", "matchExpressions"] };
const EGRESS_IP: Keys = Keys { honoured: &["scope", "ipv4", "ipv6"], later: &["useNodeIP"] };

pub(crate) fn read(
    name: PolicyName,
    spec: Cursor<'_>,
    problems: &mut Problems,
) -> Option<EgressPolicy> {
    let spec = Fields::open(spec, &SPEC, problems)?;
    let selector = spec.required("selector", "which pods; {} selects every one", problems);
    let selector = selector.and_then(|at| match &name.namespace {
        Some(namespace) => {
            Fields::open(at, &SELECTOR, problems).map(|_| Selector::Namespace(namespace.clone()))
        }
        None => read_cluster_selector(at, problems),
    });
    let pool = spec.required("pool", "the EgressPool to leave from", problems);
    let pool = pool.and_then(|at| problems.keep(at.parse("the name of an EgressPool")));
    if let Some(at) = spec.get("action") {
        problems.keep(at.word("Gateway", &["Node", "Deny"]));
    }
    let egress_ip = match spec.get("egressIP") {
        Some(at) => read_egress_ip(at, selector.as_ref(), problems),
        None => Some(EgressIp::Shared(Scope::Namespace)),
    };
    Some(EgressPolicy {
        name,
        destinations: read_destinations(&spec, problems),
        except: read_networks(&spec, "except", problems).unwrap_or_default(),
        selector: selector?,
        pool: pool?,
        egress_ip: egress_ip?,
    })
}

fn read_cluster_selector(at: Cursor<'_>, problems: &mut Problems) -> Option<Selector> {
    let fields = Fields::open(at, &CLUSTER_SELECTOR, problems)?;
    let Some(at) = fields.get("namespaces") else { return Some(Selector::Everything) };
    let namespaces = Fields::open(at, &NAMESPACES, problems)?;
    let names = namespaces.required("names", "a list of namespaces", problems)?;
    let list = names.list("a list of namespaces", problems, |item| item.parse("a namespace"));
    refuse_empty(&names, "it selects nothing", problems);
    Some(Selector::Namespaces(list))
}

fn read_destinations(spec: &Fields<'_>, problems: &mut Problems) -> Option<Vec<Prefix>> {
    if let Some(at) = spec.get("destinations") {
        let what = "remove the key to mean everything outside the cluster";
        refuse_empty(&at, what, problems);
    }
    read_networks(spec, "destinations", problems)
}

fn refuse_empty(at: &Cursor<'_>, what: &str, problems: &mut Problems) {
    if at.items("a list").is_ok_and(|items| items.len() == 0) {
        problems.add(at.problem(format!("the list is empty; {what}")));
    }
}

fn read_egress_ip(
    at: Cursor<'_>,
    selector: Option<&Selector>,
    problems: &mut Problems,
) -> Option<EgressIp> {
    let fields = Fields::open(at, &EGRESS_IP, problems)?;
    let scope = fields.get("scope");
    let shared = scope.as_ref().and_then(|at| problems.keep(at.choice(&Scope::WORDS)));
    let mut pair = DualStack::default();
    let mut explicit = false;
    for family in Family::BOTH {
        let Some(at) = fields.get(&family.to_string()) else { continue };
        explicit = true;
        *pair.slot(family) = problems.keep(read_of_family(&at, family));
    }
    if !explicit {
        return Some(EgressIp::Shared(shared.unwrap_or(Scope::Namespace)));
    }
    if let Some(at) = scope {
        problems
            .add(at.problem("\"scope\" and an explicit \"ipv4\" or \"ipv6\" exclude each other"));
    }
    // Every worker would give the pair to the namespace that asks there first.
    if selector.is_some_and(|selector| selector.only_namespace().is_none()) {
        let what = "an explicit pair for more than one namespace";
        problems.add(fields.at().not_honoured(what));
    }
    Some(EgressIp::Pair(pair))
}

fn read_of_family(at: &Cursor<'_>, family: Family) -> Result<IpAddr, Problem> {
    let address = read_address(at)?;
    if Family::of(address) == family {
        Ok(address)
    } else {
        Err(at.problem(format!("{address} is {}, wanted {family}", Family::of(address))))
    }
}
