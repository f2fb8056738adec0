//! One node for one test: the thread of the test gets a network and a mount namespace of its own,
//! so that everything in them is gone when it ends, however it ends.

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;

use egret_egress::kernel::{Failure, Kernel};
use egret_egress::object::{Object, Place, Veth};
use egret_kernel::{LinuxKernel, Netns, Places};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use serde_json::Value;
use tempfile::TempDir;

/// A node with an egret and a pod namespace.
pub(crate) struct Lab {
    pub(crate) kernel: LinuxKernel,
    pub(crate) directory: TempDir,
}

impl Lab {
    pub(crate) fn new() -> Self {
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS)
            .expect("this test makes namespaces: it must run as root");
        let none: Option<&str> = None;
        mount(none, "/", none, MsFlags::MS_PRIVATE | MsFlags::MS_REC, none).unwrap();
        // A directory with mounts in it cannot be removed by its owner; this one goes with the thread.
        mount(Some("none"), "/tmp", Some("tmpfs"), MsFlags::empty(), none).unwrap();
        let directory = TempDir::new_in("/tmp").unwrap();
        let places = Places {
            egret: directory.path().join("netns/egret"),
            pod: Some(directory.path().join("netns/pod")),
        };
        let lab = Self { kernel: LinuxKernel::new(places), directory };
        lab.run(Place::Root, "ip link set lo up");
        for place in [Place::Egret, Place::Pod] {
            Netns::create(&lab.path(place)).unwrap();
        }
        lab
    }

    pub(crate) fn path(&self, place: Place) -> PathBuf {
        match place {
            Place::Root => PathBuf::from("/proc/thread-self/ns/net"),
            Place::Egret => self.directory.path().join("netns/egret"),
            Place::Pod => self.directory.path().join("netns/pod"),
        }
    }

    /// Standard output of a command in a namespace; it must succeed.
    pub(crate) fn run(&self, place: Place, command: &str) -> String {
        run(&[&self.prefix(place)[..], &words(command)[..]].concat())
    }

    /// The same, as JSON.
    pub(crate) fn json(&self, place: Place, command: &str) -> Value {
        serde_json::from_str(&self.run(place, command)).unwrap()
    }

    /// Commands of `ip`, one a line.
    pub(crate) fn batch(&self, place: Place, commands: &str) {
        let file = self.directory.path().join("batch");
        File::create(&file).unwrap().write_all(commands.as_bytes()).unwrap();
        self.run(place, &format!("ip -batch {}", file.display()));
    }

    fn prefix(&self, place: Place) -> Vec<String> {
        match place {
            Place::Root => vec![],
            _ => vec!["nsenter".into(), format!("--net={}", self.path(place).display())],
        }
    }

    pub(crate) fn ensure(&mut self, place: Place, object: &Object) {
        self.kernel.ensure(place, object).unwrap();
    }

    pub(crate) fn remove(&mut self, place: Place, object: &Object) {
        self.kernel.remove(place, object).unwrap();
    }

    pub(crate) fn differences(&mut self, place: Place, object: &Object) -> Vec<String> {
        self.kernel.differences(place, object).unwrap()
    }

    /// The error of an `ensure` that must fail, after showing that nothing has changed.
    pub(crate) fn refusal(&mut self, place: Place, object: &Object) -> Failure {
        let before = self.everything();
        let failure = self.kernel.ensure(place, object).unwrap_err();
        assert_same(&before, &self.everything(), &failure.to_string());
        failure
    }

    /// All objects of all namespaces, as text.
    pub(crate) fn everything(&self) -> String {
        let commands = [
            "ip -d link show",
            "ip addr show",
            "ip -4 route show table all",
            "ip -6 route show table all",
            "ip -4 rule show",
            "ip -6 rule show",
            "ip -4 neigh show",
            "ip -6 neigh show",
            "bridge fdb show",
        ];
        let script = commands.map(|command| format!("echo; echo {command}; {command}")).join("\n");
        let mut text = vec![];
        for place in [Place::Root, Place::Egret, Place::Pod] {
            let shell = ["sh".to_owned(), "-ec".to_owned(), script.clone()];
            let shown = run(&[&self.prefix(place)[..], &shell].concat());
            let lasting = shown.lines().filter(|line| !is_of_multicast(line));
            let lasting: Vec<_> = lasting.map(without_carrier).collect();
            text.push(format!("{place}\n{}\n", lasting.join("\n")));
        }
        text.concat()
    }

    /// Ensures, again, compares, removes, again: what every object must be able to do.
    pub(crate) fn round(&mut self, place: Place, object: &Object) {
        assert_ne!(self.differences(place, object), [""; 0], "{object} is not there yet");
        self.ensure(place, object);
        assert_eq!(self.differences(place, object), [""; 0], "{object}");
        let before = self.everything();
        self.ensure(place, object);
        assert_same(&before, &self.everything(), &format!("a second {object}"));
    }

    /// Removes twice, and looks.
    pub(crate) fn end(&mut self, place: Place, object: &Object) {
        for _ in 0..2 {
            self.remove(place, object);
            assert_ne!(self.differences(place, object), [""; 0], "{object} is still there");
        }
    }
}

/// The kernel joins groups of its own some time after a link is up.
fn is_of_multicast(line: &str) -> bool {
    line.contains("ff00::/8") || line.starts_with("33:33:") || line.starts_with("01:00:5e:")
}

/// The kernel notices a carrier some time after a link is up.
fn without_carrier(line: &str) -> String {
    line.replace("NO-CARRIER,", "")
        .replace("state DOWN", "state UP")
        .replace("state LOWERLAYERDOWN", "state UP")
        .replace(" linkdown", "")
}

/// Shows the lines that differ only.
fn assert_same(before: &str, after: &str, what: &str) {
    let gone = before.lines().filter(|line| !after.contains(line));
    let new = after.lines().filter(|line| !before.contains(line));
    let differing: Vec<_> = gone.chain(new).collect();
    assert!(before == after, "{what} changes something: {differing:#?}");
}

/// A pair between the pod and the egret namespace.
pub(crate) fn veth() -> Veth {
    Veth {
        name: "egr0".parse().unwrap(),
        mac: "06:e6:00:00:00:07".parse().unwrap(),
        peer: "egr0123456789ab".parse().unwrap(),
        mtu: 1400.try_into().unwrap(),
    }
}

/// The sentence for an operator, all of it.
pub(crate) fn sentence(failure: &Failure) -> String {
    failure.to_string()
}

fn words(command: &str) -> Vec<String> {
    command.split_whitespace().map(str::to_owned).collect()
}

/// Runs a program, which must succeed.
#[expect(clippy::disallowed_methods, reason = "tests ask other programs for a second opinion")]
pub(crate) fn run(words: &[String]) -> String {
    let output = Command::new(&words[0]).args(&words[1..]).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// UDP ports that are bound in the namespace of the calling thread, both families.
pub(crate) fn bound_ports(lab: &Lab, place: Place) -> Vec<u16> {
    let tables = match place {
        Place::Root => ["udp", "udp6"]
            .map(|table| fs::read_to_string(format!("/proc/thread-self/net/{table}")).unwrap())
            .concat(),
        _ => lab.run(place, "cat /proc/self/net/udp /proc/self/net/udp6"),
    };
    let local = tables.lines().filter_map(|line| line.split_whitespace().nth(1)?.split_once(':'));
    local.filter_map(|(_, port)| u16::from_str_radix(port, 16).ok()).collect()
}
