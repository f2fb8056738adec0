//! The conformance list: its items as tests of both plugins, as a runtime executes them, in the order
//! of their numbers, which stand in the names.
//!
//! Not here yet: 35, 57, 58 and 59, which need an agent. Some have their table elsewhere because it is a
//! subject of its own: 33 and 34 in `interrupted.rs`, 36 in `parallel.rs`, 50 in `check.rs`; 60 and 70
//! to 81, about `egret-ipam` alone, beside that plugin, and 81 again in `pod_addresses.rs`.

#[cfg(test)]
mod add;
#[cfg(test)]
mod call;
#[cfg(test)]
mod check;
#[cfg(test)]
mod cnitool;
#[cfg(test)]
mod del;
#[cfg(test)]
mod environment;
#[cfg(test)]
mod gc;
#[cfg(test)]
mod status;
#[cfg(test)]
mod version;

/// Every file with items.
#[cfg(test)]
const FILES: [&str; 12] = [
    include_str!("add.rs"),
    include_str!("check.rs"),
    include_str!("del.rs"),
    include_str!("environment.rs"),
    include_str!("gc.rs"),
    include_str!("status.rs"),
    include_str!("version.rs"),
    include_str!("../check.rs"),
    include_str!("../interrupted.rs"),
    include_str!("../parallel.rs"),
    include_str!("../pod_addresses.rs"),
    include_str!("../../../plugins/egret-ipam/tests/protocol/pods.rs"),
];

#[test]
fn every_item_has_a_test_but_those_of_the_agent() {
    let later = |number: &u32| matches!(number, 35 | 57..=59);
    let has_test = |number: &u32| {
        let name = format!("\nfn item_{number:02}_");
        FILES.iter().any(|file| file.contains(&name))
    };
    for number in 1..=81 {
        assert_eq!(has_test(&number), !later(&number), "item {number}");
    }
}
