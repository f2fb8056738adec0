//! Where attacks happen and where they are looked for: a laboratory with captures on both networks
//! between nodes, on the tunnel, on the bridge of the attacked node and on the links of other pods.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use egret_tests::{
    Capture, ECHO_PORT, Lab, Ns, Packet, Pod, Question, egress_ip, external, link_mac, pod_network,
    resources, underlay,
};
use egret_types::{Family, MacAddr, ours};

use super::attack::{Aim, Attack, Expected, Who};
use super::shot::Shot;
use crate::forgery::{identity, node_mac};
use crate::malformed::neighbourly;
use crate::tunnel_guard::{delete_guard, stranger};
use crate::world::{self, BILLING, SHOP};

/// Where something of an attack can be seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    /// The segment outside, all of it.
    External,
    /// The segment between the nodes, all of it.
    Underlay,
    /// The tunnel link of the attacked node.
    Tunnel,
    /// The links of other pods.
    OtherPods,
    /// The bridge of the attacked node: the node itself, and every pod on it, hears what is there.
    Bridge,
    /// The links of the attacker: that something was sent.
    Attacker,
}

/// What was seen of an attack, in a form to be printed.
pub(super) type Sightings = Vec<(Place, Packet)>;

/// A laboratory under attack. All attackers are of `shop`, or nobody; `billing` is another tenant.
pub(super) struct Stage<'lab> {
    pub(super) lab: &'lab Lab,
    pub(super) family: Family,
    /// Of `shop` on `w1`: the pod that attacks.
    pub(super) pod: Pod<'lab>,
    /// Of `billing` on `w1`.
    pub(super) victim: Pod<'lab>,
    /// On `w1`, selected by no policy, and so not guarded.
    pub(super) plain: Pod<'lab>,
    /// On `w2`, whose root has removed its tunnel guard.
    pub(super) loose: Pod<'lab>,
    /// A host on the underlay that is no node.
    pub(super) stranger: Ns,
    outside_mac: MacAddr,
    captures: Vec<(Place, Capture)>,
}

impl<'lab> Stage<'lab> {
    pub(super) fn new(lab: &'lab Lab) -> Self {
        careless(lab);
        world::open(lab);
        let family = lab.families().list()[0];
        only_to_a_few(lab, family);
        let pod = lab.add_pod("w1", "shop", "cart");
        let victim = lab.add_pod("w1", "billing", "ledger");
        let plain = lab.add_pod("w1", "other", "plain");
        let loose = lab.add_pod("w2", "billing", "loose");
        delete_guard(lab, "w2");
        let stranger = stranger(lab, family);
        cluster_tunnel(lab.node("w1").ns(), family);
        let w1 = lab.node("w1");
        let on = |place, ns: &Ns, link: &str, filter: &str| (place, ns.capture(link, filter));
        let captures = vec![
            on(Place::External, lab.switch(), "ex", ""),
            on(Place::Underlay, lab.switch(), "ul", ""),
            on(Place::Tunnel, &w1.egress_ns(), ours::TUNNEL_LINK, "outbound"),
            on(Place::OtherPods, &victim, ours::POD_LINK, "inbound"),
            on(Place::OtherPods, &victim, "eth0", "inbound"),
            on(Place::OtherPods, &plain, "eth0", "inbound"),
            on(Place::Bridge, w1.ns(), "cni0", ""),
            on(Place::Attacker, &pod, ours::POD_LINK, "outbound"),
            on(Place::Attacker, &pod, "eth0", "outbound"),
        ];
        let outside_mac = lab.external().inside(|| link_mac("eth0")).unwrap();
        let stage =
            Self { lab, family, pod, victim, plain, loose, stranger, outside_mac, captures };
        // Everybody knows the way, so that nothing waits for an answer and comes late.
        stage.after_all("before any attack");
        stage
    }

    pub(super) fn server(&self) -> IpAddr {
        self.lab.external_address(self.family)
    }

    /// The address of the attacked node on its bridge, where its pods have their default route.
    pub(super) fn bridge(&self) -> IpAddr {
        nth(pod_network(self.family, 11).address(), 1)
    }

    /// An address of the attacked node's pod network that nobody has.
    pub(super) fn nobodys(&self) -> IpAddr {
        nth(pod_network(self.family, 11).address(), 0x77)
    }

    /// One address or the other.
    pub(super) fn of(&self, v4: &str, v6: &str) -> IpAddr {
        let text = if self.family == Family::V4 { v4 } else { v6 };
        text.parse().unwrap()
    }

    /// Good datagrams on every way that an attack could take; waits until each has been seen.
    pub(super) fn after_all(&self, what: &str) {
        for (pod, index) in [(&self.pod, SHOP), (&self.victim, BILLING)] {
            let seen = pod.who(Question::Udp, self.server()).unwrap();
            assert_eq!(seen.address, egress_ip(self.family, index), "{what}");
        }
        let seen = self.plain.who(Question::Udp, self.server()).unwrap();
        assert_eq!(seen.address, external(self.family, 11), "{what}");
        settle();
    }

    /// Everything that was seen and comes from one of the shots, by the name of its attack.
    pub(super) fn seen_of(&self, shots: &[Shot<'_>]) -> BTreeMap<&'static str, Sightings> {
        let mut seen: BTreeMap<&'static str, Sightings> = BTreeMap::new();
        for (place, capture) in &self.captures {
            for packet in capture.packets() {
                let Some(shot) = shots.iter().find(|shot| shot.made(&packet)) else { continue };
                if self.counts(shot.attack, *place, &packet) {
                    seen.entry(shot.attack.name).or_default().push((*place, packet));
                }
            }
        }
        seen
    }

    /// Whether it says that an attack has got through.
    fn counts(&self, attack: &Attack, place: Place, packet: &Packet) -> bool {
        let innermost = packet.inner().unwrap_or_else(|| packet.clone());
        let as_itself = attack.expected == Expected::AsItself && self.is_own(place, &innermost);
        let from_gateway = innermost.source_mac.0.starts_with(&ours::IDENTITY_MAC_PREFIX);
        let answered = packet.source_mac == self.outside_mac
            || from_gateway && innermost.destination_mac == node_mac(11);
        match place {
            Place::Attacker => false,
            Place::External => !answered && !as_itself,
            Place::Underlay | Place::Tunnel => {
                attack.who.is_on_the_attacked_node() && !answered && !as_itself
            }
            Place::OtherPods => attack.aim != Aim::Networks,
            Place::Bridge => attack.aim == Aim::Neighbours,
        }
    }

    /// Traffic of the attacking pod as Egret would have it.
    fn is_own(&self, place: Place, packet: &Packet) -> bool {
        match place {
            Place::External => packet.source == Some(egress_ip(self.family, SHOP)),
            _ => {
                packet.source == Some(self.pod.address(self.family))
                    && packet.destination_mac == identity(SHOP)
                    && packet.source_mac == node_mac(11)
            }
        }
    }

    /// Whether it was seen to be sent at all.
    pub(super) fn was_sent(&self, shot: &Shot<'_>) -> bool {
        let from = match shot.attack.who {
            Who::Worker | Who::Underlay => Place::Underlay,
            _ => Place::Attacker,
        };
        let there = self.captures.iter().filter(|(place, _)| *place == from);
        there.flat_map(|(_, capture)| capture.packets()).any(|packet| shot.made(&packet))
    }

    /// Packets outside with an address that is no tenant's to use there, whatever they are: of a
    /// node, of a pod, of nobody. Of a shot that is expected there, and of the good datagrams, none.
    pub(super) fn strangers(&self, open: &[&Shot<'_>]) -> Vec<Packet> {
        let own = [self.server(), egress_ip(self.family, SHOP), egress_ip(self.family, BILLING)];
        // The good datagrams of the pod that no policy selects.
        let good = |packet: &Packet| {
            let ports = [packet.source_port, packet.destination_port];
            packet.source == Some(external(self.family, 11)) && ports.contains(&Some(ECHO_PORT))
        };
        let strange = |packet: &Packet| {
            packet.source.is_some_and(|source| !own.contains(&source))
                && packet.source_mac != self.outside_mac
                && !neighbourly(packet)
                && !good(packet)
                && !open.iter().any(|shot| shot.made(packet))
        };
        let outside = self.captures.iter().filter(|(place, _)| *place == Place::External);
        outside.flat_map(|(_, capture)| capture.packets()).filter(strange).collect()
    }

    /// Packets that the captures did not get: of them nothing is known.
    pub(super) fn missed(&self) -> u64 {
        self.captures.iter().map(|(_, capture)| capture.missed()).sum()
    }

    /// Takes everything away that is there to keep attackers, on the attacked node and the gateway.
    pub(super) fn disarm(&self) {
        let (w1, g1) = (self.lab.node("w1"), self.lab.node("g1"));
        delete_guard(self.lab, "w1");
        delete_guard(self.lab, "g1");
        for family in ["netdev", "inet"] {
            let table = ours::NFT_GUARD_TABLE;
            w1.ns().exec(&format!("nft delete table {family} {table}")).success();
        }
        let rule =
            |ns: &Ns, rule: &str| drop(ns.exec(&format!("nft insert rule {rule}")).success());
        let tunnel = ours::TUNNEL_LINK;
        rule(&w1.egress_ns(), &format!("netdev egret pod fwd to {tunnel}"));
        for rest in ["remember ct state invalid accept", "fence accept"] {
            rule(&g1.egress_ns(), &format!("inet egret {rest}"));
        }
    }
}

/// What went through the queue of the other processor, and what waits for a neighbour, arrives.
pub(super) fn settle() {
    std::thread::sleep(Duration::from_millis(300));
}

/// What the address `n` behind this one is.
fn nth(address: IpAddr, n: u8) -> IpAddr {
    match address {
        IpAddr::V4(first) => IpAddr::V4((u32::from(first) + u32::from(n)).into()),
        IpAddr::V6(first) => IpAddr::V6((u128::from(first) + u128::from(n)).into()),
    }
}

/// Nodes whose kernels refuse nothing that they can be told to let pass: what does not get through,
/// Egret has held.
fn careless(lab: &Lab) {
    for node in lab.nodes() {
        for scope in ["all", "default", "eth0", "ext0"] {
            for (name, value) in
                [("rp_filter", "0"), ("accept_source_route", "1"), ("accept_redirects", "1")]
            {
                node.ns().set_sysctl(&format!("net.ipv4.conf.{scope}.{name}"), value);
            }
            if lab.families().has(Family::V6) {
                for name in ["accept_source_route", "accept_redirects", "seg6_enabled"] {
                    node.ns().set_sysctl(&format!("net.ipv6.conf.{scope}.{name}"), "1");
                }
            }
        }
    }
}

/// Where all is sent through the gateway, what is left of a pod's routes leads nowhere. Here they lead
/// to the node, and only the guard is in the way.
fn only_to_a_few(lab: &Lab, family: Family) {
    let few = [lab.external_address(family), egress_ip(family, SHOP), egress_ip(family, BILLING)];
    let few = few.map(|address| format!("\"{address}/{}\"", family.bits())).join(", ");
    let destinations = format!("  destinations: [{few}]\n");
    let policy = |namespace: &str, index: u8| {
        let spec = resources::egress_pair(index, lab.families()) + &destinations;
        resources::policy(namespace, "partners", "tenants", &spec)
    };
    lab.write_resources("20-policies.yaml", &(policy("shop", SHOP) + &policy("billing", BILLING)));
}

pub(super) const CLUSTER_PORT: u16 = 8472;
pub(super) const CLUSTER_NETWORK: u32 = 1;
pub(super) const CLUSTER_MAC: MacAddr = MacAddr([0x0a, 0, 0, 0, 0, 11]);

/// The end of a tunnel for pods' traffic between nodes, as network plugins make it.
fn cluster_tunnel(node: &Ns, family: Family) {
    let own = underlay(family, 11);
    node.ip(&format!(
        "link add cluster0 address {CLUSTER_MAC} type vxlan id {CLUSTER_NETWORK} \
         dstport {CLUSTER_PORT} local {own} dev eth0 nolearning
        link set cluster0 up"
    ));
}
