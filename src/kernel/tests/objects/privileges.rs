//! Without privileges.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use egret_egress::kernel::{Failure, Kernel};
use egret_egress::object::{Object, Place, Rule, Sysctl};
use egret_kernel::{LinuxKernel, Places};
use egret_types::Family;
use nix::unistd::geteuid;

use crate::lab::run;

/// Runs itself again as nobody, from a place that nobody can read.
#[test]
fn what_is_missing_is_named() {
    if !geteuid().is_root() {
        return as_nobody();
    }
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = directory.path().join("objects");
    let program = program.to_str().unwrap();
    // By a program: a file that this process has written may still be open in what it just starts.
    let own = std::env::current_exe().unwrap();
    run(&["cp", own.to_str().unwrap(), program].map(str::to_owned));
    let test = "privileges::what_is_missing_is_named";
    let nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    let words = [&nobody[..], &[program, "--exact", test]].concat();
    let output = run(&words.into_iter().map(str::to_owned).collect::<Vec<_>>());
    assert!(output.contains("1 passed"), "{output}");
}

fn as_nobody() {
    let mut kernel = LinuxKernel::new(Places { egret: "/run/netns/egk-none".into(), pod: None });
    let rule = Rule { family: Family::V4, priority: 1000, mark: None, table: 230 };
    let sysctl = Sysctl { path: "net/ipv4/ip_default_ttl".into(), value: "9".into(), was: None };
    for object in [Object::Rule(rule), Object::Sysctl(sysctl)] {
        let failure = kernel.ensure(Place::Root, &object).unwrap_err();
        assert!(matches!(failure, Failure::NotPermitted { .. }), "{failure}");
        assert!(failure.to_string().contains("CAP_NET_ADMIN"), "{failure}");
    }
}
