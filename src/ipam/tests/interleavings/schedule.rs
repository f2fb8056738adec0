//! Runs processes that share a store in every order of their steps. A step is one operation on the
//! store. Each process is a thread that waits at a gate before each step; the scheduler lets one
//! through at a time, so a run is decided by the list of choices alone and can be repeated.

use std::{
    collections::BTreeSet,
    sync::{Condvar, Mutex},
};

use egret_ipam::{
    Claim, Holder, HolderPort, Lease, LeasePort, Memory, PortError, Purpose, Slot,
    ports::{Creation, Hint, Listing, Lookup, Record, Records, Retry, Swap},
};
use egret_types::{ContainerId, IfName, Namespace, PairIndex, PoolId};

/// What a process is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Between two gates.
    Running,
    /// At a gate.
    Waiting,
    /// Let through.
    Chosen,
    /// At its end.
    Done,
}

struct Process {
    place: Place,
    steps: usize,
}

/// Holds processes back.
struct Gate {
    processes: Mutex<Vec<Process>>,
    /// For the scheduler: somebody stands still.
    still: Condvar,
    /// For each process: it may go on. One for all would wake everybody at every step.
    turn: Vec<Condvar>,
    kill: Option<Kill>,
}

/// The end of a process, before the step with this number. Later steps fail as well: a dead process
/// cleans nothing up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kill {
    pub(crate) process: usize,
    pub(crate) step: usize,
}

#[derive(Debug)]
struct Killed;

impl std::fmt::Display for Killed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("killed")
    }
}

impl std::error::Error for Killed {}

impl Gate {
    fn pass(&self, me: usize) -> Result<(), PortError> {
        let mut processes = self.processes.lock().unwrap();
        if self.kill.is_some_and(|kill| kill.process == me && processes[me].steps >= kill.step) {
            return Err(PortError::new(Killed, Retry::Pointless));
        }
        processes[me].steps += 1;
        processes[me].place = Place::Waiting;
        self.still.notify_one();
        while processes[me].place != Place::Chosen {
            processes = self.turn[me].wait(processes).unwrap();
        }
        processes[me].place = Place::Running;
        Ok(())
    }

    fn finish(&self, me: usize) {
        self.processes.lock().unwrap()[me].place = Place::Done;
        self.still.notify_one();
    }

    /// Waits until nobody runs; who waits then.
    fn settled(&self) -> Vec<usize> {
        let mut processes = self.processes.lock().unwrap();
        while processes.iter().any(|p| matches!(p.place, Place::Running | Place::Chosen)) {
            processes = self.still.wait(processes).unwrap();
        }
        (0..processes.len()).filter(|&p| processes[p].place == Place::Waiting).collect()
    }

    fn choose(&self, process: usize) {
        self.processes.lock().unwrap()[process].place = Place::Chosen;
        self.turn[process].notify_one();
    }
}

/// The store as one process sees it.
pub(crate) struct Gated<'a> {
    gate: &'a Gate,
    me: usize,
    store: &'a Memory,
}

impl<R: Record> Records<R> for Gated<'_>
where
    Memory: Records<R>,
{
    fn create(&self, record: &R) -> Result<Creation, PortError> {
        self.gate.pass(self.me)?;
        self.store.create(record)
    }

    fn get(&self, key: &R::Key) -> Result<Lookup<R>, PortError> {
        self.gate.pass(self.me)?;
        Records::get(self.store, key)
    }

    fn replace(&self, old: &R, new: &R) -> Result<Swap, PortError> {
        self.gate.pass(self.me)?;
        self.store.replace(old, new)
    }

    fn delete(&self, old: &R) -> Result<Swap, PortError> {
        self.gate.pass(self.me)?;
        self.store.delete(old)
    }
}

impl LeasePort for Gated<'_>
where
    Memory: Records<Lease> + Records<Claim> + Records<Slot>,
{
    fn occupied(&self, pool: PoolId) -> Result<BTreeSet<PairIndex>, PortError> {
        self.gate.pass(self.me)?;
        self.store.occupied(pool)
    }

    fn pending(&self, pool: PoolId) -> Result<Vec<Lease>, PortError> {
        self.gate.pass(self.me)?;
        self.store.pending(pool)
    }

    fn leases(&self, pool: PoolId) -> Result<Listing<Lease>, PortError> {
        self.gate.pass(self.me)?;
        self.store.leases(pool)
    }

    fn slots(
        &self,
        pool: PoolId,
        namespace: &Namespace,
    ) -> Result<Vec<(u32, Lookup<Slot>)>, PortError> {
        self.gate.pass(self.me)?;
        self.store.slots(pool, namespace)
    }

    // Hints decide nothing, so they are no steps; a wrong one would be worth a test of its own.
    fn hint(&self, pool: PoolId, hint: Hint) -> Option<String> {
        self.store.hint(pool, hint)
    }

    fn set_hint(&self, pool: PoolId, hint: Hint, text: &str) {
        self.store.set_hint(pool, hint, text);
    }
}

impl HolderPort for Gated<'_> {
    fn purpose(&self) -> Purpose {
        Purpose::Egress
    }

    fn put(&self, holder: &Holder) -> Result<(), PortError> {
        self.gate.pass(self.me)?;
        self.store.put(holder)
    }

    fn get(&self, container: &ContainerId, ifname: &IfName) -> Result<Lookup<Holder>, PortError> {
        self.gate.pass(self.me)?;
        HolderPort::get(self.store, container, ifname)
    }

    fn remove(&self, container: &ContainerId, ifname: &IfName) -> Result<(), PortError> {
        self.gate.pass(self.me)?;
        self.store.remove(container, ifname)
    }

    fn list(&self) -> Result<Listing<Holder>, PortError> {
        self.gate.pass(self.me)?;
        self.store.list()
    }
}

/// A process: it gets its number, and its view of the store.
pub(crate) type Body<'a, T> = &'a (dyn Fn(usize, &Gated<'_>) -> T + Sync);

/// What a run was: who was let through, in order, and how many waited each time.
struct Trace {
    choices: Vec<usize>,
    waiting: Vec<Vec<usize>>,
}

/// How far a search goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Search {
    /// How often a process that could go on is made to wait. Few switches find most of what many
    /// find (a bug that needs `n` of them is found with `n`).
    pub(crate) switches: usize,
    pub(crate) kill: Option<Kill>,
}

/// Runs the processes in every order that the search allows, each time on a fresh store, and lets
/// `judge` look at the outcomes. How many runs.
pub(crate) fn explore<T: Send>(
    search: Search,
    processes: &[Body<'_, T>],
    fresh: impl Fn() -> Memory,
    judge: impl Fn(&Memory, Vec<T>, &[usize]),
) -> usize {
    let mut runs = 0;
    let mut next = Some(Vec::new());
    while let Some(prefix) = next {
        let store = fresh();
        let (trace, outcomes) = run(&prefix, processes, &store, search.kill);
        judge(&store, outcomes, &trace.choices);
        next = following(&trace, search.switches);
        runs += 1;
    }
    runs
}

fn run<T: Send>(
    prefix: &[usize],
    processes: &[Body<'_, T>],
    store: &Memory,
    kill: Option<Kill>,
) -> (Trace, Vec<T>) {
    let start = || Process { place: Place::Running, steps: 0 };
    let gate = Gate {
        processes: Mutex::new(processes.iter().map(|_| start()).collect()),
        still: Condvar::new(),
        turn: processes.iter().map(|_| Condvar::new()).collect(),
        kill,
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = processes
            .iter()
            .enumerate()
            .map(|(me, body)| {
                let gate = &gate;
                scope.spawn(move || {
                    let outcome = body(me, &Gated { gate, me, store });
                    gate.finish(me);
                    outcome
                })
            })
            .collect();
        let mut trace = Trace { choices: Vec::new(), waiting: Vec::new() };
        loop {
            let waiting = gate.settled();
            let Some(&first) = waiting.first() else { break };
            // Without a wish: go on with whoever went last.
            let last = trace.choices.last().copied().filter(|last| waiting.contains(last));
            let wish = prefix.get(trace.choices.len()).copied();
            let choice = wish.or(last).unwrap_or(first);
            gate.choose(choice);
            trace.choices.push(choice);
            trace.waiting.push(waiting);
        }
        (trace, threads.into_iter().map(|thread| thread.join().unwrap()).collect())
    })
}

/// The next list of choices in depth-first order.
fn following(trace: &Trace, switches: usize) -> Option<Vec<usize>> {
    for at in (0..trace.choices.len()).rev() {
        let order = options(trace, at);
        let now = order.iter().position(|&option| option == trace.choices[at])?;
        for &option in &order[now + 1..] {
            let mut choices = trace.choices[..at].to_vec();
            choices.push(option);
            if count_switches(trace, &choices) <= switches {
                return Some(choices);
            }
        }
    }
    None
}

/// The processes that could go at this point, the default first.
fn options(trace: &Trace, at: usize) -> Vec<usize> {
    let mut order = trace.waiting[at].clone();
    if let Some(last) = at.checked_sub(1).map(|before| trace.choices[before])
        && order.contains(&last)
    {
        order.retain(|&process| process != last);
        order.insert(0, last);
    }
    order
}

fn count_switches(trace: &Trace, choices: &[usize]) -> usize {
    (1..choices.len())
        .filter(|&at| {
            choices[at] != choices[at - 1] && trace.waiting[at].contains(&choices[at - 1])
        })
        .count()
}
