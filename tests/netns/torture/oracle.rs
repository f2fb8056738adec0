//! What must be true when nobody is at work, read from files, nft and ip, never from the product.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use egret_tests::{Node, Ns, egress_ip};
use egret_types::Family;
use serde_json::Value;

/// Directories of records that belong to attachments.
pub(super) const OF_ATTACHMENTS: [&str; 3] = ["attachments", "holders", "tombstones"];

/// The records in a directory. Temporary files are none.
pub(super) fn records(directory: &Path) -> Vec<Value> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let files = entries.map(|entry| entry.unwrap().path());
    files
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .map(|path| {
            let text = std::fs::read_to_string(&path).unwrap();
            let file: Value = serde_json::from_str(&text)
                .unwrap_or_else(|e| panic!("{} is half a record: {e}: {text:?}", path.display()));
            file["record"].clone()
        })
        .collect()
}

/// Whose the records of a directory of the node are.
pub(super) fn ids(node: &Node, directory: &str) -> BTreeSet<String> {
    let records = records(&node.state_dir().join(directory));
    let id = |record: &Value| record["attachment"]["containerID"].as_str().unwrap().to_owned();
    records.iter().map(id).collect()
}

/// Which pair each tenant has: one, bound, and nobody else's.
pub(super) fn pairs(node: &Node) -> BTreeMap<String, u8> {
    let mut pairs = BTreeMap::new();
    let mut taken = BTreeMap::new();
    for lease in records(&node.state_dir().join("leases/001/pairs")) {
        let owner = lease["owner"]["key"].as_str().unwrap().to_owned();
        let index = u8::try_from(lease["index"].as_u64().unwrap()).unwrap();
        let address = lease["pair"]["ipv4"].as_str().unwrap().to_owned();
        let before = taken.insert(address.clone(), owner.clone());
        assert_eq!(before, None, "{address} is leased twice, now to {owner}");
        if lease["state"] != "bound" {
            // What a kill left in the middle of a lease: nobody has it, the next one takes it.
            continue;
        }
        let before = pairs.insert(owner.clone(), index);
        assert_eq!(before, None, "{owner} has two pairs: {lease}");
    }
    pairs
}

/// No two attachments of different tenants stand on one identity, and each stands on its tenant's.
pub(super) fn assert_identities(node: &Node) {
    let pairs = pairs(node);
    for record in records(&node.state_dir().join("attachments")) {
        let tenant = record["record"]["pod"]["namespace"].as_str().unwrap().to_owned();
        for lease in record["record"]["leases"].as_array().unwrap() {
            let own = pairs.get(&tenant).map(|index| egress_ip(Family::V4, *index).to_string());
            assert_eq!(lease["ipv4"].as_str(), own.as_deref(), "{record}");
        }
    }
}

/// The node's ends of the veths of pods.
pub(super) fn links(node: &Node) -> usize {
    let space = node.egress_ns();
    if !space.exists() {
        return 0;
    }
    let links = space.exec("ip -o link show type veth").success();
    links.lines().filter(|line| line.contains(": egr")).count()
}

/// Addresses and links of pods of this node that stand in any of our rulesets.
pub(super) fn pods_in_rules(node: &Node) -> BTreeSet<String> {
    let spaces: [Ns; 2] = [node.ns().clone(), node.egress_ns()];
    let mut found = BTreeSet::new();
    for space in spaces.iter().filter(|space| space.exists()) {
        let tables = space.exec("nft list tables").success();
        for table in tables.lines().filter(|line| line.contains(" egret")) {
            let ruleset = space.exec(&format!("nft -s list {table}")).success();
            let words = ruleset.split(|c: char| !c.is_ascii_alphanumeric() && !".:-".contains(c));
            let of_pod = |word: &&str| {
                ["10.244.11.", "fd00:10:244:11::", "veth-s"].iter().any(|at| word.starts_with(at))
            };
            found.extend(words.filter(of_pod).map(str::to_owned));
        }
    }
    found
}

/// Something of others: rules, a route, a link, a ruleset.
pub(super) fn plant(node: &Node) {
    node.ns().ip("link add others7 type bridge
        link set others7 addrgenmode none up
        addr add 192.0.2.7/32 dev others7
        route add 192.0.2.64/26 dev others7 table 77
        rule add pref 1234 to 192.0.2.64/26 table 77");
    node.ns().exec("ip -6 rule add pref 1234 to 2001:db8:77::/64 table 77").success();
    let ruleset = "table inet of-others {
        set greeted { type ipv4_addr; elements = { 192.0.2.8, 192.0.2.9 } }
        chain forward {
            type filter hook forward priority 10; policy accept;
            ip saddr 10.244.11.200 counter drop
            ip daddr @greeted accept
        }
    }";
    node.ns().program("nft").args(["-f", "-"]).input(ruleset).run().success();
}

/// That, as text.
pub(super) fn planted(node: &Node) -> String {
    let lines = [
        "nft -s list table inet of-others",
        "ip -o link show others7",
        "ip -o addr show others7",
        "ip route show table 77",
        "ip rule show pref 1234",
        "ip -6 rule show pref 1234",
    ];
    lines.map(|line| node.ns().exec(line).success()).concat()
}
