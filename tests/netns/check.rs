//! CHECK: silent while everything is as ADD made it, and each damage named by the object it hit.

use egret_tests::{
    Families, Lab, Node, Ns, PluginOutcome, PluginRun, Pod, Question, egress_ip, resources,
};
use egret_types::{Family, ours};
use serde_json::Value;

use crate::world::{self, SHOP};

/// A pod that ours, executed alone, has attached.
pub(crate) struct Attached<'lab> {
    pub(crate) pod: Pod<'lab>,
    previous: Value,
    pub(crate) result: Value,
}

impl<'lab> Attached<'lab> {
    pub(crate) fn new(lab: &'lab Lab, namespace: &str) -> Self {
        let mut pod = lab.pod("w1", namespace, "cart").prepare();
        let previous = pod.add_before_ours().unwrap().clone();
        let result = PluginRun::for_pod(&pod, "ADD", Some(&previous)).run().result();
        Self { pod, previous, result }
    }

    pub(crate) fn check(&self) -> PluginOutcome {
        PluginRun::for_pod(&self.pod, "CHECK", Some(&self.result)).run()
    }

    #[track_caller]
    pub(crate) fn is_fine(&self) {
        assert_eq!(self.check().finished.success(), "");
    }

    /// ADD again puts back what is missing, and its result is the same.
    #[track_caller]
    pub(crate) fn add_again(&self) {
        let add = PluginRun::for_pod(&self.pod, "ADD", Some(&self.previous));
        assert_eq!(add.run().result(), self.result);
    }

    /// The node's end of its link.
    fn veth(&self) -> String {
        let interfaces = self.result["interfaces"].as_array().unwrap();
        interfaces.last().unwrap()["name"].as_str().unwrap().to_owned()
    }
}

#[derive(Clone, Copy)]
pub(crate) enum In {
    Pod,
    Egress,
    Node,
}

/// What an administrator breaks, where, and what CHECK must name.
pub(crate) struct Damage {
    pub(crate) place: In,
    pub(crate) command: String,
    pub(crate) named: &'static [&'static str],
}

fn damage(place: In, command: &str, named: &'static [&'static str]) -> Damage {
    Damage { place, command: command.to_owned(), named }
}

/// The first words of the first line that contains a text: an object as a listing has it.
fn first(listing: &str, text: &str, words: usize) -> String {
    let line = listing.lines().find(|line| line.contains(text));
    let line = line.unwrap_or_else(|| panic!("no {text} in {listing}"));
    line.split_whitespace().take(words).collect::<Vec<_>>().join(" ")
}

pub(crate) fn in_the_pod(pod: &Ns) -> Vec<Damage> {
    let table = |family: &str| {
        let routes = pod.exec(&format!("ip {family} route show table 230")).success();
        format!("ip {family} route del {} table 230", first(&routes, "via", 1))
    };
    vec![
        damage(In::Pod, "ip rule del pref 1000", &["rule", "1000"]),
        damage(In::Pod, "ip -6 rule del pref 1000", &["ipv6 rule", "1000"]),
        damage(In::Pod, "ip rule del pref 990", &["rule", "990"]),
        damage(In::Pod, &table("-4"), &["route", "table 230"]),
        damage(In::Pod, &table("-6"), &["route", "table 230"]),
        damage(In::Pod, "ip route flush table 230", &["route", "table 230"]),
        damage(In::Pod, "ip link set egr0 down", &["link egr0: down"]),
        damage(In::Pod, "ip link set egr0 mtu 1300", &["link egr0: mtu 1300"]),
        damage(In::Pod, "ip link set egr0 address 02:00:00:00:00:09", &["link egr0: mac"]),
        damage(In::Pod, "ip neigh del 169.254.230.1 dev egr0", &["neighbour 169.254.230.1"]),
        damage(In::Pod, "ip neigh del fe80::e6:1 dev egr0", &["neighbour fe80::e6:1"]),
        damage(In::Pod, "nft delete table inet egret", &["table inet egret: missing"]),
        damage(In::Pod, "nft flush chain inet egret in", &["chain inet egret in"]),
        damage(In::Pod, "sysctl -qw net.ipv4.conf.all.rp_filter=1", &["conf.all.rp_filter"]),
        damage(In::Pod, "sysctl -qw net.ipv4.conf.egr0.rp_filter=1", &["conf.egr0.rp_filter"]),
        damage(In::Pod, "sysctl -qw net.ipv6.fwmark_reflect=0", &["fwmark_reflect"]),
        damage(In::Pod, "ip link del egr0", &["link egr0: missing"]),
    ]
}

pub(crate) fn in_the_egress_namespace(attached: &Attached<'_>) -> Vec<Damage> {
    let egress = attached.pod.node().egress_ns();
    let veth = attached.veth();
    let listing = egress.exec("nft list table netdev egret").success();
    let decision = first(&listing, "chain d", 2).replace("chain ", "");
    let element = |map: &str| {
        let entries = egress.exec(&format!("nft -n list map netdev egret {map}")).success();
        let entry = entries.split("elements = {").nth(1).unwrap();
        let key = entry.split(" : ").next().unwrap().trim();
        format!("nft delete element netdev egret {map} {{ {key} }}")
    };
    let entry = "bridge fdb del 02:e6:01:00:00:03 dev egret0 dst 172.18.0.21";
    let down = format!("ip link set {veth} down");
    let flush = format!("nft flush chain netdev egret {veth}");
    let of_decision = format!("nft flush chain netdev egret {decision}");
    let moved = "bridge fdb replace 02:e6:01:00:00:03 dev egret0 self permanent dst 172.18.0.12";
    vec![
        damage(In::Egress, &flush, &["chain netdev egret egr", "jump pod"]),
        damage(In::Egress, &element("tx4"), &["tx4"]),
        damage(In::Egress, &element("tx6"), &["tx6"]),
        damage(In::Egress, &element("rx4"), &["rx4"]),
        damage(In::Egress, &of_decision, &["chain netdev egret d"]),
        damage(In::Egress, "nft flush chain netdev egret pod", &["chain netdev egret pod"]),
        damage(In::Egress, "nft flush chain netdev egret worker", &["chain netdev egret worker"]),
        damage(In::Egress, "nft flush chain netdev egret egret0", &["chain netdev egret egret0"]),
        damage(In::Egress, &down, &["link egr", "down"]),
        damage(In::Egress, entry, &["fdb", "02:e6:01"]),
        damage(In::Egress, moved, &["fdb", "172.18.0.21"]),
        damage(In::Egress, "ip link set egret0 mtu 1300", &["link egret0: mtu 1300"]),
        damage(In::Egress, "ip link set egret0 down", &["link egret0: down"]),
        damage(In::Egress, "nft delete table netdev egret", &["table netdev egret: missing"]),
    ]
}

fn of_the_guard() -> Vec<Damage> {
    let table = ours::NFT_TUNNEL_TABLE;
    let member = format!("nft delete element inet {table} members {{ 172.18.0.21 }}");
    vec![
        damage(In::Node, &format!("nft delete table inet {table}"), &["egret-tunnel"]),
        damage(
            In::Node,
            &format!("nft flush chain inet {table} output"),
            &["chain inet egret-tunnel output"],
        ),
        damage(In::Node, &member, &["set inet egret-tunnel members"]),
    ]
}

pub(crate) fn hit(node: &Node, pod: &Ns, damage: &Damage) {
    let place = match damage.place {
        In::Pod => pod.clone(),
        In::Egress => node.egress_ns(),
        In::Node => node.ns().clone(),
    };
    place.exec(&damage.command).success();
}

#[test]
fn item_50_each_damage_is_named_and_add_again_repairs_it() {
    let lab = world::builder(Families::Dual).start();
    world::open(&lab);
    let attached = Attached::new(&lab, "shop");
    let mut all = in_the_pod(attached.pod.ns());
    all.extend(in_the_egress_namespace(&attached));
    all.extend(of_the_guard());
    let mut wrong = Vec::new();
    for damage in &all {
        hit(attached.pod.node(), attached.pod.ns(), damage);
        let (code, sentence) = attached.check().error();
        if code != 110 || !damage.named.iter().all(|word| sentence.contains(word)) {
            wrong.push(format!("{}: {code} {sentence}", damage.command));
        }
        attached.add_again();
        attached.is_fine();
    }
    assert_eq!(wrong, Vec::<String>::new());
}

/// What a decision allows is named by its content, so ADD does not read what stands under the name;
/// CHECK does.
#[test]
fn an_emptied_decision_set_is_named_and_filled_when_its_last_user_is_attached_anew() {
    let lab = world::builder(Families::Dual).start();
    world::open(&lab);
    let attached = Attached::new(&lab, "shop");
    let egress = lab.node("w1").egress_ns();
    let set = first(&egress.exec("nft list table netdev egret").success(), "set d", 2);
    egress.exec(&format!("nft flush {}", set.replace("set ", "set netdev egret "))).success();
    let (code, sentence) = attached.check().error();
    assert!(code == 110 && sentence.contains("set netdev egret d"), "{code} {sentence}");
    PluginRun::for_pod(&attached.pod, "DEL", Some(&attached.result)).run().finished.success();
    attached.add_again();
    attached.is_fine();
}

/// A tunnel that was deleted takes nothing of the pods with it but has another number when the next
/// ADD makes it: the filters of the pods that were there must follow.
#[test]
fn a_link_that_was_made_anew_is_told_and_its_pods_work_after_add() {
    let lab = world::builder(Families::Dual).start();
    world::open(&lab);
    let attached = Attached::new(&lab, "shop");
    lab.node("w1").egress_ns().ip("link del egret0");
    assert_eq!(attached.check().error().0, 110);
    lab.add_pod("w1", "shop", "next");
    let (code, sentence) = attached.check().error();
    assert!(code == 110 && sentence.contains("made anew"), "{code} {sentence}");
    attached.add_again();
    attached.is_fine();
    for family in Family::BOTH {
        let seen = attached.pod.who(Question::Tcp, lab.external_address(family)).unwrap();
        assert_eq!(seen.address, egress_ip(family, SHOP));
    }
}

#[test]
fn check_right_after_add_is_silent_twenty_times() {
    let lab = world::builder(Families::Dual).start();
    world::open(&lab);
    for number in 0..20 {
        let mut pod = lab.pod("w1", "shop", &format!("cart-{number}")).prepare();
        let previous = pod.add_before_ours().unwrap().clone();
        let result = PluginRun::for_pod(&pod, "ADD", Some(&previous)).run().result();
        let check = PluginRun::for_pod(&pod, "CHECK", Some(&result)).run();
        assert_eq!(check.finished.success(), "");
    }
}

#[test]
fn an_unselected_pod_is_checked_on_a_node_that_has_nothing_of_ours() {
    let lab = Lab::builder(Families::Dual).worker("w1").start();
    let attached = Attached::new(&lab, "shop");
    attached.is_fine();
    assert!(!lab.node("w1").egress_ns().exists());
}

#[test]
fn what_other_plugins_changed_later_is_no_difference() {
    let lab = world::builder(Families::Dual).start();
    world::open(&lab);
    let mut attached = Attached::new(&lab, "shop");
    attached.pod.ip("link set eth0 mtu 1400
        link set eth0 address 02:00:00:00:00:77
        route add 192.0.2.0/24 via 10.244.11.1");
    attached.result["interfaces"][2]["mac"] = "02:00:00:00:00:77".into();
    attached.result["interfaces"].as_array_mut().unwrap().push(serde_json::json!({
        "name": "lo", "sandbox": attached.pod.path()
    }));
    attached.is_fine();
}

#[test]
fn a_lost_record_a_lost_holder_and_another_namespace_are_told_apart() {
    let lab = world::builder(Families::Dual).start();
    world::open(&lab);
    let attached = Attached::new(&lab, "shop");
    let state = lab.node("w1").state_dir();
    let without_prev = PluginRun::for_pod(&attached.pod, "CHECK", None).run().error();
    assert_eq!(without_prev.0, 7, "{}", without_prev.1);
    for (directory, code, word) in [("holders", 111, "shop"), ("attachments", 110, "record")] {
        let directory = state.join(directory);
        let files: Vec<_> = std::fs::read_dir(&directory).unwrap().collect();
        assert_eq!(files.len(), 1, "{}", directory.display());
        let file = files.into_iter().next().unwrap().unwrap().path();
        let aside = lab.node("w1").directory().join("aside");
        std::fs::hard_link(&file, &aside).unwrap();
        std::fs::remove_file(&file).unwrap();
        let (found, sentence) = attached.check().error();
        assert_eq!(found, code, "{sentence}");
        assert!(sentence.contains(word) || sentence.contains("lease"), "{sentence}");
        std::fs::hard_link(&aside, &file).unwrap();
        std::fs::remove_file(&aside).unwrap();
        attached.is_fine();
    }
    let other = lab.namespace("other");
    let path = other.path().display().to_string();
    let check = PluginRun::for_pod(&attached.pod, "CHECK", Some(&attached.result));
    let (code, sentence) = check.variable("CNI_NETNS", &path).run().error();
    assert_eq!(code, 110, "{sentence}");
    assert!(sentence.contains("namespace"), "{sentence}");
}

/// A running pod keeps its decision until it is repaired: editing a policy is no damage.
#[test]
fn a_policy_edited_later_is_no_difference() {
    let lab = world::builder(Families::Dual).start();
    world::open(&lab);
    let attached = Attached::new(&lab, "shop");
    let spec =
        resources::egress_pair(SHOP, Families::Dual) + "  destinations: [\"192.0.2.0/24\"]\n";
    let edited = resources::policy("shop", "partners", "tenants", &spec);
    lab.write_resources("20-policies.yaml", &edited);
    attached.is_fine();
    // Resources that cannot be read say nothing about a running pod.
    lab.write_resources("30-typo.yaml", "kind: [");
    attached.is_fine();
}
