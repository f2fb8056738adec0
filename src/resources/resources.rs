//! All resources together: what `parse` gives, and how to find one.

use std::net::IpAddr;

use egret_types::{DualStack, Family, GatewayName, NodeName, PolicyName, PoolName};

use crate::{
    EgressCluster, EgressGateway, EgressIp, EgressNode, EgressPolicy, EgressPool, NoOuterFamily,
    node::outer_family,
};

/// Every resource of a directory, checked by itself and against the others. Each list is sorted by
/// name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resources {
    /// The `EgressCluster`, or its defaults.
    pub cluster: EgressCluster,
    /// Every `EgressNode`.
    pub nodes: Vec<EgressNode>,
    /// Every `EgressPool`.
    pub pools: Vec<EgressPool>,
    /// Every `EgressGateway`.
    pub gateways: Vec<EgressGateway>,
    /// Every `EgressPolicy` and `ClusterEgressPolicy`.
    pub policies: Vec<EgressPolicy>,
}

impl Resources {
    /// The node of this name.
    pub fn node(&self, name: &NodeName) -> Option<&EgressNode> {
        find(&self.nodes, |node| node.name.cmp(name))
    }

    /// The pool of this name.
    pub fn pool(&self, name: &PoolName) -> Option<&EgressPool> {
        find(&self.pools, |pool| pool.name.cmp(name))
    }

    /// The gateway of this name.
    pub fn gateway(&self, name: &GatewayName) -> Option<&EgressGateway> {
        find(&self.gateways, |gateway| gateway.name.cmp(name))
    }

    /// The policy of this name.
    pub fn policy(&self, name: &PolicyName) -> Option<&EgressPolicy> {
        find(&self.policies, |policy| policy.name.cmp(name))
    }

    /// The pools that a gateway serves.
    pub fn pools_of<'a>(
        &'a self,
        gateway: &'a GatewayName,
    ) -> impl Iterator<Item = &'a EgressPool> {
        self.pools.iter().filter(move |pool| pool.gateway() == Some(gateway))
    }

    /// The family of the tunnel's outer packets: the first in which every node has a VTEP.
    pub fn outer_family(&self) -> Result<Family, NoOuterFamily> {
        outer_family(&self.nodes.iter())
    }
}

/// The pairs of a pool that any policy names, also one that selects no pod here: holes for
/// allocation, since another worker may have taken them.
pub fn explicit_pairs<'a>(
    resources: &'a Resources,
    pool: &'a PoolName,
) -> impl Iterator<Item = &'a DualStack<IpAddr>> {
    resources.policies.iter().filter(move |policy| policy.pool == *pool).filter_map(|policy| {
        match &policy.egress_ip {
            EgressIp::Pair(pair) => Some(pair),
            EgressIp::Shared(_) => None,
        }
    })
}

fn find<T>(sorted: &[T], by: impl Fn(&T) -> std::cmp::Ordering) -> Option<&T> {
    sorted.binary_search_by(by).ok().and_then(|index| sorted.get(index))
}
