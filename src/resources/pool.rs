//! `EgressPool`: ranges of egress IPs and the gateway that serves them, or ranges of pod addresses.

use std::time::Duration;

use egret_types::{DualStack, Family, GatewayName, Invalid, NodeName, PoolId, PoolName};

use crate::{
    AddressRange, Consent, PodNetwork, Problem, consent,
    cursor::{Cursor, Fields, Keys},
    defaults, period,
    pod_network::{self, PodRange},
    problem::Problems,
    unicast::unusable,
};

/// Ranges of addresses. At least one family has some; no two ranges of all pools overlap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EgressPool {
    /// `metadata.name`.
    pub name: PoolName,
    /// `id`: part of the wire format.
    pub id: PoolId,
    /// Who gets the addresses.
    pub serves: Serves,
    /// `ipv4`, in the order written: positions in it are pair indexes.
    pub ipv4: Vec<AddressRange>,
    /// `ipv6`, likewise.
    pub ipv6: Vec<AddressRange>,
    /// `exclude`: holes, each inside a range of the pool.
    pub exclude: Vec<AddressRange>,
    /// `draining`: parts of its ranges that give out nothing new.
    pub draining: Vec<AddressRange>,
    /// `namespaces`: who may use it; `None` is every pod.
    pub namespaces: Option<Consent>,
    /// `quotaPerNamespace`: how many leases the pods of one namespace may make.
    pub quota: Option<u32>,
    /// `retain`: how long a lease without holders stays reserved for its owner.
    pub retain: Retain,
    /// `quarantine`: how long an egress pair rests before another owner gets it.
    pub quarantine: Duration,
    /// `node`: the only worker that hands out addresses of this pool.
    pub node: Option<NodeName>,
}

/// Who gets the addresses of a pool: never both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Serves {
    /// `gateway`: they are egress IPs, and exactly one gateway serves them.
    Egress(GatewayName),
    /// No `gateway`: they are the pods' own, in these networks.
    Pods(Vec<PodNetwork>),
}

/// How long something is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retain {
    /// For ever.
    Forever,
    /// For this time.
    For(Duration),
}

impl EgressPool {
    /// A pool without ranges, everything else as if its keys were absent.
    pub fn new(name: PoolName, id: PoolId, serves: Serves) -> Self {
        Self {
            name,
            id,
            serves,
            ipv4: Vec::new(),
            ipv6: Vec::new(),
            exclude: Vec::new(),
            draining: Vec::new(),
            namespaces: None,
            quota: None,
            retain: defaults::RETAIN,
            quarantine: defaults::QUARANTINE,
            node: None,
        }
    }

    /// The gateway of egress IPs; `None`: the pool gives pod addresses.
    pub fn gateway(&self) -> Option<&GatewayName> {
        match &self.serves {
            Serves::Egress(gateway) => Some(gateway),
            Serves::Pods(_) => None,
        }
    }

    /// Addresses that nobody gets: what is excluded, and in networks of pods what no host can have.
    pub fn holes(&self) -> Vec<AddressRange> {
        let networks = match &self.serves {
            Serves::Egress(_) => &[][..],
            Serves::Pods(networks) => networks,
        };
        let reserved = networks.iter().flat_map(|network| network.reserved());
        self.exclude.iter().copied().chain(reserved).collect()
    }

    /// The ranges of a family.
    pub fn ranges(&self, family: Family) -> &[AddressRange] {
        match family {
            Family::V4 => &self.ipv4,
            Family::V6 => &self.ipv6,
        }
    }
}

const SPEC: Keys = Keys {
    honoured: &[
        "id",
        "gateway",
        "ipv4",
        "ipv6",
        "exclude",
        "draining",
        "namespaces",
        "quotaPerNamespace",
        "retain",
        "quarantine",
        "node",
        "gatewayAddresses",
    ],
    later: &[],
};

/// A number of leases.
struct Quota(u32);

impl TryFrom<u32> for Quota {
    type Error = Invalid;
    fn try_from(number: u32) -> Result<Self, Invalid> {
        if (1..=4096).contains(&number) {
            Ok(Self(number))
        } else {
            Err(Invalid::new(number.to_string(), "a number of leases (1 to 4096)"))
        }
    }
}

pub(crate) fn read(
    name: PoolName,
    spec: Cursor<'_>,
    problems: &mut Problems,
) -> Option<EgressPool> {
    let spec = Fields::open(spec, &SPEC, problems)?;
    let id = spec.required("id", "a pool id (1 to 255), never reused", problems);
    let id = id.and_then(|at| problems.keep(at.number()));
    let node = spec.get("node");
    let node = node.and_then(|at| problems.keep(at.parse("the name of an EgressNode")));
    let (serves, ranges) = match spec.get("gateway") {
        Some(at) => read_egress(&at, &spec, problems),
        None => read_pods(&spec, problems),
    };
    let exclude = read_part("exclude", &spec, &ranges, problems);
    let draining = read_part("draining", &spec, &ranges, problems);
    let namespaces = spec.get("namespaces").and_then(|at| consent::read(at, problems));
    let quota = spec.get("quotaPerNamespace");
    let quota = quota.and_then(|at| problems.keep(at.number())).map(|Quota(leases)| leases);
    let retain = spec.get("retain").and_then(|at| problems.keep(read_retain(&at)));
    let quarantine = spec.get("quarantine");
    let quarantine = quarantine.and_then(|at| problems.keep(read_period(&at, period::FORM)));
    let DualStack { v4, v6 } = ranges;
    Some(EgressPool {
        ipv4: v4.unwrap_or_default(),
        ipv6: v6.unwrap_or_default(),
        exclude,
        draining,
        namespaces,
        quota,
        retain: retain.unwrap_or(defaults::RETAIN),
        quarantine: quarantine.unwrap_or(defaults::QUARANTINE),
        node,
        ..EgressPool::new(name, id?, serves?)
    })
}

fn read_retain(at: &Cursor<'_>) -> Result<Retain, Problem> {
    const WANTED: &str = "\"forever\", or a duration such as 90s, 10m, 24h, 7d or 1h30m";
    match at.text(WANTED)? {
        "forever" => Ok(Retain::Forever),
        _ => read_period(at, WANTED).map(Retain::For),
    }
}

fn read_period(at: &Cursor<'_>, wanted: &str) -> Result<Duration, Problem> {
    let text = at.text(wanted)?;
    period::parse(text).ok_or_else(|| at.problem(format!("found {text:?}, wanted {wanted}")))
}

type Ranges<R = AddressRange> = DualStack<Vec<R>>;

fn read_egress(
    gateway: &Cursor<'_>,
    spec: &Fields<'_>,
    problems: &mut Problems,
) -> (Option<Serves>, Ranges) {
    if let Some(at) = spec.get("gatewayAddresses") {
        problems.add(at.problem(
            "\"gatewayAddresses\" are for a pool that gives pod addresses, and this one has a \
             \"gateway\"",
        ));
    }
    let name = problems.keep(gateway.parse("the name of an EgressGateway"));
    let ranges = read_ranges(spec, problems, |item, family| read_range(item, Some(family)));
    (name.map(Serves::Egress), ranges)
}

fn read_pods(spec: &Fields<'_>, problems: &mut Problems) -> (Option<Serves>, Ranges) {
    let ranges = read_ranges(spec, problems, |item, family| {
        let wanted = "a range of pod addresses (a network in CIDR notation, or first-last/length)";
        let read: PodRange = item.parse(wanted)?;
        usable(item, read.range, Some(family)).map(|_| read)
    });
    let all: Vec<PodRange> = ranges.iter().flat_map(|(_, list)| list.iter().copied()).collect();
    let networks = pod_network::networks(&all, spec, problems);
    let plain = |list: Option<Vec<PodRange>>| {
        list.map(|list| list.into_iter().map(|read| read.range).collect())
    };
    let ranges = DualStack { v4: plain(ranges.v4), v6: plain(ranges.v6) };
    (Some(Serves::Pods(networks)), ranges)
}

fn read_ranges<R>(
    spec: &Fields<'_>,
    problems: &mut Problems,
    read: impl Fn(&Cursor<'_>, Family) -> Result<R, Problem>,
) -> Ranges<R> {
    let mut ranges = DualStack::default();
    let mut written = 0;
    for family in Family::BOTH {
        let Some(at) = spec.get(&family.to_string()) else { continue };
        written += at.items("a list of ranges").map_or(1, |items| items.len());
        let list = at.list("a list of ranges", problems, |item| read(item, family));
        *ranges.slot(family) = Some(list);
    }
    if written == 0 {
        problems.add(spec.at().problem("the pool has no range: give \"ipv4\", \"ipv6\" or both"));
    }
    ranges
}

fn read_range(at: &Cursor<'_>, family: Option<Family>) -> Result<AddressRange, Problem> {
    usable(at, at.parse("a range (an address, first-last, or a network)")?, family)
}

fn usable(
    at: &Cursor<'_>,
    range: AddressRange,
    family: Option<Family>,
) -> Result<AddressRange, Problem> {
    if let Some(family) = family.filter(|family| range.family() != *family) {
        return Err(at.problem(format!("{range} is {}, wanted {family}", range.family())));
    }
    match unusable(range.first(), range.last()) {
        Some(block) => Err(at.problem(format!("{range} holds {block} addresses; no pool can"))),
        None => Ok(range),
    }
}

/// Ranges inside those of the pool. One that meets none is a typing error that would give an
/// address away.
fn read_part(
    key: &str,
    spec: &Fields<'_>,
    ranges: &DualStack<Vec<AddressRange>>,
    problems: &mut Problems,
) -> Vec<AddressRange> {
    let Some(at) = spec.get(key) else { return Vec::new() };
    at.list("a list of ranges", problems, |item| {
        let part = read_range(item, None)?;
        let of_family = ranges.get(part.family()).map_or(&[][..], Vec::as_slice);
        if of_family.iter().any(|range| range.overlaps(part)) {
            Ok(part)
        } else {
            Err(item.problem(format!("{part} is in no range of the pool")))
        }
    })
}
