//! What a namespace, a directory, the machine holds, as lines that can be compared. Read with the
//! usual programs, never with the product's code.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;

use serde_json::Value;

use crate::netns::DIRECTORY;
use crate::{Finished, Ns, Program};

/// A reading at one moment. What changes by itself (counters, learned neighbours) is not in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    lines: BTreeSet<String>,
}

impl Snapshot {
    /// Links, addresses, rules, routes, permanent neighbours, fdb entries with a destination, nft
    /// rulesets and sysctls of a namespace; empty if there is no such namespace.
    pub fn of_namespace(namespace: &Ns) -> Self {
        let mut snapshot = Self::default();
        if namespace.exists() {
            let read = |line: &str| namespace.exec(line);
            snapshot.read_network(namespace.name(), &read);
            snapshot.read_sysctls(namespace);
        }
        snapshot
    }

    /// Files below a directory, with their sizes.
    pub fn of_files(directory: &Path) -> Self {
        let mut snapshot = Self::default();
        snapshot.read_files(directory);
        snapshot
    }

    /// The machine itself: its own network namespace, named namespaces that belong to no
    /// laboratory, and the places where the product keeps files by default.
    pub fn of_machine() -> Self {
        let mut snapshot = Self::default();
        let read = |line: &str| {
            let mut words = line.split_whitespace();
            Program::new(words.next().unwrap_or_default()).args(words).run()
        };
        snapshot.read_network("machine", &read);
        for place in ["/run/egret", "/var/lib/egret", "/etc/egret", "/etc/cni/net.d", DIRECTORY] {
            snapshot.read_files(Path::new(place));
        }
        snapshot.lines.retain(|line| !line.contains("/run/netns/egt-"));
        snapshot
    }

    /// Both together.
    #[must_use]
    pub fn and(mut self, other: Snapshot) -> Self {
        self.lines.extend(other.lines);
        self
    }

    /// Without the lines that contain this text.
    #[must_use]
    pub fn without(mut self, text: &str) -> Self {
        self.lines.retain(|line| !line.contains(text));
        self
    }

    /// The lines.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().map(String::as_str)
    }

    /// Whether a line contains this text.
    pub fn mentions(&self, text: &str) -> bool {
        self.lines.iter().any(|line| line.contains(text))
    }

    /// What is different, a line each: `-` was there before, `+` is there now. Empty: nothing.
    pub fn changes_to(&self, after: &Snapshot) -> String {
        let mut text = String::new();
        for (sign, from, to) in [('-', self, after), ('+', after, self)] {
            for line in from.lines.difference(&to.lines) {
                writeln!(text, "{sign} {line}").ok();
            }
        }
        text
    }

    fn read_network(&mut self, place: &str, read: &impl Fn(&str) -> Finished) {
        self.read_links(place, read);
        for family in ["-4", "-6"] {
            self.read_lines(place, &format!("rule {family}"), &read(&format!("ip {family} rule")));
            let routes = read(&format!("ip {family} route show table all"));
            self.read_lines(place, &format!("route {family}"), &routes);
            let neighbours = read(&format!("ip {family} neigh show nud permanent"));
            self.read_lines(place, "neighbour", &neighbours);
        }
        for line in read("bridge fdb show").success().lines().filter(|line| line.contains(" dst "))
        {
            self.lines.insert(format!("[{place}] fdb {line}"));
        }
        self.read_nft(place, &read("nft -s list ruleset").success());
    }

    fn read_lines(&mut self, place: &str, kind: &str, output: &Finished) {
        // A v6 table that was never used is "does not exist" to ip; that is empty.
        for line in output.stdout.lines().filter(|line| !line.contains("expires")) {
            let line = line.replace(" linkdown", "").replace(" dead", "");
            let words: Vec<&str> = line.split_whitespace().collect();
            self.lines.insert(format!("[{place}] {kind} {}", words.join(" ")));
        }
    }

    fn read_links(&mut self, place: &str, read: &impl Fn(&str) -> Finished) {
        let links = read("ip -j -d addr show");
        links.clone().success();
        for link in links.json().as_array().into_iter().flatten() {
            let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
            let name = text(&link["ifname"]);
            let kind = text(&link["linkinfo"]["info_kind"]);
            let master = text(&link["master"]);
            let line = format!("[{place}] link {name} {kind} master {master} mtu {}", link["mtu"]);
            self.lines.insert(line);
            for address in link["addr_info"].as_array().into_iter().flatten() {
                let line = format!(
                    "[{place}] address {name} {}/{}",
                    text(&address["local"]),
                    address["prefixlen"]
                );
                self.lines.insert(line);
            }
        }
    }

    /// Each line with the table and chain (or set, map) that it stands in.
    fn read_nft(&mut self, place: &str, ruleset: &str) {
        let mut within: Vec<String> = Vec::new();
        for line in ruleset.lines().map(str::trim).filter(|line| !line.is_empty()) {
            if line == "}" {
                within.pop();
                continue;
            }
            // What flows have put into a set is no more of a trace than the flows are.
            if within.last().is_some_and(|set| is_filled_by_packets(set))
                && (line.starts_with("elements") || line.starts_with("0x"))
            {
                continue;
            }
            let opened = line.strip_suffix('{').map(str::trim);
            let path = within.join(" ");
            self.lines.insert(format!("[{place}] nft {path} {}", opened.unwrap_or(line)));
            within.extend(opened.map(str::to_owned));
        }
    }

    fn read_sysctls(&mut self, namespace: &Ns) {
        let name = namespace.name();
        let found = namespace.inside(|| {
            let mut found = Vec::new();
            for directory in ["ipv4/conf", "ipv6/conf"] {
                let names = crate::reaper::names(&Path::new("/proc/sys/net").join(directory));
                for link in names {
                    for key in PER_LINK {
                        found.push(format!("{directory}/{link}/{key}"));
                    }
                }
            }
            found.extend(PER_NAMESPACE.iter().map(|key| (*key).to_owned()));
            let value = |key: &String| std::fs::read_to_string(format!("/proc/sys/net/{key}"));
            let read =
                |key: String| value(&key).ok().map(|value| format!("{key} = {}", value.trim()));
            found.into_iter().filter_map(read).collect::<Vec<_>>()
        });
        self.lines.extend(found.into_iter().map(|line| format!("[{name}] sysctl {line}")));
    }

    fn read_files(&mut self, directory: &Path) {
        let Ok(entries) = std::fs::read_dir(directory) else { return };
        for entry in entries.flatten() {
            let path = entry.path();
            let metadata = std::fs::symlink_metadata(&path);
            if metadata.as_ref().is_ok_and(std::fs::Metadata::is_dir) {
                self.lines.insert(format!("directory {}/", path.display()));
                self.read_files(&path);
            } else {
                let size = metadata.map_or(0, |metadata| metadata.len());
                self.lines.insert(format!("file {} {size} bytes", path.display()));
            }
        }
    }
}

/// Sysctls of a link that the product has reason to touch, and their neighbours.
const PER_LINK: [&str; 11] = [
    "accept_dad",
    "accept_local",
    "accept_ra",
    "addr_gen_mode",
    "arp_announce",
    "arp_ignore",
    "disable_ipv6",
    "forwarding",
    "proxy_arp",
    "rp_filter",
    "src_valid_mark",
];

/// The same for a whole namespace.
const PER_NAMESPACE: [&str; 6] = [
    "ipv4/ip_forward",
    "ipv4/fwmark_reflect",
    "ipv6/fwmark_reflect",
    "ipv6/bindv6only",
    "netfilter/nf_conntrack_tcp_be_liberal",
    "netfilter/nf_conntrack_tcp_loose",
];

/// Panics with the differences, if there are any.
#[track_caller]
pub fn assert_no_leftovers(before: &Snapshot, after: &Snapshot) {
    let changes = before.changes_to(after);
    assert!(changes.is_empty(), "not as before (- is gone, + was left behind):\n{changes}");
}

/// The sets of a gateway that its packets fill.
fn is_filled_by_packets(set: &str) -> bool {
    set.starts_with("set share-") || ["set rate", "set blocked"].contains(&set)
}
