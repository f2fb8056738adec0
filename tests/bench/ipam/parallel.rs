//! Sixteen at once: executions of the plugin that each make a lease, and threads that make the same
//! flushes and do nothing else.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Mutex;

use serde_json::{Value, json};

use super::store::{Network, Store, flushed, synced};
use super::timed;
use crate::Scale;
use crate::report;
use crate::samples::Samples;

const AT_ONCE: usize = 16;

/// Measures and prints.
pub(crate) fn run(scale: Scale, disk: &Path, memory: &Path) {
    let store = Store::new(&disk.join("parallel"), Network::Large, (1, memory));
    let flushes = disk.join("flushes");
    for directory in ["pairs", "claims", "holders"].map(|name| flushes.join(name)) {
        fs::create_dir_all(&directory).unwrap_or_else(|e| panic!("{}: {e}", directory.display()));
    }
    let given: Mutex<BTreeSet<String>> = Mutex::default();
    let (mut ours, mut alone) = (Samples::default(), Samples::default());
    let each = scale.each();
    for round in 0..scale.batches() {
        ours.push(rate(each, |thread, n| {
            let container = format!("c{round}-{thread}-{n}");
            let add = store.call("ADD", &container, &[("pools", json!(["pods"]))]);
            let answer: Value = serde_json::from_str(&add.answer().0).expect("a result");
            let address = answer["ips"][0]["address"].as_str().expect("an address").to_owned();
            let new = given.lock().expect("nobody panics").insert(address.clone());
            assert!(new, "{address} was given twice");
        }));
        alone.push(rate(each, |thread, n| flush(&flushes, &format!("f{round}-{thread}-{n}"))));
    }
    report::figures(
        "ADD that makes a lease, for each second",
        &[("16 processes at a time", &ours), ("16 that only flush", &alone)],
    );
    report::rates("rate / rate of those that only flush", &[("16 at once", &ours, &alone)]);
    let count = given.lock().expect("nobody panics").len();
    report::line(&format!("  {count} addresses given, none of them twice"));
}

/// How many a second all threads do together.
fn rate(each: usize, work: impl Fn(usize, usize) + Sync) -> f64 {
    let work = &work;
    let took = timed(|| {
        std::thread::scope(|scope| {
            for thread in 0..AT_ONCE {
                scope.spawn(move || (0..each).for_each(|n| work(thread, n)));
            }
        });
    });
    f64::from(u32::try_from(AT_ONCE * each).unwrap_or(u32::MAX)) / took.as_secs_f64()
}

/// What makes a lease durable: its record and the claim to it, each in its directory by the time it
/// is used; the lease bound; the holder.
fn flush(directory: &Path, name: &str) {
    let [pairs, claims, holders] = ["pairs", "claims", "holders"].map(|d| directory.join(d));
    for place in [&pairs, &claims] {
        let temporary = place.join(format!(".{name}"));
        flushed(&temporary);
        let linked = fs::hard_link(&temporary, place.join(name));
        linked.unwrap_or_else(|e| panic!("{name}: {e}"));
        synced(place);
        fs::remove_file(&temporary).unwrap_or_else(|e| panic!("{name}: {e}"));
    }
    for place in [&pairs, &holders] {
        let temporary = place.join(format!(".{name}"));
        flushed(&temporary);
        #[expect(clippy::disallowed_methods, reason = "what is measured is this system call")]
        let renamed = fs::rename(&temporary, place.join(name));
        renamed.unwrap_or_else(|e| panic!("{name}: {e}"));
    }
}
