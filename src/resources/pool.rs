//! `EgressPool`: ranges of egress IPs, and the gateway that serves them.

use egret_types::{DualStack, Family, GatewayName, NodeName, PoolId, PoolName};

use crate::{
    AddressRange, Problem,
    cursor::{Cursor, Fields, Keys},
    problem::Problems,
    unicast::unusable,
};

/// Ranges of egress IPs. At least one family has some; no two ranges of all pools overlap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EgressPool {
    /// `metadata.name`.
    pub name: PoolName,
    /// `id`: part of the wire format.
    pub id: PoolId,
    /// `gateway`: exactly one serves the pool.
    pub gateway: GatewayName,
    /// `ipv4`, in the order written: positions in it are pair indexes.
    pub ipv4: Vec<AddressRange>,
    /// `ipv6`, likewise.
    pub ipv6: Vec<AddressRange>,
    /// `exclude`: holes, each inside a range of the pool.
    pub exclude: Vec<AddressRange>,
    /// `node`: the only worker that hands out addresses of this pool.
    pub node: Option<NodeName>,
}

impl EgressPool {
    /// The ranges of a family.
    pub fn ranges(&self, family: Family) -> &[AddressRange] {
        match family {
            Family::V4 => &self.ipv4,
            Family::V6 => &self.ipv6,
        }
    }
}

const SPEC: Keys = Keys {
    honoured: &["id", "gateway", "ipv4", "ipv6", "exclude", "node"],
    later: &["draining", "namespaces", "quotaPerNamespace", "retain", "quarantine"],
};

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
    let gateway = read_gateway(&spec, problems);
    let ranges = read_ranges(&spec, problems);
    let exclude = read_exclude(&spec, &ranges, problems);
    let DualStack { v4, v6 } = ranges;
    let (ipv4, ipv6) = (v4.unwrap_or_default(), v6.unwrap_or_default());
    Some(EgressPool { name, id: id?, gateway: gateway?, ipv4, ipv6, exclude, node })
}

fn read_gateway(spec: &Fields<'_>, problems: &mut Problems) -> Option<GatewayName> {
    let Some(at) = spec.get("gateway") else {
        let what = "a pool without \"gateway\", which gives pod addresses,";
        problems.add(spec.at().not_honoured(what));
        return None;
    };
    problems.keep(at.parse("the name of an EgressGateway"))
}

fn read_ranges(spec: &Fields<'_>, problems: &mut Problems) -> DualStack<Vec<AddressRange>> {
    let mut ranges = DualStack::default();
    let mut written = 0;
    for family in Family::BOTH {
        let Some(at) = spec.get(&family.to_string()) else { continue };
        written += at.items("a list of ranges").map_or(1, |items| items.len());
        let list = at.list("a list of ranges", problems, |item| read_range(item, Some(family)));
        *ranges.slot(family) = Some(list);
    }
    if written == 0 {
        problems.add(spec.at().problem("the pool has no range: give \"ipv4\", \"ipv6\" or both"));
    }
    ranges
}

fn read_range(at: &Cursor<'_>, family: Option<Family>) -> Result<AddressRange, Problem> {
    let range: AddressRange = at.parse("a range (an address, first-last, or a network)")?;
    if let Some(family) = family.filter(|family| range.family() != *family) {
        return Err(at.problem(format!("{range} is {}, wanted {family}", range.family())));
    }
    match unusable(range.first(), range.last()) {
        Some(block) => Err(at.problem(format!("{range} holds {block} addresses; no pool can"))),
        None => Ok(range),
    }
}

/// An exclusion that takes nothing out of the pool is a typing error that would give an address
/// away.
fn read_exclude(
    spec: &Fields<'_>,
    ranges: &DualStack<Vec<AddressRange>>,
    problems: &mut Problems,
) -> Vec<AddressRange> {
    let Some(at) = spec.get("exclude") else { return Vec::new() };
    at.list("a list of ranges", problems, |item| {
        let excluded = read_range(item, None)?;
        let of_family = ranges.get(excluded.family()).map_or(&[][..], Vec::as_slice);
        if of_family.iter().any(|range| range.overlaps(excluded)) {
            Ok(excluded)
        } else {
            Err(item.problem(format!("{excluded} is in no range of the pool")))
        }
    })
}
