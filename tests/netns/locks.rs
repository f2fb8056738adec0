//! Who waits for the node lock, who does not, and that whoever waited goes by the files of the time
//! at which it got the lock.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use egret_tests::{
    Families, Finished, Lab, Node, PluginRun, Question, egress_ip, eventually, resources,
};
use egret_types::Family;

use crate::world;

/// As another process of this node would hold the lock.
fn lock(node: &Node) -> (File, PathBuf) {
    let path = node.run_dir().join("node.lock");
    fs::create_dir_all(node.run_dir()).unwrap();
    let options = File::options().write(true).create(true).truncate(false).open(&path);
    (options.unwrap(), path)
}

fn exclusive(node: &Node) -> (File, PathBuf) {
    let (file, path) = lock(node);
    file.try_lock().unwrap();
    (file, path)
}

fn shared(node: &Node) -> (File, PathBuf) {
    let (file, path) = lock(node);
    file.try_lock_shared().unwrap();
    (file, path)
}

/// Another program has the file open, so it waits for the lock. A child of this process has it as
/// well, until it becomes that program.
pub(crate) fn somebody_waits(lock: &Path) -> bool {
    let own = std::env::current_exe().unwrap();
    let others = fs::read_dir("/proc").unwrap().flatten().map(|process| process.path());
    let others = others.filter(|path| fs::read_link(path.join("exe")).is_ok_and(|exe| exe != own));
    others
        .filter_map(|path| fs::read_dir(path.join("fd")).ok())
        .flat_map(Iterator::flatten)
        .any(|file| fs::read_link(file.path()).is_ok_and(|target| target == lock))
}

/// Does something while the lock is held, changes the files when it waits, and lets it go on.
fn meanwhile<T: Send>(
    (lock, path): (File, PathBuf),
    operation: impl FnOnce() -> T + Send,
    change: impl FnOnce(),
) -> T {
    std::thread::scope(|scope| {
        let waiting = scope.spawn(operation);
        let waits = || somebody_waits(&path).then_some(());
        eventually("somebody waits for the node lock", Duration::from_secs(3), waits);
        change();
        drop(lock);
        waiting.join().unwrap()
    })
}

/// `g2` comes first from now on.
fn reorder(lab: &Lab) {
    let text = resources::defaults(lab.nodes(), lab.families());
    let (old, new) = ("members: [\"g1\", \"g2\"]", "members: [\"g2\", \"g1\"]");
    assert!(text.contains(old), "{text}");
    lab.write_resources("10-defaults.yaml", &text.replace(old, new));
}

#[test]
fn repair_waits_for_every_add_and_writes_what_the_files_say_then() {
    let lab = world::builder(Families::Dual).gateway("g2").start();
    world::open(&lab);
    lab.add_pod("w1", "shop", "cart");
    let node = lab.node("w1");
    let entries = || node.egress_ns().exec("bridge fdb show dev egret0").success();
    assert!(entries().contains("dst 172.18.0.21"), "{}", entries());
    let repair = || node.egretctl("repair");
    let said = meanwhile(shared(node), repair, || reorder(&lab)).success();
    assert!(said.contains("1 entries written"), "{said}");
    assert!(entries().contains("dst 172.18.0.22"), "{}", entries());
}

#[test]
fn gateway_up_goes_by_the_members_of_the_time_at_which_it_got_the_lock() {
    let lab = world::builder(Families::Dual).gateway("g2").start();
    let node = lab.node("g2");
    let up = || -> Finished { node.egretctl("gateway up") };
    assert!(up().exits(2).stderr.contains("--take"));
    let said = meanwhile(exclusive(node), up, || reorder(&lab)).success();
    assert!(said.contains("on node g2"), "{said}");
}

#[test]
fn add_goes_by_the_policies_of_the_time_at_which_it_got_the_lock() {
    const LATER: u8 = 7;
    let lab = world::builder(Families::Dual).start();
    world::open(&lab);
    let mut pod = lab.pod("w1", "shop", "cart").prepare();
    let previous = pod.add_before_ours().unwrap().clone();
    let add = || PluginRun::for_pod(&pod, "ADD", Some(&previous)).run();
    let pair = resources::egress_pair(LATER, lab.families());
    let policy = resources::policy("shop", "partners", "tenants", &pair);
    let change = || lab.write_resources("20-policies.yaml", &policy);
    meanwhile(exclusive(lab.node("w1")), add, change).result();
    for family in Family::BOTH {
        let seen = pod.who(Question::Udp, lab.external_address(family)).unwrap();
        assert_eq!(seen.address, egress_ip(family, LATER));
    }
}

#[test]
fn a_pod_that_nothing_selects_comes_and_goes_while_the_node_is_locked() {
    let lab = world::builder(Families::Dual).start();
    world::open(&lab);
    let selected = lab.add_pod("w1", "shop", "cart");
    let held = exclusive(lab.node("w1"));
    let begin = Instant::now();
    let plain = lab.add_pod("w1", "other", "plain");
    plain.del().unwrap();
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    // Control: one that has something on the node waits, and is told for what.
    let (code, sentence) = PluginRun::for_pod(&selected, "DEL", None).run().error();
    assert_eq!(code, 11, "{sentence}");
    assert!(sentence.contains("node.lock"), "{sentence}");
    drop(held);
    selected.del().unwrap();
}
