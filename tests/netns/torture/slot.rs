//! One pod's place among many: attachments come and go in it, one after the other, each with a
//! container id of its own.

use std::time::{Duration, Instant};

use egret_tests::{Finished, Random, Sandbox, Snapshot, Strike, Victim};
use serde_json::Value;

use super::TENANTS;

/// An attachment.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Sent {
    pub(super) id: String,
    pub(super) tenant: String,
}

impl Sent {
    pub(super) fn names(&self) -> (&str, &str) {
        (&self.id, &self.tenant)
    }
}

/// What has happened, for the report.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tally {
    pub(super) cycles: usize,
    pub(super) adds: usize,
    pub(super) dels: usize,
    pub(super) killed: usize,
    /// Calls that gave up because others held a lock for too long: a runtime would come again.
    pub(super) busy: usize,
    pub(super) reboots: usize,
}

impl Tally {
    /// ADD and DEL.
    pub(super) fn calls(self) -> usize {
        self.adds + self.dels
    }
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.cycles += other.cycles;
        self.adds += other.adds;
        self.dels += other.dels;
        self.killed += other.killed;
        self.busy += other.busy;
        self.reboots += other.reboots;
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { cycles, adds, dels, killed, busy, reboots } = self;
        write!(
            f,
            "{cycles} cycles: {adds} ADD and {dels} DEL, {killed} struck, {busy} too busy, {reboots} reboots"
        )
    }
}

/// Others held a lock for longer than the call waits.
pub(super) fn is_busy(finished: &Finished) -> bool {
    format!("{}{}", finished.stdout, finished.stderr).contains("locked by others")
}

pub(super) struct Slot<'lab> {
    pub(super) sandbox: Sandbox<'lab>,
    pub(super) random: Random,
    pub(super) tally: Tally,
    /// Attachments whose namespace is gone and that nobody has called DEL for.
    pub(super) owed: Vec<Sent>,
    /// Whether there is a namespace.
    pub(super) standing: bool,
    number: usize,
    count: usize,
    untouched: Option<Snapshot>,
    /// How long the last call took that nobody struck.
    pace: Duration,
}

impl<'lab> Slot<'lab> {
    pub(super) fn new(sandbox: Sandbox<'lab>, number: usize, random: Random) -> Self {
        // Not of all: a reading takes longer than ADD and DEL together.
        let untouched = number.is_multiple_of(10).then(|| sandbox.ns().snapshot());
        Self {
            sandbox,
            untouched,
            random,
            tally: Tally::default(),
            owed: Vec::new(),
            standing: true,
            number,
            count: 0,
            pace: Duration::from_millis(20),
        }
    }

    /// One attachment, from the start of its pod to its end.
    pub(super) fn cycle(&mut self) {
        self.tally.cycles += 1;
        self.stand_up();
        let sent = self.next();
        self.add(&sent);
        if self.random.one_in(6) {
            self.leave();
            if self.random.one_in(2) {
                self.owed.push(sent);
                return;
            }
        }
        // Late, perhaps with the path and the addresses of the one that is here now.
        if self.random.one_in(3)
            && let Some(late) = self.owed.pop()
        {
            self.del(&late);
        }
        self.del(&sent);
    }

    fn next(&mut self) -> Sent {
        self.count += 1;
        let tenant = format!("t{}", self.random.below(TENANTS));
        Sent { id: format!("torture-{}-{}", self.number, self.count), tenant }
    }

    /// The namespace, a new one if it has gone.
    pub(super) fn stand_up(&mut self) {
        if !self.standing {
            self.sandbox.renew();
            self.standing = true;
        }
    }

    /// The pod dies before anybody calls DEL.
    pub(super) fn leave(&mut self) {
        if self.standing {
            self.sandbox.destroy();
            self.standing = false;
        }
    }

    /// Nothing of ours is in the namespace.
    pub(super) fn assert_untouched(&self) {
        if let Some(before) = &self.untouched {
            assert_eq!(before.changes_to(&self.sandbox.ns().snapshot()), "");
        }
    }

    pub(super) fn check(&self, sent: &Sent) {
        // What ADD answered is not compared with it: that comes from the record.
        let run = self.sandbox.run("CHECK", sent.names(), Some(&self.sandbox.previous()));
        let finished = run.run().finished;
        assert!(finished.succeeded(), "CHECK of {sent:?}: {finished}");
    }

    /// An attachment that nobody strikes.
    pub(super) fn attach(&mut self) -> Sent {
        self.stand_up();
        let sent = self.next();
        self.sandbox.run("ADD", sent.names(), Some(&self.sandbox.previous())).run().result();
        sent
    }

    fn add(&mut self, sent: &Sent) {
        let finished = self.call("ADD", sent);
        let again = self.random.one_in(if finished.succeeded() { 8 } else { 2 });
        if !again {
            return;
        }
        // Without a DEL between them.
        let finished = self.calm("ADD", sent, None);
        if is_busy(&finished) {
            self.tally.busy += 1;
            return;
        }
        let result: Value = serde_json::from_str(&finished.success()).unwrap();
        let outcome = self.sandbox.run("CHECK", sent.names(), Some(&result)).run().finished;
        assert!(outcome.succeeded(), "CHECK of {sent:?}: {outcome}");
    }

    /// DEL until it succeeds, as runtimes do, and sometimes once more.
    pub(super) fn del(&mut self, sent: &Sent) {
        let mut finished = self.call("DEL", sent);
        for _ in 0..5 {
            if finished.succeeded() {
                break;
            }
            finished = self.calm("DEL", sent, None);
        }
        assert!(finished.succeeded(), "DEL of {sent:?} never succeeds: {finished}");
        if self.random.one_in(4) {
            let again = self.calm("DEL", sent, None);
            assert!(again.succeeded() || is_busy(&again), "DEL again of {sent:?}: {again}");
        }
    }

    /// A call that may be struck, and that fails only if it was.
    fn call(&mut self, operation: &str, sent: &Sent) -> Finished {
        let strike = self.random.one_in(2).then(|| self.strike());
        let finished = self.calm(operation, sent, strike);
        let fell = finished.struck() && !finished.succeeded();
        self.tally.killed += usize::from(finished.struck());
        self.tally.busy += usize::from(is_busy(&finished));
        let expected = finished.succeeded() || fell || is_busy(&finished);
        assert!(expected, "{operation} of {sent:?} that nobody struck: {finished}");
        let spoke = finished.code() != Some(1) || finished.json()["code"].is_u64();
        assert!(spoke, "{operation} of {sent:?} fails without an error: {finished}");
        finished
    }

    fn calm(&mut self, operation: &str, sent: &Sent, strike: Option<Strike>) -> Finished {
        match operation {
            "ADD" => self.tally.adds += 1,
            _ => self.tally.dels += 1,
        }
        let previous = self.sandbox.previous();
        let told = operation == "ADD" || self.random.one_in(2);
        let mut run = self.sandbox.run(operation, sent.names(), told.then_some(&previous));
        // What is in the namespace can go only if DEL is told where that is.
        if operation == "DEL" && !self.standing && self.random.one_in(2) {
            run = run.without("CNI_NETNS");
        }
        let begin = Instant::now();
        let finished = run.strike(strike).run().finished;
        if strike.is_none() {
            self.pace = begin.elapsed();
        }
        finished
    }

    fn strike(&mut self) -> Strike {
        let victims = [Victim::Program, Victim::Program, Victim::Group, Victim::Started];
        let victim = self.random.pick(&victims);
        let limit = usize::try_from(self.pace.as_micros()).unwrap_or(1_000_000) + 1000;
        let micros = u64::try_from(self.random.below(limit)).unwrap_or_default();
        Strike { victim, after: Duration::from_micros(micros) }
    }
}
