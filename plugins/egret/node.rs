//! This node as the resources and the machine agree on it.

use egret_cni::{CniError, Code};
use egret_egress::cluster::{ClusterNetwork, Evidence, Source, list_networks};
use egret_egress::desired::NodeFacts;
use egret_egress::kernel::{Kernel, Link};
use egret_egress::object::Place;
use egret_egress::topology::Topology;
use egret_egress::underlay::underlay_link;
use egret_resources::{LocalConfig, Resources};
use egret_types::{Invalid, NetworkName, NodeName};

use crate::error;

/// What is known of this node.
pub(crate) struct Node<'a> {
    pub(crate) topology: Topology<'a>,
    pub(crate) facts: NodeFacts,
    underlay: Link,
}

impl<'a> Node<'a> {
    /// Looks at the node.
    pub(crate) fn observe(
        kernel: &mut dyn Kernel,
        config: &LocalConfig,
        resources: &'a Resources,
    ) -> Result<Self, CniError> {
        let wrong = |failure| error::topology(&failure);
        let topology = Topology::of(resources, &name(config)?).map_err(wrong)?;
        let own = (&topology.own().name, topology.vtep().map_err(wrong)?);
        let toward = topology.toward().map_err(wrong)?;
        let configured = config.underlay.interface.as_ref();
        let underlay = underlay_link(kernel, own, configured, toward)
            .map_err(|failure| error::underlay(&failure))?;
        let facts = topology.node_facts(underlay.mtu).map_err(wrong)?;
        Ok(Self { topology, facts, underlay })
    }

    /// What the node tells about the cluster's networks: the ranges in the list with our name, and
    /// the networks that the underlay link is connected to.
    pub(crate) fn evidence(
        &self,
        kernel: &mut dyn Kernel,
        config: &LocalConfig,
        network: &NetworkName,
    ) -> Result<Evidence, CniError> {
        let mut all = listed(config, network);
        let routes =
            kernel.list_main_routes(Place::Root).map_err(|failure| error::kernel(&failure))?;
        // A default route without a next hop is no network: everything would be the cluster's.
        let connected = routes.iter().filter(|r| {
            r.hop.is_none() && r.link == self.underlay.index && r.destination.length() > 0
        });
        let source = || Source::Connected(self.underlay.name.clone());
        all.extend(connected.map(|r| ClusterNetwork { prefix: r.destination, source: source() }));
        Ok(Evidence(all))
    }
}

/// A list that cannot be found or read is a missing source, not an error: it may stand elsewhere.
fn listed(config: &LocalConfig, network: &NetworkName) -> Vec<ClusterNetwork> {
    let dir = config.conf_dir.display();
    let lists = egret_store::detect::network_lists(&config.conf_dir).unwrap_or_else(|error| {
        log::warn!("read network configuration lists in {dir}: {error}");
        Vec::new()
    });
    let found =
        lists.iter().find_map(|(file, list)| Some((file, list_networks(list, network.as_str())?)));
    let Some((file, networks)) = found else {
        log::warn!(
            "no network configuration list in {dir} is named {network}: its ranges are unknown"
        );
        return Vec::new();
    };
    let source = || Source::Ipam(file.clone());
    networks.into_iter().map(|prefix| ClusterNetwork { prefix, source: source() }).collect()
}

/// The name of this node's `EgressNode`.
pub(crate) fn name(config: &LocalConfig) -> Result<NodeName, CniError> {
    if let Some(name) = &config.node_name {
        return Ok(name.clone());
    }
    let host = nix::unistd::gethostname().map_err(|error| {
        CniError::caused_by(Code::IO_FAILURE, &error).in_context("read the host name")
    })?;
    host.to_string_lossy().parse().map_err(|error: Invalid| {
        CniError::caused_by(Code::INVALID_CONFIG, &error)
            .in_context("the host name is no node name, set key \"nodeName\"")
    })
}
