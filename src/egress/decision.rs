//! What all policies together mean for one pod. Destinations are cut into elementary prefixes; one
//! total order decides each; the routes of the pod and the decision chains of the worker are both
//! compiled from the result, so they cannot disagree.

use std::collections::BTreeSet;
use std::net::IpAddr;

use egret_types::{DualStack, Family, Identity, PolicyName, Prefix};
use serde::{Deserialize, Serialize};

/// What one selected policy claims for a pod, its egress pair known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The policy.
    pub policy: PolicyName,
    /// Where it applies; absent: everywhere outside the cluster.
    pub destinations: Option<Vec<Prefix>>,
    /// Ranges that are out of this policy, not of others.
    pub except: Vec<Prefix>,
    /// The pair that its packets leave with.
    pub identity: Identity,
    /// The addresses of that pair. A family that it lacks is denied, not leaked.
    pub pair: DualStack<IpAddr>,
}

/// What happens to packets to one elementary prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Through the gateway, with this identity.
    Gateway(Identity),
    /// Refused.
    Deny,
    /// As without Egret: no policy wins, or it is cluster traffic.
    Untouched,
}

/// The outcome for the addresses of a prefix that no longer elementary prefix contains.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Elementary {
    /// The prefix.
    pub prefix: Prefix,
    /// What happens.
    pub outcome: Outcome,
    /// The policy that won, where one did.
    pub policy: Option<PolicyName>,
}

/// The decision for one pod: elementary prefixes of both families, sorted, an enclosing one before
/// those it contains. An address in none of them is [`Outcome::Untouched`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Decision(Vec<Elementary>);

/// Decides. `cluster` is traffic that no policy touches.
pub fn decide(claims: &[Claim], cluster: &[Prefix]) -> Decision {
    let mut found = Vec::new();
    let mut enclosing: Vec<Sweep> = Vec::new();
    for prefix in cut_points(claims, cluster) {
        while enclosing.last().is_some_and(|outer| !outer.prefix.contains(prefix)) {
            enclosing.pop();
        }
        let outer = enclosing.last();
        let here = Sweep::enter(outer, prefix, claims, cluster);
        let (outcome, policy) = here.winner(claims);
        let same = match outer {
            Some(outer) => outer.winner(claims) == (outcome, policy),
            None => outcome == Outcome::Untouched,
        };
        if !same {
            found.push(Elementary { prefix, outcome, policy: policy.cloned() });
        }
        enclosing.push(here);
    }
    Decision(found)
}

/// Every prefix at which the answer may change, sorted.
fn cut_points(claims: &[Claim], cluster: &[Prefix]) -> BTreeSet<Prefix> {
    let mut points: BTreeSet<Prefix> = cluster.iter().copied().collect();
    for claim in claims {
        points.extend(&claim.except);
        match &claim.destinations {
            Some(destinations) => points.extend(destinations),
            None => points.extend(Family::BOTH.map(Prefix::all)),
        }
    }
    points
}

/// What holds for a prefix on the way down from the widest one that contains it.
struct Sweep {
    prefix: Prefix,
    cluster: bool,
    /// For each claim: how it sees the prefix.
    views: Vec<View>,
}

/// How one claim sees a prefix.
#[derive(Clone, Copy, Default)]
struct View {
    /// Length of its longest destination that contains the prefix.
    destination: Option<u8>,
    /// One of its exceptions contains the prefix.
    excepted: bool,
}

impl Sweep {
    fn enter(outer: Option<&Sweep>, prefix: Prefix, claims: &[Claim], cluster: &[Prefix]) -> Self {
        let mut views =
            outer.map_or_else(|| vec![View::default(); claims.len()], |o| o.views.clone());
        for (view, claim) in views.iter_mut().zip(claims) {
            let named = match &claim.destinations {
                Some(destinations) => destinations.contains(&prefix),
                None => prefix.length() == 0,
            };
            if named {
                view.destination = Some(prefix.length());
            }
            view.excepted |= claim.except.contains(&prefix);
        }
        let cluster = outer.is_some_and(|o| o.cluster) || cluster.contains(&prefix);
        Self { prefix, cluster, views }
    }

    /// The order of design: longest destination, then a namespace's policy before the cluster's,
    /// then by name.
    fn winner<'a>(&self, claims: &'a [Claim]) -> (Outcome, Option<&'a PolicyName>) {
        if self.cluster {
            return (Outcome::Untouched, None);
        }
        let best = claims
            .iter()
            .zip(&self.views)
            .filter(|(_, view)| !view.excepted)
            .filter_map(|(claim, view)| view.destination.map(|length| (length, claim)))
            .min_by_key(|(length, claim)| {
                let policy = &claim.policy;
                (std::cmp::Reverse(*length), policy.namespace.is_none(), policy)
            });
        match best {
            None => (Outcome::Untouched, None),
            Some((_, claim)) if claim.pair.get(self.prefix.family()).is_none() => {
                (Outcome::Deny, Some(&claim.policy))
            }
            Some((_, claim)) => (Outcome::Gateway(claim.identity), Some(&claim.policy)),
        }
    }
}

impl Decision {
    /// The elementary prefixes of a family.
    pub fn elementary(&self, family: Family) -> impl Iterator<Item = &Elementary> {
        self.0.iter().filter(move |e| e.prefix.family() == family)
    }

    /// The identities in use, each once, in order: the `n`th has the pod's next hop `n + 1`.
    pub fn identities(&self) -> Vec<Identity> {
        let all: BTreeSet<Identity> = self
            .0
            .iter()
            .filter_map(|e| match e.outcome {
                Outcome::Gateway(identity) => Some(identity),
                Outcome::Deny | Outcome::Untouched => None,
            })
            .collect();
        all.into_iter().collect()
    }

    /// No address has an outcome other than [`Outcome::Untouched`].
    pub fn is_untouched(&self) -> bool {
        self.0.iter().all(|e| e.outcome == Outcome::Untouched)
    }

    /// Every address of the family has an outcome other than [`Outcome::Untouched`] by default:
    /// the prefix of length 0 is decided.
    pub fn covers_everything(&self, family: Family) -> bool {
        self.elementary(family).next().is_some_and(|e| e.prefix.length() == 0)
    }

    /// What happens to packets to an address.
    pub fn outcome(&self, address: IpAddr) -> Outcome {
        let longest = self.0.iter().rfind(|e| e.prefix.contains_address(address));
        longest.map_or(Outcome::Untouched, |e| e.outcome)
    }

    /// The addresses that an identity may reach: sorted, disjoint, adjacent ones joined.
    pub fn ranges(&self, identity: Identity, family: Family) -> Vec<(IpAddr, IpAddr)> {
        let mut ranges: Vec<(u128, u128)> = Vec::new();
        for (first, last, outcome) in self.flattened(family) {
            if outcome != Outcome::Gateway(identity) {
                continue;
            }
            match ranges.last_mut() {
                Some((_, end)) if *end + 1 == first => *end = last,
                _ => ranges.push((first, last)),
            }
        }
        ranges.into_iter().map(|(a, b)| (family.address(a), family.address(b))).collect()
    }

    /// The addresses of a family that are as without Egret: sorted, disjoint, adjacent ones joined.
    pub fn untouched(&self, family: Family) -> Vec<(IpAddr, IpAddr)> {
        let mut ranges = Vec::new();
        // Behind the last touched address; absent when that is the last one there is.
        let mut next = Some(0);
        for (first, last, outcome) in self.flattened(family) {
            if outcome == Outcome::Untouched {
                continue;
            }
            ranges.extend(next.filter(|next| *next < first).map(|next| (next, first - 1)));
            next = last.checked_add(1);
        }
        let end = family.last();
        ranges.extend(next.filter(|next| *next <= end).map(|next| (next, end)));
        ranges.into_iter().map(|(a, b)| (family.address(a), family.address(b))).collect()
    }

    /// The family's numbers cut into ranges of one outcome each, in order; gaps are untouched.
    fn flattened(&self, family: Family) -> Vec<(u128, u128, Outcome)> {
        let mut out = Vec::new();
        // Enclosing prefixes: where the not yet written rest begins, where it ends, what holds.
        let mut open: Vec<(u128, u128, Outcome)> = Vec::new();
        for e in self.elementary(family) {
            let (first, last) = e.prefix.range();
            while open.last().is_some_and(|(_, end, _)| *end < first) {
                close(&mut open, &mut out);
            }
            if let Some((next, _, outcome)) = open.last()
                && *next < first
            {
                out.push((*next, first - 1, *outcome));
            }
            open.push((first, last, e.outcome));
        }
        while !open.is_empty() {
            close(&mut open, &mut out);
        }
        out
    }
}

/// Writes the rest of the innermost open prefix and lets its parent go on behind it.
fn close(open: &mut Vec<(u128, u128, Outcome)>, out: &mut Vec<(u128, u128, Outcome)>) {
    let Some((next, last, outcome)) = open.pop() else { return };
    if next <= last {
        out.push((next, last, outcome));
    }
    if let Some((parent_next, parent_last, _)) = open.last_mut() {
        if let Some(behind) = last.checked_add(1) {
            *parent_next = behind;
        } else {
            // The child reached the last number there is: nothing is left of the parent.
            (*parent_next, *parent_last) = (1, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use egret_types::{PairIndex, PoolId};

    fn net(text: &str) -> Prefix {
        text.parse().unwrap()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn identity(index: u32) -> Identity {
        Identity::new(PoolId::try_from(1).unwrap(), PairIndex::try_from(index).unwrap())
    }

    fn claim(policy: &str, index: u32, destinations: &[&str], except: &[&str]) -> Claim {
        let (namespace, name) = policy.split_once('/').unwrap();
        let namespace = (!namespace.is_empty()).then(|| namespace.parse().unwrap());
        let nets = |list: &[&str]| list.iter().map(|text| net(text)).collect::<Vec<_>>();
        Claim {
            policy: PolicyName { namespace, name: name.into() },
            destinations: (!destinations.is_empty()).then(|| nets(destinations)),
            except: nets(except),
            identity: identity(index),
            pair: DualStack { v4: Some(ip("203.0.113.50")), v6: Some(ip("2001:db8:ff::50")) },
        }
    }

    fn cluster() -> Vec<Prefix> {
        ["10.244.0.0/16", "fd00:10:244::/48"].map(net).to_vec()
    }

    #[test]
    fn a_policy_without_destinations_covers_all_but_the_cluster() {
        let decision = decide(&[claim("shop/all", 1, &[], &[])], &cluster());
        for outside in ["192.0.2.1", "255.255.255.255", "0.0.0.0", "2001:db8::1", "ffff::1"] {
            assert_eq!(decision.outcome(ip(outside)), Outcome::Gateway(identity(1)), "{outside}");
        }
        for inside in ["10.244.0.0", "10.244.255.255", "fd00:10:244::1"] {
            assert_eq!(decision.outcome(ip(inside)), Outcome::Untouched, "{inside}");
        }
        assert!(decision.covers_everything(Family::V4) && decision.covers_everything(Family::V6));
        assert_eq!(
            decision.ranges(identity(1), Family::V4),
            [(ip("0.0.0.0"), ip("10.243.255.255")), (ip("10.245.0.0"), ip("255.255.255.255"))]
        );
    }

    #[test]
    fn an_exception_leaves_only_its_own_policy() {
        let claims = [
            claim("shop/a", 1, &["192.0.2.0/24"], &["192.0.2.128/25"]),
            claim("shop/b", 2, &["192.0.0.0/16"], &[]),
        ];
        let decision = decide(&claims, &[]);
        assert_eq!(decision.outcome(ip("192.0.2.1")), Outcome::Gateway(identity(1)));
        assert_eq!(decision.outcome(ip("192.0.2.129")), Outcome::Gateway(identity(2)));
        let alone = decide(&claims[..1], &[]);
        assert_eq!(alone.outcome(ip("192.0.2.129")), Outcome::Untouched);
        assert_eq!(alone.ranges(identity(1), Family::V4), [(ip("192.0.2.0"), ip("192.0.2.127"))]);
    }

    #[test]
    fn a_longer_destination_inside_an_exception_stays_excepted() {
        let claims = [claim("shop/a", 1, &["10.0.0.0/8", "10.1.1.0/24"], &["10.1.0.0/16"])];
        assert_eq!(decide(&claims, &[]).outcome(ip("10.1.1.1")), Outcome::Untouched);
    }

    #[test]
    fn the_order_is_length_then_namespace_then_name() {
        let wide = claim("shop/wide", 1, &["192.0.2.0/24"], &[]);
        let long = claim("/long", 2, &["192.0.2.0/25"], &[]);
        let cluster_wide = claim("/a", 3, &["192.0.2.0/24"], &[]);
        let second = claim("shop/b", 4, &["192.0.2.0/24"], &[]);
        let all = [second, cluster_wide, long, wide];
        for turn in 0..all.len() {
            let mut claims = all.to_vec();
            claims.rotate_left(turn);
            let decision = decide(&claims, &[]);
            assert_eq!(decision.outcome(ip("192.0.2.1")), Outcome::Gateway(identity(2)));
            assert_eq!(decision.outcome(ip("192.0.2.200")), Outcome::Gateway(identity(4)));
        }
    }

    #[test]
    fn a_family_that_the_pair_lacks_is_denied() {
        let mut only_v4 = claim("shop/a", 1, &[], &[]);
        only_v4.pair.v6 = None;
        let decision = decide(&[only_v4], &cluster());
        assert_eq!(decision.outcome(ip("2001:db8::1")), Outcome::Deny);
        assert_eq!(decision.outcome(ip("fd00:10:244::1")), Outcome::Untouched);
        assert_eq!(decision.outcome(ip("192.0.2.1")), Outcome::Gateway(identity(1)));
        assert!(decision.ranges(identity(1), Family::V6).is_empty());
    }

    #[test]
    fn prefixes_that_change_nothing_are_left_out() {
        let claims = [claim("shop/a", 1, &["10.0.0.0/8", "10.1.0.0/16"], &[])];
        let decision = decide(&claims, &[net("172.16.0.0/12")]);
        assert_eq!(
            decision.elementary(Family::V4).map(|e| e.prefix).collect::<Vec<_>>(),
            [net("10.0.0.0/8")]
        );
    }

    #[test]
    fn ranges_reach_the_last_address_and_join_neighbours() {
        let claims = [claim("shop/a", 1, &["10.0.0.0/8", "11.0.0.0/8", "ffff::/16"], &[])];
        let decision = decide(&claims, &[net("ffff:ffff::/32")]);
        assert_eq!(
            decision.ranges(identity(1), Family::V4),
            [(ip("10.0.0.0"), ip("11.255.255.255"))]
        );
        let last = "ffff:fffe:ffff:ffff:ffff:ffff:ffff:ffff";
        assert_eq!(decision.ranges(identity(1), Family::V6), [(ip("ffff::"), ip(last))]);
    }

    #[test]
    fn what_is_untouched_is_all_that_no_policy_wins() {
        let claims = [claim("shop/a", 1, &["10.0.0.0/8", "11.0.0.0/8"], &["10.1.0.0/16"])];
        let decision = decide(&claims, &[net("11.255.0.0/16")]);
        assert_eq!(
            decision.untouched(Family::V4),
            [
                (ip("0.0.0.0"), ip("9.255.255.255")),
                (ip("10.1.0.0"), ip("10.1.255.255")),
                (ip("11.255.0.0"), ip("255.255.255.255")),
            ]
        );
        let last = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
        assert_eq!(decision.untouched(Family::V6), [(ip("::"), ip(last))]);
        let all = decide(&[claim("shop/all", 1, &[], &[])], &[]);
        assert_eq!(all.untouched(Family::V4), []);
        assert_eq!(all.untouched(Family::V6), []);
        // What is untouched does not depend on which pair a policy gets, or whether it has both
        // families.
        let mut without = claims[0].clone();
        without.pair = DualStack::default();
        let without = decide(&[without], &[net("11.255.0.0/16")]);
        for family in Family::BOTH {
            assert_eq!(without.untouched(family), decision.untouched(family));
        }
    }

    /// The compiled ranges and the address-by-address answer are two computations: they must agree.
    #[test]
    fn ranges_agree_with_outcomes_on_every_boundary() {
        let claims = [
            claim("shop/a", 1, &["0.0.0.0/1", "10.1.0.0/16"], &["10.0.0.0/9", "64.0.0.0/3"]),
            claim("shop/b", 2, &["10.0.0.0/8", "128.0.0.0/2"], &["10.1.2.0/24"]),
            claim("/c", 3, &[], &["200.0.0.0/8"]),
        ];
        let cluster = [net("10.1.2.128/25"), net("255.255.255.255/32"), net("0.0.0.0/8")];
        let decision = decide(&claims, &cluster);
        let mut probes: BTreeSet<u128> = BTreeSet::new();
        for point in cut_points(&claims, &cluster).into_iter().filter(|p| p.family() == Family::V4)
        {
            let (first, last) = point.range();
            probes.extend([
                first,
                last,
                first.saturating_sub(1),
                (last + 1).min(Family::V4.last()),
            ]);
        }
        for number in probes {
            let address = Family::V4.address(number);
            for n in 1..=3 {
                let inside = decision
                    .ranges(identity(n), Family::V4)
                    .iter()
                    .any(|(a, b)| (*a..=*b).contains(&address));
                let wins = decision.outcome(address) == Outcome::Gateway(identity(n));
                assert_eq!(inside, wins, "{address} of identity {n}");
            }
        }
    }
}
