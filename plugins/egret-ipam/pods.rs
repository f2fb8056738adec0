//! Alone: pod addresses for plugins like bridge, ptp and macvlan. Each pool of `ipam.pools` gives the
//! attachment one address of each of its families, as each set of ranges of host-local does.

use std::net::IpAddr;

use egret_cni::{CniError, Code, Dns, IpamResult, Request, RequestedIp, ResultIp, Route};
use egret_ipam::{Applicant, Lease, Owner, Pair, Pool, Scope, Want};
use egret_resources::{EgressPool, PodNetwork, Resources, Serves};
use egret_types::{Family, LinkAddress, PoolName};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::config::{Config, IpamSection};

/// The keys of the `ipam` section for pod addresses.
#[derive(Debug)]
pub(crate) struct Keys {
    pools: Vec<PoolName>,
    routes: Vec<Route>,
    dns: Dns,
}

/// A pool that gives pod addresses, and its networks.
#[derive(Debug)]
pub(crate) struct PodPool<'a> {
    definition: &'a EgressPool,
    networks: &'a [PodNetwork],
    pub(crate) pool: Pool,
}

impl Keys {
    /// Reads them.
    pub(crate) fn read(section: &IpamSection) -> Result<Self, CniError> {
        let scope: Option<String> = read("scope", section.scope.as_ref())?;
        if let Some(scope) = scope.filter(|scope| scope != "Pod") {
            let msg = format!("key \"ipam.scope\" is {scope:?}: pod addresses have scope \"Pod\"");
            return Err(CniError::new(Code::UNSUPPORTED_FIELD, msg));
        }
        let pools: Vec<PoolName> = read("pools", section.pools.as_ref())?.unwrap_or_default();
        if pools.is_empty() {
            return Err(invalid("key \"ipam.pools\" is empty: name a pool"));
        }
        let twice =
            pools.iter().enumerate().find(|(n, pool)| pools.iter().take(*n).any(|p| p == *pool));
        if let Some((_, pool)) = twice {
            let pool = pool.as_str();
            return Err(invalid(format!("key \"ipam.pools\" names pool {pool:?} twice")));
        }
        Ok(Self {
            pools,
            routes: read("routes", section.routes.as_ref())?.unwrap_or_default(),
            dns: read("dns", section.dns.as_ref())?.unwrap_or_default(),
        })
    }

    /// The pools, all of which give pod addresses.
    pub(crate) fn pools<'a>(&self, resources: &'a Resources) -> Result<Vec<PodPool<'a>>, CniError> {
        self.pools.iter().map(|name| PodPool::new(name, resources)).collect()
    }

    /// The result of ADD: the addresses in the order of the pools, with the length and the gateway of
    /// their networks.
    pub(crate) fn answer(self, pools: &[PodPool<'_>], leases: &[Lease]) -> IpamResult {
        let Self { routes, dns, .. } = self;
        let mut result = IpamResult::default();
        result.ips = pools.iter().zip(leases).flat_map(|(pool, lease)| pool.ips(lease)).collect();
        (result.routes, result.dns) = (routes, dns);
        result
    }
}

impl<'a> PodPool<'a> {
    fn new(name: &PoolName, resources: &'a Resources) -> Result<Self, CniError> {
        let text = name.as_str();
        let Some(definition) = resources.pool(name) else {
            return Err(invalid(format!(
                "no resource defines pool {text:?} of key \"ipam.pools\""
            )));
        };
        match &definition.serves {
            Serves::Pods(networks) => {
                Ok(Self { definition, networks, pool: Pool::new(definition, []) })
            }
            Serves::Egress(gateway) => Err(invalid(format!(
                "pool {text:?} of key \"ipam.pools\" has gateway {:?}: its addresses are egress IPs, \
                 and a pool never serves both",
                gateway.as_str()
            ))),
        }
    }

    fn network(&self, address: IpAddr) -> Option<&PodNetwork> {
        self.networks.iter().find(|network| network.network.contains_address(address))
    }

    fn ips(&self, lease: &Lease) -> Vec<ResultIp> {
        let ip = |address: IpAddr| {
            let PodNetwork { network, gateway } = *self.network(address)?;
            let address = LinkAddress::new(address, network.length())?;
            Some(ResultIp { address, gateway: Some(gateway) })
        };
        lease.pair.iter().filter_map(|(_, address)| ip(*address)).collect()
    }

    fn has(&self, address: IpAddr) -> bool {
        let ranges = self.definition.ranges(Family::of(address));
        ranges.iter().any(|range| range.contains(address))
    }
}

/// What the attachment wants of these pools.
pub(crate) fn wants<'a>(
    request: &Request<Config>,
    pools: &'a [PodPool<'a>],
) -> Result<Vec<Want<'a>>, CniError> {
    let explicit = assign(&requested(request)?, pools)?;
    let applicant = Applicant {
        owner: owner(request),
        namespace: request.args().pod_namespace.clone(),
        labels: None,
    };
    let want = |(pool, explicit): (&'a PodPool<'_>, Pair)| Want {
        pool: &pool.pool,
        applicant: applicant.clone(),
        explicit,
    };
    Ok(pools.iter().zip(explicit).map(want).collect())
}

/// The attachment itself. Not the pod by its UID: the sandbox that a pod gets anew lives beside the
/// one before it for a while, and two links cannot have one address.
fn owner(request: &Request<Config>) -> Owner {
    let (attachment, args) = (request.attachment(), request.args());
    let mut key = String::new();
    if let (Some(namespace), Some(pod)) = (&args.pod_namespace, &args.pod_name) {
        key = format!("{}/{pod}/", namespace.as_str());
    }
    key.push_str(attachment.container_id.as_str());
    key.push('/');
    key.push_str(attachment.ifname.as_str());
    Owner { scope: Scope::Pod, key }
}

/// Every address that somebody asks for, once.
fn requested(request: &Request<Config>) -> Result<Vec<RequestedIp>, CniError> {
    let own = request.own();
    let sources =
        [("runtimeConfig.ips", "/ips", &own.runtime), ("args.cni.ips", "/cni/ips", &own.args)];
    let mut all: Vec<RequestedIp> = Vec::new();
    for (name, way, value) in sources {
        let texts =
            value.as_ref().and_then(|value| value.pointer(way)).filter(|ips| !ips.is_null());
        let texts: Vec<String> = texts.map(|ips| parse(name, ips)).transpose()?.unwrap_or_default();
        for text in texts {
            let wrong = |error| invalid(format!("key {name:?}: {error}"));
            all.push(text.parse().map_err(wrong)?);
        }
    }
    all.extend(&request.args().ips);
    let mut once: Vec<RequestedIp> = Vec::new();
    for ip in all {
        if !once.contains(&ip) {
            once.push(ip);
        }
    }
    Ok(once)
}

/// Gives each requested address to the pool that has it, one of each family.
fn assign(requested: &[RequestedIp], pools: &[PodPool<'_>]) -> Result<Vec<Pair>, CniError> {
    let mut pairs = vec![Pair::default(); pools.len()];
    for &RequestedIp { address, length } in requested {
        let refuse = |why: String| {
            let msg = format!("the requested address {address} {why}");
            CniError::new(Code::ADDRESS_NOT_AVAILABLE, msg)
        };
        let mut places = pools.iter().zip(&mut pairs);
        let Some((pool, pair)) = places.find(|(pool, _)| pool.has(address)) else {
            let names: Vec<&str> = pools.iter().map(|pool| pool.pool.name().as_str()).collect();
            return Err(refuse(format!("is in no range of pool {}", names.join(", "))));
        };
        let network = pool.network(address).map(|network| network.network);
        if let (Some(length), Some(network)) = (length, network)
            && network.length() != length
        {
            return Err(refuse(format!("has length {length}, and its network is {network}")));
        }
        let slot = pair.slot(Family::of(address));
        if let Some(first) = slot.filter(|first| *first != address) {
            let name = pool.pool.name().as_str();
            return Err(refuse(format!("and {first} are both of pool {name:?}, which gives one")));
        }
        *slot = Some(address);
    }
    Ok(pairs)
}

fn read<T: DeserializeOwned>(key: &str, value: Option<&Value>) -> Result<Option<T>, CniError> {
    value.map(|value| parse(&format!("ipam.{key}"), value)).transpose()
}

fn parse<T: DeserializeOwned>(name: &str, value: &Value) -> Result<T, CniError> {
    T::deserialize(value).map_err(|error| invalid(format!("key {name:?} is {value}: {error}")))
}

fn invalid(msg: impl Into<String>) -> CniError {
    CniError::new(Code::INVALID_CONFIG, msg)
}
