//! Items 62 to 69: GC.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use egret_tests::{Lab, Program};
use rstest::rstest;
use serde_json::{Value, json};

use super::call::{Call, Plugin, Scene, lab};

const VALID: &str = "cni.dev/valid-attachments";
const FORMER: &str = "cni.dev/attachments";

/// As a runtime lists these pods.
fn list(scenes: &[&Scene<'_>]) -> Value {
    let entry = |scene: &&Scene<'_>| json!({ "containerID": scene.pod.container_id(), "ifname": scene.pod.link() });
    scenes.iter().map(entry).collect()
}

fn gc(scene: &Scene<'_>, valid: &[&Scene<'_>]) -> Call {
    scene.call("GC").key(VALID, list(valid))
}

/// A pod that has been added and whose namespace is gone since.
fn dead(lab: &Lab, plugin: Plugin) -> Scene<'_> {
    let scene = Scene::new(lab, plugin);
    scene.add();
    scene.destroy();
    assert!(scene.is_held());
    scene
}

#[rstest]
fn item_62_what_the_runtime_does_not_have_goes_and_the_rest_stays(
    #[values(Plugin::Egret, Plugin::EgretIpam)] plugin: Plugin,
) {
    let lab = lab();
    let before = Scene::new(&lab, plugin).reading();
    let valid = Scene::new(&lab, plugin);
    let result = valid.add();
    // Not in the list either, but the kernel knows better.
    let living = Scene::new(&lab, plugin);
    living.add();
    let gone = dead(&lab, plugin);
    for _ in 0..2 {
        gc(&valid, &[&valid]).succeeds_silently();
        assert!(!gone.is_held() && valid.is_held() && living.is_held());
    }
    valid.check(&result).succeeds_silently();
    if plugin == Plugin::Egret {
        let table = lab.node("w1").egress_ns().exec("nft list table netdev egret").success();
        let address = |scene: &Scene<'_>| {
            let address = scene.previous["ips"][0]["address"].as_str().unwrap().to_owned();
            address.split('/').next().unwrap().to_owned() + " "
        };
        assert!(table.contains(&address(&valid)), "{table}");
        assert!(!table.contains(&address(&gone)), "{table}");
    }
    // One that the runtime still has is its own to delete, also when its namespace is gone.
    valid.destroy();
    gc(&valid, &[&valid]).succeeds_silently();
    assert!(valid.is_held());
    valid.del();
    living.del();
    let changes = before.changes_to(&valid.reading());
    assert!(!changes.contains("holders/") && !changes.contains("attachments/"), "{changes}");
}

#[rstest]
#[case::only_the_key(&[VALID])]
#[case::only_the_former_key(&[FORMER])]
#[case::both(&[VALID, FORMER])]
fn item_63_either_key_has_the_list(
    #[case] keys: &[&str],
    #[values(Plugin::Egret, Plugin::EgretIpam)] plugin: Plugin,
) {
    let lab = lab();
    let (valid, gone) = (dead(&lab, plugin), dead(&lab, plugin));
    let listed = list(&[&valid]);
    let call = |call: Call, key: &&str| call.key(key, listed.clone());
    keys.iter().fold(valid.call("GC"), call).succeeds_silently();
    assert!(valid.is_held() && !gone.is_held());
}

#[rstest]
fn item_64_an_empty_list_means_that_no_pod_is_left(
    #[values(Plugin::Egret, Plugin::EgretIpam)] plugin: Plugin,
    #[values(json!([]), Value::Null)] empty: Value,
) {
    let lab = lab();
    let (one, two) = (dead(&lab, plugin), dead(&lab, plugin));
    one.call("GC").key(VALID, empty).succeeds_silently();
    assert!(!one.is_held() && !two.is_held());
}

#[rstest]
fn item_65_without_a_list_nothing_is_touched_unless_that_is_configured(
    #[values(Plugin::Egret, Plugin::EgretIpam)] plugin: Plugin,
) {
    let lab = lab();
    let gone = dead(&lab, plugin);
    gone.call("GC").refused(7, &[VALID, "gcWithoutList"]);
    gone.call("GC").own("gcWithoutList", json!(false)).refused(7, &["gcWithoutList"]);
    gone.call("GC").key(VALID, json!([{ "containerID": "a/b" }])).refused(7, &[VALID]);
    assert!(gone.is_held());
    gone.call("GC").own("gcWithoutList", json!(true)).succeeds_silently();
    assert!(!gone.is_held());
}

#[rstest]
fn item_66_another_networks_attachments_are_not_touched(
    #[values(Plugin::Egret, Plugin::EgretIpam)] plugin: Plugin,
) {
    let lab = lab();
    let gone = dead(&lab, plugin);
    let leases = || egret_tests::Snapshot::of_files(&lab.node("w1").state_dir().join("leases"));
    let before = leases();
    gc(&gone, &[]).key("name", json!("another")).succeeds_silently();
    assert!(gone.is_held());
    gc(&gone, &[]).succeeds_silently();
    assert!(!gone.is_held());
    assert_eq!(before.changes_to(&leases()), "", "leases are their namespaces'");
}

/// A file that cannot be removed: something is mounted on it.
struct Immovable(PathBuf);

impl Immovable {
    fn new(file: PathBuf) -> Self {
        Program::new("mount").args([Path::new("--bind"), &file, &file]).run().success();
        Self(file)
    }
}

impl Drop for Immovable {
    fn drop(&mut self) {
        Program::new("umount").args([&self.0]).run();
    }
}

#[rstest]
fn item_67_one_that_resists_keeps_no_other(
    #[values(Plugin::Egret, Plugin::EgretIpam)] plugin: Plugin,
) {
    let lab = lab();
    let pods = [dead(&lab, plugin), dead(&lab, plugin), dead(&lab, plugin)];
    let holders = std::fs::read_dir(lab.node("w1").state_dir().join("holders")).unwrap();
    let id = pods[1].pod.container_id();
    let holds = |path: &PathBuf| std::fs::read_to_string(path).unwrap().contains(&id);
    let file = holders.map(|entry| entry.unwrap().path()).find(holds).unwrap();
    let resisting = Immovable::new(file);
    gc(&pods[0], &[]).refused(if plugin == Plugin::Egret { 11 } else { 5 }, &[&id]);
    let held = || [0, 1, 2].map(|number: usize| pods[number].is_held());
    assert_eq!(held(), [false, true, false]);
    drop(resisting);
    gc(&pods[0], &[]).succeeds_silently();
    assert_eq!(held(), [false, false, false]);
}

/// A plugin that writes down what it is called with.
fn recorder(directory: &Path) {
    let text = format!(
        "#!/bin/sh\necho \"$CNI_COMMAND $CNI_CONTAINERID\" >> {0}/calls\ncat > {0}/$CNI_COMMAND\n",
        directory.display()
    );
    let file = directory.join("recorder");
    #[expect(
        clippy::disallowed_methods,
        reason = "a program of the test, no state of the product"
    )]
    std::fs::write(&file, text).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn item_68_gc_and_status_are_handed_on_to_the_delegate() {
    let lab = lab();
    let (valid, gone) = (dead(&lab, Plugin::Egret), dead(&lab, Plugin::Egret));
    let living = Scene::new(&lab, Plugin::Egret);
    living.add();
    let directory = lab.node("w1").directory().to_owned();
    recorder(&directory);
    let call = |call: Call| {
        let path = directory.display().to_string();
        call.with("CNI_PATH", &path).key("ipam", json!({ "type": "recorder" }))
    };
    let read = |name: &str| std::fs::read_to_string(directory.join(name)).unwrap();
    call(living.call("STATUS")).succeeds_silently();
    call(gc(&valid, &[&valid])).succeeds_silently();
    let calls = format!("STATUS \nDEL {}\nGC \n", gone.pod.container_id());
    assert_eq!(read("calls"), calls);
    let seen: Value = serde_json::from_str(&read("GC")).unwrap();
    // The list, and who lives although the runtime does not know.
    for key in [VALID, FORMER] {
        let mut listed = seen[key].as_array().unwrap().clone();
        for scene in [&valid, &living] {
            let entry = list(&[scene])[0].clone();
            assert!(listed.contains(&entry), "{key}: {listed:?}");
            listed.retain(|other| *other != entry);
        }
        assert_eq!(listed, Vec::<Value>::new());
    }
}

/// Ends what waits for it, also when the test fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[rstest]
fn item_69_an_add_at_the_same_time_loses_nothing(
    #[values(Plugin::Egret, Plugin::EgretIpam)] plugin: Plugin,
) {
    let lab = lab();
    let scene = Scene::new(&lab, plugin);
    let gone = dead(&lab, plugin);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let collector = scope.spawn(|| {
            let mut times = 0;
            while !over.load(Ordering::Relaxed) {
                // The list was made before the pod was.
                gc(&gone, &[]).succeeds_silently();
                times += 1;
            }
            times
        });
        let ended = Over(&over);
        for _ in 0..20 {
            let result = scene.add();
            scene.check(&result).succeeds_silently();
            scene.del();
        }
        drop(ended);
        assert!(collector.join().unwrap() > 10);
    });
    assert!(!gone.is_held());
}
