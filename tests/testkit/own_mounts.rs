//! Where a container runtime of a laboratory lives: its network is the node's; its mounts and its
//! processes are its own and end with the value. What a runtime has at a fixed path is hidden from
//! it, so it never sees the machine's.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::{Node, Program, Running, product, reaper};

/// The mount and process namespaces: one script, the first process in them.
const SCRIPT: &str = include_str!("own_mounts.sh");

/// The namespaces. Dropping it ends all processes in them at once.
pub(crate) struct OwnMounts {
    // The first process, as the machine numbers it.
    first: String,
    holder: Running,
}

impl OwnMounts {
    /// Makes them for a runtime that keeps its files below a directory. It finds the node's plugins
    /// in `bin` there.
    pub(crate) fn make(node: &Node, directory: &Path) -> Self {
        let bin = directory.join("bin");
        std::fs::create_dir_all(&bin).unwrap_or_else(|e| panic!("{}: {e}", bin.display()));
        link_plugins(node, &bin);
        let mut holder = Program::new("unshare")
            .args(["--mount", "--pid", "--fork", "--kill-child", "--propagation", "unchanged"])
            .args(["bash", "-c", SCRIPT, "own_mounts.sh"])
            .args([directory, &node.conf_dir()])
            .within(node.ns())
            .start();
        let mut first = String::new();
        BufReader::new(holder.output()).read_line(&mut first).expect("the first process' id");
        let first = first.trim().to_owned();
        assert!(!first.is_empty(), "no mount namespace for a runtime: {}", said(&mut holder));
        Self { first, holder }
    }

    /// A program in all of them.
    pub(crate) fn program(&self, program: impl AsRef<Path>) -> Program {
        Program::new("nsenter")
            .args(["--target", &self.first, "--mount", "--net", "--pid", "--"])
            .args([program.as_ref()])
    }
}

impl Drop for OwnMounts {
    fn drop(&mut self) {
        // The first process takes all others with it; only then can their directories go.
        Program::new("kill").args(["-9", &self.first]).run();
        self.holder.kill();
        let process = Path::new("/proc").join(&self.first);
        let end = Instant::now() + Duration::from_secs(5);
        while process.exists() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// containerd 1.6 takes one directory of plugins.
fn link_plugins(node: &Node, bin: &Path) {
    let directory = node.plugins().directory();
    let reference = reaper::names(&directory).into_iter().map(|name| (directory.join(&name), name));
    let ours = ["egret", "egret-ipam"].map(|name| (product(name), name.to_owned()));
    for (program, name) in reference.chain(ours) {
        link(&program, &bin.join(name));
    }
}

/// Puts a program in the place of what is there, if anything is.
pub(crate) fn link(program: &Path, place: &Path) {
    std::fs::remove_file(place).ok();
    std::os::unix::fs::symlink(program, place)
        .unwrap_or_else(|e| panic!("{}: {e}", place.display()));
}

fn said(program: &mut Running) -> String {
    let mut errors = program.errors();
    program.kill();
    let mut text = String::new();
    errors.read_to_string(&mut text).ok();
    text
}
