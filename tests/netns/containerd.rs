//! The node's runtime is a real one: containerd, driven through its CRI as the kubelet drives it.
//! What it does in its bad moments (a client that gives up, a daemon that is killed) it does to the
//! plugin, and nothing of the pod may stay.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use egret_tests::{
    Client, Containerd, ContainerdVersion, CriPod, ECHO_PORT, Families, Lab, Node, PluginSet,
    Question, Snapshot, egress_ip, eventually, external,
};
use egret_types::Family;
use rstest::rstest;

use crate::hygiene::Outside;
use crate::world::{self, BILLING, SHOP};

/// Leases stay by design; directories and locks are no state.
const KEPT: [&str; 3] = ["/state/leases/", "directory ", "/run/"];

/// A plugin that passes the result on. What it reads is kept beside it; it hangs as long as there is
/// a file `hang`, and says so.
const WITNESS: &str = "here=$(dirname \"$(readlink -f \"$0\")\")
cat > \"$here/$CNI_COMMAND\"
[ \"$CNI_COMMAND\" = ADD ] || exit 0
if [ -e \"$here/hang\" ]; then touch \"$here/hangs\"; exec sleep 1000; fi
jq -c .prevResult \"$here/ADD\"
";

/// A laboratory whose first worker has a runtime, and what both hold before the first pod.
struct Scene<'lab> {
    lab: &'lab Lab,
    runtime: Containerd<'lab>,
    before: Snapshot,
}

fn open(families: Families) -> Lab {
    let lab = world::builder(families).start();
    world::open(&lab);
    lab
}

impl<'lab> Scene<'lab> {
    fn new(lab: &'lab Lab, version: ContainerdVersion) -> Self {
        let runtime = Containerd::start(lab.node("w1"), version);
        let before = lab.snapshot();
        Self { lab, runtime, before }
    }

    fn node(&self) -> &'lab Node {
        self.lab.node("w1")
    }

    /// The witness after ours, and where it keeps its files.
    fn with_witness(&self) -> PathBuf {
        self.runtime.add_plugin("witness", WITNESS);
        self.node().edit_conflist(|list| {
            let witness = serde_json::json!({
                "type": "witness", "capabilities": { "io.kubernetes.cri.pod-annotations": true }
            });
            list["plugins"].as_array_mut().unwrap().push(witness);
        });
        self.node().script("unused", "").parent().unwrap().to_owned()
    }

    fn run(&self, namespace: &str, name: &str) -> CriPod<'_> {
        let mut pod = self.runtime.sandbox(namespace, name).run().unwrap_or_else(|message| {
            panic!("RunPodSandbox {namespace}/{name}: {message}\n{}", self.runtime.log())
        });
        pod.start_container();
        pod
    }

    /// Nothing of any pod is left: in the runtime, in the main plugin's lists, in ours.
    #[track_caller]
    fn knows_no_pod(&self) {
        assert_eq!(self.runtime.sandboxes(), Vec::<String>::new());
        eventually("nothing of a pod with the runtime", Duration::from_secs(5), || {
            self.runtime.kept_of_pods().is_empty().then_some(())
        });
        let addresses = Snapshot::of_files(&self.node().host_local_dir());
        let addresses =
            addresses.without("last_reserved_ip").without("/lock ").without("directory ");
        assert_eq!(addresses, Snapshot::default(), "addresses of the main plugin");
        let attachments = Snapshot::of_files(&self.node().state_dir().join("attachments"));
        // What a killed plugin was writing goes with the next `egretctl gc`.
        let attachments = attachments.without("/.tmp-");
        assert_eq!(attachments, Snapshot::default(), "attachments without a pod");
    }

    /// The same, and the node is as it was before the first.
    #[track_caller]
    fn is_clean(&self) {
        self.knows_no_pod();
        self.node().egretctl("gc").success();
        self.lab.assert_as_before(&self.before, &[&KEPT[..], &["10-egret.conflist"]].concat());
    }
}

/// Every process of the container sees the pod's way out.
fn leaves_from(pod: &CriPod, lab: &Lab, from: impl Fn(Family) -> std::net::IpAddr) {
    for family in lab.families().list() {
        for how in ["tcp", "udp"] {
            let seen = pod.who(how, lab.external_address(*family)).unwrap();
            assert_eq!(seen, from(*family), "{how} of {}", pod.id());
        }
    }
}

#[rstest]
#[case(Families::V4, ContainerdVersion::One)]
#[case(Families::V6, ContainerdVersion::One)]
#[case(Families::Dual, ContainerdVersion::One)]
#[case(Families::Dual, ContainerdVersion::Two)]
fn a_container_leaves_from_its_egress_ip_and_its_pod_goes_without_a_trace(
    #[case] families: Families,
    #[case] version: ContainerdVersion,
) {
    let lab = open(families);
    let scene = Scene::new(&lab, version);
    let outside = Outside::watch(&lab);
    let shop = scene.run("shop", "cart");
    let billing = scene.run("billing", "ledger");
    leaves_from(&shop, &lab, |family| egress_ip(family, SHOP));
    leaves_from(&billing, &lab, |family| egress_ip(family, BILLING));
    let pairs = |index| families.list().iter().map(move |family| egress_ip(*family, index));
    outside.saw_exactly(pairs(SHOP).chain(pairs(BILLING)));
    // Control: nothing selects this one, and the node's own address is seen.
    let other = scene.run("other", "plain");
    leaves_from(&other, &lab, |family| external(family, 11));
    for pod in [shop, billing, other] {
        pod.stop().unwrap();
        pod.stop().unwrap();
        pod.remove().unwrap();
    }
    scene.is_clean();
}

#[rstest]
fn the_kubelet_hears_our_sentence_when_add_fails_and_nothing_is_left(
    #[values(ContainerdVersion::One, ContainerdVersion::Two)] version: ContainerdVersion,
) {
    let lab = open(Families::Dual);
    let scene = Scene::new(&lab, version);
    scene.node().write_resources("30-broken.yaml", "kind: EgressPolicy\n  what: [\n");
    let refused = scene.runtime.sandbox("shop", "cart").run().err().expect("ADD fails");
    assert!(refused.contains("egret") && refused.contains("30-broken.yaml"), "{refused}");
    scene.runtime.remove_all().unwrap();
    scene.node().remove_resources("30-broken.yaml");
    scene.is_clean();
    // The kubelet tries again.
    let pod = scene.run("shop", "cart");
    leaves_from(&pod, &lab, |family| egress_ip(family, SHOP));
    pod.stop().unwrap();
    pod.remove().unwrap();
    scene.is_clean();
}

/// The runtime kills the plugin with SIGKILL when its client gives up.
#[rstest]
fn a_client_that_gives_up_during_add_leaves_nothing(
    #[values(ContainerdVersion::One, ContainerdVersion::Two)] version: ContainerdVersion,
) {
    let lab = open(Families::Dual);
    let scene = Scene::new(&lab, version);
    let mut gave_up = 0;
    for milliseconds in (60..=400).step_by(20) {
        let limit = Duration::from_millis(milliseconds);
        let pod = scene.runtime.sandbox("shop", "cart").limit(limit).run();
        gave_up += u32::from(pod.is_err());
        settle(&scene.runtime);
    }
    assert!(gave_up > 2, "{gave_up} clients gave up");
    settle_for_good(&scene.runtime);
    scene.is_clean();
    // After our part of ADD, and before it: another process has the node.
    let files = scene.with_witness();
    File::create(files.join("hang")).unwrap();
    gives_up(&scene.runtime);
    assert!(files.join("hangs").exists(), "the last plugin was not reached");
    std::fs::remove_file(files.join("hang")).unwrap();
    let lock = lock(scene.node());
    gives_up(&scene.runtime);
    drop(lock);
    settle_for_good(&scene.runtime);
    scene.is_clean();
}

fn gives_up(runtime: &Containerd) {
    let begin = Instant::now();
    let limit = Duration::from_millis(1500);
    let refused = runtime.sandbox("shop", "cart").limit(limit).run().err().unwrap();
    assert!(refused.contains("DeadlineExceeded"), "{refused}");
    assert!(begin.elapsed() < Duration::from_secs(3));
    settle(runtime);
}

/// The runtime undoes on its own what its client gave up on; what it knows of is then removed.
fn settle(runtime: &Containerd) {
    eventually("the runtime removes what is left", Duration::from_secs(20), || {
        runtime.remove_all().ok()?;
        (runtime.sandboxes().is_empty() && runtime.kept_of_pods().is_empty()).then_some(())
    });
}

/// A request whose client is gone may still be at work when all seems to be over, and only then have a
/// sandbox to show.
fn settle_for_good(runtime: &Containerd) {
    settle(runtime);
    std::thread::sleep(Duration::from_secs(2));
    settle(runtime);
}

#[rstest]
fn annotations_reach_the_plugins_and_ours_honours_none_yet(
    #[values(ContainerdVersion::One, ContainerdVersion::Two)] version: ContainerdVersion,
) {
    let lab = open(Families::Dual);
    let scene = Scene::new(&lab, version);
    let files = scene.with_witness();
    scene.node().edit_conflist(|list| {
        list["plugins"][1]["capabilities"] =
            serde_json::json!({ "io.kubernetes.cri.pod-annotations": true });
    });
    let spec =
        scene.runtime.sandbox("shop", "cart").annotation("egret.dev/egress-ip", "203.0.113.9");
    let mut pod = eventually("the runtime has read the list", Duration::from_secs(5), || {
        let pod = spec.clone().run().unwrap();
        if files.join("ADD").exists() {
            return Some(pod);
        }
        pod.stop().and_then(|()| pod.remove()).unwrap();
        None
    });
    pod.start_container();
    let read = std::fs::read_to_string(files.join("ADD")).unwrap();
    let read: serde_json::Value = serde_json::from_str(&read).unwrap();
    let given = &read["runtimeConfig"]["io.kubernetes.cri.pod-annotations"];
    assert_eq!(given["egret.dev/egress-ip"], "203.0.113.9", "{read}");
    // No annotation is honoured yet: the policy's pair stays.
    leaves_from(&pod, &lab, |family| egress_ip(family, SHOP));
    pod.stop().unwrap();
    pod.remove().unwrap();
    scene.is_clean();
}

/// Its plugins go on when it dies: the one that hangs behind ours, or ours, which waits for the node.
#[rstest]
#[case(Cut::BehindOurs, ContainerdVersion::One)]
#[case(Cut::InOurs, ContainerdVersion::One)]
#[case(Cut::InOurs, ContainerdVersion::Two)]
fn a_runtime_killed_during_add_and_started_again_removes_what_it_had_begun(
    #[case] cut: Cut,
    #[case] version: ContainerdVersion,
) {
    let lab = open(Families::Dual);
    let mut scene = Scene::new(&lab, version);
    let files = scene.with_witness();
    let stays = scene.run("billing", "ledger").id().to_owned();
    let held = cut.hold(&scene, &files);
    let runtime = &scene.runtime;
    std::thread::scope(|scope| {
        let cut_off = scope.spawn(|| runtime.sandbox("shop", "cart").run().err());
        eventually("ADD hangs", Duration::from_secs(10), || cut.hangs(&scene, &files));
        runtime.kill();
        assert!(cut_off.join().unwrap().is_some(), "the pod came up without a runtime");
    });
    scene.runtime.start_daemon();
    assert!(scene.runtime.sandboxes().contains(&stays));
    drop(held);
    std::fs::remove_file(files.join("hang")).ok();
    for id in scene.runtime.sandboxes().iter().filter(|id| **id != stays) {
        scene.runtime.remove(id).unwrap();
    }
    let again = scene.run("shop", "cart");
    leaves_from(&again, &lab, |family| egress_ip(family, SHOP));
    drop(again);
    scene.runtime.remove_all().unwrap();
    scene.is_clean();
}

/// Where ADD is when the runtime is killed.
#[derive(Debug, Clone, Copy)]
enum Cut {
    BehindOurs,
    InOurs,
}

impl Cut {
    fn hold(self, scene: &Scene, files: &Path) -> Option<File> {
        match self {
            Cut::BehindOurs => {
                File::create(files.join("hang")).unwrap();
                None
            }
            Cut::InOurs => Some(lock(scene.node())),
        }
    }

    fn hangs(self, scene: &Scene, files: &Path) -> Option<()> {
        let path = scene.node().run_dir().join("node.lock");
        match self {
            Cut::BehindOurs => files.join("hangs").exists().then_some(()),
            Cut::InOurs => crate::locks::somebody_waits(&path).then_some(()),
        }
    }
}

fn lock(node: &Node) -> File {
    let lock = File::create(node.run_dir().join("node.lock")).unwrap();
    lock.try_lock().unwrap();
    lock
}

#[test]
fn fifty_pods_eight_at_a_time_leave_from_their_egress_ip_and_leave_nothing() {
    let lab = open(Families::Dual);
    let scene = Scene::new(&lab, ContainerdVersion::One);
    let next = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= 50 {
                        return;
                    }
                    let spec = scene.runtime.sandbox("shop", &format!("cart-{number}"));
                    let mut pod = spec.run().unwrap();
                    if number.is_multiple_of(10) {
                        pod.start_container();
                        leaves_from(&pod, &lab, |family| egress_ip(family, SHOP));
                    }
                }
            });
        }
    });
    let ids = scene.runtime.sandboxes();
    assert_eq!(ids.len(), 50);
    let links = || scene.node().egress_ns().exec("ip -o link show type veth").success();
    assert_eq!(links().lines().count(), 50);
    let turn = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while let Some(id) = ids.get(turn.fetch_add(1, Ordering::Relaxed) as usize) {
                    scene.runtime.remove(id).unwrap();
                }
            });
        }
    });
    scene.is_clean();
}

/// portmap behind ours: what comes in by a port of the node is answered through the node, and what
/// the pod asks leaves from the egress IP.
#[test]
fn a_host_port_is_answered_and_the_pod_leaves_from_its_egress_ip() {
    const HOST_PORT: u16 = 8088;
    let lab = open(Families::Dual);
    let scene = Scene::new(&lab, ContainerdVersion::One);
    scene.node().edit_conflist(|list| {
        let portmap = serde_json::json!({
            "type": "portmap", "capabilities": { "portMappings": true }, "snat": true
        });
        list["plugins"].as_array_mut().unwrap().push(portmap);
    });
    let spec = scene.runtime.sandbox("shop", "cart").host_port(HOST_PORT, ECHO_PORT);
    let mut pod = spec.run().unwrap();
    pod.start_container();
    for family in Family::BOTH {
        let mut client = Client::new(external(family, 11));
        client.server.set_port(HOST_PORT);
        let answered = eventually("an answer", Duration::from_secs(5), || {
            lab.external().ask(&client, Question::Tcp).ok()
        });
        assert_eq!(answered.address, lab.external_address(family));
    }
    leaves_from(&pod, &lab, |family| egress_ip(family, SHOP));
    pod.stop().unwrap();
    pod.remove().unwrap();
    scene.knows_no_pod();
    // Control: the port was portmap's doing.
    let mut client = Client::new(external(Family::V4, 11));
    client.server.set_port(HOST_PORT);
    assert!(lab.external().ask(&client, Question::Tcp).is_err());
}

/// containerd calls STATUS since 2.0.1, in lists of version 1.1.0: a node whose pods would not get
/// their egress IP gets none.
#[test]
fn a_node_is_not_ready_while_our_status_refuses() {
    let lab = world::builder(Families::Dual).plugins(PluginSet::Newest).start();
    world::open(&lab);
    lab.node("w1").edit_conflist(|list| list["cniVersion"] = serde_json::json!("1.1.0"));
    let scene = Scene::new(&lab, ContainerdVersion::Two);
    scene.node().write_resources("30-broken.yaml", "kind: EgressPolicy\n  what: [\n");
    let refused = scene.runtime.ready().unwrap_err();
    assert!(refused.contains("30-broken.yaml:2"), "{refused}");
    scene.node().remove_resources("30-broken.yaml");
    scene.runtime.ready().unwrap();
    let pod = scene.run("shop", "cart");
    leaves_from(&pod, &lab, |family| egress_ip(family, SHOP));
    drop(pod);
    scene.runtime.remove_all().unwrap();
    scene.is_clean();
}
