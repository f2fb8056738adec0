//! A network namespace of a laboratory, and work inside it.

use std::fs::File;
use std::path::{Path, PathBuf};

use nix::sched::{CloneFlags, setns};

use crate::{Capture, Client, Finished, Program, Question, Seen, Snapshot};

/// The directory of named network namespaces.
pub(crate) const DIRECTORY: &str = "/run/netns";

/// A named network namespace. The value is a name: dropping it removes nothing, the laboratory does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ns {
    name: String,
}

impl Ns {
    /// The namespace of this name, which need not exist (yet): the product's own, for instance.
    pub(crate) fn named(name: String) -> Self {
        Self { name }
    }

    pub(crate) fn create(name: String) -> Self {
        Program::new("ip").args(["netns", "add", &name]).run().success();
        Self { name }
    }

    /// Its name under `/run/netns`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its path.
    pub fn path(&self) -> PathBuf {
        Path::new(DIRECTORY).join(&self.name)
    }

    /// Whether there is anything of this name.
    pub fn exists(&self) -> bool {
        self.path().exists()
    }

    /// Does something on a thread of its own that is inside the namespace: its sockets, its
    /// children, its /proc/sys/net. The caller's thread never changes, also not when it panics.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let path = self.path();
                let file = File::open(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
                setns(file, CloneFlags::CLONE_NEWNET)
                    .unwrap_or_else(|e| panic!("entering {} (needs root): {e}", path.display()));
                work()
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// A program, to be run inside.
    pub fn program(&self, program: impl AsRef<std::ffi::OsStr>) -> Program {
        Program::new(program).within(self)
    }

    /// A program, to be run inside by a user without any capability.
    pub fn unprivileged(&self, program: impl AsRef<std::ffi::OsStr>) -> Program {
        let nobody = ["--reuid", "65534", "--regid", "65534", "--clear-groups", "--no-new-privs"];
        self.program("setpriv").args(nobody).args(["--bounding-set", "-all"]).args([program])
    }

    /// Packets counted by nft rules: of an object as `nft list` takes it (`table inet egret`, `chain
    /// netdev egret pod`), the rules whose text contains `text`.
    pub fn counted(&self, object: &str, text: &str) -> u64 {
        let words = ["list"].into_iter().chain(object.split_whitespace());
        let listing = self.program("nft").args(words).run().success();
        let lines = listing.lines().filter(|line| line.contains(text));
        lines
            .filter_map(|line| {
                line.split("packets ").nth(1)?.split(' ').next()?.parse::<u64>().ok()
            })
            .sum()
    }

    /// Runs a command line (split at blanks) inside and waits for its end.
    pub fn exec(&self, line: &str) -> Finished {
        let mut words = line.split_whitespace();
        let program = words.next().expect("a command line has a first word");
        self.program(program).args(words).run()
    }

    /// Runs lines of `ip` inside, all in one process; panics at the first that fails.
    #[track_caller]
    pub fn ip(&self, lines: &str) {
        Program::new("ip").args(["-n", &self.name, "-batch", "-"]).input(lines).run().success();
    }

    /// Sets a sysctl below `net.` by its dotted name.
    pub fn set_sysctl(&self, name: &str, value: &str) {
        let path = sysctl_path(name);
        #[expect(clippy::disallowed_methods, reason = "a sysctl is no file to be replaced")]
        let written = self.inside(|| std::fs::write(&path, value));
        written.unwrap_or_else(|e| panic!("{name} = {value} in {}: {e}", self.name));
    }

    /// Reads a sysctl below `net.`.
    pub fn sysctl(&self, name: &str) -> String {
        let path = sysctl_path(name);
        let value = self.inside(|| std::fs::read_to_string(&path));
        value.unwrap_or_else(|e| panic!("{name} in {}: {e}", self.name)).trim().to_owned()
    }

    /// Asks the echo server at `destination` which source address and port it sees.
    pub fn who(&self, question: Question, destination: std::net::IpAddr) -> std::io::Result<Seen> {
        self.ask(&Client::new(destination), question)
    }

    /// The same with all of a client's options.
    pub fn ask(&self, client: &Client, question: Question) -> std::io::Result<Seen> {
        self.inside(|| client.ask(question))
    }

    /// Sends one ping and tells whether the answer came within a second.
    pub fn ping(&self, destination: std::net::IpAddr) -> bool {
        self.exec(&format!("ping -n -c1 -W1 {destination}")).succeeded()
    }

    /// Starts to watch a link; what passes from now on is seen.
    pub fn capture(&self, link: &str, filter: &str) -> Capture {
        Capture::start(self, link, filter)
    }

    /// What is in the namespace now.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::of_namespace(self)
    }
}

fn sysctl_path(name: &str) -> PathBuf {
    assert!(name.starts_with("net."), "{name}: only sysctls below net. belong to a namespace");
    Path::new("/proc/sys").join(name.replace('.', "/"))
}
