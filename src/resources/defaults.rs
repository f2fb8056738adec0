//! What an absent key means: the one place for every default of the resources.

use std::time::Duration;

use crate::{EgressCluster, Guard, Retain, Tunnel, UplinkMode};
use egret_types::{Vni, ours};

/// `EgressCluster.spec.autoDetect`.
pub(crate) const AUTO_DETECT: bool = true;
/// `EgressCluster.spec.guard`.
pub(crate) const GUARD: Guard = Guard::Required;
/// `EgressGateway.spec.uplink.mode`.
pub(crate) const UPLINK_MODE: UplinkMode = UplinkMode::Macvlan;

/// `EgressPool.spec.retain`. A lease of scope `Pod` goes with its pod whatever stands there.
pub(crate) const RETAIN: Retain = Retain::Forever;
/// `EgressPool.spec.quarantine`.
pub(crate) const QUARANTINE: Duration = Duration::from_mins(1);

impl Default for Tunnel {
    fn default() -> Self {
        Self { vni: Vni::DEFAULT, port: ours::PORT, mtu: None }
    }
}

impl Default for EgressCluster {
    fn default() -> Self {
        Self {
            cluster_cidrs: Vec::new(),
            service_cidrs: None,
            node_cidrs: Vec::new(),
            auto_detect: AUTO_DETECT,
            tunnel: Tunnel::default(),
            guard: GUARD,
        }
    }
}
