//! The networks of a pool that gives pods their addresses: such a range needs the length of a
//! prefix, and has addresses that no pod can have.

use std::net::IpAddr;
use std::str::FromStr;

use egret_types::{Family, Prefix, PrefixError};

use crate::{
    AddressRange, RangeError,
    cursor::{Cursor, Fields},
    problem::Problems,
    unicast::read_address,
};

/// Besides network, gateway and broadcast address there must be one for a pod.
const SMALLEST_HOST_BITS: u8 = 2;

/// A network in which pods get addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PodNetwork {
    /// What is reached without a router. Its length is that of the addresses.
    pub network: Prefix,
    /// The pods' next hop.
    pub gateway: IpAddr,
}

impl PodNetwork {
    /// Addresses that no pod can have: that of the network (in IPv6 the anycast address of its
    /// routers), the broadcast address (IPv4), the gateway.
    pub fn reserved(self) -> impl Iterator<Item = AddressRange> {
        let family = self.network.family();
        let (first, last) = self.network.range();
        let broadcast = (family == Family::V4).then(|| family.address(last));
        [family.address(first), self.gateway].into_iter().chain(broadcast).map(AddressRange::from)
    }
}

/// A range and the network it is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PodRange {
    pub(crate) range: AddressRange,
    pub(crate) network: Prefix,
}

/// Why a text is no range for pods.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PodRangeError {
    #[error(
        "{0:?} is not a range of pod addresses (a network in CIDR notation, or first-last/length)"
    )]
    Form(String),
    #[error(transparent)]
    Range(RangeError),
    #[error(
        "{range} has no prefix length, which pods need: write {}-{}/LENGTH, with that of their network",
        range.first(), range.last()
    )]
    NoLength { range: AddressRange },
    #[error("{range} does not lie in one network of length {length}; {network} ends before it")]
    Outside { range: AddressRange, length: u8, network: Prefix },
    #[error("{0} is too small: it has no address besides those of network, gateway and broadcast")]
    TooSmall(Prefix),
}

impl FromStr for PodRange {
    type Err = PodRangeError;
    fn from_str(text: &str) -> Result<Self, PodRangeError> {
        let range_of = |part: &str| {
            part.parse::<AddressRange>().map_err(|error| match error {
                RangeError::Form(_) => PodRangeError::Form(text.to_owned()),
                other => PodRangeError::Range(other),
            })
        };
        let (range, network) = match (text.split_once('/'), text.contains('-')) {
            (Some((ends, length)), true) => {
                let length =
                    length.trim().parse().map_err(|_| PodRangeError::Form(text.to_owned()))?;
                let range = range_of(ends)?;
                (range, network_of(range, length, text)?)
            }
            (Some(_), false) => {
                let range = range_of(text)?;
                let network = text.parse().map_err(|error: PrefixError| {
                    PodRangeError::Range(RangeError::Network(error))
                })?;
                (range, network)
            }
            (None, _) => return Err(PodRangeError::NoLength { range: range_of(text)? }),
        };
        if network.length() + SMALLEST_HOST_BITS > network.family().bits() {
            return Err(PodRangeError::TooSmall(network));
        }
        Ok(Self { range, network })
    }
}

fn network_of(range: AddressRange, length: u8, text: &str) -> Result<Prefix, PodRangeError> {
    let form = || PodRangeError::Form(text.to_owned());
    let network = Prefix::containing(range.first(), length).ok_or_else(form)?;
    if network.contains_address(range.last()) {
        Ok(network)
    } else {
        Err(PodRangeError::Outside { range, length, network })
    }
}

/// The networks of these ranges, each with the gateway that `gatewayAddresses` has for it, else its
/// first host.
pub(crate) fn networks(
    ranges: &[PodRange],
    spec: &Fields<'_>,
    problems: &mut Problems,
) -> Vec<PodNetwork> {
    let mut networks: Vec<PodNetwork> = Vec::new();
    for network in ranges.iter().map(|range| range.network) {
        if let Some(other) = networks.iter().find(|other| other.network.overlaps(network)) {
            if other.network != network {
                problems.add(spec.at().problem(format!(
                    "the networks {} and {network} overlap; ranges of one network have one length",
                    other.network
                )));
            }
            continue;
        }
        let first_host = network.family().address(network.range().0 + 1);
        networks.push(PodNetwork { network, gateway: first_host });
    }
    if let Some(at) = spec.get("gatewayAddresses") {
        set_gateways(&at, &mut networks, problems);
    }
    networks
}

fn set_gateways(at: &Cursor<'_>, networks: &mut [PodNetwork], problems: &mut Problems) {
    let mut given: Vec<(Prefix, IpAddr)> = Vec::new();
    for item in problems.keep(at.items("a list of addresses")).into_iter().flatten() {
        let Some(gateway) = problems.keep(read_address(&item)) else { continue };
        let Some(own) = networks.iter_mut().find(|own| own.network.contains_address(gateway))
        else {
            problems.add(item.problem(format!("{gateway} is in no network of the pool")));
            continue;
        };
        let network = own.network;
        if let Some((_, first)) = given.iter().find(|(other, _)| *other == network) {
            problems.add(item.problem(format!(
                "{first} and {gateway} are both in {network}, which has one gateway"
            )));
        }
        given.push((network, gateway));
        own.gateway = network.address();
        if own.reserved().any(|range| range.contains(gateway)) {
            problems.add(item.problem(format!("{gateway} is no address of a host in {network}")));
        }
        own.gateway = gateway;
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::network("10.1.0.0/24", "10.1.0.0-10.1.0.255", "10.1.0.0/24")]
    #[case::part("10.1.0.10 - 10.1.0.20/24", "10.1.0.10-10.1.0.20", "10.1.0.0/24")]
    #[case::one("10.1.0.10-10.1.0.10/24", "10.1.0.10", "10.1.0.0/24")]
    #[case::v6("fd00::10-fd00::20/64", "fd00::10-fd00::20", "fd00::/64")]
    #[case::smallest("fd00::/126", "fd00::-fd00::3", "fd00::/126")]
    fn a_range_has_the_length_of_its_network(
        #[case] text: &str,
        #[case] range: &str,
        #[case] network: &str,
    ) {
        let read: PodRange = text.parse().unwrap();
        assert_eq!(
            (read.range.to_string(), read.network.to_string()),
            (range.into(), network.into())
        );
    }

    #[rstest]
    #[case::no_length("10.1.0.10-10.1.0.20", "has no prefix length")]
    #[case::an_address("10.1.0.10", "has no prefix length")]
    #[case::host_bits("10.1.0.1/24", "has host bits set; the network is 10.1.0.0/24")]
    #[case::inverted("10.1.0.20-10.1.0.10/24", "ends before it begins")]
    #[case::families("10.1.0.20-fd00::1/24", "begins in one address family")]
    #[case::outside("10.1.0.20-10.1.1.10/24", "does not lie in one network of length 24")]
    #[case::two("10.1.0.0/31", "10.1.0.0/31 is too small")]
    #[case::two_of_v6("fd00::/127", "fd00::/127 is too small")]
    #[case::one("10.1.0.1-10.1.0.1/32", "too small")]
    #[case::long("10.1.0.1-10.1.0.9/33", "is not a range of pod addresses")]
    #[case::no_number("10.1.0.1-10.1.0.9/x", "is not a range of pod addresses")]
    #[case::nothing("", "is not a range of pod addresses")]
    fn each_way_to_be_wrong_is_told_apart(#[case] text: &str, #[case] why: &str) {
        let error = text.parse::<PodRange>().unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
}
