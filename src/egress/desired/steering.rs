//! Steering: what sends a pod's packets to the right link with the right identity. Convenience and
//! quick errors for the pod, never the control: a pod may remove all of it.

use std::net::IpAddr;

use egret_types::{Family, LinkName, Prefix, ours};

use super::attachment::PodFacts;
use super::{Policy, base, link_is};
use crate::decision::Outcome;
use crate::nft::{Constant, Expr, Field, HookPoint, Op, Ruleset, TableFamily, Target};
use crate::object::{Mark, Neighbour, Object, Route, RouteAction, Rule, Sysctl};

const MANGLE_PRIORITY: i32 = -150;
/// `IP_CT_NEW` of `ct state`.
const NEW: u32 = 8;
/// `IP_CT_DIR_REPLY` of `ct direction`.
const REPLY: u32 = 1;
/// Routing table main.
const MAIN: u32 = 254;

/// Everything in the pod but its veth, in the order in which it must come: the rule that turns
/// steering on is last, so that no packet meets a half-filled table.
pub(super) fn steering(pod: &PodFacts) -> Vec<Object> {
    let mut objects: Vec<Object> = Vec::new();
    objects.extend(own_link(pod).into_iter().map(Object::Sysctl));
    objects.extend(pod.reverse_path.iter().cloned().map(Object::Sysctl));
    objects.push(Object::Nft(replies(pod)));
    for family in pod.families() {
        objects.push(reply_rule(family));
        objects.extend(next_hops(pod, family));
        objects.extend(routes(pod, family).into_iter().map(Object::Route));
    }
    for family in pod.families() {
        let rule =
            Rule { family, priority: ours::RULE_STEERING, mark: None, table: ours::ROUTE_TABLE };
        objects.push(Object::Rule(rule));
    }
    objects
}

/// Parameters of `egr0`: they go with it.
fn own_link(pod: &PodFacts) -> Vec<Sysctl> {
    let link = &pod.names.pod;
    let set = |path: String| Sysctl { path, value: "0".into(), was: None };
    let v6 = ["accept_dad", "accept_ra"].map(|name| set(format!("net/ipv6/conf/{link}/{name}")));
    let mut all = vec![set(format!("net/ipv4/conf/{link}/rp_filter"))];
    if pod.source(Family::V6).is_some() {
        all.extend(v6);
    }
    all
}

/// The parameters of a pod's namespace under which answers are accepted that arrive on `egr0` from
/// routers outside the policy's destinations, and packets that came in on the primary link are
/// answered there, strict reverse path filtering or not.
///
/// `current` reads a parameter; `links` are the links of the namespace, without `egr0`.
pub fn reverse_path(
    links: &[LinkName],
    current: &mut dyn FnMut(&str) -> Option<String>,
) -> Vec<Sysctl> {
    let path = |link: &str| format!("net/ipv4/conf/{link}/rp_filter");
    let mut filter = |link: &str| -> Option<u8> { current(&path(link))?.trim().parse().ok() };
    let all = filter("all").unwrap_or(0);
    // The kernel uses the larger of `all` and the link's own: give every other link what `all`
    // gave it, then take `all` away. `default` is for links that come later.
    let links = links.iter().map(LinkName::as_str).chain(["default"]);
    let mut wanted: Vec<(String, u8)> =
        links.map(|link| (path(link), all.max(filter(link).unwrap_or(0)))).collect();
    wanted.push((path("all"), 0));
    // Reverse path checks and answers made by the kernel must see the mark of inbound connections.
    wanted.push(("net/ipv4/conf/all/src_valid_mark".into(), 1));
    wanted.push(("net/ipv4/fwmark_reflect".into(), 1));
    wanted.push(("net/ipv6/fwmark_reflect".into(), 1));
    let change = |(path, value): (String, u8)| {
        let was = current(&path)?.trim().to_owned();
        let value = value.to_string();
        (was != value).then_some(Sysctl { path, value, was: Some(was) })
    };
    wanted.into_iter().filter_map(change).collect()
}

/// One bit of the connection remembers that it came in on the primary link, and sends the answers
/// back there.
fn replies(pod: &PodFacts) -> Ruleset {
    let primary = || link_is(Field::IifName, &pod.primary);
    let inbound = Expr::AnyBit(Field::CtMark, ours::MARK_INBOUND);
    let mark = Expr::SetBits(Target::Mark, ours::MARK_INBOUND);
    let arrived = base("in", HookPoint::Prerouting, MANGLE_PRIORITY, Policy::Accept).rules(vec![
        // iifname eth0 ct state new ct mark set ct mark | bit
        vec![
            primary(),
            Expr::AnyBit(Field::CtState, NEW),
            Expr::SetBits(Target::CtMark, ours::MARK_INBOUND),
        ],
        // iifname eth0 ct mark & bit != 0 meta mark set meta mark | bit
        vec![primary(), inbound.clone(), mark.clone()],
    ]);
    let answered =
        base("out", HookPoint::OutputRoute, MANGLE_PRIORITY, Policy::Accept).rules(vec![
            // ct direction reply ct mark & bit != 0 meta mark set meta mark | bit
            vec![Expr::Match(Field::CtDirection, Op::Is, Constant::Number(REPLY)), inbound, mark],
        ]);
    Ruleset {
        family: TableFamily::Inet,
        table: ours::NFT_TABLE.into(),
        sets: vec![],
        chains: vec![arrived, answered],
        elements: vec![],
    }
}

fn reply_rule(family: Family) -> Object {
    let mark = Some(Mark { value: ours::MARK_INBOUND, mask: ours::MARK_INBOUND });
    Object::Rule(Rule { family, priority: ours::RULE_REPLIES, mark, table: MAIN })
}

/// One next hop for each identity the pod uses; its MAC is the identity.
fn next_hops(pod: &PodFacts, family: Family) -> Vec<Object> {
    let neighbour = |(n, identity): (u8, egret_types::Identity)| {
        let address = hop(family, n);
        Object::Neighbour(Neighbour { link: pod.names.pod.clone(), address, mac: identity.mac() })
    };
    (1u8..).zip(pod.decision.identities()).map(neighbour).collect()
}

fn hop(family: Family, n: u8) -> IpAddr {
    match family {
        Family::V4 => ours::pod_hop_v4(n).into(),
        Family::V6 => ours::pod_hop_v6(n).into(),
    }
}

/// Table 230: one route for each elementary prefix, and a last one behind a decision that covers
/// everything, so that a vanished link means "unreachable" and not table main.
fn routes(pod: &PodFacts, family: Family) -> Vec<Route> {
    let identities = pod.decision.identities();
    let action = |outcome: Outcome| match outcome {
        Outcome::Deny => RouteAction::Prohibit,
        Outcome::Untouched => RouteAction::Throw,
        Outcome::Gateway(identity) => {
            // `identities` lists every identity of the decision, so the search finds it.
            let n = (1u8..).zip(&identities).find(|(_, i)| **i == identity).map_or(0, |(n, _)| n);
            RouteAction::Via {
                hop: hop(family, n),
                link: pod.names.pod.clone(),
                source: pod.source(family),
            }
        }
    };
    let route = |destination: Prefix, action, metric| Route {
        table: ours::ROUTE_TABLE,
        destination,
        action,
        metric,
    };
    let mut routes: Vec<Route> =
        pod.decision.elementary(family).map(|e| route(e.prefix, action(e.outcome), 0)).collect();
    if pod.decision.covers_everything(family) {
        routes.push(route(Prefix::all(family), RouteAction::Unreachable, ours::METRIC_LAST));
    }
    routes
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn every_other_link_keeps_the_filter_that_all_gave_it() {
        let path = |link: &str| format!("net/ipv4/conf/{link}/rp_filter");
        let now: HashMap<String, &str> = [
            (path("all"), "1\n"),
            (path("default"), "0\n"),
            (path("eth0"), "2\n"),
            (path("lo"), "0\n"),
            ("net/ipv4/conf/all/src_valid_mark".into(), "0\n"),
            ("net/ipv4/fwmark_reflect".into(), "1\n"),
        ]
        .into();
        let links = ["eth0", "lo"].map(ours::link);
        let changes = reverse_path(&links, &mut |p| now.get(p).map(|v| (*v).to_owned()));
        let texts: Vec<String> = changes
            .iter()
            .map(|s| format!("{}: {} -> {}", s.path, s.was.as_deref().unwrap_or("?"), s.value))
            .collect();
        // eth0 is stricter than all; the IPv6 parameter is absent where IPv6 is.
        assert_eq!(
            texts,
            [
                "net/ipv4/conf/lo/rp_filter: 0 -> 1",
                "net/ipv4/conf/default/rp_filter: 0 -> 1",
                "net/ipv4/conf/all/rp_filter: 1 -> 0",
                "net/ipv4/conf/all/src_valid_mark: 0 -> 1",
            ]
        );
    }
}
