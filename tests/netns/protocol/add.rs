//! Items 24 to 38: ADD of the chained plugin.

use egret_tests::{Families, Lab, PluginSet, Question, egress_ip, resources};
use egret_types::Family;
use rstest::rstest;
use serde_json::{Value, json};

use super::call::{POLICIES, Plugin, Scene, bare, lab};
use crate::world::{self, SHOP};

fn links(result: &Value) -> &[Value] {
    result["interfaces"].as_array().unwrap()
}

#[test]
fn item_24_a_chained_plugin_needs_the_previous_result() {
    bare(Plugin::Egret, "ADD").lacking("prevResult").refused(7, &["prevResult"]);
    bare(Plugin::Egret, "ADD").key("prevResult", Value::Null).refused(7, &["prevResult"]);
}

#[test]
fn item_25_an_unselected_pod_gets_the_previous_result_letter_for_letter() {
    let lab = lab();
    let scene = Scene::of(&lab, Plugin::Egret, "other", "eth0");
    let mut previous = scene.previous.clone();
    previous["vendor.example/x"] = json!({ "z": 1, "a": [null, 1.50, "\u{fc}"] });
    previous["interfaces"][0]["later"] = json!(true);
    let before = scene.reading();
    let add = scene.call("ADD").key("prevResult", previous.clone()).run();
    assert_eq!(add.finished.success().trim_end(), previous.to_string());
    assert_eq!(before.changes_to(&scene.reading()), "");
    assert!(!scene.is_held());
}

#[test]
fn item_26_a_selected_pod_gets_both_ends_of_its_link_behind_all_others() {
    let lab = lab();
    let scene = Scene::new(&lab, Plugin::Egret);
    let result = scene.add();
    let before = links(&scene.previous);
    assert_eq!(&links(&result)[..before.len()], before);
    let [inside, outside] = &links(&result)[before.len()..] else { panic!("{result}") };
    assert_eq!(inside["sandbox"], json!(scene.pod.path()));
    assert_eq!(outside["sandbox"], json!(lab.node("w1").egress_ns().path()));
    assert_eq!(result["ips"], scene.previous["ips"]);
    for ip in result["ips"].as_array().unwrap() {
        let index = usize::try_from(ip["interface"].as_u64().unwrap()).unwrap();
        assert_eq!(links(&result)[index]["name"], "eth0", "{ip}");
    }
    assert_eq!(result["routes"], scene.previous["routes"]);
}

#[test]
fn item_27_the_nodes_end_is_named_after_the_container() {
    let lab = lab();
    let (first, second) = (Scene::new(&lab, Plugin::Egret), Scene::new(&lab, Plugin::Egret));
    let name = |scene: &Scene<'_>| {
        let name = links(&scene.add()).last().unwrap()["name"].as_str().unwrap().to_owned();
        assert!(name.len() <= 15 && name != scene.pod.link(), "{name}");
        scene.del();
        name
    };
    assert_eq!(name(&first), name(&first));
    assert_ne!(name(&first), name(&second));
}

#[rstest]
fn item_28_rules_and_routes_are_of_the_families_that_the_pod_has(
    #[values(Families::V4, Families::V6, Families::Dual)] families: Families,
) {
    let lab = Lab::builder(families).worker("w1").gateway("g1").start();
    lab.write_resources(POLICIES, &resources::policy("shop", "partners", "tenants", ""));
    let scene = Scene::new(&lab, Plugin::Egret);
    scene.add();
    for family in Family::BOTH {
        let flag = if family == Family::V4 { "-4" } else { "-6" };
        let has = families.list().contains(&family);
        for line in
            [format!("ip {flag} rule show pref 1000"), format!("ip {flag} route show table 230")]
        {
            let listed = scene.pod.exec(&line).stdout;
            assert_eq!(!listed.trim().is_empty(), has, "{line}: {listed}");
        }
    }
}

#[test]
fn item_29_a_namespace_that_is_not_there_is_not_made() {
    let lab = lab();
    let scene = Scene::new(&lab, Plugin::Egret);
    let missing = format!("{}-missing", scene.pod.path().display());
    let file = lab.node("w1").conflist_path().display().to_string();
    let before = scene.reading();
    for path in [&missing, &file] {
        for operation in ["ADD", "CHECK"] {
            scene.call(operation).with("CNI_NETNS", path).refused(3, &[path]);
        }
    }
    assert!(!std::path::Path::new(&missing).exists());
    assert_eq!(before.changes_to(&scene.reading()), "");
}

#[test]
fn item_30_the_nodes_own_namespace_is_refused_before_any_change() {
    let lab = lab();
    let scene = Scene::new(&lab, Plugin::Egret);
    let own = lab.node("w1").ns().path().display().to_string();
    let before = scene.reading();
    scene.call("ADD").with("CNI_NETNS", &own).refused(8, &["CNI_NETNS", &own]);
    assert_eq!(before.changes_to(&scene.reading()), "");
}

#[test]
fn item_31_a_link_of_our_name_in_the_pod_is_refused_and_left_alone() {
    let lab = lab();
    let scene = Scene::new(&lab, Plugin::Egret);
    scene.pod.ip("link add egr0 type bridge");
    let before = scene.reading();
    scene.call("ADD").refused(105, &["egr0", "bridge"]);
    scene.is_as(&before);
}

#[rstest]
fn item_32_adding_again_answers_the_same_and_doubles_nothing(
    #[values(Plugin::Egret, Plugin::EgretIpam)] plugin: Plugin,
) {
    let lab = lab();
    let scene = Scene::new(&lab, plugin);
    let first = scene.add();
    let once = scene.reading();
    assert_eq!(scene.add(), first);
    assert_eq!(once.changes_to(&scene.reading()), "");
    if plugin == Plugin::Egret {
        for family in ["-4", "-6"] {
            let rules = scene.pod.exec(&format!("ip {family} rule show pref 1000")).success();
            assert_eq!(rules.lines().count(), 1, "{rules}");
        }
    }
}

#[rstest]
fn item_37_plugins_before_and_behind_do_their_work_and_ours_stays(
    #[values(PluginSet::Debian, PluginSet::Newest)] plugins: PluginSet,
) {
    let lab = world::builder(Families::Dual).plugins(plugins).start();
    world::open(&lab);
    lab.node("w1").edit_conflist(|list| {
        let all = list["plugins"].as_array_mut().unwrap();
        all.insert(
            1,
            json!({ "type": "tuning", "sysctl": { "net.ipv4.conf.all.log_martians": "1" } }),
        );
        all.push(json!({ "type": "portmap", "capabilities": { "portMappings": true } }));
    });
    let pod = lab.pod("w1", "shop", "cart").prepare();
    let mappings = r#"{"portMappings":[{"hostPort":8081,"containerPort":80,"protocol":"tcp"}]}"#;
    let run = |operation: &str| pod.cnitool(operation).env("CAP_ARGS", mappings).run();
    run("add").success();
    if plugins == PluginSet::Newest {
        // Debian's portmap does not find its own IPv6 rules again.
        run("check").success();
    }
    assert_eq!(pod.sysctl("net.ipv4.conf.all.log_martians"), "1");
    let mapped = || {
        let rules = lab.node("w1").ns().exec("iptables-save -t nat").stdout;
        let tables = lab.node("w1").ns().exec("nft list ruleset").stdout;
        (rules + &tables).contains("8081")
    };
    assert!(mapped());
    for family in Family::BOTH {
        let seen = pod.who(Question::Udp, lab.external_address(family)).unwrap();
        assert_eq!(seen.address, egress_ip(family, SHOP));
    }
    run("del").success();
    assert!(!mapped());
    assert_eq!(pod.exec("ip rule show pref 1000").stdout, "");
}

#[test]
fn item_38_large_and_careless_previous_results_are_accepted() {
    let lab = lab();
    let scene = Scene::new(&lab, Plugin::Egret);
    let mut previous = scene.previous.clone();
    let all = previous["interfaces"].as_array_mut().unwrap();
    all.extend((all.len()..50).map(|number| json!({ "name": format!("other{number}") })));
    previous["ips"][0]["interface"] = json!(-1);
    previous["ips"][1]["gateway"] = json!("");
    let result = scene.call("ADD").key("prevResult", previous.clone()).result();
    assert_eq!(links(&result).len(), 52);
    assert_eq!(&links(&result)[..50], links(&previous));
    assert_eq!(result["ips"], previous["ips"]);
}
