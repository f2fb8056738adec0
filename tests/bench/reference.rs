//! A rebuild of the reference design, the egressgateway of Spidernet, from its public documentation
//! (docs/concepts/Datapath, the troubleshooting guide, and rules that users show in its issues 1797
//! and 1863): on the pod's node two ipsets and a mark, a rule and a table by the mark, VXLAN to the
//! gateway node; there SNAT by the same sets, and a connection mark that finds the way back through
//! the same tunnel. Both families; permanent neighbours as its agent writes them. What is left out
//! costs its packets nothing: the rules of other policies and of other nodes.

use std::fmt::Write;
use std::net::IpAddr;

use egret_tests::{Lab, Node, Ns, Pod, Role, egress_ip, underlay};
use egret_types::Family;

const LINK: &str = "egress-vxlan";
/// The mark of all its traffic, before and behind the tunnel; a node's own is this and a number.
const MARK: u32 = 0x2600_0000;
const COMMIT: &str = "COMMIT\n";
const MASK: u32 = 0xff00_0000;

/// A node with the numbers that the agents give it.
struct Peer<'a> {
    node: &'a Node,
    host: u8,
}

impl<'a> Peer<'a> {
    fn new(node: &'a Node) -> Self {
        Self { node, host: node.host() }
    }

    fn mark(&self) -> u32 {
        MARK + u32::from(self.host)
    }

    fn mac(&self) -> String {
        format!("66:00:00:00:00:{:02x}", self.host)
    }

    fn tunnel(&self, family: Family) -> String {
        match family {
            Family::V4 => format!("192.200.0.{}", self.host),
            Family::V6 => format!("fd11::{}", self.host),
        }
    }

    fn ns(&self) -> &Ns {
        self.node.ns()
    }
}

/// Sends what the pod says to the outside through the gateway node.
pub(crate) fn set_up(lab: &Lab, pod: &Pod<'_>) {
    let [worker, gateway] = ["w1", "g1"].map(|name| Peer::new(lab.node(name)));
    tunnel(&worker, &gateway);
    tunnel(&gateway, &worker);
    for family in Family::BOTH {
        for peer in [&worker, &gateway] {
            sets(peer.ns(), family, &[pod.address(family)], &[lab.external_address(family)]);
            let frame = on_every_node();
            let own = match peer.node.role() {
                Role::Worker => request(family, &gateway) + COMMIT,
                Role::Gateway => reply(&worker) + COMMIT + &translation(family) + COMMIT,
            };
            restore(peer.ns(), family, &(frame + &own));
        }
        gateway.ns().ip(&format!(
            "addr add {}/{} dev ext0 nodad",
            egress_ip(family, 0),
            family.bits()
        ));
    }
}

/// Whether packets have gone and come through the tunnel, and not back by the nodes' own routes.
pub(crate) fn assert_both_directions(lab: &Lab) {
    for name in ["w1", "g1"] {
        let shown = lab.node(name).ns().exec(&format!("ip -j -s link show {LINK}")).json();
        for direction in ["rx", "tx"] {
            let packets = shown[0]["stats64"][direction]["packets"].as_u64();
            assert!(packets > Some(0), "{direction} of {LINK} on {name}: {packets:?} packets");
        }
    }
}

/// The link, what is known of the other node, and the table that its mark leads to.
fn tunnel(own: &Peer<'_>, other: &Peer<'_>) {
    let [local, remote] = [own, other].map(|peer| underlay(Family::V4, peer.host));
    let (mac, other_mac, mark) = (own.mac(), other.mac(), other.mark());
    own.ns().ip(&format!(
        "link add {LINK} address {mac} mtu 1450 type vxlan id 100 dstport 7789 local {local} nolearning
        link set {LINK} addrgenmode none up"
    ));
    own.ns().exec(&format!("bridge fdb add {other_mac} dev {LINK} dst {remote}")).success();
    for family in Family::BOTH {
        let (option, length) = match family {
            Family::V4 => ("-4", 16),
            Family::V6 => ("-6", 64),
        };
        let (address, hop) = (own.tunnel(family), other.tunnel(family));
        own.ns().ip(&format!(
            "addr add {address}/{length} dev {LINK}
            neigh add {hop} lladdr {other_mac} dev {LINK} nud permanent
            route add default via {hop} dev {LINK} table {mark}"
        ));
        own.ns()
            .exec(&format!("ip {option} rule add pref 99 fwmark {mark} table {mark}"))
            .success();
    }
    // A pod's packet comes in where no route to the pod leads, an answer where none leads outside.
    own.ns().set_sysctl(&format!("net.ipv4.conf.{LINK}.rp_filter"), "2");
}

/// Where the policy applies: from these pods to these destinations.
fn sets(place: &Ns, family: Family, sources: &[IpAddr], destinations: &[IpAddr]) {
    let kind = match family {
        Family::V4 => "inet",
        Family::V6 => "inet6",
    };
    let mut lines = String::new();
    for (set, members) in [(source_set(family), sources), (destination_set(family), destinations)] {
        writeln!(lines, "create {set} hash:net family {kind}").ok();
        for member in members {
            writeln!(lines, "add {set} {member}").ok();
        }
    }
    place.program("ipset").args(["restore"]).input(lines).run().success();
}

fn source_set(family: Family) -> String {
    format!("egress-src-{family}")
}

fn destination_set(family: Family) -> String {
    format!("egress-dst-{family}")
}

/// What belongs to the policy: the first packet's direction, from a source to a destination of it.
fn belongs(family: Family) -> String {
    let (source, destination) = (source_set(family), destination_set(family));
    format!(
        "-m set --match-set {source} src -m set --match-set {destination} dst \
         -m conntrack --ctdir ORIGINAL"
    )
}

/// The frame of its chains: marked packets pass everything else, under the one mark of all.
fn on_every_node() -> String {
    format!(
        "*filter
-I FORWARD 1 -m mark --mark {MARK} -j ACCEPT
-I OUTPUT 1 -m mark --mark {MARK} -j ACCEPT
COMMIT
*nat
:EGRESS-SNAT - [0:0]
-I POSTROUTING 1 -m mark --mark {MARK} -j ACCEPT
-I POSTROUTING 1 -j EGRESS-SNAT
COMMIT
*mangle
:EGRESS-REQUEST - [0:0]
:EGRESS-REPLY - [0:0]
-I PREROUTING 1 -m mark --mark {MARK}/{MASK} -j ACCEPT
-I PREROUTING 1 -j EGRESS-REPLY
-I PREROUTING 1 -j EGRESS-REQUEST
-I FORWARD 1 -m mark --mark {MARK}/{MASK} -j MARK --set-mark {MARK}
-I POSTROUTING 1 -m mark --mark {MARK} -j ACCEPT
"
    )
}

/// On the pod's node: what belongs to the policy gets the mark of the gateway node.
fn request(family: Family, gateway: &Peer<'_>) -> String {
    format!("-A EGRESS-REQUEST {} -j MARK --set-mark {}\n", belongs(family), gateway.mark())
}

/// On the gateway node: the flow keeps the mark of the node it came from, an answer takes it.
fn reply(worker: &Peer<'_>) -> String {
    let (mac, mark) = (worker.mac(), worker.mark());
    let from = format!("-A EGRESS-REPLY -i {LINK} -m mac --mac-source {mac}");
    format!(
        "{from} -m conntrack --ctdir ORIGINAL -j MARK --set-mark {mark}
-A EGRESS-REPLY -m mark --mark {mark} -j CONNMARK --save-mark
{from} -j MARK --set-mark {MARK}
-A EGRESS-REPLY -m conntrack --ctdir REPLY -m connmark --mark {mark} -j CONNMARK --restore-mark
"
    )
}

fn translation(family: Family) -> String {
    let address = egress_ip(family, 0);
    format!("*nat\n-A EGRESS-SNAT {} -j SNAT --to-source {address}\n", belongs(family))
}

fn restore(place: &Ns, family: Family, rules: &str) {
    let program = match family {
        Family::V4 => "iptables-restore",
        Family::V6 => "ip6tables-restore",
    };
    place.program(program).args(["--noflush"]).input(rules).run().success();
}
