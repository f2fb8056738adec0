//! Pools: the one function between the index of an egress pair and its addresses.
//!
//! Plugin, gateway and command line all use it, on every node, so its result is part of the wire
//! format: appending a range to a pool is safe, everything else moves addresses under live leases
//! (which the lease records notice, see [`IpamError::Moved`](crate::IpamError::Moved)).

use std::{collections::BTreeSet, net::IpAddr};

use egret_resources::{AddressRange, EgressPool};
use egret_types::{DualStack, Family, NodeName, PairIndex, PoolId, PoolName};
use rangemap::RangeSet;

use crate::{IpamError, Lease, Pair, PairError, range::RangeList, rules::Rules};

/// How many pairs of a pool are usable without a cluster: a gateway is given all of them at once.
pub const FILE_MODE_PAIRS: u32 = 4096;

/// How a lease's addresses compare with its pool's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fit {
    /// The same.
    Same,
    /// The same, and the pool has got the other family since: this is the pair now.
    Grown(Pair),
    /// Others, or none: this is what stands at its index.
    Moved(Pair),
}

/// A pool, ready to be asked.
#[derive(Debug, Clone)]
pub struct Pool {
    name: PoolName,
    id: PoolId,
    node: Option<NodeName>,
    lists: DualStack<RangeList>,
    /// Indexes below this exist.
    pairs: u32,
    /// Excluded indexes. Addresses that no node can have never get here: resources refuse them.
    holes: RangeSet<u32>,
    /// Pairs that some policy names.
    named: RangeSet<u32>,
    /// Pairs that give out nothing new.
    draining: RangeSet<u32>,
    /// All of these: allocation never chooses one.
    closed: RangeSet<u32>,
    rules: Rules,
    /// The pairs are egress pairs, all of which a gateway is given at once.
    egress: bool,
}

impl Pool {
    /// The pool, with the pairs of it that policies name explicitly.
    pub fn new<'a>(
        definition: &EgressPool,
        named: impl IntoIterator<Item = &'a DualStack<IpAddr>>,
    ) -> Self {
        let mut lists = DualStack { v4: None, v6: None };
        for family in Family::BOTH {
            let list = RangeList::new(family, definition.ranges(family));
            *lists.slot(family) = (list.size() > 0).then_some(list);
        }
        let pairs = pairs_of(&lists);
        let holes = indexes_of(&lists, &definition.holes(), pairs);
        let draining = indexes_of(&lists, &definition.draining, pairs);
        let mut pool = Self {
            name: definition.name.clone(),
            id: definition.id,
            node: definition.node.clone(),
            lists,
            pairs,
            named: RangeSet::new(),
            closed: RangeSet::new(),
            draining,
            holes,
            rules: Rules::from(definition),
            egress: definition.gateway().is_some(),
        };
        pool.name_pairs(named);
        for set in [&pool.holes, &pool.named, &pool.draining] {
            pool.closed.extend(set.iter().cloned());
        }
        pool
    }

    /// An address that a policy names closes its pair, also when the other family's address does
    /// not fit to it: that policy is refused, but nobody else must get what it asks for.
    fn name_pairs<'a>(&mut self, named: impl IntoIterator<Item = &'a DualStack<IpAddr>>) {
        for address in named.into_iter().flat_map(DualStack::iter).map(|(_, &address)| address) {
            let Some(index) = self.position(address).and_then(|p| u32::try_from(p).ok()) else {
                continue;
            };
            if index < self.pairs {
                self.named.insert(index..index + 1);
            }
        }
    }

    /// The name.
    pub fn name(&self) -> &PoolName {
        &self.name
    }

    /// The number in identities.
    pub fn id(&self) -> PoolId {
        self.id
    }

    /// The only node that may choose addresses; `None` when every node may.
    pub fn node(&self) -> Option<&NodeName> {
        self.node.as_ref()
    }

    /// How many indexes there are, holes included: with two families, as many as the smaller has.
    pub fn pairs(&self) -> u32 {
        self.pairs
    }

    /// How many of them can be used: see [`FILE_MODE_PAIRS`]. Pod addresses need no gateway.
    pub fn usable(&self) -> u32 {
        if self.egress { self.pairs.min(FILE_MODE_PAIRS) } else { self.pairs }
    }

    /// Addresses of the larger family that have no partner.
    pub fn unpaired(&self) -> u128 {
        match (&self.lists.v4, &self.lists.v6) {
            (Some(v4), Some(v6)) => v4.size().abs_diff(v6.size()),
            _ => 0,
        }
    }

    /// How many usable indexes are excluded.
    pub fn holes(&self) -> u32 {
        count_below(&self.holes, self.usable())
    }

    /// How many usable indexes a policy names, and allocation therefore leaves alone.
    pub fn named(&self) -> u32 {
        self.usable_of(&self.named)
    }

    /// How many usable indexes give out nothing new.
    pub fn draining(&self) -> u32 {
        self.usable_of(&self.draining)
    }

    /// Without the holes.
    fn usable_of(&self, set: &RangeSet<u32>) -> u32 {
        let holes = set.intersection(&self.holes).collect();
        count_below(set, self.usable()) - count_below(&holes, self.usable())
    }

    /// The rules for its leases.
    pub(crate) fn rules(&self) -> &Rules {
        &self.rules
    }

    /// The pair gives out nothing new.
    pub(crate) fn drains(&self, index: PairIndex) -> bool {
        self.draining.contains(&index.number())
    }

    /// How many pairs an allocation may choose that are not occupied.
    pub fn free(&self, occupied: &BTreeSet<PairIndex>) -> u32 {
        let open = self.usable() - count_below(&self.closed, self.usable());
        let taken = occupied.iter().filter(|&&index| self.is_open(index)).count();
        open.saturating_sub(u32::try_from(taken).unwrap_or(u32::MAX))
    }

    /// The addresses of a pair; `None` for a hole and beyond the usable indexes.
    pub fn pair(&self, index: PairIndex) -> Option<Pair> {
        let i = index.number();
        (i < self.usable() && !self.holes.contains(&i)).then(|| self.addresses(i))
    }

    /// All usable pairs.
    pub fn all_pairs(&self) -> impl Iterator<Item = (PairIndex, Pair)> {
        (0..self.usable())
            .filter(|i| !self.holes.contains(i))
            .filter_map(|i| Some((PairIndex::try_from(i).ok()?, self.addresses(i))))
    }

    /// The pair that has all these addresses, one or two of them.
    pub fn locate(&self, wanted: &DualStack<IpAddr>) -> Result<PairIndex, PairError> {
        let mut found: Option<(IpAddr, u128)> = None;
        for (_, &address) in wanted.iter() {
            let not_here = || PairError::NotInPool { pool: self.name.clone(), address };
            let position = self.position(address).ok_or_else(not_here)?;
            match found {
                Some((first, other)) if other != position => {
                    return Err(PairError::NotOnePair {
                        pool: self.name.clone(),
                        ipv4: first,
                        ipv6: address,
                    });
                }
                _ => found = Some((address, position)),
            }
        }
        let (address, position) =
            found.ok_or_else(|| PairError::NoAddress { pool: self.name.clone() })?;
        self.usable_index(address, position)
    }

    fn usable_index(&self, address: IpAddr, position: u128) -> Result<PairIndex, PairError> {
        let pool = self.name.clone();
        if position >= u128::from(self.pairs) {
            return Err(PairError::Unpaired { pool, address });
        }
        let index = u32::try_from(position).ok().filter(|&i| i < self.usable());
        let Some(index) = index.and_then(|i| PairIndex::try_from(i).ok()) else {
            return Err(PairError::BeyondUsable { pool, address, usable: self.usable() });
        };
        if self.holes.contains(&index.number()) {
            return Err(PairError::Hole { pool, address });
        }
        Ok(index)
    }

    /// The next pair after `cursor`, round and round, that is no hole, that no policy names and
    /// that is not occupied.
    pub fn next_free(
        &self,
        cursor: Option<PairIndex>,
        occupied: &BTreeSet<PairIndex>,
    ) -> Option<(PairIndex, Pair)> {
        let start = cursor.map_or(0, |cursor| cursor.number() + 1).min(self.usable());
        let index = self
            .first_free(start, self.usable(), occupied)
            .or_else(|| self.first_free(0, start, occupied))?;
        Some((index, self.addresses(index.number())))
    }

    /// An allocation may choose the pair.
    pub(crate) fn is_open(&self, index: PairIndex) -> bool {
        index.number() < self.usable() && !self.closed.contains(&index.number())
    }

    /// Whether the pool still gives a lease the addresses it was made with.
    pub(crate) fn fit(&self, lease: &Lease) -> Fit {
        let now = if lease.pool_id == self.id { self.pair(lease.index) } else { None };
        let now = now.unwrap_or_default();
        if now == lease.pair {
            Fit::Same
        } else if lease.pair.iter().all(|(family, address)| now.get(family) == Some(address)) {
            Fit::Grown(now)
        } else {
            Fit::Moved(now)
        }
    }

    /// What stands at the lease's index, if giving out other pairs of this pool could give away an
    /// address of the lease, or if its identity means another address now. An exclusion or a
    /// shorter pool does neither.
    pub(crate) fn conflict(&self, lease: &Lease) -> Option<Pair> {
        let index = u128::from(lease.index.number());
        let moved = lease.pair.iter().any(|(family, &address)| {
            let elsewhere = self.position(address).is_some_and(|position| position != index);
            let other = self.lists.get(family).and_then(|list| list.address(index));
            elsewhere || other.is_some_and(|other| other != address)
        });
        moved.then(|| self.addresses(lease.index.number()))
    }

    /// No pair is left, in numbers.
    pub(crate) fn exhausted(&self, occupied: &BTreeSet<PairIndex>) -> IpamError {
        let leased = occupied.iter().filter(|&&index| self.is_open(index)).count();
        IpamError::Exhausted {
            pool: self.name.clone(),
            pairs: self.usable(),
            holes: self.holes(),
            named: self.named(),
            draining: self.draining(),
            leased: u32::try_from(leased).unwrap_or(u32::MAX),
        }
    }

    /// The ranges in order, as one text that is equal exactly when they are.
    pub(crate) fn ranges_text(&self) -> String {
        let mut text = String::new();
        for (_, list) in self.lists.iter() {
            for range in list.ranges() {
                text.push_str(&range.to_string());
                text.push(' ');
            }
        }
        text
    }

    fn first_free(&self, from: u32, end: u32, occupied: &BTreeSet<PairIndex>) -> Option<PairIndex> {
        let mut next = from;
        while next < end {
            if let Some(closed) = self.closed.get(&next) {
                next = closed.end;
                continue;
            }
            let index = PairIndex::try_from(next).ok()?;
            if !occupied.contains(&index) {
                return Some(index);
            }
            next += 1;
        }
        None
    }

    fn position(&self, address: IpAddr) -> Option<u128> {
        self.lists.get(Family::of(address))?.position(address)
    }

    fn addresses(&self, index: u32) -> Pair {
        let mut pair = Pair::default();
        for (family, list) in self.lists.iter() {
            *pair.slot(family) = list.address(u128::from(index));
        }
        pair
    }
}

/// As many as the smaller family has, and no more than 24 bits can name.
fn pairs_of(lists: &DualStack<RangeList>) -> u32 {
    let smaller = lists.iter().map(|(_, list)| list.size()).min().unwrap_or(0);
    u32::try_from(smaller).unwrap_or(u32::MAX).min(PairIndex::LIMIT)
}

/// The pairs of which an address is in one of these ranges: a hole in one family is a hole of the
/// pair.
fn indexes_of(lists: &DualStack<RangeList>, ranges: &[AddressRange], pairs: u32) -> RangeSet<u32> {
    let clamp = |position: u128| u32::try_from(position).unwrap_or(u32::MAX).min(pairs);
    let mut indexes = RangeSet::new();
    for range in ranges.iter().copied() {
        let Some(list) = lists.get(range.family()) else { continue };
        for (begin, end) in list.positions_in(range) {
            let run = clamp(begin)..clamp(end);
            if !run.is_empty() {
                indexes.insert(run);
            }
        }
    }
    indexes
}

fn count_below(set: &RangeSet<u32>, end: u32) -> u32 {
    set.iter().map(|run| run.end.min(end).saturating_sub(run.start)).sum()
}

#[cfg(test)]
mod tests {
    use egret_resources::Serves;
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    fn definition(ranges: &[AddressRange], exclude: &[AddressRange]) -> EgressPool {
        let of = |family| ranges.iter().copied().filter(|r| r.family() == family).collect();
        let id = PoolId::try_from(1).unwrap();
        EgressPool {
            ipv4: of(Family::V4),
            ipv6: of(Family::V6),
            exclude: exclude.to_vec(),
            ..EgressPool::new("p".parse().unwrap(), id, Serves::Egress("g".parse().unwrap()))
        }
    }

    fn ranges(texts: &[&str]) -> Vec<AddressRange> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn pool(texts: &[&str], exclude: &[&str]) -> Pool {
        Pool::new(&definition(&ranges(texts), &ranges(exclude)), [])
    }

    fn index(i: u32) -> PairIndex {
        PairIndex::try_from(i).unwrap()
    }

    fn both(v4: &str, v6: &str) -> Pair {
        Pair { v4: v4.parse().ok(), v6: v6.parse().ok() }
    }

    #[rstest]
    #[case::one_v4(&["198.51.100.7/32"], 1, 0)]
    #[case::two_v4(&["198.51.100.6/31"], 2, 0)]
    #[case::one_v6(&["2001:db8::7/128"], 1, 0)]
    #[case::two_v6(&["2001:db8::6/127"], 2, 0)]
    #[case::contract(&["203.0.113.50-203.0.113.59", "198.51.100.0/28", "2001:db8:ff::100/121"], 26, 102)]
    #[case::huge_v6_with_small_v4(&["198.51.100.0/30", "2001:db8::/64"], 4, (1 << 64) - 4)]
    #[case::huge_alone(&["2001:db8::/64"], PairIndex::LIMIT, 0)]
    #[case::everything(&["0.0.0.0/0", "::/0"], PairIndex::LIMIT, u128::MAX - (1 << 32))]
    #[case::nothing(&[], 0, 0)]
    fn a_pool_has_as_many_pairs_as_its_smaller_family(
        #[case] ranges: &[&str],
        #[case] pairs: u32,
        #[case] unpaired: u128,
    ) {
        let pool = pool(ranges, &[]);
        assert_eq!((pool.pairs(), pool.unpaired()), (pairs, unpaired));
        assert_eq!(pool.usable(), pairs.min(FILE_MODE_PAIRS));
    }

    #[test]
    fn position_in_each_family_makes_the_pair() {
        let pool =
            pool(&["203.0.113.50-203.0.113.59", "198.51.100.0/28", "2001:db8:ff::100/121"], &[]);
        assert_eq!(pool.pair(index(0)), Some(both("203.0.113.50", "2001:db8:ff::100")));
        assert_eq!(pool.pair(index(10)), Some(both("198.51.100.0", "2001:db8:ff::10a")));
        assert_eq!(pool.pair(index(25)), Some(both("198.51.100.15", "2001:db8:ff::119")));
        assert_eq!(pool.pair(index(26)), None);
    }

    #[test]
    fn an_exclusion_is_a_hole_of_the_pair_and_moves_nobody() {
        let before = pool(&["198.51.100.0/29", "2001:db8::/64"], &[]);
        let after =
            pool(&["198.51.100.0/29", "2001:db8::/64"], &["198.51.100.2/32", "2001:db8::5/128"]);
        assert_eq!(after.holes(), 2);
        for i in 0..8 {
            let expected = (i != 2 && i != 5).then(|| before.pair(index(i)).unwrap());
            assert_eq!(after.pair(index(i)), expected, "{i}");
        }
    }

    #[test]
    fn pairs_beyond_the_first_4096_are_not_usable() {
        let pool = pool(&["10.0.0.0/16"], &[]);
        assert!(pool.pair(index(4095)).is_some());
        assert_eq!(pool.pair(index(4096)), None);
        let error = pool.locate(&both("10.0.16.0", "")).unwrap_err();
        assert!(matches!(error, PairError::BeyondUsable { usable: 4096, .. }), "{error}");
        let next = pool.next_free(Some(index(4095)), &BTreeSet::new());
        assert_eq!(next, Some((index(0), both("10.0.0.0", ""))));
    }

    #[rstest]
    #[case::both_of_one_pair("198.51.100.2", "2001:db8::2", Ok(2))]
    #[case::one_family_is_enough("198.51.100.2", "", Ok(2))]
    #[case::the_other_family("", "2001:db8::3", Ok(3))]
    #[case::two_pairs("198.51.100.2", "2001:db8::3", Err("two different pairs"))]
    #[case::foreign("192.0.2.1", "", Err("192.0.2.1 is not an address of pool \"p\""))]
    #[case::excluded("198.51.100.1", "", Err("excluded"))]
    #[case::no_partner("", "2001:db8::4", Err("no partner"))]
    #[case::nothing("", "", Err("names no address"))]
    fn explicit_addresses_must_name_one_pair(
        #[case] v4: &str,
        #[case] v6: &str,
        #[case] expected: Result<u32, &str>,
    ) {
        let pool = pool(&["198.51.100.0/30", "2001:db8::/64"], &["198.51.100.1/32"]);
        match (pool.locate(&both(v4, v6)), expected) {
            (Ok(found), Ok(wanted)) => assert_eq!(found.number(), wanted),
            (Err(error), Err(text)) => assert!(error.to_string().contains(text), "{error}"),
            (found, wanted) => panic!("{found:?} instead of {wanted:?}"),
        }
    }

    #[test]
    fn choice_goes_round_and_skips_holes_named_and_occupied() {
        let named = [both("198.51.100.4", ""), both("198.51.100.1", "")];
        let definition = definition(&ranges(&["198.51.100.0/29"]), &ranges(&["198.51.100.0/31"]));
        let pool = Pool::new(&definition, &named);
        assert_eq!((pool.holes(), pool.named()), (2, 1));
        let mut occupied = BTreeSet::new();
        assert_eq!(pool.free(&occupied), 5);
        // One is no pair of the pool, and one was never free.
        assert_eq!(pool.free(&BTreeSet::from([index(2), index(4), index(9)])), 4);
        let mut order = Vec::new();
        let mut cursor = Some(index(4));
        while let Some((next, _)) = pool.next_free(cursor, &occupied) {
            occupied.insert(next);
            order.push(next.number());
            cursor = Some(next);
        }
        assert_eq!(order, [5, 6, 7, 2, 3]);
        assert_eq!(pool.free(&occupied), 0);
        assert!(pool.pair(index(4)).is_some(), "a named pair is still a pair");
    }

    fn any_range() -> impl Strategy<Value = AddressRange> {
        let v4 = (any::<u32>(), 0u32..600).prop_map(|(first, more)| {
            let last = first.saturating_add(more);
            AddressRange::new(IpAddr::V4(first.into()), IpAddr::V4(last.into())).unwrap()
        });
        let v6 = (any::<u128>(), 0u32..100).prop_map(|(first, bits)| {
            let last = first.saturating_add(1u128 << bits);
            AddressRange::new(IpAddr::V6(first.into()), IpAddr::V6(last.into())).unwrap()
        });
        prop_oneof![v4, v6]
    }

    proptest! {
        #[test]
        fn index_and_pair_are_each_others_inverse(
            ranges in prop::collection::vec(any_range(), 1..6),
            exclude in prop::collection::vec(any_range(), 0..4),
            i in 0..FILE_MODE_PAIRS,
        ) {
            let pool = Pool::new(&definition(&ranges, &exclude), []);
            if let Some(pair) = pool.pair(index(i)) {
                let found = pool.locate(&pair).map(PairIndex::number);
                let apart = ranges.iter().enumerate()
                    .all(|(n, a)| ranges[..n].iter().all(|b| !a.overlaps(*b)));
                prop_assert!(found == Ok(i) || !apart);
                for (_, &address) in pair.iter() {
                    prop_assert!(!exclude.iter().any(|range| range.contains(address)));
                }
            }
            prop_assert_eq!(
                pool.all_pairs().count(),
                (pool.usable() - pool.holes()) as usize
            );
        }
    }
}
