//! The world, and the weather in it: rounds in which everybody is at work, and what is asked between
//! them.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use egret_tests::{
    Families, Lab, Node, PluginRun, Question, Random, Sandbox, Snapshot, Strike, Victim, egress_ip,
    eventually, resources,
};
use egret_types::Family;

use super::TENANTS;
use super::oracle::{self, OF_ATTACHMENTS};
use super::slot::{Sent, Slot, Tally, is_busy};

/// How many pods come and go at once, at most.
const PLACES: usize = 100;
/// How many live through a round untouched. Theirs are the first places.
const BYSTANDERS: usize = 2;
/// How many cycles a round has, at least.
const ROUND: usize = 120;

/// How long a pod may be without an answer.
const PATIENCE: Duration = Duration::from_secs(10);

struct World<'lab> {
    lab: &'lab Lab,
    node: &'lab Node,
    random: Random,
    slots: Vec<Slot<'lab>>,
    bystanders: Vec<Sent>,
    planted: String,
    bare: Snapshot,
    rounds: usize,
    reboots: usize,
}

/// Rounds, until there were so many ADD and DEL; then everything goes.
pub(super) fn endure(seed: u64, calls: usize) -> Tally {
    let lab = Lab::builder(Families::Dual).worker("w1").gateway("g1").start();
    let policies = (0..TENANTS).map(|n| resources::policy(&format!("t{n}"), "out", "tenants", ""));
    lab.write_resources("20-policies.yaml", &policies.collect::<String>());
    lab.node("g1").egretctl("gateway up").success();
    let mut world = World::new(&lab, seed);
    while world.tally().calls() < calls {
        world.round();
    }
    world.clear();
    world.tally()
}

impl<'lab> World<'lab> {
    fn new(lab: &'lab Lab, seed: u64) -> Self {
        let node = lab.node("w1");
        let mut random = Random::new(seed);
        oracle::plant(node);
        let numbers: Vec<u8> = (2..).take(PLACES + BYSTANDERS).collect();
        let make = |number: &u8| Sandbox::new(lab, node, *number);
        let sandboxes: Vec<Sandbox> = std::thread::scope(|scope| {
            let makers: Vec<_> = numbers
                .chunks(16)
                .map(|chunk| scope.spawn(move || chunk.iter().map(make).collect::<Vec<_>>()))
                .collect();
            makers.into_iter().flat_map(|maker| maker.join().unwrap()).collect()
        });
        let numbered = sandboxes.into_iter().enumerate();
        let slots = numbered.map(|(n, one)| Slot::new(one, n, Random::new(random.number())));
        let slots = slots.collect();
        let (planted, bare) = (oracle::planted(node), lab.snapshot());
        Self {
            lab,
            node,
            random,
            slots,
            bystanders: Vec::new(),
            planted,
            bare,
            rounds: 0,
            reboots: 0,
        }
    }

    fn tally(&self) -> Tally {
        let mut tally = Tally { reboots: self.reboots, ..Tally::default() };
        for slot in &self.slots {
            tally += slot.tally;
        }
        tally
    }

    fn round(&mut self) {
        if self.bystanders.is_empty() {
            self.bystanders = self.slots[..BYSTANDERS].iter_mut().map(Slot::attach).collect();
            self.assert_bystanders_work();
        }
        self.storm();
        self.quiet();
        // In turn, so that the shortest run has each.
        match self.rounds % 3 {
            0 => self.reboot(),
            1 => {}
            _ => self.clear(),
        }
        self.rounds += 1;
    }

    fn storm(&mut self) {
        let begin = Instant::now();
        let width = self.random.pick(&[PLACES, PLACES, 48, 16]);
        let cleans = self.rounds.is_multiple_of(2);
        let mut random = Random::new(self.random.number());
        let node = self.node;
        let over = AtomicBool::new(false);
        let slots = &mut self.slots[BYSTANDERS..][..width];
        std::thread::scope(|scope| {
            let cleaner = cleans.then(|| {
                scope.spawn(|| {
                    while !over.load(Ordering::Relaxed) {
                        clean(node, &[], strike(&mut random));
                    }
                })
            });
            let work = |slot: &mut Slot| (0..ROUND.div_ceil(width)).for_each(|_| slot.cycle());
            let workers: Vec<_> =
                slots.iter_mut().map(|slot| scope.spawn(move || work(slot))).collect();
            let done: Vec<_> =
                workers.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
            over.store(true, Ordering::Relaxed);
            if let Some(cleaner) = cleaner {
                cleaner.join().unwrap();
            }
            assert!(done.iter().all(Result::is_ok), "see above");
        });
        let now = self.tally();
        eprintln!("{width} at once for {} ms, so far {now}", begin.elapsed().as_millis());
    }

    /// Nobody is at work: what must be true before GC, and after it.
    fn quiet(&mut self) {
        for slot in &mut self.slots {
            for _ in 0..slot.owed.len().div_ceil(2) {
                let late = slot.owed.pop().unwrap();
                slot.del(&late);
            }
        }
        let own: BTreeSet<String> = self.bystanders.iter().map(|sent| sent.id.clone()).collect();
        let mut may = own.clone();
        may.extend(self.slots.iter().flat_map(|slot| &slot.owed).map(|sent| sent.id.clone()));
        let recorded = oracle::ids(self.node, "attachments");
        assert!(recorded.is_superset(&own) && recorded.is_subset(&may), "{recorded:?} of {may:?}");
        may.extend(oracle::ids(self.node, "tombstones"));
        let holders = oracle::ids(self.node, "holders");
        assert!(holders.is_superset(&own) && holders.is_subset(&may), "{holders:?} of {may:?}");
        self.assert_kernel_is_clean();
        for slot in self.slots[BYSTANDERS..].iter().filter(|slot| slot.standing) {
            slot.assert_untouched();
        }
        let valid: Vec<&str> = own.iter().map(String::as_str).collect();
        for _ in 0..2 {
            clean(self.node, &valid, strike(&mut self.random));
        }
        PluginRun::gc(self.node, &valid).run().finished.success();
        self.slots.iter_mut().for_each(|slot| slot.owed.clear());
        let empty = BTreeSet::new();
        for (directory, expected) in OF_ATTACHMENTS.iter().zip([&own, &own, &empty]) {
            assert_eq!(oracle::ids(self.node, directory), *expected, "{directory}");
        }
        self.assert_kernel_is_clean();
        oracle::assert_identities(self.node);
        self.assert_bystanders_work();
        for (slot, sent) in self.slots.iter().zip(&self.bystanders) {
            slot.check(sent);
        }
    }

    /// Links are those of the bystanders; rules may also be of pods that died and have not had DEL.
    fn assert_kernel_is_clean(&self) {
        assert_eq!(oracle::links(self.node), self.bystanders.len());
        let lives = |place: usize| place < self.bystanders.len();
        let slots = self.slots.iter().enumerate();
        let may = slots.filter(|(place, slot)| lives(*place) || !slot.owed.is_empty());
        let may: BTreeSet<String> = may.flat_map(|(_, slot)| slot.sandbox.names()).collect();
        let named = oracle::pods_in_rules(self.node);
        assert!(named.is_subset(&may), "rules of pods that have gone: {named:?}, expected {may:?}");
        assert_eq!(oracle::planted(self.node), self.planted);
    }

    fn assert_bystanders_work(&self) {
        let pairs = oracle::pairs(self.node);
        for (slot, sent) in self.slots.iter().zip(&self.bystanders) {
            for family in Family::BOTH {
                let outside = self.lab.external_address(family);
                // One datagram may be lost, with or without us.
                let seen = eventually(&format!("{sent:?} is answered"), PATIENCE, || {
                    slot.sandbox.ns().who(Question::Udp, outside).ok()
                });
                assert_eq!(seen.address, egress_ip(family, pairs[&sent.tenant]), "{sent:?}");
            }
        }
    }

    /// The last pods end, and `egretctl gc` cleans the node.
    fn clear(&mut self) {
        for (slot, sent) in self.slots.iter_mut().zip(std::mem::take(&mut self.bystanders)) {
            slot.del(&sent);
        }
        self.slots.iter_mut().for_each(Slot::stand_up);
        let gc = self.node.egretctl_program("gc");
        match strike(&mut self.random) {
            Some(strike) => drop(gc.strike(strike).run()),
            None => drop(gc.run().success()),
        }
        self.node.egretctl("gc").success();
        self.assert_bare();
        let pairs = oracle::pairs(self.node);
        assert!(pairs.len() <= TENANTS, "{pairs:?}");
        if self.random.one_in(2) {
            // A node made anew: all tenants come at once for their first pair.
            std::fs::remove_dir_all(self.node.state_dir()).ok();
        }
    }

    /// Nothing but the leases is there.
    fn assert_bare(&self) {
        let state = Snapshot::of_files(&self.node.state_dir());
        let leases = self.node.state_dir().join("leases").display().to_string();
        let left: Vec<&str> = state.lines().filter(|l| !l.contains(&leases)).collect();
        assert!(left.is_empty() && !state.mentions("/.tmp-"), "{left:?} {state:?}");
        self.lab.assert_as_before(&self.bare, &["/w1/state/"]);
    }

    /// The machine starts again while some are attached. DEL comes for some of them afterwards.
    fn reboot(&mut self) {
        self.reboots += 1;
        let mut dead = std::mem::take(&mut self.bystanders);
        dead.extend(self.slots[BYSTANDERS..][..6].iter_mut().map(Slot::attach));
        for (slot, sent) in self.slots.iter_mut().zip(dead) {
            slot.leave();
            slot.owed.push(sent);
        }
        self.node.reboot();
        if self.random.one_in(2) {
            self.node.egretctl("gc").success();
            assert!(oracle::ids(self.node, "attachments").is_empty());
        }
        for slot in &mut self.slots[..BYSTANDERS] {
            let late = slot.owed.pop().unwrap();
            slot.del(&late);
        }
    }
}

fn strike(random: &mut Random) -> Option<Strike> {
    let victim = random.pick(&[Victim::Program, Victim::Group]);
    let micros = u64::try_from(random.below(40_000)).unwrap();
    random.one_in(2).then(|| Strike { victim, after: Duration::from_micros(micros) })
}

/// GC and then `egretctl gc`, struck or not.
fn clean(node: &Node, valid: &[&str], strike: Option<Strike>) {
    let plugin = PluginRun::gc(node, valid).strike(strike).run().finished;
    let mut command = node.egretctl_program("gc");
    if let Some(strike) = strike {
        command = command.strike(strike);
    }
    for finished in [plugin, command.run()] {
        let fell = finished.struck() && finished.code().is_none();
        assert!(finished.succeeded() || fell || is_busy(&finished), "{finished}");
    }
}
