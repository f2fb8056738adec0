//! `egret-ipam` by itself: what a lease costs in durable writes, what many processes at once reach,
//! what the size of the store and of the pool change, and `host-local` beside it.

mod parallel;
mod peer;
mod store;

use std::path::Path;
use std::time::{Duration, Instant};

use crate::Scale;
use crate::execution::{Took, milliseconds};
use crate::report;
use crate::samples::Samples;

use self::peer::HostLocal;
use self::store::{Network, Store, durable_write};

/// Measures and prints. `disk` is a directory on a disk, as nodes keep their state on one.
pub(crate) fn run(scale: Scale, disk: &Path, memory: &Path) {
    let disk = disk.join("ipam");
    report::section("7. egret-ipam: one durable write is 1");
    units(scale, &disk, memory);
    report::section("7. egret-ipam: 16 at once");
    parallel::run(scale, &disk, memory);
    report::section("7. egret-ipam: the size of the store and of the pool");
    sizes(scale, &disk, memory);
    for leases in scale.leases() {
        report::section(&format!("7. egret-ipam beside host-local, {leases} leases"));
        beside(scale, &disk, (leases, memory));
    }
    std::fs::remove_dir_all(&disk).unwrap_or_else(|e| panic!("{}: {e}", disk.display()));
}

fn took(took: Took) -> f64 {
    milliseconds(took.wall)
}

pub(crate) fn timed(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

/// Each round: a durable write, and each kind of call, so that all have the same disk.
fn units(scale: Scale, disk: &Path, memory: &Path) {
    let store = Store::new(&disk.join("units"), Network::Small, (0, memory));
    let [mut unit, mut first, mut shared, mut again, mut del] =
        [(); 5].map(|()| Samples::default());
    // Makes the directories, and a lease that later pods of its namespace share.
    store.add_pair("c-first", "shared");
    for n in 0..scale.executions() {
        unit.push(milliseconds(timed(|| durable_write(&disk.join("units"), n))));
        let (new, other) = (format!("new-{n}"), format!("other-{n}"));
        first.push(took(store.add_pair(&new, &format!("ns-{n}"))));
        shared.push(took(store.add_pair(&other, "shared")));
        again.push(took(store.add_pair(&other, "shared")));
        del.push(took(store.del_pair(&other)));
    }
    report::figures(
        "milliseconds",
        &[
            ("a durable write: temp, fsync, link, fsync of the directory", &unit),
            ("ADD that makes a lease", &first),
            ("ADD for an existing lease", &shared),
            ("ADD again", &again),
            ("DEL", &del),
        ],
    );
    report::rates_of_minima(
        "in durable writes",
        &[
            ("ADD that makes a lease", &first, &unit),
            ("ADD for an existing lease", &shared, &unit),
            ("ADD again", &again, &unit),
            ("DEL", &del, &unit),
        ],
    );
}

/// ADD and DEL of a pod's address, with nothing else in the store and with 10 000 leases; and from a
/// network of 2^64 and of 2^4 addresses.
fn sizes(scale: Scale, disk: &Path, memory: &Path) {
    let many = scale.many();
    let empty = Store::new(&disk.join("empty"), Network::Large, (1, memory));
    let full = Store::new(&disk.join("full"), Network::Large, (many, memory));
    let huge = Store::new(&disk.join("huge"), Network::Huge, (1, memory));
    let tiny = Store::new(&disk.join("tiny"), Network::Tiny, (1, memory));
    let mut times = [(); 4].map(|()| Samples::default());
    for n in 0..scale.executions() {
        for (store, samples) in [&empty, &full, &huge, &tiny].into_iter().zip(&mut times) {
            samples.push(store.round(&format!("r{n}")).iter().sum());
        }
    }
    let [empty, full, huge, tiny] = &times;
    let name = format!("ADD and DEL with {many} leases");
    report::figures(
        "milliseconds",
        &[
            ("ADD and DEL in an empty store", empty),
            (&name, full),
            ("ADD and DEL from a /64", huge),
            ("ADD and DEL from a /28", tiny),
        ],
    );
    report::rates_of_minima("ratio", &[(&name, full, empty), ("a /64 / a /28", huge, tiny)]);
}

fn beside(scale: Scale, disk: &Path, (leases, memory): (u32, &Path)) {
    let ours = Store::new(&disk.join(format!("ours-{leases}")), Network::Large, (leases, memory));
    let peer = HostLocal::new(&disk.join(format!("host-local-{leases}")), leases);
    let mut times = [(); 4].map(|()| Samples::default());
    for n in 0..scale.executions() {
        let container = format!("r{n}");
        let taken = ours.round(&container).into_iter().chain(peer.round(&container));
        for (sample, samples) in taken.zip(&mut times) {
            samples.push(sample);
        }
    }
    let [add, del, peer_add, peer_del] = &times;
    report::figures(
        "milliseconds",
        &[
            ("egret-ipam ADD", add),
            ("host-local ADD", peer_add),
            ("egret-ipam DEL", del),
            ("host-local DEL", peer_del),
        ],
    );
    report::rates_of_minima(
        "egret-ipam / host-local",
        &[("ADD", add, peer_add), ("DEL", del, peer_del)],
    );
}
