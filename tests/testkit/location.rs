//! Where the programs are that a test runs: the product's, the testkit's own, and others'.

use std::path::{Path, PathBuf};

/// The workspace.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ is in the workspace")
}

/// Which build of the reference plugins stands in front of ours in the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PluginSet {
    /// Debian's containernetworking-plugins.
    #[default]
    Debian,
    /// The newest release, built by `ci/setup`.
    Newest,
}

impl PluginSet {
    /// Both sets.
    pub const ALL: [PluginSet; 2] = [PluginSet::Debian, PluginSet::Newest];

    /// The directory of the set.
    pub fn directory(self) -> PathBuf {
        let directory = match self {
            PluginSet::Debian => PathBuf::from("/usr/lib/cni"),
            PluginSet::Newest => root().join(".tools/cni"),
        };
        assert!(
            directory.join("bridge").exists(),
            "no reference plugins in {}: run ./ci/setup",
            directory.display()
        );
        directory
    }

    /// `CNI_PATH` with this set, and our plugins where they have been built.
    pub fn cni_path(self) -> String {
        format!("{}:{}", self.directory().display(), product_directory().display())
    }
}

/// Which containerd a node has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContainerdVersion {
    /// Debian's, of 1.6.
    One,
    /// The one that `ci/setup` builds, of 2.2.
    Two,
}

impl ContainerdVersion {
    /// The directory of its programs: the daemon, its shim, its client.
    pub(crate) fn directory(self) -> PathBuf {
        let directory = match self {
            ContainerdVersion::One => PathBuf::from("/usr/bin"),
            ContainerdVersion::Two => root().join(".tools/containerd"),
        };
        assert!(
            directory.join("containerd").exists(),
            "no containerd in {}: run ./ci/setup",
            directory.display()
        );
        directory
    }
}

/// The directory of the product's programs: `EGRET_BIN_DIR`, else the static release build.
pub(crate) fn product_directory() -> PathBuf {
    std::env::var_os("EGRET_BIN_DIR")
        .map_or_else(|| root().join("target/x86_64-unknown-linux-musl/release"), PathBuf::from)
}

/// A program of the product: `egret`, `egret-ipam` or `egretctl`.
pub fn product(name: &str) -> PathBuf {
    let path = product_directory().join(name);
    assert!(
        path.exists(),
        "{} has not been built: run ./ci/test, or cargo build --release \
         --target x86_64-unknown-linux-musl -p egret-plugin (and -p egret-ipam-plugin, -p egretctl)",
        path.display()
    );
    path
}

/// The path of `egret-probe`, which asks the echo server as a program of its own.
pub fn probe() -> String {
    own("egret-probe").display().to_string()
}

/// A program of the testkit: `egret-echo` or `egret-probe`. Cargo builds them beside the tests.
pub(crate) fn own(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("the path of this test program");
    let path = test
        .ancestors()
        .skip(1)
        .take(2)
        .map(|directory| directory.join(name))
        .find(|path| path.exists());
    path.unwrap_or_else(|| {
        panic!("{name} is not beside {}: run cargo build -p egret-tests", test.display())
    })
}

/// A program that `ci/setup` builds: `cnitool`, `cri-call`, `cri-pause`.
pub(crate) fn tool(name: &str) -> PathBuf {
    let path = root().join(".tools/bin").join(name);
    assert!(path.exists(), "no {}: run ./ci/setup", path.display());
    path
}
