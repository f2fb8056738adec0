//! Making, opening and removing namespaces.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use egret_egress::kernel::{Failure, Kernel};
use egret_egress::object::{Object, Place};
use egret_kernel::{Error, Netns};

use crate::lab::{Lab, veth};

fn write(path: &Path, text: &str) {
    File::create(path).unwrap().write_all(text.as_bytes()).unwrap();
}

#[test]
fn a_namespace_is_made_once_with_its_loopback_up() {
    let lab = Lab::new();
    let path = lab.path(Place::Egret);
    let first = Netns::open(&path).unwrap().inode();
    Netns::create(&path).unwrap();
    assert_eq!(Netns::open(&path).unwrap().inode(), first);
    let links = lab.json(Place::Egret, "ip -j link show");
    assert_eq!(links.as_array().unwrap().len(), 1);
    assert!(links[0]["flags"].as_array().unwrap().contains(&"UP".into()));
}

#[test]
fn a_namespace_is_not_the_one_we_are_in_but_our_own_is() {
    let lab = Lab::new();
    let pod = Netns::open(&lab.path(Place::Pod)).unwrap();
    assert!(!pod.is_current().unwrap());
    assert_ne!(pod.inode(), Netns::open(&lab.path(Place::Egret)).unwrap().inode());
    assert!(Netns::current().unwrap().is_current().unwrap());
    assert!(Netns::open(Path::new("/proc/thread-self/ns/net")).unwrap().is_current().unwrap());
}

/// What a creation leaves that is killed before its mount.
#[test]
fn the_file_of_a_killed_creation_is_no_namespace_and_is_finished() {
    let lab = Lab::new();
    let path = lab.directory.path().join("netns/half");
    write(&path, "");
    assert!(matches!(Netns::open(&path), Err(Error::NotANamespace { .. })));
    assert!(fs::metadata(&path).unwrap().is_file(), "opening leaves it as it is");
    Netns::create(&path).unwrap();
    Netns::open(&path).unwrap();
    Netns::remove(&path).unwrap();
    assert!(!path.exists());
    write(&path, "");
    Netns::remove(&path).unwrap();
    assert!(!path.exists());
}

#[test]
fn a_file_of_others_is_neither_used_nor_removed() {
    let lab = Lab::new();
    let path = lab.directory.path().join("netns/theirs");
    write(&path, "text");
    for result in [Netns::create(&path), Netns::remove(&path)] {
        assert!(matches!(result, Err(Error::NotANamespace { .. })), "{result:?}");
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), "text");
    let directory = lab.directory.path().join("netns");
    assert!(matches!(Netns::create(&directory), Err(Error::NotANamespace { .. })));
    assert!(matches!(Netns::remove(&directory), Err(Error::NotANamespace { .. })));
    assert!(directory.is_dir());
}

#[test]
fn removing_twice_succeeds_and_nothing_is_mounted() {
    let lab = Lab::new();
    let path = lab.path(Place::Egret);
    Netns::remove(&path).unwrap();
    Netns::remove(&path).unwrap();
    assert!(!path.exists());
    let mounts = fs::read_to_string("/proc/thread-self/mounts").unwrap();
    assert!(!mounts.contains(path.to_str().unwrap()), "{mounts}");
    assert!(Netns::open(&path).unwrap_err().is_no_namespace());
}

#[test]
fn the_egret_namespace_is_an_object_like_others() {
    let mut lab = Lab::new();
    lab.ensure(Place::Pod, &Object::Veth(veth()));
    let old = Netns::open(&lab.path(Place::Egret)).unwrap().inode();
    // With sockets in it: it must be gone all the same, and its links with it.
    lab.end(Place::Egret, &Object::Namespace);
    assert!(!lab.path(Place::Egret).exists());
    // What is in it is gone a moment later.
    for _ in 0..200 {
        if !lab.run(Place::Pod, "ip link show").contains("egr0") {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert!(!lab.run(Place::Pod, "ip link show").contains("egr0"), "its link lives on");

    lab.ensure(Place::Egret, &Object::Namespace);
    lab.ensure(Place::Egret, &Object::Namespace);
    assert_eq!(lab.differences(Place::Egret, &Object::Namespace), [""; 0]);
    assert_ne!(Netns::open(&lab.path(Place::Egret)).unwrap().inode(), old);
    lab.ensure(Place::Pod, &Object::Veth(veth()));
    assert!(lab.run(Place::Egret, "ip link show").contains("egr0123456789ab"));
}

/// What stays of a pod's namespace after a reboot is a file, and DEL is called with it.
#[test]
fn in_a_plain_file_there_is_nothing_to_remove_and_no_place_to_add() {
    let mut lab = Lab::new();
    let pod = lab.path(Place::Pod);
    Netns::remove(&pod).unwrap();
    write(&pod, "");
    let object = Object::Veth(veth());
    lab.kernel.remove(Place::Pod, &object).unwrap();
    let failure = lab.kernel.ensure(Place::Pod, &object).unwrap_err();
    assert!(matches!(failure, Failure::NoNamespace { place: Place::Pod }), "{failure}");
    assert_eq!(fs::read(&pod).unwrap(), b"", "the file is as it was");
}

/// Another process may have run `egretctl gc` and an ADD in between.
#[test]
fn a_namespace_that_was_made_again_is_opened_again() {
    let mut lab = Lab::new();
    lab.kernel.list_links(Place::Egret).unwrap();
    Netns::remove(&lab.path(Place::Egret)).unwrap();
    Netns::create(&lab.path(Place::Egret)).unwrap();
    lab.ensure(Place::Egret, &Object::Namespace);
    lab.ensure(Place::Pod, &Object::Veth(veth()));
    assert!(lab.run(Place::Egret, "ip link show").contains("egr0123456789ab"));
}

/// `ip netns add egret`, by somebody who uses it.
#[test]
fn a_namespace_of_somebody_else_is_neither_used_nor_removed() {
    let mut lab = Lab::new();
    let inode = Netns::open(&lab.path(Place::Egret)).unwrap().inode();
    for link in ["theirs", "egr0123456789", "egr0123456789AB", "sit0"] {
        lab.run(Place::Egret, &format!("ip link add {link} type bridge"));
        let expected = format!("its link {link} is a bridge link");
        for result in [
            lab.kernel.ensure(Place::Egret, &Object::Namespace),
            lab.kernel.remove(Place::Egret, &Object::Namespace),
        ] {
            let failure = result.unwrap_err();
            assert!(
                matches!(&failure, Failure::Foreign { found, .. } if found.starts_with(&expected)),
                "{failure}"
            );
        }
        assert_eq!(Netns::open(&lab.path(Place::Egret)).unwrap().inode(), inode);
        let differences = lab.differences(Place::Egret, &Object::Namespace);
        assert!(differences[0].contains(&expected), "{differences:?}");
        lab.run(Place::Egret, &format!("ip link del {link}"));
    }
}

#[test]
fn no_other_namespace_is_made_or_removed() {
    let mut lab = Lab::new();
    for place in [Place::Root, Place::Pod] {
        assert!(matches!(
            lab.kernel.ensure(place, &Object::Namespace),
            Err(Failure::Refused { .. })
        ));
        assert!(matches!(
            lab.kernel.remove(place, &Object::Namespace),
            Err(Failure::Refused { .. })
        ));
    }
    assert!(lab.path(Place::Pod).exists());
}
