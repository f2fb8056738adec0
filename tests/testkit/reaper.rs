//! Removal of laboratories: of one that ends, and of those whose test was killed.
//!
//! Everything of a laboratory carries its tag `egt-<process id>-<number>` as the first part of its
//! name, so nothing has to be recorded: what names a process that is gone belongs to nobody.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Once;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::Program;
use crate::netns::DIRECTORY;

const PREFIX: &str = "egt-";
const CNI_CACHE: &str = "/var/lib/cni/results";

/// The tag of a laboratory of this process.
pub(crate) fn tag(number: u32) -> String {
    format!("{PREFIX}{}-{number}", std::process::id())
}

/// Where a laboratory of this tag keeps its files.
pub(crate) fn directory(tag: &str) -> PathBuf {
    std::env::temp_dir().join(tag)
}

/// Once in a process, before its first laboratory: removes what killed tests left.
pub(crate) fn remove_orphans() {
    static ONCE: Once = Once::new();
    ONCE.call_once(sweep);
}

fn sweep() {
    let places = [PathBuf::from(DIRECTORY), std::env::temp_dir(), PathBuf::from(CNI_CACHE)];
    let tags: BTreeSet<String> = places
        .iter()
        .flat_map(|place| names(place))
        .filter_map(|name| orphan(&name).map(str::to_owned))
        .collect();
    for tag in &tags {
        remove(tag);
    }
}

/// The tag in a name, if its process is gone.
fn orphan(name: &str) -> Option<&str> {
    let numbers = name.strip_prefix(PREFIX)?;
    let (process, rest) = numbers.split_once('-')?;
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let process: u32 = process.parse().ok()?;
    let gone = digits > 0 && !Path::new(&format!("/proc/{process}")).exists();
    let length = name.len() - rest.len() + digits;
    gone.then_some(&name[..length])
}

/// Removes all of one laboratory. Tolerates that parts are gone: the end of a test is no place to
/// fail, and what stays is found by the check after all tests.
pub(crate) fn remove(tag: &str) {
    let mine = format!("{tag}-");
    let namespaces: Vec<String> =
        names(Path::new(DIRECTORY)).into_iter().filter(|name| name.starts_with(&mine)).collect();
    kill_processes(&namespaces);
    for name in &namespaces {
        Program::new("ip").args(["netns", "del", name]).run();
    }
    for name in names(Path::new(CNI_CACHE)) {
        if name == tag || name.starts_with(&mine) {
            std::fs::remove_file(Path::new(CNI_CACHE).join(name)).ok();
        }
    }
    for name in names(&std::env::temp_dir()) {
        if name.starts_with(&mine) {
            std::fs::remove_file(std::env::temp_dir().join(name)).ok();
        }
    }
    remove_cgroups(tag);
    std::fs::remove_dir_all(directory(tag)).ok();
}

/// The control groups that a runtime made for the pods of a laboratory: in each hierarchy of
/// version 1, or in the only one of version 2.
fn remove_cgroups(tag: &str) {
    let root = Path::new("/sys/fs/cgroup");
    let hierarchies = names(root).into_iter().map(|name| root.join(name));
    for parent in hierarchies.chain([root.to_owned()]).map(|path| path.join(tag)) {
        for group in names(&parent) {
            std::fs::remove_dir(parent.join(group)).ok();
        }
        std::fs::remove_dir(&parent).ok();
    }
}

pub(crate) fn names(directory: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// Ends the processes that live in these namespaces; a namespace lives as long as they do.
fn kill_processes(namespaces: &[String]) {
    let inodes: BTreeSet<(u64, u64)> =
        namespaces.iter().filter_map(|name| inode(&Path::new(DIRECTORY).join(name))).collect();
    for name in names(Path::new("/proc")) {
        let Ok(process) = name.parse::<i32>() else { continue };
        let namespace = inode(&Path::new("/proc").join(&name).join("ns/net"));
        if namespace.is_some_and(|inode| inodes.contains(&inode)) {
            kill(Pid::from_raw(process), Signal::SIGKILL).ok();
        }
    }
}

fn inode(path: &Path) -> Option<(u64, u64)> {
    std::fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_test_left_goes_with_its_processes() {
        let tag = "egt-4194999-7";
        let namespace = crate::Ns::create(format!("{tag}-w1"));
        std::fs::create_dir_all(directory(tag)).unwrap();
        let mut sleeper = namespace.program("sleep").args(["1000"]).start();
        let mut output = sleeper.output();
        sweep();
        assert!(!namespace.exists() && !directory(tag).exists());
        // The output of a process ends with the process.
        assert_eq!(std::io::Read::read_to_end(&mut output, &mut Vec::new()).unwrap(), 0);
    }

    #[test]
    fn a_name_of_a_living_process_is_no_orphan() {
        assert_eq!(orphan(&format!("egt-{}-1-w1", std::process::id())), None);
    }

    #[test]
    fn a_name_of_a_dead_process_gives_its_tag() {
        let cases = [
            ("egt-4194999-12-w1-egret", Some("egt-4194999-12")),
            ("egt-4194999-12", Some("egt-4194999-12")),
            ("egt-4194999-x", None),
            ("egt-nobody-1", None),
            ("other-4194999-1", None),
        ];
        for (name, tag) in cases {
            assert_eq!(orphan(name), tag, "{name}");
        }
    }
}
