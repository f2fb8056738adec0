//! Ranges of addresses as pools write them: one address, `a-b`, or a network. Never expanded.

use std::net::IpAddr;
use std::str::FromStr;

use egret_types::{Family, Prefix, PrefixError};

/// All addresses from one to another of the same family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AddressRange {
    first: IpAddr,
    last: IpAddr,
}

/// Why a text is not a range of addresses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    /// Neither of the three forms.
    #[error("{0:?} is not a range (an address, first-last, or a network in CIDR notation)")]
    Form(String),
    /// A network with host bits.
    #[error(transparent)]
    Network(PrefixError),
    /// The ends are of two families.
    #[error("the range {0}-{1} begins in one address family and ends in the other")]
    Families(IpAddr, IpAddr),
    /// The first is above the last.
    #[error("the range {0}-{1} ends before it begins; did you mean {1}-{0}?")]
    Inverted(IpAddr, IpAddr),
}

impl AddressRange {
    /// The range between two addresses, both in it.
    pub fn new(first: IpAddr, last: IpAddr) -> Result<Self, RangeError> {
        if Family::of(first) != Family::of(last) {
            Err(RangeError::Families(first, last))
        } else if first > last {
            Err(RangeError::Inverted(first, last))
        } else {
            Ok(Self { first, last })
        }
    }

    /// The first address.
    pub fn first(self) -> IpAddr {
        self.first
    }

    /// The last address, still in the range.
    pub fn last(self) -> IpAddr {
        self.last
    }

    /// The family of all of them.
    pub fn family(self) -> Family {
        Family::of(self.first)
    }

    /// How many addresses come after the first: one less than their number, which for `::/0` is
    /// more than 128 bits hold.
    pub fn span(self) -> u128 {
        Family::number(self.last) - Family::number(self.first)
    }

    /// The address is one of the range.
    pub fn contains(self, address: IpAddr) -> bool {
        Family::of(address) == self.family() && (self.first..=self.last).contains(&address)
    }

    /// The two ranges share an address.
    pub fn overlaps(self, other: Self) -> bool {
        self.family() == other.family() && self.first <= other.last && other.first <= self.last
    }
}

impl From<Prefix> for AddressRange {
    fn from(network: Prefix) -> Self {
        let (first, last) = network.range();
        let family = network.family();
        Self { first: family.address(first), last: family.address(last) }
    }
}

impl From<IpAddr> for AddressRange {
    fn from(only: IpAddr) -> Self {
        Self { first: only, last: only }
    }
}

impl FromStr for AddressRange {
    type Err = RangeError;
    fn from_str(text: &str) -> Result<Self, RangeError> {
        let address =
            |part: &str| part.trim().parse().map_err(|_| RangeError::Form(text.to_owned()));
        if text.contains('/') {
            let network = text.parse::<Prefix>().map_err(|error| match error {
                PrefixError::Form(text) => RangeError::Form(text),
                PrefixError::HostBits(..) => RangeError::Network(error),
            })?;
            Ok(network.into())
        } else if let Some((first, last)) = text.split_once('-') {
            Self::new(address(first)?, address(last)?)
        } else {
            Ok(address(text)?.into())
        }
    }
}

impl std::fmt::Display for AddressRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(text: &str) -> AddressRange {
        text.parse().unwrap()
    }

    #[test]
    fn the_three_forms_mean_the_same() {
        assert_eq!(range("192.0.2.4/30"), range("192.0.2.4-192.0.2.7"));
        assert_eq!(range("192.0.2.4/32"), range("192.0.2.4"));
        assert_eq!(range("2001:db8::/127"), range("2001:db8:: - 2001:db8::1"));
        assert_eq!(range("192.0.2.4"), range("192.0.2.4-192.0.2.4"));
    }

    #[test]
    fn a_range_holds_both_its_ends_and_nothing_else() {
        let range = range("192.0.2.4-192.0.2.7");
        for (address, held) in [
            ("192.0.2.3", false),
            ("192.0.2.4", true),
            ("192.0.2.7", true),
            ("192.0.2.8", false),
            ("::192.0.2.5", false),
        ] {
            assert_eq!(range.contains(address.parse().unwrap()), held, "{address}");
        }
        assert_eq!(range.span(), 3);
        assert_eq!(AddressRange::from(Prefix::all(Family::V6)).span(), u128::MAX);
    }

    #[test]
    fn ranges_overlap_when_they_share_an_address() {
        let middle = range("192.0.2.4-192.0.2.7");
        for (other, shared) in [
            ("192.0.2.0-192.0.2.3", false),
            ("192.0.2.0-192.0.2.4", true),
            ("192.0.2.5", true),
            ("192.0.0.0/16", true),
            ("192.0.2.7-192.0.2.9", true),
            ("192.0.2.8/29", false),
            ("::/0", false),
        ] {
            assert_eq!(middle.overlaps(range(other)), shared, "{other}");
            assert_eq!(range(other).overlaps(middle), shared, "{other}");
        }
    }

    #[test]
    fn each_way_to_be_wrong_is_told_apart() {
        type Is = fn(&RangeError) -> bool;
        let cases: [(&str, Is); 5] = [
            ("192.0.2.1/24", |e| matches!(e, RangeError::Network(_))),
            ("192.0.2.9-192.0.2.1", |e| matches!(e, RangeError::Inverted(..))),
            ("192.0.2.9-::1", |e| matches!(e, RangeError::Families(..))),
            ("192.0.2.0/33", |e| matches!(e, RangeError::Form(_))),
            ("192.0.2.1-9", |e| matches!(e, RangeError::Form(_))),
        ];
        for (text, is) in cases {
            let error = text.parse::<AddressRange>().unwrap_err();
            assert!(is(&error), "{text}: {error:?}");
        }
    }
}
