//! What strace wrote about one ADD, as sums over classes of system calls.
//!
//! A line is `TID SECONDS name(arguments) = result <SECONDS>`; a call during which another thread
//! was seen comes in two parts, `... <unfinished ...>` and `<... name resumed>...`. A call that does
//! nothing shows what strace itself costs; so much is taken off each call.

use std::collections::{HashMap, HashSet};

/// What a system call is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// Waiting until bytes are on the disk.
    Durable,
    /// Making or changing links.
    Links,
    /// What is sent to nftables.
    Nft,
    /// Addresses, routes, rules, neighbours; and everything read over netlink.
    Netlink,
    /// Threads and namespaces.
    Threads,
    /// Replacing the program.
    Exec,
    /// Files, sysctls included.
    Files,
    /// Memory.
    Memory,
    /// The rest, but for calls that only wait for another thread or process.
    Rest,
}

impl Class {
    /// All, in the order of printing.
    pub(crate) const ALL: [Class; 9] = [
        Class::Durable,
        Class::Links,
        Class::Nft,
        Class::Netlink,
        Class::Threads,
        Class::Exec,
        Class::Files,
        Class::Memory,
        Class::Rest,
    ];

    /// As it is printed.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Class::Durable => "durable writes: fsync",
            Class::Links => "making and setting links",
            Class::Nft => "nftables, questions and transactions",
            Class::Netlink => "other netlink: routes, rules, answers",
            Class::Threads => "namespaces and threads",
            Class::Exec => "exec",
            Class::Files => "files and sysctls, without fsync",
            Class::Memory => "memory",
            Class::Rest => "other calls",
        }
    }

    /// `None` for a call that waits for others: its time is theirs.
    fn of(name: &str, text: &str) -> Option<Class> {
        let sent = || message(text).filter(|_| matches!(name, "sendto" | "sendmsg"));
        Some(match name {
            "wait4" | "waitid" | "futex" | "poll" | "nanosleep" | "clock_nanosleep" | "flock"
            | "pause" | "exit" | "exit_group" => return None,
            "fsync" | "fdatasync" | "sync_file_range" | "syncfs" => Class::Durable,
            _ if sent() == Some(Message::Link) => Class::Links,
            _ if sent() == Some(Message::Nft) => Class::Nft,
            "sendto" | "sendmsg" | "recvfrom" | "recvmsg" | "socket" | "bind" | "setsockopt"
            | "getsockopt" | "getsockname" => Class::Netlink,
            "setns" | "unshare" | "mount" | "umount2" | "clone" | "clone3" | "vfork" => {
                Class::Threads
            }
            "execve" => Class::Exec,
            "mmap" | "munmap" | "mprotect" | "brk" | "madvise" | "mremap" => Class::Memory,
            "open" | "openat" | "read" | "readv" | "write" | "writev" | "close" | "stat"
            | "fstat" | "newfstatat" | "statx" | "lstat" | "link" | "linkat" | "rename"
            | "renameat" | "renameat2" | "unlink" | "unlinkat" | "mkdir" | "mkdirat"
            | "getdents64" | "lseek" | "readlink" | "fcntl" | "ftruncate" | "fchmod" | "chmod"
            | "access" => Class::Files,
            _ => Class::Rest,
        })
    }
}

/// A netlink message that has a class of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Message {
    Link,
    Nft,
}

/// strace knows the kind of a message by name only where it can ask for the socket's protocol, which
/// it cannot across namespaces. Then the number tells; 16 means both a new link and the begin of an
/// nft transaction, but only the latter is as short as its header.
fn message(text: &str) -> Option<Message> {
    const BEGIN_OF_TRANSACTION: u32 = 28;
    let value = |key: &str| text.split(key).nth(1)?.split([',', ' ', '}']).next();
    let (kind, length) = (value("nlmsg_type=")?, value("nlmsg_len=")?);
    let length: u32 = length.parse().ok()?;
    match kind {
        "RTM_NEWLINK" | "RTM_SETLINK" | "0x13" => Some(Message::Link),
        "0x10" if length > BEGIN_OF_TRANSACTION => Some(Message::Link),
        "0x10" => Some(Message::Nft),
        _ if kind.starts_with("NFNL_") || kind.starts_with("0xa") => Some(Message::Nft),
        _ => None,
    }
}

/// Calls that do nothing worth mentioning in the kernel.
const NOTHING: [&str; 5] = ["getpid", "gettid", "rt_sigprocmask", "rt_sigaction", "getuid"];

/// One traced ADD.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    calls: Vec<(Class, f64)>,
    nothing: Vec<f64>,
    ipam: Option<(f64, f64)>,
    /// Reading ends of pipes, with the thread that made them: what comes there, others must write.
    pipes: HashSet<(String, String)>,
}

impl Trace {
    /// Reads what strace wrote.
    pub(crate) fn parse(text: &str) -> Self {
        let mut trace = Self::default();
        let mut unfinished: HashMap<&str, &str> = HashMap::new();
        let mut ipam: Option<&str> = None;
        for line in text.lines() {
            let Some((thread, rest)) = line.split_once(' ') else { continue };
            let Some((time, call)) = rest.trim_start().split_once(' ') else { continue };
            let time: f64 = time.parse().unwrap_or_default();
            if call.starts_with("execve(") && call.contains("/egret-ipam\"") {
                ipam = Some(thread);
                trace.ipam = Some((time, time));
            }
            if let (Some((_, end)), true) = (&mut trace.ipam, ipam == Some(thread)) {
                *end = time;
            }
            if call.ends_with("<unfinished ...>") {
                unfinished.insert(thread, call);
                continue;
            }
            let resumed = call.starts_with("<... ");
            let first = if resumed { unfinished.remove(thread).unwrap_or(call) } else { call };
            trace.keep(thread, first, call);
        }
        trace
    }

    /// One call: where it begins, and where it ends.
    fn keep(&mut self, thread: &str, first: &str, last: &str) {
        let (Some((name, arguments)), Some(seconds)) = (first.split_once('('), duration(last))
        else {
            return;
        };
        let numbers = || arguments.trim_start_matches('[').split([',', ')', ']']);
        let end = (thread.to_owned(), numbers().next().unwrap_or_default().to_owned());
        match name {
            "pipe2" => self.pipes.insert(end),
            "close" => self.pipes.remove(&end),
            "read" if self.pipes.contains(&end) => return,
            _ => false,
        };
        if NOTHING.contains(&name) {
            self.nothing.push(seconds);
        }
        self.calls.extend(Class::of(name, first).map(|class| (class, seconds)));
    }

    /// Microseconds that strace itself adds to a call.
    pub(crate) fn cost_of_nothing(&self) -> f64 {
        let least = self.nothing.iter().copied().fold(f64::INFINITY, f64::min);
        if least.is_finite() { least * 1e6 } else { 0.0 }
    }

    /// Calls of a class.
    pub(crate) fn calls(&self, class: Class) -> f64 {
        self.of(class).map(|_| 1.0).sum()
    }

    /// Milliseconds in a class, without what strace adds.
    pub(crate) fn milliseconds(&self, class: Class) -> f64 {
        let own = self.cost_of_nothing() / 1e6;
        self.of(class).map(|seconds| (seconds - own).max(0.0) * 1000.0).sum()
    }

    /// Milliseconds from the exec of the IPAM plugin to its last call.
    pub(crate) fn ipam_milliseconds(&self) -> f64 {
        self.ipam.map_or(0.0, |(start, end)| (end - start) * 1000.0)
    }

    fn of(&self, class: Class) -> impl Iterator<Item = f64> {
        self.calls.iter().filter(move |(is, _)| *is == class).map(|(_, seconds)| *seconds)
    }
}

/// The seconds in the last angle brackets.
fn duration(line: &str) -> Option<f64> {
    line.strip_suffix('>')?.rsplit_once('<')?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"100 10.000000 execve("/x/egret", ["egret"], 0x7 /* 7 vars */) = 0 <0.000300>
100 10.000400 rt_sigprocmask(SIG_BLOCK, [], NULL, 8) = 0 <0.000010>
100 10.000500 sendto(5, [{nlmsg_len=132, nlmsg_type=RTM_NEWLINK, nlmsg_flags=0x605}], 132, 0, NULL, 0) = 132 <0.001010>
100 10.001550 pipe2([7, 8], O_CLOEXEC)    = 0 <0.000010>
100 10.001600 vfork( <unfinished ...>
101 10.001700 execve("/x/egret-ipam", ["egret-ipam"], 0x7 /* 7 vars */) = 0 <0.000210>
100 10.001900 <... vfork resumed>)         = 101 <0.000310>
100 10.002000 read(7,  <unfinished ...>
101 10.002100 fsync(4)                    = 0 <0.003010>
101 10.005200 exit_group(0)               = ?
101 10.005300 +++ exited with 0 +++
100 10.005400 <... read resumed>"{}", 32)  = 2 <0.003400>
100 10.005500 read(7, "", 32)             = 0 <0.002000>
100 10.007600 close(7)                    = 0 <0.000010>
100 10.007700 read(7, "file", 4)          = 4 <0.000060>
"#;

    #[test]
    fn calls_are_summed_by_class_without_the_cost_of_strace() {
        let trace = Trace::parse(TEXT);
        let near = |is: f64, wanted: f64| (is - wanted).abs() < 1e-6;
        assert!(near(trace.cost_of_nothing(), 10.0));
        for (class, calls, milliseconds) in [
            (Class::Durable, 1.0, 3.0),
            (Class::Links, 1.0, 1.0),
            (Class::Threads, 1.0, 0.3),
            (Class::Exec, 2.0, 0.49),
            (Class::Rest, 2.0, 0.0),
            (Class::Files, 2.0, 0.05),
        ] {
            assert!(near(trace.calls(class), calls), "{class:?}");
            assert!(near(trace.milliseconds(class), milliseconds), "{class:?}");
        }
    }

    #[test]
    fn a_message_is_known_by_name_or_by_number() {
        for (length, kind, class) in [
            (132, "RTM_NEWLINK", Some(Message::Link)),
            (140, "0x10 /* NLMSG_??? */", Some(Message::Link)),
            (48, "0x13 /* NLMSG_??? */", Some(Message::Link)),
            (28, "0x10 /* NLMSG_??? */", Some(Message::Nft)),
            (20, "NFNL_SUBSYS_NFTABLES<<8|NFT_MSG_GETGEN", Some(Message::Nft)),
            (56, "0xa07 /* NLMSG_??? */", Some(Message::Nft)),
            (40, "0x12 /* NLMSG_??? */", None),
            (36, "RTM_GETROUTE", None),
        ] {
            let text =
                format!("sendto(6, [[{{nlmsg_len={length}, nlmsg_type={kind}, nlmsg_flags=0");
            assert_eq!(message(&text), class, "{kind} of {length} bytes");
        }
    }

    #[test]
    fn the_time_of_the_ipam_plugin_is_from_its_exec_to_its_end() {
        assert!((Trace::parse(TEXT).ipam_milliseconds() - 3.6).abs() < 1e-3);
        assert!(Trace::parse("").ipam_milliseconds().abs() < 1e-9);
    }
}
