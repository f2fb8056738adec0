//! Two and three processes on one store, in every order of their steps, and each of them killed at
//! every step. What may never happen is stated once, in `judge`.

#[cfg(test)]
mod schedule;

#[cfg(test)]
mod tests {
    use std::{
        collections::{BTreeMap, BTreeSet},
        sync::atomic::{AtomicUsize, Ordering},
    };

    use egret_ipam::{
        Allocator, Applicant, Arrival, BootId, Clock, HolderPort, Ipam, IpamError, Lease,
        LeasePort, LeaseState, Memory, Owner, Pair, Pool, Scope, Stamps, Timestamp, Want,
        ports::Hint,
    };
    use egret_resources::{AddressRange, EgressPool, Serves};
    use egret_types::{Attachment, PoolId};

    use crate::schedule::{Body, Gated, Kill, Search, explore};

    type Outcome = Result<Vec<Lease>, IpamError>;

    /// Every order while nobody is killed; fewer switches when each step is also a death.
    fn search(kill: Option<Kill>) -> Search {
        Search { switches: if kill.is_none() { usize::MAX } else { 4 }, kill }
    }

    fn pool(id: u32, range: &str) -> Pool {
        let range: AddressRange = range.parse().unwrap();
        let [name, gateway] = [format!("pool-{id}"), "edge".to_owned()];
        let id = PoolId::try_from(id).unwrap();
        let definition = EgressPool {
            ipv4: vec![range],
            ..EgressPool::new(name.parse().unwrap(), id, Serves::Egress(gateway.parse().unwrap()))
        };
        Pool::new(&definition, [])
    }

    fn applicant(key: &str) -> Applicant {
        Applicant {
            owner: Owner { scope: Scope::Namespace, key: key.to_owned() },
            namespace: key.parse().ok(),
            labels: None,
        }
    }

    fn stamps() -> Stamps {
        static NEXT: AtomicUsize = AtomicUsize::new(1);
        let call = u64::try_from(NEXT.fetch_add(1, Ordering::Relaxed)).unwrap();
        Stamps::new(Clock { now: Timestamp(0), boot: boot(), uptime: 1000 }, call << 32)
    }

    /// An empty store whose pools have been looked at before, which saves two steps a process.
    fn checked(pools: &[&Pool]) -> Memory {
        let store = Memory::default();
        for pool in pools {
            allocate(&store, pool, "warm-up").unwrap();
            let hint = store.hint(pool.id(), Hint::CheckedRanges).unwrap();
            let lease = store.leases(pool.id()).unwrap().found.remove(0);
            let stamps = stamps();
            Allocator::new(&store, &stamps).release(&lease, |_| Ok(false)).unwrap();
            store.set_hint(pool.id(), Hint::CheckedRanges, &hint);
            store.set_hint(pool.id(), Hint::Cursor, "none");
        }
        store
    }

    fn allocate(store: &impl LeasePort, pool: &Pool, key: &str) -> Outcome {
        let stamps = stamps();
        Ok(vec![Allocator::new(store, &stamps).allocate(pool, &applicant(key))?.lease])
    }

    fn reserve(store: &impl LeasePort, pool: &Pool, key: &str, address: &str) -> Outcome {
        let stamps = stamps();
        let wanted = Pair { v4: address.parse().ok(), v6: None };
        Ok(vec![Allocator::new(store, &stamps).reserve(pool, &applicant(key), &wanted)?.lease])
    }

    /// What holds of every outcome: a granted lease is its owner's and nobody else's, and an
    /// owner has one.
    fn judge(store: &Memory, pool: &Pool, outcomes: &[&Outcome], choices: &[usize]) {
        let mut by_owner: BTreeMap<&str, BTreeSet<u32>> = BTreeMap::new();
        let mut by_index: BTreeMap<u32, BTreeSet<&str>> = BTreeMap::new();
        for lease in outcomes.iter().filter_map(|outcome| outcome.as_ref().ok()).flatten() {
            let (index, key) = (lease.index.number(), lease.owner.key.as_str());
            by_owner.entry(key).or_default().insert(index);
            by_index.entry(index).or_default().insert(key);
            let now = store.leases(pool.id()).unwrap().found;
            let now = now.iter().find(|now| now.index == lease.index);
            // A release that was killed leaves it pending, but nobody else can have it.
            assert!(
                now.is_some_and(|now| now.token == lease.token),
                "{lease} was granted, but there is {now:?} ({choices:?})"
            );
        }
        for (key, indexes) in &by_owner {
            assert_eq!(indexes.len(), 1, "{key} has {indexes:?} ({choices:?})");
        }
        for (index, keys) in &by_index {
            assert_eq!(keys.len(), 1, "pair {index} belongs to {keys:?} ({choices:?})");
        }
        for (key, indexes) in by_owner {
            let again = allocate(store, pool, key).unwrap().remove(0);
            assert!(indexes.contains(&again.index.number()), "{key} moved ({choices:?})");
        }
    }

    /// No kill, and one at each step of each process, until a kill is later than its last step.
    fn kills(processes: usize, steps: usize) -> impl Iterator<Item = Option<Kill>> {
        let each = (0..processes)
            .flat_map(move |process| (0..steps).map(move |step| Some(Kill { process, step })));
        std::iter::once(None).chain(each)
    }

    #[test]
    fn two_allocations_for_one_owner_get_one_pair() {
        let pool = pool(1, "203.0.113.50-203.0.113.53");
        let same: Body<'_, Outcome> = &|_, store| allocate(store, &pool, "shop");
        for kill in kills(2, 8) {
            let runs = explore(
                search(kill),
                &[same, same],
                || checked(&[&pool]),
                |store, outcomes, choices| {
                    judge(store, &pool, &outcomes.iter().collect::<Vec<_>>(), choices);
                    allocate(store, &pool, "shop").unwrap();
                    let leases = store.leases(pool.id()).unwrap().found;
                    let left = usize::from(kill.is_some());
                    assert!((1..=1 + left).contains(&leases.len()), "{leases:?} ({choices:?})");
                },
            );
            assert!(kill.is_some() || runs > 500, "only {runs} runs");
        }
    }

    #[test]
    fn two_owners_never_get_one_pair() {
        let pool = pool(1, "203.0.113.50-203.0.113.51");
        let shop: Body<'_, Outcome> = &|_, store| allocate(store, &pool, "shop");
        let bank: Body<'_, Outcome> = &|_, store| allocate(store, &pool, "bank");
        for kill in kills(2, 8) {
            explore(
                search(kill),
                &[shop, bank],
                || checked(&[&pool]),
                |store, outcomes, choices| {
                    assert!(kill.is_some() || outcomes.iter().all(Result::is_ok), "{outcomes:?}");
                    judge(store, &pool, &outcomes.iter().collect::<Vec<_>>(), choices);
                    for key in ["shop", "bank"] {
                        let after = allocate(store, &pool, key);
                        assert!(
                            after.is_ok(),
                            "{key} finds a pair after a crash: {after:?} ({choices:?})"
                        );
                    }
                },
            );
        }
    }

    #[test]
    fn the_last_pair_has_one_owner() {
        let pool = pool(1, "203.0.113.50");
        let shop: Body<'_, Outcome> = &|_, store| allocate(store, &pool, "shop");
        let bank: Body<'_, Outcome> = &|_, store| allocate(store, &pool, "bank");
        for kill in kills(2, 8) {
            explore(
                Search { switches: 4, kill },
                &[shop, bank],
                || checked(&[&pool]),
                |store, outcomes, choices| {
                    judge(store, &pool, &outcomes.iter().collect::<Vec<_>>(), choices);
                    let granted = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
                    let killed = usize::from(kill.is_some());
                    assert!((1 - killed..=1).contains(&granted), "{outcomes:?} ({choices:?})");
                    let after = ["shop", "bank"].map(|key| allocate(store, &pool, key));
                    let served = after.iter().filter(|outcome| outcome.is_ok()).count();
                    assert_eq!(served, 1, "{after:?} ({choices:?})");
                },
            );
        }
    }

    /// Two that allocate for one owner have a pair too much for a moment.
    #[test]
    fn a_pool_that_is_full_for_a_moment_refuses_nobody() {
        let pool = pool(1, "203.0.113.50-203.0.113.51");
        let shop: Body<'_, Outcome> = &|_, store| allocate(store, &pool, "shop");
        let bank: Body<'_, Outcome> = &|_, store| allocate(store, &pool, "bank");
        let search = Search { switches: 3, kill: None };
        let fresh = || checked(&[&pool]);
        let runs = explore(search, &[shop, shop, bank], fresh, |store, outcomes, choices| {
            assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?} ({choices:?})");
            judge(store, &pool, &outcomes.iter().collect::<Vec<_>>(), choices);
        });
        assert!(runs > 500, "only {runs} runs");
    }

    #[test]
    fn an_explicit_pair_and_an_allocation_never_meet_on_it() {
        let pool = pool(1, "203.0.113.50-203.0.113.51");
        let shop: Body<'_, Outcome> = &|_, store| allocate(store, &pool, "shop");
        let bank: Body<'_, Outcome> = &|_, store| reserve(store, &pool, "bank", "203.0.113.50");
        for kill in kills(2, 8) {
            explore(
                search(kill),
                &[shop, bank],
                || checked(&[&pool]),
                |store, outcomes, choices| {
                    let shop_only: Vec<_> = outcomes.iter().take(1).collect();
                    judge(store, &pool, &shop_only, choices);
                    if let [Ok(shop), Ok(bank)] = outcomes.as_slice() {
                        assert_ne!(shop[0].index, bank[0].index, "({choices:?})");
                        assert_eq!(bank[0].index.number(), 0);
                    }
                },
            );
        }
    }

    /// Gives back every lease that nobody holds.
    fn release_all(store: &Gated<'_>, pool: &Pool) -> Outcome {
        let (stamps, boot) = (stamps(), boot());
        for lease in store.leases(pool.id())?.found {
            Allocator::new(store, &stamps).release(&lease, |key| {
                Ok(HolderPort::list(store)?.found.iter().any(|holder| holder.uses(key, &boot)))
            })?;
        }
        Ok(Vec::new())
    }

    /// The first process has begun; the second is faster, and gives back what it got; the third
    /// finds the pool full and cleans it up. It must not delete what the first then gets: the case
    /// for which a lease is bound in a step of its own.
    #[test]
    fn a_cleaner_with_old_knowledge_deletes_no_lease_in_use() {
        let pool = pool(1, "203.0.113.50-203.0.113.51");
        let slow: Body<'_, Outcome> = &|me, store| add(me, store, &[&pool], "shop");
        let fast: Body<'_, Outcome> = &|_, store| {
            allocate(store, &pool, "shop")?;
            release_all(store, &pool)
        };
        let cleaner: Body<'_, Outcome> = &|_, store| allocate(store, &pool, "bank");
        let search = Search { switches: 3, kill: None };
        let fresh = || checked(&[&pool]);
        let runs = explore(search, &[slow, fast, cleaner], fresh, |store, outcomes, choices| {
            // The second gives back what nobody holds, also what the third was just given.
            judge(store, &pool, &[&outcomes[0]], choices);
        });
        assert!(runs > 500, "only {runs} runs");
    }

    /// Two that give back and one that takes: whoever decided that nobody holds the lease must not
    /// delete it after somebody does.
    #[test]
    fn two_releases_take_nothing_from_an_attachment() {
        let pool = pool(1, "203.0.113.50-203.0.113.51");
        let fresh = || {
            let store = checked(&[&pool]);
            allocate(&store, &pool, "shop").unwrap();
            store
        };
        let release: Body<'_, Outcome> = &|_, store| release_all(store, &pool);
        let takes: Body<'_, Outcome> = &|me, store| add(me, store, &[&pool], "shop");
        let search = Search { switches: 3, kill: None };
        explore(search, &[release, release, takes], fresh, |store, outcomes, choices| {
            assert!(outcomes[2].is_ok(), "{outcomes:?} ({choices:?})");
            judge(store, &pool, &[&outcomes[2]], choices);
        });
    }

    fn boot() -> BootId {
        BootId::try_from("boot".to_owned()).unwrap()
    }

    fn attachment(process: usize) -> Attachment {
        Attachment {
            network: "podnet".parse().unwrap(),
            container_id: format!("c{process}").parse().unwrap(),
            ifname: "eth0".parse().unwrap(),
        }
    }

    fn add(process: usize, store: &Gated<'_>, pools: &[&Pool], key: &str) -> Outcome {
        let stamps = stamps();
        let ipam = Ipam::new((store, store), &stamps);
        let want = |pool| Want { pool, applicant: applicant(key), explicit: Pair::default() };
        let wants: Vec<_> = pools.iter().copied().map(want).collect();
        let (attachment, node) = (attachment(process), "worker-1".parse().unwrap());
        ipam.add(&Arrival { attachment: &attachment, netns: None, node: &node }, &wants)
    }

    /// The first ADD fails on its second pool and gives back its lease of the first, which the
    /// other ADD for the same namespace has perhaps taken over.
    #[test]
    fn an_add_that_fails_takes_nothing_from_one_that_succeeds() {
        let good = pool(1, "203.0.113.50-203.0.113.51");
        let full = pool(2, "203.0.113.60");
        let fresh = || {
            let store = checked(&[&good, &full]);
            allocate(&store, &full, "bank").unwrap();
            store
        };
        let fails: Body<'_, Outcome> = &|me, store| add(me, store, &[&good, &full], "shop");
        let succeeds: Body<'_, Outcome> = &|me, store| add(me, store, &[&good], "shop");
        for kill in kills(1, 18) {
            let search = Search { switches: 3, kill };
            explore(search, &[fails, succeeds], fresh, |store, outcomes, choices| {
                assert!(outcomes[0].is_err());
                assert!(outcomes[1].is_ok(), "{outcomes:?} ({choices:?})");
                judge(store, &good, &outcomes.iter().skip(1).collect::<Vec<_>>(), choices);
            });
        }
    }

    /// One pair for each pod of namespace `shop`, who may have so many.
    fn with_quota(range: &str, quota: Option<u32>) -> Pool {
        let definition = EgressPool {
            ipv4: vec![range.parse().unwrap()],
            quota,
            ..EgressPool::new(
                "pods".parse().unwrap(),
                PoolId::try_from(3).unwrap(),
                Serves::Egress("edge".parse().unwrap()),
            )
        };
        Pool::new(&definition, [])
    }

    fn pod(uid: &str) -> Applicant {
        let owner = Owner { scope: Scope::Pod, key: format!("shop/web/{uid}") };
        Applicant { owner, namespace: "shop".parse().ok(), labels: None }
    }

    fn add_pod<S: LeasePort + HolderPort>(n: usize, store: &S, pool: &Pool, uid: &str) -> Outcome {
        let stamps = stamps();
        let wants = [Want { pool, applicant: pod(uid), explicit: Pair::default() }];
        let (attachment, node) = (attachment(n), "worker-1".parse().unwrap());
        let arrival = Arrival { attachment: &attachment, netns: None, node: &node };
        Ipam::new((store, store), &stamps).add(&arrival, &wants)
    }

    fn del_pod<S: LeasePort + HolderPort>(n: usize, store: &S) -> Result<(), IpamError> {
        let (stamps, attachment) = (stamps(), attachment(n));
        Ipam::new((store, store), &stamps).del(&attachment.container_id, &attachment.ifname)
    }

    /// The pairs that attachments hold: each of them has a lease, and nobody else has it.
    fn judge_held(store: &Memory, pool: &Pool, limit: usize, choices: &[usize]) -> usize {
        let leases = store.leases(pool.id()).unwrap().found;
        let mut held = BTreeMap::new();
        for holder in HolderPort::list(store).unwrap().found {
            for own in &holder.leases {
                let lease = leases.iter().find(|lease| lease.index == own.index);
                let other = held.insert(own.index, own.owner.clone());
                assert!(other.is_none_or(|other| other == own.owner), "shared ({choices:?})");
                // An ADD that was killed after it wrote its holder has not looked whether the lease
                // is still there; it was never answered.
                let backed = lease.is_some_and(|lease| lease.token == own.token);
                assert!(backed || limit == usize::MAX, "{own:?} without its lease ({choices:?})");
            }
        }
        assert!(held.len() <= limit, "{held:?} ({choices:?})");
        held.len()
    }

    #[test]
    fn two_pods_never_get_more_than_the_quota_of_one() {
        let pool = with_quota("203.0.113.50-203.0.113.52", Some(1));
        let first: Body<'_, Outcome> = &|me, store| add_pod(me, store, &pool, "a");
        let second: Body<'_, Outcome> = &|me, store| add_pod(me, store, &pool, "b");
        for kill in kills(2, 14) {
            let search = Search { switches: if kill.is_none() { 3 } else { 2 }, kill };
            explore(search, &[first, second], Memory::default, |store, outcomes, choices| {
                let given = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
                assert!(given <= 1, "{outcomes:?} ({choices:?})");
                let refused = |outcome: &Outcome| {
                    matches!(outcome, Err(IpamError::QuotaUsed { used: 1, limit: 1, .. }))
                };
                let one = outcomes.iter().any(refused);
                assert!(kill.is_some() || given + usize::from(one) >= 1, "{outcomes:?}");
                let bound = store.leases(pool.id()).unwrap().found.into_iter();
                let bound = bound.filter(|lease| lease.state == LeaseState::Bound).count();
                assert!(bound <= 1, "({choices:?})");
            });
        }
    }

    #[test]
    fn two_processes_for_one_pod_take_one_slot() {
        let pool = with_quota("203.0.113.50-203.0.113.52", Some(1));
        let same: Body<'_, Outcome> = &|me, store| add_pod(me, store, &pool, "a");
        for kill in kills(2, 14) {
            let search = Search { switches: 2, kill };
            explore(search, &[same, same], Memory::default, |store, outcomes, choices| {
                if kill.is_none() {
                    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?} ({choices:?})");
                }
                let again = add_pod(7, store, &pool, "a");
                assert!(again.is_ok(), "{again:?} after {outcomes:?} ({choices:?})");
                let slots = store.slots(pool.id(), &"shop".parse().unwrap()).unwrap();
                assert_eq!(slots.len(), 1, "{slots:?} ({choices:?})");
                assert!(add_pod(8, store, &pool, "b").is_err(), "({choices:?})");
            });
        }
    }

    /// The pool is full, and one of two leases is not held: two pods want it while its own comes back.
    #[test]
    fn what_a_full_pool_takes_back_is_nobodys() {
        let pool = with_quota("203.0.113.50-203.0.113.51", None);
        let fresh = || {
            let store = Memory::default();
            add_pod(8, &store, &pool, "held").unwrap();
            add_pod(9, &store, &pool, "gone").unwrap();
            del_pod(9, &store).unwrap();
            store
        };
        let new: Body<'_, Outcome> = &|me, store| add_pod(me, store, &pool, "new");
        let other: Body<'_, Outcome> = &|me, store| add_pod(me, store, &pool, "other");
        let back: Body<'_, Outcome> = &|me, store| add_pod(me, store, &pool, "gone");
        for (bodies, switches, deaths) in
            [(&[new, back][..], 2, 24), (&[new, other], 2, 0), (&[new, other, back], 1, 0)]
        {
            for kill in kills(1, deaths) {
                let search = Search { switches, kill };
                explore(search, bodies, fresh, |store, outcomes, choices| {
                    let given = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
                    assert!(given <= 1, "{outcomes:?} ({choices:?})");
                    assert!(kill.is_some() || given == 1, "{outcomes:?} ({choices:?})");
                    let limit = if kill.is_some() { usize::MAX } else { 2 };
                    judge_held(store, &pool, limit, choices);
                });
            }
        }
    }

    /// The quota is used up by a pod that is gone: its slot is taken for another while it comes back.
    #[test]
    fn a_slot_that_is_taken_back_is_used_once() {
        let pool = with_quota("203.0.113.50-203.0.113.53", Some(1));
        let fresh = || {
            let store = Memory::default();
            add_pod(9, &store, &pool, "gone").unwrap();
            del_pod(9, &store).unwrap();
            store
        };
        let new: Body<'_, Outcome> = &|me, store| add_pod(me, store, &pool, "new");
        let back: Body<'_, Outcome> = &|me, store| add_pod(me, store, &pool, "gone");
        for kill in kills(2, 24) {
            let search = Search { switches: if kill.is_none() { 3 } else { 1 }, kill };
            explore(search, &[new, back], fresh, |store, outcomes, choices| {
                let given = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
                assert!(given <= 1, "{outcomes:?} ({choices:?})");
                assert!(kill.is_some() || given == 1, "{outcomes:?} ({choices:?})");
                let limit = if kill.is_some() { usize::MAX } else { 1 };
                judge_held(store, &pool, limit, choices);
            });
        }
    }

    /// DEL of an old sandbox, late, while another one of the same pod comes and a third wants room.
    #[test]
    fn a_late_del_takes_nothing_from_a_newer_sandbox() {
        let pool = with_quota("203.0.113.50", None);
        let fresh = || {
            let store = Memory::default();
            add_pod(9, &store, &pool, "web").unwrap();
            store
        };
        let newer: Body<'_, Outcome> = &|me, store| add_pod(me, store, &pool, "web");
        let late: Body<'_, Outcome> = &|_, store| del_pod(9, store).map(|()| Vec::new());
        let wants: Body<'_, Outcome> = &|me, store| add_pod(me, store, &pool, "other");
        let search = Search { switches: 2, kill: None };
        explore(search, &[newer, late, wants], fresh, |store, outcomes, choices| {
            assert!(outcomes[1].is_ok(), "DEL: {outcomes:?} ({choices:?})");
            assert!(outcomes[0].is_ok() || outcomes[2].is_ok(), "{outcomes:?} ({choices:?})");
            assert!(outcomes[0].is_err() || outcomes[2].is_err(), "{outcomes:?} ({choices:?})");
            judge_held(store, &pool, 1, choices);
        });
    }
}
