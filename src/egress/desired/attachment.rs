//! One pod: its veth and steering in its own namespace, and its part of the worker side.

use std::net::IpAddr;

use egret_types::{Attachment, Family, Identity, IfIndex, LinkName, Mtu, NodeId, ours};

use super::{Policy, Removal, base, chain, drop_counted, of_family, steering};
use crate::decision::Decision;
use crate::nft::{
    Chain, Content, Count, DataType, Datum, Element, Entry, Expr, Field, HookPoint, Op, Ruleset,
    Set, TableFamily, Value, ValueType, fingerprint,
};
use crate::object::{Object, Place, Placed, Sysctl, Veth};

/// The names of an attachment's links, made from the attachment alone: a deletion needs no record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// In the pod.
    pub pod: LinkName,
    /// In the egret namespace.
    pub node: LinkName,
}

impl Names {
    /// `egr0`, and `egr` with twelve digits of a hash of container id and interface name.
    pub fn of(attachment: &Attachment) -> Self {
        let hash = fingerprint(&(&attachment.container_id, &attachment.ifname));
        let node = format!("{}{}", ours::NODE_LINK_PREFIX, &hash[..12]);
        Self { pod: ours::link(ours::POD_LINK), node: ours::link(&node) }
    }
}

/// What is known of a pod when its steering is planned.
#[derive(Debug, Clone)]
pub struct PodFacts {
    /// Its links.
    pub names: Names,
    /// The interface that the chain before us made.
    pub primary: LinkName,
    /// Every address of it; the first of a family is the source of steered packets.
    pub addresses: Vec<IpAddr>,
    /// What its policies mean.
    pub decision: Decision,
    /// The node it runs on.
    pub node: NodeId,
    /// Of the tunnel.
    pub mtu: Mtu,
    /// What the pod's namespace must be told so that answers from anywhere are taken, with the
    /// values to put back; see [`super::reverse_path`].
    pub reverse_path: Vec<Sysctl>,
}

impl PodFacts {
    /// The source of steered packets.
    pub(super) fn source(&self, family: Family) -> Option<IpAddr> {
        self.addresses.iter().copied().find(|address| Family::of(*address) == family)
    }

    /// The families in which the pod has an address.
    pub(super) fn families(&self) -> impl Iterator<Item = Family> {
        Family::BOTH.into_iter().filter(|family| self.source(*family).is_some())
    }
}

/// The link between pod and egret namespace. `ip link add egr0 address <node> type veth peer <name>`
pub fn pod_link(pod: &PodFacts) -> Placed {
    let veth = Veth {
        name: pod.names.pod.clone(),
        mac: pod.node.mac(),
        peer: pod.names.node.clone(),
        mtu: pod.mtu,
    };
    Placed { place: Place::Pod, object: Object::Veth(veth) }
}

/// What in the pod's namespace sends its packets to that link.
pub fn pod_steering(pod: &PodFacts) -> Vec<Placed> {
    let placed = |object| Placed { place: Place::Pod, object };
    steering::steering(pod).into_iter().map(placed).collect()
}

/// In the egret namespace: the chain on the pod's veth, the decision chains it shares with pods of
/// the same decision, and its elements of the maps. `veth` and `tunnel` are links there.
pub fn pod_filter(pod: &PodFacts, veth: IfIndex, tunnel: IfIndex) -> Placed {
    let mut ruleset = Ruleset {
        family: TableFamily::Netdev,
        table: ours::NFT_TABLE.into(),
        sets: vec![],
        chains: vec![],
        elements: vec![],
    };
    for identity in pod.decision.identities() {
        for family in pod.families() {
            allow(&mut ruleset, pod, (identity, family), veth, tunnel);
        }
    }
    let name = pod.names.node.as_str();
    let ingress = base(name, HookPoint::Ingress(pod.names.node.clone()), 0, Policy::Drop);
    ruleset.chains.push(ingress.rules(vec![vec![Expr::Jump("pod".into())]]));
    Placed { place: Place::Egret, object: Object::Nft(ruleset) }
}

/// Adds what lets one identity be used in one family.
fn allow(
    ruleset: &mut Ruleset,
    pod: &PodFacts,
    (identity, family): (Identity, Family),
    veth: IfIndex,
    tunnel: IfIndex,
) {
    let ranges = pod.decision.ranges(identity, family);
    if ranges.is_empty() {
        return;
    }
    let (set, decision) = decision_chain(identity, family, ranges, tunnel);
    for address in pod.addresses.iter().filter(|address| Family::of(**address) == family) {
        let address = Datum::Address(*address);
        let mac = Datum::Mac(identity.mac());
        let jump = Value::Jump(decision.name.clone());
        let here = || Value::Data(Datum::IfIndex(veth));
        let mut element = |map: &str, key, value| {
            let element = Element { set: of_family(map, family), entry: Entry { key, value } };
            if !ruleset.elements.contains(&element) {
                ruleset.elements.push(element);
            }
        };
        element("tx", vec![Datum::IfIndex(veth), address, mac], jump);
        element("rx", vec![address, mac], here());
        // What the gateway itself says about a packet, an ICMP error, has its own source. Two
        // identities of one pod share this element.
        element("rx", vec![address, Datum::Mac(ours::GATEWAY_MAC)], here());
    }
    ruleset.sets.push(set);
    ruleset.chains.push(decision);
}

/// The chain of one decision, identity and family, and the destinations it lets through. Both have
/// a name made of their content: what exists under it is right, and pods with the same decision
/// share it. It lists what is allowed, since a set that is new in a transaction looks empty for a
/// moment: then nothing passes.
fn decision_chain(
    identity: Identity,
    family: Family,
    ranges: Vec<(IpAddr, IpAddr)>,
    tunnel: IfIndex,
) -> (Set, Chain) {
    let stem = format!("d{identity}-{}-", fingerprint(&(&ranges, tunnel)));
    let name = of_family(&stem, family);
    // ip daddr @<name> fwd to egret0; counter drop
    let allowed = Expr::Lookup(vec![Field::Daddr(family)], Op::Is, name.clone());
    let rules = vec![vec![allowed, Expr::Forward(tunnel)], drop_counted()];
    let set = Set {
        name: name.clone(),
        key: vec![DataType::Address(family)],
        value: ValueType::None,
        content: Content::Ranges(ranges),
        count: Count::Nothing,
        removal: Removal::Unused,
    };
    (set, chain(&name, rules, Removal::Unused))
}
