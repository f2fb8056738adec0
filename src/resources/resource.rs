//! One document to one resource: `apiVersion`, `kind`, `metadata`, and which reader takes `spec`.

use std::collections::BTreeSet;
use std::str::FromStr;

use egret_types::{GatewayName, Namespace, NodeName, PolicyName, PoolName};

use crate::{
    EgressCluster, EgressGateway, EgressNode, EgressPolicy, EgressPool, Problem, Resources,
    cluster,
    cursor::{Cursor, Fields, Keys},
    gateway,
    nearest::nearest,
    node, policy, pool,
    problem::Problems,
};

const API_VERSION: &str = "egret.dev/v1alpha1";

/// The kinds of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Cluster,
    Node,
    Pool,
    Gateway,
    Policy,
    ClusterPolicy,
}

const KINDS: [(&str, Kind); 6] = [
    ("EgressCluster", Kind::Cluster),
    ("EgressNode", Kind::Node),
    ("EgressPool", Kind::Pool),
    ("EgressGateway", Kind::Gateway),
    ("EgressPolicy", Kind::Policy),
    ("ClusterEgressPolicy", Kind::ClusterPolicy),
];

/// Kinds of others that the contract lets stand in the same directory.
const LATER: [(&str, &str); 3] =
    [("networking.k8s.io/v1", "NetworkPolicy"), ("v1", "Pod"), ("v1", "Namespace")];

/// A resource and the document it was read from, so that a later check can say where.
#[derive(Debug)]
pub(crate) struct Draft<'a, T> {
    pub(crate) value: T,
    pub(crate) document: Cursor<'a>,
}

/// Everything read so far.
#[derive(Debug, Default)]
pub(crate) struct Drafts<'a> {
    pub(crate) clusters: Vec<Draft<'a, EgressCluster>>,
    pub(crate) nodes: Vec<Draft<'a, EgressNode>>,
    pub(crate) pools: Vec<Draft<'a, EgressPool>>,
    pub(crate) gateways: Vec<Draft<'a, EgressGateway>>,
    pub(crate) policies: Vec<Draft<'a, EgressPolicy>>,
    /// Names of documents that could not be read whole: a reference to one of them is no second
    /// problem.
    pub(crate) broken: BTreeSet<(Kind, &'a str)>,
}

const DOCUMENT: Keys = Keys { honoured: &["apiVersion", "kind", "metadata", "spec"], later: &[] };
const METADATA: Keys = Keys { honoured: &["name"], later: &["labels", "annotations"] };
const NAMESPACED: Keys =
    Keys { honoured: &["name", "namespace"], later: &["labels", "annotations"] };

impl<'a> Drafts<'a> {
    /// Reads one document into the list of its kind.
    pub(crate) fn read(&mut self, document: Cursor<'a>, problems: &mut Problems) {
        let Some(kind) = problems.keep(read_kind(&document)) else { return };
        let Some(fields) = Fields::open(document, &DOCUMENT, problems) else { return };
        let keys = if kind == Kind::Policy { &NAMESPACED } else { &METADATA };
        let metadata = fields
            .required("metadata", "it holds the name", problems)
            .and_then(|at| Fields::open(at, keys, problems));
        let spec = fields.required("spec", "what this resource says", problems);
        let name = metadata
            .as_ref()
            .and_then(|at| at.required("name", "every resource has one", problems));
        let whole = match (&metadata, &name, spec) {
            (Some(metadata), Some(name), Some(spec)) => {
                let head = Head { kind, document, metadata, name };
                self.read_spec(&head, spec, problems).is_some()
            }
            _ => false,
        };
        if let Some(name) = name.filter(|_| !whole).and_then(|at| at.text("a name").ok()) {
            self.broken.insert((kind, name));
        }
    }

    /// The resources without where they were read from.
    pub(crate) fn into_resources(self) -> Resources {
        let cluster = self.clusters.into_iter().next();
        Resources {
            cluster: cluster.map_or_else(EgressCluster::default, |draft| draft.value),
            nodes: sorted(self.nodes, |node| node.name.clone()),
            pools: sorted(self.pools, |pool| pool.name.clone()),
            gateways: sorted(self.gateways, |gateway| gateway.name.clone()),
            policies: sorted(self.policies, |policy| policy.name.clone()),
        }
    }

    fn read_spec(
        &mut self,
        head: &Head<'a, '_>,
        spec: Cursor<'a>,
        problems: &mut Problems,
    ) -> Option<()> {
        let document = head.document;
        match head.kind {
            Kind::Cluster => {
                problems.keep(head.require_default());
                let value = cluster::read(spec, problems)?;
                self.clusters.push(Draft { value, document });
            }
            Kind::Node => {
                let value = node::read(head.name::<NodeName>(problems)?, spec, problems)?;
                self.nodes.push(Draft { value, document });
            }
            Kind::Pool => {
                let value = pool::read(head.name::<PoolName>(problems)?, spec, problems)?;
                self.pools.push(Draft { value, document });
            }
            Kind::Gateway => {
                let value = gateway::read(head.name::<GatewayName>(problems)?, spec, problems)?;
                self.gateways.push(Draft { value, document });
            }
            Kind::Policy | Kind::ClusterPolicy => {
                let value = policy::read(head.policy_name(problems)?, spec, problems)?;
                self.policies.push(Draft { value, document });
            }
        }
        Some(())
    }
}

fn sorted<T, K: Ord>(drafts: Vec<Draft<'_, T>>, key: impl Fn(&T) -> K) -> Vec<T> {
    let mut values: Vec<T> = drafts.into_iter().map(|draft| draft.value).collect();
    values.sort_by_key(key);
    values
}

/// What a document says before its `spec`.
struct Head<'a, 'h> {
    kind: Kind,
    document: Cursor<'a>,
    metadata: &'h Fields<'a>,
    name: &'h Cursor<'a>,
}

impl Head<'_, '_> {
    fn name<T>(&self, problems: &mut Problems) -> Option<T>
    where
        T: FromStr,
        T::Err: std::fmt::Display,
    {
        problems.keep(self.name.parse("a name"))
    }

    fn require_default(&self) -> Result<(), Problem> {
        match self.name.text("the name \"default\"")? {
            "default" => Ok(()),
            other => Err(self
                .name
                .problem(format!("found {other:?}; the one EgressCluster is named \"default\""))),
        }
    }

    fn policy_name(&self, problems: &mut Problems) -> Option<PolicyName> {
        // A policy's name follows the rule that pools have.
        let name = self.name::<PoolName>(problems);
        let namespace: Option<Namespace> = if self.kind == Kind::Policy {
            let at = self.metadata.required("namespace", "whose pods it selects", problems)?;
            Some(problems.keep(at.parse("a namespace"))?)
        } else {
            None
        };
        Some(PolicyName { namespace, name: name?.into() })
    }
}

fn read_kind(document: &Cursor<'_>) -> Result<Kind, Problem> {
    let (Some(version), Some(kind)) = (document.get("apiVersion"), document.get("kind")) else {
        let what = "not a resource: it needs \"apiVersion\", \"kind\", \"metadata\" and \"spec\"";
        return Err(document.problem(what));
    };
    let (version_text, kind_text) = (version.text("an apiVersion")?, kind.text("a kind")?);
    if LATER.contains(&(version_text, kind_text)) {
        return Err(kind.not_honoured(format!("the kind {kind_text:?}")));
    }
    let names = || KINDS.iter().map(|(name, _)| *name);
    let Some((_, found)) = KINDS.iter().find(|(name, _)| *name == kind_text) else {
        let hint = nearest(kind_text, names()).map_or_else(
            || format!("known: {}", names().collect::<Vec<_>>().join(", ")),
            |name| format!("did you mean {name:?}?"),
        );
        return Err(kind.problem(format!("unknown kind {kind_text:?}; {hint}")));
    };
    if version_text != API_VERSION {
        let message = format!("found {version_text:?}, wanted {API_VERSION:?} for {kind_text}");
        return Err(version.problem(message));
    }
    Ok(*found)
}
