//! `egretctl status` and `egretctl check` on a worker: what they tell of pods that are fine, of
//! what was changed by hand, and of a tunnel that gets no answers.

use std::time::Duration;

use egret_tests::{
    Client, Families, Frame, Lab, Pod, Question, Transport, egress_ip, external, link_mac,
    resources, send_frame, underlay,
};
use egret_types::{Family, ours};
use rstest::rstest;
use serde_json::{Value, json};

use crate::forgery::identity;
use crate::world::{self, SHOP};

fn problems(status: &Value) -> Vec<String> {
    let problems = status["problems"].as_array().unwrap();
    problems.iter().map(|it| it.as_str().unwrap().to_owned()).collect()
}

fn told(lab: &Lab, command: &str, code: i32) -> Value {
    lab.node("w1").egretctl(&format!("{command} -o json")).exits(code).json()
}

fn ask(lab: &Lab, pod: &Pod) {
    for family in lab.families().list() {
        pod.who(Question::Udp, lab.external_address(*family)).unwrap();
    }
}

#[rstest]
fn a_node_without_pods_has_no_tunnel_and_no_problem() {
    let lab = world::builder(Families::Dual).start();
    world::open(&lab);
    let status = told(&lab, "status", 0);
    assert_eq!(status["tunnel"], Value::Null);
    assert_eq!(status["attachments"], json!([]));
    assert_eq!(told(&lab, "check", 0), json!([]));
    let unknown = lab.node("w1").egretctl("check nobody").exits(2);
    assert!(unknown.stderr.contains("no attachment of container nobody"), "{}", unknown.stderr);
}

#[rstest]
fn pods_are_listed_with_their_egress_ips_and_gateways(
    #[values(Families::V4, Families::V6, Families::Dual)] families: Families,
) {
    let lab = world::builder(families).start();
    world::open(&lab);
    let pod = lab.add_pod("w1", "shop", "cart");
    ask(&lab, &pod);
    let status = told(&lab, "status", 0);
    let ips: Vec<String> =
        families.list().iter().map(|family| egress_ip(*family, SHOP).to_string()).collect();
    let attached = &status["attachments"][0];
    assert_eq!(attached["containerID"], json!(pod.container_id()));
    assert_eq!(attached["pod"], json!("shop/cart"));
    assert_eq!(attached["egressIPs"], json!(ips));
    assert_eq!(attached["differences"], json!([]));
    assert_eq!(status["gateways"][0]["owner"], json!("g1"));
    let packets = |key: &str| status["tunnel"][key].as_u64().unwrap();
    let asked = families.list().len() as u64;
    assert!(packets("sentPackets") >= asked && packets("receivedPackets") >= asked, "{status:#}");
    let table = lab.node("w1").egretctl("status").success();
    assert!(ips.iter().all(|ip| table.contains(ip)), "{table}");
    let one = told(&lab, &format!("check {}", pod.container_id()), 0);
    assert_eq!(one.as_array().unwrap().len(), 1);
}

#[rstest]
fn what_was_changed_by_hand_is_named(#[values(Family::V4, Family::V6)] family: Family) {
    let lab = world::builder(Families::Dual).start();
    world::open(&lab);
    let (pod, other) = (lab.add_pod("w1", "shop", "cart"), lab.add_pod("w1", "shop", "other"));
    let dash = if family == Family::V4 { "-4" } else { "-6" };
    pod.ns().exec(&format!("ip {dash} rule del pref 1000")).success();
    let found = told(&lab, "check", 1);
    for attached in found.as_array().unwrap() {
        let mine = attached["containerID"] == json!(pod.container_id());
        let differences = attached["differences"].to_string();
        assert_eq!(differences.contains("1000"), mine, "{found:#}");
        assert!(mine || attached["differences"] == json!([]), "{found:#}");
    }
    told(&lab, &format!("check {}", other.container_id()), 0);
    let problems = problems(&told(&lab, "status", 1));
    let named = |it: &String| it.contains(&pod.container_id()) && it.contains("1000");
    assert!(problems.iter().any(named), "{problems:?}");
}

#[rstest]
fn drops_are_told_by_their_reasons() {
    let lab = world::builder(Families::V4).start();
    world::open(&lab);
    let pod = lab.add_pod("w1", "shop", "cart");
    let drops = || {
        let status = told(&lab, "status", 0);
        let drops = status["drops"].as_array().unwrap().clone();
        move |reason: &str| {
            let drop = drops.iter().find(|drop| drop["reason"] == json!(reason));
            drop.unwrap_or_else(|| panic!("{reason}"))["packets"].as_u64().unwrap()
        }
    };
    let before = drops();
    let own = pod.inside(|| link_mac(ours::POD_LINK)).unwrap();
    let send = |addresses| {
        let frame = Frame::new([own, identity(SHOP)], addresses, Transport::udp("x"));
        pod.inside(|| send_frame(ours::POD_LINK, &frame.encode())).unwrap();
    };
    let (address, outside) = (pod.address(Family::V4), lab.external_address(Family::V4));
    send([external(Family::V4, 77), outside]);
    send([address, underlay(Family::V4, 12)]);
    let after = drops();
    for reason in ["forgedSource", "notAllowed"] {
        assert_eq!(after(reason), before(reason) + 1, "{reason}");
    }
    assert_eq!(after("lateAnswer"), before("lateAnswer"));
}

#[rstest]
fn a_port_of_the_tunnel_that_is_closed_on_the_gateway_is_named(
    #[values(Families::V4, Families::V6, Families::Dual)] families: Families,
) {
    let lab = world::builder(families).start();
    world::open(&lab);
    let pod = lab.add_pod("w1", "shop", "cart");
    ask(&lab, &pod);
    told(&lab, "status", 0);
    let close = "add table inet closed
        add chain inet closed in { type filter hook input priority filter; }
        add rule inet closed in udp dport 7790 drop";
    lab.node("g1").ns().program("nft").args(["-f", "-"]).input(close).run().success();
    let server = lab.external_address(families.list()[0]);
    let ping = pod.program("ping").args(["-n", "-i", "0.05", &server.to_string()]).start();
    let found = problems(&told(&lab, "status", 1));
    let vtep = underlay(if families == Families::V6 { Family::V6 } else { Family::V4 }, 21);
    let named = format!("is UDP port 7790 open on g1 ({vtep})?");
    let told_it = |it: &String| it.contains("nothing comes back") && it.contains(&named);
    assert_eq!(found.iter().filter(|it| told_it(it)).count(), found.len(), "{found:?}");
    assert_eq!(found.len(), 1, "{found:?}");
    lab.node("g1").ns().exec("nft delete table inet closed").success();
    ask(&lab, &pod);
    told(&lab, "status", 0);
    drop(ping);
}

/// Where nothing has ever come back, nobody need talk at this moment.
#[rstest]
fn a_tunnel_that_never_had_an_answer_is_named() {
    let lab = world::builder(Families::V4).start();
    world::open(&lab);
    let pod = lab.add_pod("w1", "shop", "cart");
    lab.node("g1").egretctl("gateway down").success();
    for _ in 0..6 {
        let patience = Duration::from_millis(50);
        let client = Client { patience, ..Client::new(lab.external_address(Family::V4)) };
        pod.ask(&client, Question::Udp).unwrap_err();
    }
    let found = problems(&told(&lab, "status", 1));
    assert!(found.iter().any(|it| it.contains("nothing comes back")), "{found:?}");
}

#[rstest]
fn resources_that_cannot_be_read_hide_nothing_else() {
    let lab = world::builder(Families::V4).start();
    world::open(&lab);
    let pod = lab.add_pod("w1", "shop", "cart");
    lab.node("w1").write_resources("99-broken.yaml", "kind: [");
    let status = told(&lab, "status", 1);
    assert_eq!(status["attachments"][0]["containerID"], json!(pod.container_id()));
    let found = problems(&status);
    assert!(found.iter().any(|it| it.contains("99-broken.yaml")), "{found:?}");
}

#[rstest]
fn a_pool_that_is_gone_is_a_difference_of_the_pods_that_use_it() {
    let lab = world::builder(Families::V4).start();
    world::open(&lab);
    let pods = [lab.add_pod("w1", "shop", "cart"), lab.add_pod("w1", "billing", "ledger")];
    let node = lab.node("w1");
    told(&lab, "status", 0);
    node.egretctl("repair").success();
    let nodes: String = lab.nodes().iter().map(resources::node).collect();
    let text = resources::cluster(Families::V4, "") + &nodes;
    lab.write_resources("20-policies.yaml", "");
    lab.write_resources("10-defaults.yaml", &(text.clone() + &resources::gateway("edge", &["g1"])));
    let gone = "pool tenants has no gateway node";
    let found = told(&lab, "check", 1);
    let status = told(&lab, "status", 1);
    assert_eq!(found, status["attachments"]);
    for pod in &pods {
        let all = found.as_array().unwrap();
        let mine = all.iter().find(|it| it["containerID"] == json!(pod.container_id()));
        assert_eq!(mine.unwrap()["differences"], json!([gone]));
    }
    let repaired = node.egretctl("repair").exits(1).stdout;
    assert_eq!(repaired.matches(gone).count(), 2, "{repaired}");
    // Not even this node is in the files.
    let others: String =
        lab.nodes().iter().filter(|it| it.name() != "w1").map(resources::node).collect();
    lab.write_resources("10-defaults.yaml", &(resources::cluster(Families::V4, "") + &others));
    let status = told(&lab, "status", 1);
    assert_eq!(status["attachments"].as_array().unwrap().len(), 2);
    let unknown = "no EgressNode is named w1";
    assert!(problems(&status).iter().any(|it| it.contains(unknown)), "{status:#}");
    let check = node.egretctl("check -o json").exits(1);
    assert_eq!(check.json().as_array().unwrap().len(), 2);
    assert!(check.stderr.contains(unknown), "{}", check.stderr);
}

#[rstest]
fn check_finds_nothing_beside_pods_that_come_and_go() {
    let lab = world::builder(Families::V4).start();
    world::open(&lab);
    let kept = lab.add_pod("w1", "shop", "kept");
    let mut checks = 0;
    std::thread::scope(|scope| {
        let others = scope.spawn(|| {
            for number in 0..15 {
                lab.add_pod("w1", "shop", &format!("p{number}")).del().unwrap();
            }
        });
        while !others.is_finished() {
            let found = told(&lab, "check", 0);
            assert!(found.to_string().contains(&kept.container_id()), "{found:#}");
            checks += 1;
        }
    });
    assert!(checks > 1, "{checks}");
    // Control: what nobody is at work on is told.
    kept.ns().exec("ip rule del pref 1000").success();
    told(&lab, "check", 1);
}

#[rstest]
fn a_pod_whose_namespace_went_without_del_is_named() {
    let lab = world::builder(Families::V4).start();
    world::open(&lab);
    let pod = lab.add_pod("w1", "shop", "cart");
    pod.destroy_namespace();
    let found = told(&lab, "check", 1);
    let text = found[0]["differences"][0].as_str().unwrap();
    assert!(text.contains("is gone") && text.contains("egretctl gc"), "{text}");
}
