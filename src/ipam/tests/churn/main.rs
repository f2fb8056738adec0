//! A node over a long time: ADD, DEL, GC with old lists, pods that die in silence, processes that are
//! killed, clocks that jump and machines that boot, in any order. What must hold of every step is
//! stated once, in `World::judge` and where ADD is refused.

#[cfg(test)]
mod flaky;

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::time::Duration;

    use egret_ipam::{
        Applicant, Arrival, BootId, Clock, HolderNetns, HolderPort, Ipam, IpamError, Lease,
        LeasePort, Memory, Owner, Pair, Pool, Scope, Stamps, Standing, Timestamp, Want,
    };
    use egret_resources::{EgressPool, Retain, Serves};
    use egret_types::{Attachment, ContainerId, NodeName, PoolId};
    use rstest::rstest;

    use crate::flaky::Flaky;

    /// Pairs of each pool.
    const PAIRS: u32 = 6;
    const NAMESPACES: u32 = 3;
    const QUOTA: u32 = 3;

    struct Random(u64);

    impl Random {
        fn below(&mut self, limit: u32) -> u32 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            u32::try_from(self.0 >> 33).unwrap() % limit
        }

        fn one_in(&mut self, n: u32) -> bool {
            self.below(n) == 0
        }
    }

    fn pool(id: u32, retain: Retain, quota: Option<u32>) -> Pool {
        let [name, gateway] = [format!("pool-{id}"), "edge".to_owned()];
        let number = PoolId::try_from(id).unwrap();
        let serves = Serves::Egress(gateway.parse().unwrap());
        let range = format!("10.0.{id}.0-10.0.{id}.{}", PAIRS - 1);
        let definition = EgressPool {
            ipv4: vec![range.parse().unwrap()],
            retain,
            quota,
            ..EgressPool::new(name.parse().unwrap(), number, serves)
        };
        Pool::new(&definition, [])
    }

    /// A pod that was attached and not detached.
    #[derive(Debug, Clone)]
    struct Pod {
        lease: Lease,
        /// Its namespace exists.
        alive: bool,
    }

    struct World {
        store: Memory,
        pools: [Pool; 3],
        random: Random,
        clock: Clock,
        calls: u64,
        boots: u32,
        pods: BTreeMap<u32, Pod>,
        next_pod: u32,
        /// What owners of the first pool have: for ever.
        kept: BTreeMap<Owner, u32>,
        /// A list that a runtime made some time ago.
        old_list: BTreeSet<u32>,
        given: u32,
        refused: u32,
    }

    fn boot(number: u32) -> BootId {
        BootId::try_from(format!("boot-{number}")).unwrap()
    }

    fn container(pod: u32) -> ContainerId {
        format!("c{pod}").parse().unwrap()
    }

    fn attachment(pod: u32) -> Attachment {
        Attachment {
            network: "podnet".parse().unwrap(),
            container_id: container(pod),
            ifname: "eth0".parse().unwrap(),
        }
    }

    impl World {
        fn new(seed: u64) -> Self {
            let minutes = Retain::For(Duration::from_mins(2));
            Self {
                store: Memory::default(),
                pools: [
                    pool(1, Retain::Forever, None),
                    pool(2, Retain::Forever, Some(QUOTA)),
                    pool(3, minutes, Some(QUOTA)),
                ],
                random: Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
                clock: Clock { now: Timestamp(1_800_000_000), boot: boot(0), uptime: 100 },
                calls: 0,
                boots: 0,
                pods: BTreeMap::new(),
                next_pod: 0,
                kept: BTreeMap::new(),
                old_list: BTreeSet::new(),
                given: 0,
                refused: 0,
            }
        }

        fn stamps(&mut self) -> Stamps {
            self.calls += 1;
            Stamps::new(self.clock.clone(), self.calls << 16)
        }

        fn step(&mut self) {
            match self.random.below(40) {
                0..18 => self.add(),
                18..30 => self.del(),
                30..32 => self.gc(),
                32..34 => self.old_list = self.pods.keys().copied().collect(),
                34 => self.expire(),
                35..37 => self.time_goes_on(),
                37 => self.a_pod_dies(),
                38 if self.random.one_in(20) => self.reboot(),
                _ => self.late_del(),
            }
        }

        /// Of a new pod, or again of one that is there; sometimes killed.
        fn add(&mut self) {
            let n = usize::try_from(self.random.below(3)).unwrap();
            let namespace = format!("ns-{}", self.random.below(NAMESPACES));
            let again = self.random.one_in(6);
            let living: Vec<u32> =
                self.pods.iter().filter(|(_, pod)| pod.alive).map(|(id, _)| *id).collect();
            let old = usize::try_from(self.random.below(64)).unwrap();
            let (id, applicant, n) = if let Some(&id) = living.get(old).filter(|_| again) {
                let lease = &self.pods[&id].lease;
                let n = usize::from(lease.pool_id.number()) - 1;
                let namespace = lease.namespace.clone();
                (id, Applicant { owner: lease.owner.clone(), namespace, labels: None }, n)
            } else {
                self.next_pod += 1;
                let owner = match n {
                    0 => Owner { scope: Scope::Namespace, key: namespace.clone() },
                    1 => Owner {
                        scope: Scope::Pod,
                        key: format!("{namespace}/web/{}", self.next_pod),
                    },
                    _ => Owner {
                        scope: Scope::Workload,
                        key: format!("{namespace}/w{}", self.random.below(5)),
                    },
                };
                let namespace = namespace.parse().ok();
                (self.next_pod, Applicant { owner, namespace, labels: None }, n)
            };
            let answers = if self.random.one_in(12) { self.random.below(14) } else { u32::MAX };
            let outcome = self.call_add(id, applicant, n, answers);
            match outcome {
                Ok(lease) => {
                    self.given += 1;
                    self.pods.insert(id, Pod { lease, alive: true });
                }
                Err(IpamError::Port(_)) => {
                    // It may hold something all the same; nobody will ever say that it does not.
                    if self.holds(id) {
                        self.call_del(id);
                    }
                    self.pods.remove(&id);
                }
                Err(refused) => {
                    self.refused += 1;
                    self.judge_refusal(n, &refused);
                    assert!(!self.pods.contains_key(&id), "{refused}: it has its pair already");
                }
            }
        }

        fn call_add(
            &mut self,
            id: u32,
            applicant: Applicant,
            n: usize,
            answers: u32,
        ) -> Result<Lease, IpamError> {
            let stamps = self.stamps();
            let store = Flaky::new(&self.store, answers);
            let (attachment, node) = (attachment(id), NodeName::try_from("w1".to_owned()).unwrap());
            let netns = HolderNetns { path: format!("/run/netns/{id}").into(), inode: id.into() };
            let arrival = Arrival { attachment: &attachment, netns: Some(&netns), node: &node };
            let wants = [Want { pool: &self.pools[n], applicant, explicit: Pair::default() }];
            let leases = Ipam::new((&store, &store), &stamps).add(&arrival, &wants)?;
            Ok(leases.into_iter().next().unwrap())
        }

        fn holds(&self, id: u32) -> bool {
            let found = HolderPort::list(&self.store).unwrap().found;
            found.iter().any(|holder| holder.attachment.container_id == container(id))
        }

        /// Sometimes killed before it has said farewell.
        fn call_del(&mut self, id: u32) {
            let answers = if self.random.one_in(12) { 2 + self.random.below(3) } else { u32::MAX };
            self.del_with(id, answers);
        }

        fn del_with(&mut self, id: u32, answers: u32) {
            let stamps = self.stamps();
            let store = Flaky::new(&self.store, answers);
            let ipam = Ipam::new((&store, &store), &stamps);
            ipam.del(&container(id), &"eth0".parse().unwrap()).unwrap();
        }

        fn del(&mut self) {
            let nth = usize::try_from(self.random.below(64)).unwrap();
            let Some(&id) = self.pods.keys().nth(nth % self.pods.len().max(1)) else { return };
            self.call_del(id);
            self.pods.remove(&id);
        }

        /// For a pod that was deleted long ago, or never was.
        fn late_del(&mut self) {
            let id = self.random.below(self.next_pod.max(1) + 1);
            if !self.pods.contains_key(&id) {
                self.call_del(id);
            }
        }

        fn gc(&mut self) {
            let stamps = self.stamps();
            let ipam = Ipam::new((&self.store, &self.store), &stamps);
            let listed = |id: u32| self.old_list.contains(&id);
            let number = |a: &Attachment| a.container_id.as_str()[1..].parse::<u32>().unwrap();
            let alive = |netns: &HolderNetns| {
                let pod = u32::try_from(netns.inode).ok().and_then(|id| self.pods.get(&id));
                pod.is_some_and(|pod| pod.alive)
            };
            let network = "podnet".parse().unwrap();
            let collected = ipam.gc(&network, |a| listed(number(a)), alive).unwrap();
            for gone in collected.removed {
                let pod = self.pods.remove(&number(&gone));
                assert!(pod.is_none_or(|pod| !pod.alive), "GC took from the living {gone}");
            }
        }

        fn expire(&mut self) {
            let stamps = self.stamps();
            for pool in &self.pools {
                Ipam::new((&self.store, &self.store), &stamps).expire(pool).unwrap();
            }
        }

        /// Seconds or minutes; the wall clock goes where it likes.
        fn time_goes_on(&mut self) {
            self.clock.uptime += u64::from(self.random.below(100));
            let jump = u64::from(self.random.below(2_000_000));
            self.clock.now = Timestamp(1_800_000_000 + jump - 1_000_000);
        }

        fn a_pod_dies(&mut self) {
            let nth = usize::try_from(self.random.below(8)).unwrap();
            if let Some(pod) = self.pods.values_mut().nth(nth) {
                pod.alive = false;
            }
        }

        fn reboot(&mut self) {
            self.boots += 1;
            (self.clock.boot, self.clock.uptime) = (boot(self.boots), 5);
            self.pods.clear();
        }

        /// Leases that allocation could have: held by nobody, and left.
        fn takeable(&self, pool: &Pool) -> Vec<Lease> {
            let holders = HolderPort::list(&self.store).unwrap().found;
            let mut leases = self.store.leases(pool.id()).unwrap().found;
            leases.retain(|lease| {
                let held = holders.iter().any(|holder| {
                    holder.boot == self.clock.boot
                        && holder.leases.iter().any(|held| held.identity() == lease.identity())
                });
                !held && pool.standing(lease, &self.clock) >= Standing::Retained
            });
            leases
        }

        fn judge_refusal(&self, n: usize, refused: &IpamError) {
            let pool = &self.pools[n];
            match refused {
                IpamError::Exhausted { .. } => {
                    let occupied = self.store.occupied(pool.id()).unwrap().len();
                    assert_eq!(occupied, PAIRS as usize, "{refused}: there is a free pair");
                    assert_eq!(self.takeable(pool), [], "{refused}: these could be had");
                }
                IpamError::QuotaUsed { namespace, .. } => {
                    let given_up = self
                        .takeable(pool)
                        .into_iter()
                        .filter(|lease| pool.standing(lease, &self.clock) >= Standing::Quarantined);
                    let given_up: Vec<_> = given_up.map(|lease| lease.index).collect();
                    let counting = |lease: &Lease| {
                        lease.namespace.as_ref() == Some(namespace)
                            && !given_up.contains(&lease.index)
                    };
                    let leases = self.store.leases(pool.id()).unwrap().found;
                    let used = leases.iter().filter(|lease| counting(lease)).count();
                    assert!(used >= QUOTA as usize, "{refused}: but {used} count: {leases:?}");
                }
                other => panic!("{other}"),
            }
        }

        /// A pair has one owner, an owner one pair, a namespace no more than its quota; and what is
        /// kept for ever stays where it is.
        fn judge(&mut self) {
            let mut owners: BTreeMap<(u32, u32), &Owner> = BTreeMap::new();
            let mut pairs: BTreeMap<(u32, &Owner), u32> = BTreeMap::new();
            let mut used: BTreeMap<(u32, String), BTreeSet<u32>> = BTreeMap::new();
            for Pod { lease, .. } in self.pods.values() {
                let (pool, index) = (u32::from(lease.pool_id.number()), lease.index.number());
                let owner = owners.entry((pool, index)).or_insert(&lease.owner);
                assert_eq!(*owner, &lease.owner, "pair {index} of pool {pool}");
                let pair = *pairs.entry((pool, &lease.owner)).or_insert(index);
                assert_eq!(pair, index, "{} has two pairs of pool {pool}", lease.owner);
                let namespace = lease.owner.key.split('/').next().unwrap().to_owned();
                used.entry((pool, namespace)).or_default().insert(index);
            }
            for ((pool, namespace), pairs) in &used {
                let limit = if *pool == 1 { 1 } else { QUOTA as usize };
                assert!(pairs.len() <= limit, "{namespace} has {pairs:?} of pool {pool}");
            }
            for Pod { lease, .. } in
                self.pods.values().filter(|pod| pod.lease.pool_id.number() == 1)
            {
                let index = lease.index.number();
                let kept = *self.kept.entry(lease.owner.clone()).or_insert(index);
                assert_eq!(kept, index, "{} moved", lease.owner);
            }
        }

        /// Everybody leaves and all the time passes: every pair is there again, each once.
        fn settle(&mut self) {
            for id in self.pods.keys().copied().collect::<Vec<_>>() {
                self.call_del(id);
                self.pods.remove(&id);
            }
            // What was only seen has a grace, and has to be seen first.
            for _ in 0..3 {
                self.expire();
                self.clock.uptime += 1000;
            }
            assert_eq!(self.store.leases(self.pools[2].id()).unwrap().found, []);
            let mut given = BTreeSet::new();
            for n in 0..PAIRS {
                let namespace = format!("last-{n}");
                let owner = Owner { scope: Scope::Pod, key: format!("{namespace}/web/{n}") };
                let applicant =
                    Applicant { owner, namespace: namespace.parse().ok(), labels: None };
                let id = 1_000_000 + n;
                given.insert(self.call_add(id, applicant, 1, u32::MAX).unwrap().index.number());
            }
            assert_eq!(given.len(), PAIRS as usize);
        }
    }

    /// 10^5 steps in all.
    #[rstest]
    #[case(1)]
    #[case(2)]
    #[case(3)]
    #[case(4)]
    #[case(5)]
    fn nothing_that_happens_to_a_node_gives_a_pair_to_two(#[case] seed: u64) {
        let mut world = World::new(seed);
        for _ in 0..20_000 {
            world.step();
            world.judge();
        }
        assert!(world.given > 5000 && world.refused > 500, "{} {}", world.given, world.refused);
        world.settle();
    }

    /// Each pod has a key of its own, so a pair is had only by taking it back.
    #[test]
    fn a_pool_of_exactly_n_under_churn_always_serves_n() {
        let mut world = World::new(9);
        let pairs = 10 * PAIRS;
        let pod = |n: u32| {
            let namespace = format!("ns-{}", n % PAIRS);
            let owner = Owner { scope: Scope::Pod, key: format!("{namespace}/web/{n}") };
            Applicant { owner, namespace: namespace.parse().ok(), labels: None }
        };
        for n in 0..pairs {
            if n >= PAIRS {
                world.del_with(n - PAIRS, u32::MAX);
            }
            world.call_add(n, pod(n), 1, u32::MAX).unwrap();
        }
        for n in pairs - PAIRS..pairs {
            world.del_with(n, u32::MAX);
        }
        world.clock.uptime += 1000;
        let again: BTreeSet<u32> = (pairs..pairs + PAIRS)
            .map(|n| world.call_add(n, pod(n), 1, u32::MAX).unwrap().index.number())
            .collect();
        assert_eq!(again, (0..PAIRS).collect());
    }
}
