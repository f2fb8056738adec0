//! Positions of addresses in the ranges of one family, by arithmetic on first and last: a `/64`
//! costs what a single address costs. A range list knows nothing of pairs.

use std::net::IpAddr;

use egret_resources::AddressRange;
use egret_types::Family;

/// The ranges of one family of a pool, end to end: position 0 is the first address of the first
/// range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RangeList {
    family: Family,
    ranges: Vec<AddressRange>,
}

impl RangeList {
    /// Ranges of another family are left out.
    pub(crate) fn new(family: Family, ranges: &[AddressRange]) -> Self {
        let ranges = ranges.iter().copied().filter(|range| range.family() == family).collect();
        Self { family, ranges }
    }

    /// The ranges, in order.
    pub(crate) fn ranges(&self) -> &[AddressRange] {
        &self.ranges
    }

    /// Number of positions, at most `u128::MAX`.
    pub(crate) fn size(&self) -> u128 {
        self.ranges.iter().fold(0, |sum, range| sum.saturating_add(size(*range)))
    }

    /// The address at a position.
    pub(crate) fn address(&self, position: u128) -> Option<IpAddr> {
        let mut rest = position;
        for &range in &self.ranges {
            if rest < size(range) {
                return Some(self.family.address(Family::number(range.first()) + rest));
            }
            rest -= size(range);
        }
        None
    }

    /// The first position of an address.
    pub(crate) fn position(&self, address: IpAddr) -> Option<u128> {
        let offset = |first| Family::number(address) - Family::number(first);
        self.starts()
            .find(|(range, _)| range.contains(address))
            .map(|(range, start)| start.saturating_add(offset(range.first())))
    }

    /// The positions whose addresses `other` contains, as half-open runs.
    pub(crate) fn positions_in(&self, other: AddressRange) -> impl Iterator<Item = (u128, u128)> {
        self.starts().filter(move |(range, _)| range.overlaps(other)).map(move |(range, start)| {
            let [first, low, high] =
                [range.first(), range.first().max(other.first()), range.last().min(other.last())]
                    .map(Family::number);
            let begin = start.saturating_add(low - first);
            (begin, begin.saturating_add(high - low).saturating_add(1))
        })
    }

    /// Each range with the position of its first address.
    fn starts(&self) -> impl Iterator<Item = (AddressRange, u128)> {
        self.ranges.iter().scan(0u128, |next, &range| {
            let start = *next;
            *next = start.saturating_add(size(range));
            Some((range, start))
        })
    }
}

/// How many addresses; `::/0` has one more than this can say.
fn size(range: AddressRange) -> u128 {
    range.span().saturating_add(1)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn list(texts: &[&str]) -> RangeList {
        let ranges: Vec<AddressRange> = texts.iter().map(|text| text.parse().unwrap()).collect();
        RangeList::new(ranges[0].family(), &ranges)
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[rstest]
    #[case::a_single_v4(&["10.0.0.7/32"], 1, 0, "10.0.0.7")]
    #[case::two_v4(&["10.0.0.6/31"], 2, 1, "10.0.0.7")]
    #[case::everything_v4(&["0.0.0.0/0"], 1 << 32, (1 << 32) - 1, "255.255.255.255")]
    #[case::a_single_v6(&["2001:db8::7/128"], 1, 0, "2001:db8::7")]
    #[case::two_v6(&["2001:db8::6/127"], 2, 1, "2001:db8::7")]
    #[case::a_network_v6(&["2001:db8::/64"], 1 << 64, (1 << 64) - 1, "2001:db8::ffff:ffff:ffff:ffff")]
    #[case::everything_v6(&["::/0"], u128::MAX, u128::MAX - 1, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe")]
    #[case::second_range(&["10.0.0.0/30", "10.9.0.0/30"], 8, 5, "10.9.0.1")]
    #[case::second_range_first(&["10.9.0.0/30", "10.0.0.0/30"], 8, 5, "10.0.0.1")]
    fn positions_and_addresses_are_each_others_inverse(
        #[case] ranges: &[&str],
        #[case] size: u128,
        #[case] position: u128,
        #[case] address: &str,
    ) {
        let list = list(ranges);
        assert_eq!(list.size(), size);
        assert_eq!(list.address(position), Some(ip(address)));
        assert_eq!(list.position(ip(address)), Some(position));
    }

    #[test]
    fn there_is_nothing_behind_the_last_position() {
        assert_eq!(list(&["10.0.0.0/30"]).address(4), None);
        assert_eq!(list(&["10.0.0.0/30"]).position(ip("10.0.0.4")), None);
        assert_eq!(list(&["10.0.0.0/30"]).position(ip("::a00:1")), None);
    }

    #[test]
    fn an_exclusion_across_two_ranges_covers_positions_in_both() {
        let list = list(&["10.0.1.0/30", "10.0.0.0/30"]);
        let excluded = "10.0.0.3-10.0.1.0".parse().unwrap();
        assert_eq!(list.positions_in(excluded).collect::<Vec<_>>(), [(0, 1), (7, 8)]);
    }
}
