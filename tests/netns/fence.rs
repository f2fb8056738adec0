//! The last look before a packet leaves the gateway: whatever became of its translation, only the
//! egress IP of its own identity gets out.

use egret_tests::{Families, Lab, Ns, Packet, Pod, Question, egress_ip};
use egret_types::Family;
use rstest::rstest;

use crate::world::{self, BILLING, SHOP};

/// Replaces the gateway's source translation.
fn translate(gateway: &Ns, rules: &str) {
    let rules = format!("flush chain inet egret post\n{rules}");
    gateway.program("nft").args(["-f", "-"]).input(rules.as_str()).run().success();
}

/// What could stand there instead, with the chain that must drop the packet.
fn faults(family: Family) -> [(&'static str, String, &'static str); 4] {
    let word = match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    };
    let add = |rule: String| format!("add rule inet egret post {rule}");
    let other = egress_ip(family, BILLING);
    [
        ("another tenant's address", add(format!("snat {word} to {other}")), "leaving"),
        ("an address of the uplink", add("oifname egru0 masquerade".into()), "leaving"),
        ("nothing at all", String::new(), "leaving"),
        ("nothing, and the last rule", add("oifname egru0 counter drop".into()), "post"),
    ]
}

#[rstest]
fn a_packet_with_a_source_that_is_not_its_own_never_leaves(
    #[values(Families::V4, Families::V6)] families: Families,
) {
    let lab = world::builder(families).start();
    world::open(&lab);
    let family = families.list()[0];
    let pod = lab.add_pod("w1", "shop", "cart");
    let gateway = lab.node("g1").egress_ns();
    let wire = lab.external().capture("eth0", "tcp or udp");
    for (name, rules, chain) in faults(family) {
        translate(&gateway, &rules);
        let dropped = || gateway.counted(&format!("chain inet egret {chain}"), "drop");
        let before = dropped();
        asked_in_vain(&lab, &pod, name);
        assert!(dropped() >= before + 2, "{name}: chain {chain} counted {}", dropped() - before);
    }
    lab.node("g1").egretctl("gateway up").success();
    let seen = pod.who(Question::Tcp, lab.external_address(family)).unwrap();
    assert_eq!(seen.address, egress_ip(family, SHOP));
    wire.wait_for("the connection after all", |it| it.source == Some(seen.address));
    let strange: Vec<Packet> = wire.stop().into_iter().filter(|it| is_strange(it, &pod)).collect();
    assert_eq!(strange, []);
    without_the_fence_they_leave(&lab, &pod);
}

fn asked_in_vain(lab: &Lab, pod: &Pod, why: &str) {
    let family = lab.families().list()[0];
    let server = lab.external_address(family);
    for question in [Question::Udp, Question::Tcp] {
        let patience = std::time::Duration::from_millis(300);
        let client = egret_tests::Client { patience, ..egret_tests::Client::new(server) };
        let seen = pod.ask(&client, question);
        assert!(seen.is_err(), "{why}: {question:?} was answered: {seen:?}");
    }
}

/// Under another tenant's address, or under the pod's own.
fn is_strange(packet: &Packet, pod: &Pod) -> bool {
    let wrong = |family| [egress_ip(family, BILLING), pod.address(family)];
    packet.source.is_some_and(|source| wrong(Family::of(source)).contains(&source))
}

/// Control: it is the fence that holds them, and the capture that sees them.
fn without_the_fence_they_leave(lab: &Lab, pod: &Pod) {
    let gateway = lab.node("g1").egress_ns();
    let family = lab.families().list()[0];
    let wire = lab.external().capture("eth0", "tcp or udp");
    let open = "flush chain inet egret fence";
    gateway.program("nft").args([open]).run().success();
    let wrong = [egress_ip(family, BILLING), pod.address(family)];
    let [another, _, nothing, _] = faults(family);
    for ((name, rules, _), wrong) in [another, nothing].into_iter().zip(wrong) {
        translate(&gateway, &rules);
        // Whether it is answered or not.
        pod.who(Question::Udp, lab.external_address(family)).ok();
        wire.wait_for(name, |packet| packet.source == Some(wrong));
    }
}
