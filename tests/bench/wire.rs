//! The way of the packets: a selected pod through the gateway, beside an unselected pod of the same
//! node that takes the same machines without us. Its node masquerades and routes by the gateway
//! node, which masquerades, too: what one would build by hand, without a stable address.

use std::time::Duration;

use egret_tests::{Families, Lab, Question, egress_ip, external, resources, underlay};
use egret_types::Family;

use crate::Scale;
use crate::chain::Plugin;
use crate::lifecycle::{Standing, stand};
use crate::report;
use crate::samples::Samples;
use crate::traffic::{self, Kind};

/// How long one round of one kind lasts.
const ROUND: Duration = Duration::from_millis(500);

/// Measures and prints.
pub(crate) fn run(scale: Scale) {
    report::section("5. Packets of a selected pod, beside SNAT on the node and one more router");
    let lab = Lab::builder(Families::Dual).worker("w1").gateway("g1").start();
    lab.write_resources("20-policies.yaml", &resources::policy("shop", "partners", "tenants", ""));
    lab.node("g1").egretctl("gateway up").success();
    route_by_gateway(&lab);
    let node = lab.node("w1");
    let (selected, other) = (stand(&lab, node, "shop"), stand(&lab, node, "other"));
    for standing in [&selected, &other] {
        let add = Plugin::egret(node).operation("ADD", &standing.pod, Some(&standing.previous));
        node.ns().inside(|| add.run());
    }
    for family in Family::BOTH {
        let expected = [(&selected, egress_ip(family, 0)), (&other, external(family, 21))];
        for (standing, address) in expected {
            let seen = standing.pod.who(Question::Tcp, lab.external_address(family));
            assert_eq!(seen.map(|seen| seen.address).ok(), Some(address), "the way of {family}");
        }
    }
    traffic::serve(lab.external());
    for family in Family::BOTH {
        for kind in Kind::ALL {
            compare(scale, &lab, [&selected, &other], family, kind);
        }
    }
}

/// What the pod that nothing selects takes. The outside is a neighbour of every node, so it is a
/// route to this one host.
fn route_by_gateway(lab: &Lab) {
    let (worker, gateway) = (lab.node("w1").ns(), lab.node("g1").ns());
    for family in Family::BOTH {
        let (option, iptables, nodes) = match family {
            Family::V4 => ("-4", "iptables", "172.18.0.0/24"),
            Family::V6 => ("-6", "ip6tables", "fd00:172:18::/64"),
        };
        let hop = underlay(family, lab.node("g1").host());
        let outside = lab.external_address(family);
        worker.exec(&format!("ip {option} route add {outside} via {hop} dev eth0")).success();
        gateway
            .exec(&format!("{iptables} -t nat -A POSTROUTING -s {nodes} -o ext0 -j MASQUERADE"))
            .success();
    }
}

fn compare(
    scale: Scale,
    lab: &Lab,
    [selected, other]: [&Standing<'_>; 2],
    family: Family,
    kind: Kind,
) {
    let outside = lab.external_address(family);
    let (mut ours, mut peer) = (Samples::default(), Samples::default());
    for _ in 0..scale.rounds() {
        ours.push(traffic::rate(selected.pod.ns(), outside, kind, ROUND));
        peer.push(traffic::rate(other.pod.ns(), outside, kind, ROUND));
    }
    let name = format!("{}, {family}", kind.name());
    report::figures(&name, &[("selected pod", &ours), ("SNAT and a router", &peer)]);
    report::ratios(&[("selected pod / SNAT and a router", &ours, &peer)]);
}
