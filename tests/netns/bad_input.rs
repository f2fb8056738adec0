//! What cannot work is refused with a sentence that an operator can act on, with the right code,
//! and leaves nothing behind: no object in the kernel, no record, no lease.

use egret_tests::{Families, Lab, Ns, PluginOutcome, PluginRun, Pod, Snapshot, product, resources};
use egret_types::{Family, ours};
use serde_json::{Value, json};

use crate::world;

/// A pod to which everything but ours has been done, and the resources that would select it.
struct Scene<'lab> {
    lab: &'lab Lab,
    pod: Pod<'lab>,
    previous: Value,
    conflist: Value,
}

const DEFAULTS: &str = "10-defaults.yaml";
const POLICIES: &str = "20-policies.yaml";

fn defaults(lab: &Lab) -> String {
    resources::defaults(lab.nodes(), lab.families())
}

fn policy(more: &str) -> String {
    resources::policy("shop", "partners", "tenants", more)
}

impl<'lab> Scene<'lab> {
    fn new(lab: &'lab Lab) -> Self {
        lab.write_resources(POLICIES, &policy(""));
        let mut pod = lab.pod("w1", "shop", "cart").prepare();
        let previous = pod.add_before_ours().unwrap().clone();
        Self { lab, pod, previous, conflist: lab.node("w1").conflist() }
    }

    fn add(&self) -> PluginRun {
        PluginRun::for_pod(&self.pod, "ADD", Some(&self.previous))
    }

    /// Everything that a refused ADD must leave as it was. Directories and locks are no state, and a
    /// lease is its namespace's, whatever becomes of the pod for which it was made.
    fn reading(&self) -> Snapshot {
        let node = self.lab.node("w1");
        let files = Snapshot::of_files(node.directory()).without("directory ").without("/run/");
        let kernel = node.ns().snapshot().and(node.egress_ns().snapshot());
        let files = files.without("/resources.d/").without("/net.d/").without("/state/leases/");
        files.and(kernel).and(self.pod.snapshot())
    }

    /// Undoes a change of files.
    fn restore(&self) {
        self.lab.write_resources(DEFAULTS, &defaults(self.lab));
        self.lab.write_resources(POLICIES, &policy(""));
        self.lab.node("w1").edit_conflist(|list| *list = self.conflist.clone());
    }

    #[track_caller]
    fn refused(&self, name: &str, add: PluginRun, code: u64, words: &[&str]) {
        let before = self.reading();
        refused(name, add.run(), code, words);
        self.restore();
        // What is shared may have come into being before the error.
        self.lab.node("w1").egretctl("gc");
        let changes = before.changes_to(&self.reading());
        assert!(changes.is_empty(), "{name}: left behind:\n{changes}");
    }
}

#[track_caller]
fn refused(name: &str, outcome: PluginOutcome, code: u64, words: &[&str]) {
    assert_eq!(outcome.finished.code(), Some(1), "{name}: {}", outcome.finished);
    let (found, sentence) = outcome.error();
    assert_eq!(found, code, "{name}: {sentence}");
    for word in words {
        assert!(sentence.contains(word), "{name}: no {word:?} in: {sentence}");
    }
}

/// A change of the defaults, and of the policy; the code; what the sentence must have.
type Resource<'a> = (&'a str, &'a dyn Fn(&str) -> String, String, u64, &'a [&'a str]);

fn replaced<'a>(from: &'a str, to: &'a str) -> impl Fn(&str) -> String + 'a {
    move |text| {
        assert!(text.contains(from), "{from} is not in {text}");
        text.replacen(from, to, 1)
    }
}

fn appended(more: String) -> impl Fn(&str) -> String {
    move |text| format!("{text}{more}")
}

/// Each in turn: a change of the files, and what ADD says.
fn all_refused(scene: &Scene<'_>, cases: &[Resource<'_>]) {
    for (name, change, policies, code, words) in cases {
        scene.lab.write_resources(DEFAULTS, &change(&defaults(scene.lab)));
        scene.lab.write_resources(POLICIES, policies);
        scene.refused(name, scene.add(), *code, words);
    }
}

fn same(text: &str) -> String {
    text.to_owned()
}

#[test]
fn nodes_and_networks_that_cannot_work_are_refused_with_the_key_and_the_place() {
    let lab = world::builder(Families::Dual).start();
    let scene = Scene::new(&lab);
    let guard = replaced("  guard: \"off\"\n", "");
    let required = replaced("guard: \"off\"", "guard: required");
    let mtu = replaced("guard: \"off\"\n", "guard: \"off\"\n  tunnel: { mtu: 1451 }\n");
    let id = replaced("  id: 12\n", "  id: 11\n");
    let vtep = replaced("172.18.0.12\"", "172.18.0.11\"");
    let v6_only = replaced("vtep: [\"172.18.0.12\", ", "vtep: [");
    let v4_only = replaced(", \"fd00:172:18::11\"]", "]");
    let no_family = |text: &str| v4_only(&v6_only(text));
    let elsewhere = replaced("172.18.0.11\"", "172.18.0.111\"");
    let networks = replaced("\"10.244.0.0/16\", ", "");
    let host_bits = replaced("10.244.0.0/16", "10.244.1.0/16");
    let services = |text: &str| {
        let lines = text.lines().filter(|line| !line.contains("serviceCIDRs"));
        lines.collect::<Vec<_>>().join("\n") + "\n"
    };
    all_refused(
        &scene,
        &[
            ("absent guard", &guard, policy(""), 103, &["guard", "10-defaults.yaml:"]),
            ("guard", &required, policy(""), 103, &["guard", "required", "off"]),
            ("MTU too large", &mtu, policy(""), 7, &["tunnel.mtu 1451", "1500", "1450"]),
            ("one id", &id, policy(""), 7, &["node id 11", "w1", "10-defaults.yaml:"]),
            ("one VTEP", &vtep, policy(""), 7, &["172.18.0.11", "w1"]),
            ("no family", &no_family, policy(""), 7, &["VTEP", "w1", "w2"]),
            ("VTEP elsewhere", &elsewhere, policy(""), 7, &["172.18.0.111", "w1"]),
            ("no way back", &networks, policy(""), 7, &["10.244.11.", "clusterCIDRs"]),
            ("host bits", &host_bits, policy(""), 7, &["10.244.1.0/16", "clusterCIDRs"]),
            ("services", &services, policy(""), 7, &["serviceCIDRs", "partners"]),
        ],
    );
    // With destinations that cannot contain them the services need not be known.
    lab.write_resources(DEFAULTS, &services(&defaults(&lab)));
    lab.write_resources(POLICIES, &policy("  destinations: [\"192.0.2.0/24\"]\n"));
    scene.add().run().result();
}

#[test]
fn pools_gateways_and_policies_that_cannot_work_are_refused_with_the_key_and_the_place() {
    let lab = world::builder(Families::Dual).start();
    let scene = Scene::new(&lab);
    let members = replaced("members: [\"g1\"]", "members: []");
    let member = replaced("members: [\"g1\"]", "members: [\"g9\"]");
    let pool = |id| resources::pool("second", id, Families::Dual, "");
    let overlapping = appended(pool(2).replace("203.0.113.60", "203.0.113.59"));
    let one_id = appended(pool(1).replace("113.5", "113.7"));
    let twice = appended(resources::gateway("edge", &["g1"]));
    let no_pair = policy("  egressIP: { ipv4: 203.0.113.50, ipv6: \"2001:db8:ff::51\" }\n");
    let no_pool = policy("").replace("tenants", "nobody");
    let wrong_type = policy("  destinations: high\n");
    all_refused(
        &scene,
        &[
            ("typo", &same, policy("  colour: red\n"), 7, &["20-policies.yaml:8", "spec.colour"]),
            ("no YAML", &same, "kind: [\n".to_owned(), 7, &["20-policies.yaml:"]),
            ("wrong type", &same, wrong_type, 7, &["20-policies.yaml:8", "high"]),
            ("no members", &members, policy(""), 7, &["members", "10-defaults.yaml:"]),
            ("unknown member", &member, policy(""), 7, &["g9", "10-defaults.yaml:"]),
            ("overlap", &overlapping, policy(""), 7, &["203.0.113.59", "tenants", "second"]),
            ("pool id", &one_id, policy(""), 7, &["id", "tenants"]),
            ("named twice", &twice, policy(""), 7, &["edge"]),
            ("no pool", &same, no_pool, 7, &["nobody", "spec.pool"]),
            ("later key", &same, policy("  onGatewayLoss: Node\n"), 103, &["spec.onGatewayLoss"]),
            ("later action", &same, policy("  action: Deny\n"), 103, &["spec.action"]),
            ("no pair", &same, no_pair, 101, &["203.0.113.50"]),
        ],
    );
}

#[test]
fn a_pool_without_an_address_left_is_refused_and_the_next_pod_of_its_owner_is_not() {
    let lab = world::builder(Families::Dual).start();
    let scene = Scene::new(&lab);
    let one = |text: &str| {
        let v4 = text.replace("203.0.113.50-203.0.113.59", "203.0.113.50");
        v4.replace("2001:db8:ff::50-2001:db8:ff::59", "2001:db8:ff::50")
    };
    lab.write_resources(DEFAULTS, &one(&defaults(&lab)));
    let other = resources::policy("billing", "partners", "tenants", "");
    lab.write_resources(POLICIES, &(policy("") + &other));
    lab.add_pod("w1", "billing", "first");
    let before = scene.reading();
    refused("exhausted", scene.add().run(), 100, &["tenants"]);
    assert_eq!(before.changes_to(&scene.reading()), "");
    lab.add_pod("w1", "billing", "second");
    // Only the worker of spec.node hands out addresses.
    let failure = lab.pod("w2", "billing", "third").add().err().unwrap();
    assert!(failure.message.contains("w1"), "{failure}");
}

/// A change of the plugin's own configuration.
type Configured<'a> = (&'a str, &'a str, Value, u64, &'a [&'a str]);

#[test]
fn keys_that_cannot_work_are_refused_by_name_and_value() {
    let lab = world::builder(Families::Dual).start();
    let scene = Scene::new(&lab);
    let missing = lab.node("w1").directory().join("nowhere").display().to_string();
    let file = lab.node("w1").conflist_path().display().to_string();
    let cases: [Configured<'_>; 10] = [
        ("no directory", "resourcesDir", json!(missing), 7, &["nowhere", "No such file"]),
        ("no node", "nodeName", json!("w7"), 7, &["w7", "EgressNode"]),
        ("wrong type", "nodeName", json!(7), 7, &["nodeName"]),
        ("no interface", "underlay", json!({ "interface": "eth7" }), 7, &["eth7"]),
        ("wrong type", "gcWithoutList", json!("no"), 7, &["gcWithoutList"]),
        ("log level", "logLevel", json!("loud"), 2, &["logLevel", "loud"]),
        ("state is a file", "stateDir", json!(file), 5, &[&file]),
        ("locks in a file", "runDir", json!(file), 5, &[&file]),
        ("namespace is a file", "netns", json!(file), 105, &[&file]),
        ("no IPAM plugin", "ipam", json!({ "type": "egret-nothing" }), 7, &["egret-nothing"]),
    ];
    for (name, key, value, code, words) in cases {
        lab.node("w1").set_key(key, value);
        scene.refused(name, scene.add(), code, words);
    }
    lab.node("w1").set_key("stateDirr", "x");
    let finished = scene.add().run().finished;
    assert!(finished.stderr.contains("stateDirr") && finished.stderr.contains("stateDir"));
    finished.success();
}

#[test]
fn what_the_runtime_must_give_is_asked_for() {
    let lab = world::builder(Families::Dual).start();
    let scene = Scene::new(&lab);
    let node = lab.node("w1");
    let own = node.ns().path().display().to_string();
    let missing = format!("{own}-missing");
    let file = node.conflist_path().display().to_string();
    let at = |path: &str| scene.add().variable("CNI_NETNS", path);
    scene.refused("own namespace", at(&own), 8, &["CNI_NETNS", &own]);
    scene.refused("missing namespace", at(&missing), 3, &[&missing]);
    assert!(!std::path::Path::new(&missing).exists(), "the path was created");
    scene.refused("a file", at(&file), 3, &[&file]);
    let without = PluginRun::for_pod(&scene.pod, "ADD", None);
    scene.refused("no previous result", without, 7, &["prevResult"]);
    let mut other = scene.previous.clone();
    other["ips"][0]["address"] = "10.244.11.99/24".into();
    let wrong = PluginRun::for_pod(&scene.pod, "ADD", Some(&other));
    scene.refused("an address that is not there", wrong, 7, &["10.244.11.99", "eth0"]);
    let other = scene.add().variable("CNI_IFNAME", "eth7");
    scene.refused("another interface", other, 7, &["eth7"]);
}

/// Item 25 of the conformance list: what is not ours passes, unknown keys and order kept.
#[test]
fn a_pod_that_nothing_selects_passes_through_untouched() {
    let lab = world::builder(Families::Dual).start();
    let scene = Scene::new(&lab);
    let mut previous = scene.previous.clone();
    previous["vendor.example/x"] = json!({ "z": 1, "a": [null, 1.50, "\u{fc}"] });
    previous["interfaces"][0]["later"] = json!(true);
    let before = scene.reading().and(Snapshot::of_files(lab.node("w1").directory()));
    // Nobody knows its namespace, so nothing selects it.
    let add = PluginRun::for_pod(&scene.pod, "ADD", Some(&previous)).variable("CNI_ARGS", "");
    assert_eq!(add.run().finished.success().trim_end(), previous.to_string());
    let after = scene.reading().and(Snapshot::of_files(lab.node("w1").directory()));
    assert_eq!(before.changes_to(&after), "");
}

/// Lines of `ip` or a ruleset of nft that stand in the way, and how to take them away.
struct Obstacle {
    name: &'static str,
    place: fn(&Scene<'_>) -> Ns,
    make: &'static [&'static str],
    clear: &'static [&'static str],
    code: u64,
    words: &'static [&'static str],
}

fn in_node(scene: &Scene<'_>) -> Ns {
    scene.lab.node("w1").ns().clone()
}

fn in_pod(scene: &Scene<'_>) -> Ns {
    scene.pod.ns().clone()
}

/// At our path, but not made by us.
fn in_egress(scene: &Scene<'_>) -> Ns {
    let namespace = scene.lab.node("w1").egress_ns();
    if !namespace.exists() {
        scene.lab.namespace("w1-egret");
    }
    namespace
}

const OBSTACLES: [Obstacle; 10] = [
    Obstacle {
        name: "VNI",
        place: in_node,
        make: &["ip link add vx type vxlan id 230 dstport 7790 local 172.18.0.11"],
        clear: &["ip link del vx"],
        code: 5,
        words: &["VNI 230", "7790"],
    },
    Obstacle {
        name: "underlay MTU",
        place: in_node,
        make: &["ip link set eth0 mtu 1290"],
        clear: &["ip link set eth0 mtu 1500"],
        code: 7,
        words: &["1290", "1240", "1280"],
    },
    Obstacle {
        name: "a link of our name in the pod",
        place: in_pod,
        make: &["ip link add egr0 type bridge"],
        clear: &["ip link del egr0"],
        code: 105,
        words: &["egr0", "bridge"],
    },
    Obstacle {
        name: "a veth of our name in the pod",
        place: in_pod,
        make: &["ip link add egr0 type veth peer name other"],
        clear: &["ip link del egr0"],
        code: 105,
        words: &["egr0", "veth"],
    },
    Obstacle {
        name: "a table of our name in the pod",
        place: in_pod,
        make: &["nft add table inet egret { comment \"theirs\" ; }"],
        clear: &["nft delete table inet egret"],
        code: 105,
        words: &["inet egret"],
    },
    Obstacle {
        name: "a guard that is not ours",
        place: in_node,
        make: &["nft add table inet egret-tunnel { comment \"theirs\" ; }"],
        clear: &["nft delete table inet egret-tunnel"],
        code: 105,
        words: &["egret-tunnel"],
    },
    Obstacle {
        name: "a tunnel of another kind",
        place: in_egress,
        make: &["ip link add egret0 type bridge"],
        clear: &["ip link del egret0"],
        code: 105,
        words: &["egret0", "bridge"],
    },
    Obstacle {
        name: "a tunnel of another number",
        place: in_egress,
        make: &["ip link add egret0 type vxlan id 77 dstport 7790 local 172.18.0.11"],
        clear: &["ip link del egret0"],
        code: 5,
        words: &["egret0", "vni 77", "egretctl gc"],
    },
    Obstacle {
        name: "IPv6 disabled for new links",
        place: in_pod,
        make: &["sysctl -qw net.ipv6.conf.default.disable_ipv6=1"],
        clear: &["sysctl -qw net.ipv6.conf.default.disable_ipv6=0"],
        code: 5,
        words: &["IPv6 is disabled", "disable_ipv6"],
    },
    Obstacle {
        name: "IPv6 disabled",
        place: in_pod,
        make: &["sysctl -qw net.ipv6.conf.all.disable_ipv6=1"],
        // The address does not come back by itself: this is the last one.
        clear: &[],
        code: 7,
        words: &["IPv6 is disabled", "net.ipv6.conf.all.disable_ipv6"],
    },
];

#[test]
fn what_belongs_to_somebody_else_is_left_alone_and_named() {
    let lab = world::builder(Families::Dual).start();
    let scene = Scene::new(&lab);
    for obstacle in &OBSTACLES {
        let before = scene.reading();
        let namespace = (obstacle.place)(&scene);
        for line in obstacle.make {
            namespace.exec(line).success();
        }
        refused(obstacle.name, scene.add().run(), obstacle.code, obstacle.words);
        // It can be removed, so it is still there.
        for line in obstacle.clear {
            namespace.exec(line).success();
        }
        // What is shared may have come into being before the error.
        lab.node("w1").egretctl("gc").success();
        let after = scene.reading();
        let changes = match obstacle.clear {
            // The addresses of the pod do not come back.
            [] => before.without(scene.pod.name()).changes_to(&after.without(scene.pod.name())),
            _ => before.changes_to(&after),
        };
        assert!(changes.is_empty(), "{}: left behind:\n{changes}", obstacle.name);
    }
}

#[test]
fn a_port_that_a_program_has_taken_is_named() {
    let lab = world::builder(Families::Dual).start();
    let scene = Scene::new(&lab);
    let node = lab.node("w1").ns();
    let taken = node.inside(|| std::net::UdpSocket::bind(("0.0.0.0", ours::PORT))).unwrap();
    scene.refused("port", scene.add(), 5, &["UDP port 7790"]);
    drop(taken);
    scene.add().run().result();
}

#[test]
fn a_second_attachment_of_one_pod_is_refused_and_the_first_goes_on() {
    let lab = world::builder(Families::Dual).start();
    let scene = Scene::new(&lab);
    lab.node("g1").egretctl("gateway up").success();
    let result = scene.add().run().result();
    // As a second network would do it: another interface with an address of its own.
    scene.pod.ip("link add eth1 type bridge\nlink set eth1 up\naddr add 10.244.11.77/24 dev eth1");
    let second = json!({
        "cniVersion": "1.0.0",
        "interfaces": [{ "name": "eth1", "sandbox": scene.pod.path() }],
        "ips": [{ "address": "10.244.11.77/24", "interface": 0 }]
    });
    let run = |operation, previous: &Value| {
        PluginRun::for_pod(&scene.pod, operation, Some(previous)).variable("CNI_IFNAME", "eth1")
    };
    let first = format!("{}/eth0", scene.pod.container_id());
    refused("second", run("ADD", &second).run(), 103, &[&first, "one"]);
    run("DEL", &second).run().finished.success();
    let check = PluginRun::for_pod(&scene.pod, "CHECK", Some(&result)).run();
    assert_eq!(check.finished.success(), "");
}

#[test]
fn without_privileges_the_sentence_says_what_is_needed() {
    let lab = world::builder(Families::Dual).start();
    let scene = Scene::new(&lab);
    let node = lab.node("w1");
    let run = |line: &str| {
        let node = lab.node("g1");
        let program = node.ns().unprivileged(product("egretctl"));
        let config = node.conflist_path();
        program.args(["--config".as_ref(), config.as_os_str()]).args(line.split(' ')).run()
    };
    let before = scene.reading();
    for line in ["gateway up", "gateway down", "gc", "repair"] {
        let refused = run(line).exits(2);
        assert!(refused.stderr.to_lowercase().contains("permi"), "{line}: {refused}");
    }
    let mut list = node.conflist();
    let mut config = list["plugins"][1].take();
    config["name"] = json!(lab.network());
    config["cniVersion"] = json!("1.0.0");
    config["prevResult"] = scene.previous.clone();
    let plugin = node.ns().unprivileged(product("egret")).clean_environment();
    let plugin = plugin
        .env("CNI_COMMAND", "ADD")
        .env("CNI_CONTAINERID", scene.pod.container_id())
        .env("CNI_NETNS", scene.pod.path())
        .env("CNI_IFNAME", "eth0")
        .env("CNI_ARGS", scene.pod.cni_args())
        .env("CNI_PATH", node.cni_path());
    let error = plugin.input(config.to_string()).run().exits(1).json();
    assert!(error["msg"].as_str().unwrap().contains("ermi"), "{error}");
    assert_eq!(error["code"], 5, "{error}");
    assert_eq!(before.changes_to(&scene.reading()), "");
}

#[test]
fn a_gateway_that_cannot_be_brought_up_says_why_and_leaves_nothing() {
    let lab = world::builder(Families::Dual).gateway("g2").start();
    let change = |from: &str, to: &str| {
        let text = defaults(&lab);
        assert!(text.contains(from), "{from} is not in {text}");
        lab.write_resources(DEFAULTS, &text.replacen(from, to, 1));
    };
    let reading = |node: &str| {
        let node = lab.node(node);
        node.ns().snapshot().and(node.egress_ns().snapshot())
    };
    let uplink = "uplink: { interface: ext0, mode: macvlan }";
    let cases = [
        ("w1", uplink, uplink, "no member"),
        ("g2", uplink, uplink, "--take"),
        ("g1", uplink, "uplink: { interface: ext7 }", "ext7"),
        ("g1", "gateway: edge", "gateway: edgy", "edgy"),
        ("g1", "  id: 21\n", "  id: 11\n", "11"),
    ];
    for (node, from, to, word) in cases {
        change(from, to);
        let before = reading(node);
        let refused = lab.node(node).egretctl("gateway up");
        assert!(!refused.succeeded() && refused.stderr.contains(word), "{word}: {refused}");
        assert_eq!(before.changes_to(&reading(node)), "", "{word}");
    }
    lab.write_resources(DEFAULTS, &defaults(&lab));
    for family in Family::BOTH {
        // An uplink without any route of a family that the pools have.
        let flag = if family == Family::V4 { "-4" } else { "-6" };
        let node = lab.node("g1").ns();
        let routes = node.exec(&format!("ip {flag} route show dev ext0")).success();
        node.exec(&format!("ip {flag} addr flush dev ext0")).success();
        node.exec(&format!("ip {flag} route flush dev ext0")).success();
        let before = reading("g1");
        let refused = lab.node("g1").egretctl("gateway up").exits(2);
        let named = refused.stderr.contains("ext0") && refused.stderr.contains("uplink.addresses");
        assert!(named, "{refused} ({routes})");
        assert_eq!(before.changes_to(&reading("g1")), "");
    }
}
