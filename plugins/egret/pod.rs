//! What is seen of the pod before anything is planned: its addresses where the previous result says
//! they are, and the networks around it.

use std::net::IpAddr;

use egret_cni::{CniError, Code, PrevIp, PrevResult};
use egret_egress::cluster::{ClusterNetwork, Source};
use egret_egress::kernel::{Kernel, Link};
use egret_egress::object::Place;
use egret_types::{Family, IfName, Prefix, ours};

use crate::error;

/// The pod as the previous result and its namespace agree on it.
pub(crate) struct Pod {
    /// The interface that the chain before us made.
    pub(crate) primary: Link,
    /// Its addresses.
    pub(crate) addresses: Vec<IpAddr>,
    /// All links of its namespace.
    pub(crate) links: Vec<Link>,
}

/// Reads the pod. Every address that the previous result gives to the interface must be there.
pub(crate) fn observe(
    kernel: &mut dyn Kernel,
    prev: &PrevResult,
    ifname: &IfName,
) -> Result<Pod, CniError> {
    let links = kernel.list_links(Place::Pod).map_err(|failure| error::kernel(&failure))?;
    let primary = ours::link(ifname.as_str());
    let Some(primary) = links.iter().find(|link| link.name == primary).cloned() else {
        let msg =
            format!("interface {ifname} of the previous result is not in the pod's namespace");
        return Err(CniError::new(Code::INVALID_CONFIG, msg));
    };
    let addresses: Vec<IpAddr> = prev
        .ips()
        .iter()
        .filter(|ip| is_primary(prev, ip, ifname))
        .map(|ip| ip.address.address())
        .collect();
    if addresses.is_empty() {
        let msg = format!("the previous result gives interface {ifname} no address");
        return Err(CniError::new(Code::INVALID_CONFIG, msg));
    }
    for address in &addresses {
        if !primary.addresses.iter().any(|(present, _)| present == address) {
            return Err(missing(kernel, *address, ifname));
        }
    }
    Ok(Pod { primary, addresses, links })
}

/// An address belongs to the interface if the previous result says so, or does not say whose it is.
fn is_primary(prev: &PrevResult, ip: &PrevIp, ifname: &IfName) -> bool {
    match prev.interface_of(ip) {
        Some(interface) => interface.name == ifname.as_str() && interface.sandbox.is_some(),
        None => true,
    }
}

fn missing(kernel: &mut dyn Kernel, address: IpAddr, ifname: &IfName) -> CniError {
    let msg = format!("address {address} of the previous result is not on {ifname} in the pod");
    let off = |kernel: &mut dyn Kernel| {
        let path = "net/ipv6/conf/all/disable_ipv6";
        kernel.get_sysctl(Place::Pod, path).ok().flatten().is_none_or(|v| v.trim() == "1")
    };
    let hint = if Family::of(address) == Family::V6 && off(kernel) {
        ": IPv6 is disabled in the pod's namespace (net.ipv6.conf.all.disable_ipv6)"
    } else {
        ""
    };
    CniError::new(Code::INVALID_CONFIG, format!("{msg}{hint}"))
}

/// The networks that the previous result and the pod's own routes tell of.
pub(crate) fn networks(
    kernel: &mut dyn Kernel,
    prev: &PrevResult,
    pod: &Pod,
) -> Result<Vec<ClusterNetwork>, CniError> {
    let told = prev.ips().iter().filter_map(|ip| {
        let prefix = Prefix::containing(ip.address.address(), ip.address.length())?;
        Some(ClusterNetwork { prefix, source: Source::PreviousResult })
    });
    let mut all: Vec<ClusterNetwork> = told.collect();
    let routes = kernel.list_main_routes(Place::Pod).map_err(|failure| error::kernel(&failure))?;
    for route in routes.iter().filter(|r| r.hop.is_none() && r.destination.length() > 0) {
        if let Some(link) = pod.links.iter().find(|link| link.index == route.link) {
            let source = Source::Connected(link.name.clone());
            all.push(ClusterNetwork { prefix: route.destination, source });
        }
    }
    Ok(all)
}
