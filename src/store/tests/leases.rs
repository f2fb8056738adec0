//! The ports on disk: the contract, what crashes and damage do, what a full or read-only disk says.

#[cfg(test)]
mod tests {
    use std::{
        fs,
        path::{Path, PathBuf},
    };

    use egret_ipam::{
        Allocator, Applicant, Arrival, BootId, Claim, Clock, HolderPort, Ipam, IpamError, Lease,
        LeasePort, LeaseState, Owner, Pair, Pool, PortError, Purpose, Scope, Slot, Stamps,
        Timestamp, Token, Want, contract,
        ports::{Creation, Lookup, Record, Records},
    };
    use egret_resources::{EgressPool, Serves};
    use egret_store::{HolderDir, LeaseDir, inventory};
    use egret_types::{Attachment, PoolId};

    fn pool(range: &str) -> Pool {
        let [name, gateway] = ["tenants", "edge"];
        let id = PoolId::try_from(1).unwrap();
        let definition = EgressPool {
            ipv4: vec![range.parse().unwrap()],
            ..EgressPool::new(name.parse().unwrap(), id, Serves::Egress(gateway.parse().unwrap()))
        };
        Pool::new(&definition, [])
    }

    fn applicant(key: &str) -> Applicant {
        let owner = Owner { scope: Scope::Namespace, key: key.to_owned() };
        Applicant { owner, namespace: key.parse().ok(), labels: None }
    }

    fn stamps(random: u64) -> Stamps {
        stamps_in("now", random)
    }

    fn stamps_in(boot: &str, random: u64) -> Stamps {
        let boot = BootId::try_from(boot.to_owned()).unwrap();
        Stamps::new(Clock { now: Timestamp(0), boot, uptime: 1000 }, random << 32)
    }

    fn allocate(state: &Path, pool: &Pool, key: &str) -> Result<Lease, IpamError> {
        let (leases, stamps) = (LeaseDir::new(state), stamps(fastrand(key)));
        Ok(Allocator::new(&leases, &stamps).allocate(pool, &applicant(key))?.lease)
    }

    /// Enough to tell two calls of one test apart.
    fn fastrand(key: &str) -> u64 {
        use std::hash::{BuildHasher, RandomState};
        RandomState::new().hash_one(key) >> 33
    }

    fn files(dir: &Path) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
        }
        found.sort();
        found
    }

    #[expect(clippy::disallowed_methods, reason = "the test damages files on purpose")]
    fn overwrite(path: &Path, bytes: &[u8]) {
        fs::write(path, bytes).unwrap();
    }

    fn index_of(lease: &Lease) -> u32 {
        lease.index.number()
    }

    #[test]
    fn files_keep_the_contract() {
        let dir = tempfile::tempdir().unwrap();
        contract::lease_port(&LeaseDir::new(&dir.path().join("a"))).unwrap();
        contract::holder_port(&HolderDir::new(&dir.path().join("c"), Purpose::Egress)).unwrap();
    }

    /// The numbers of the racers that won.
    fn race(run: impl Fn(u32) -> bool + Sync) -> Vec<u32> {
        const RACERS: u32 = 8;
        let start = std::sync::Barrier::new(RACERS as usize);
        std::thread::scope(|scope| {
            let racer = |n| {
                let (start, run) = (&start, &run);
                scope.spawn(move || {
                    start.wait();
                    run(n).then_some(n)
                })
            };
            let running: Vec<_> = (0..RACERS).map(racer).collect();
            running.into_iter().filter_map(|thread| thread.join().unwrap()).collect()
        })
    }

    #[test]
    fn of_racing_swaps_one_wins() {
        let dir = tempfile::tempdir().unwrap();
        let pool = pool("203.0.113.50-203.0.113.59");
        let made = allocate(dir.path(), &pool, "shop").unwrap();
        let leases = LeaseDir::new(dir.path());
        for round in 0..20 {
            let index = (round + 1).try_into().unwrap();
            let racer = |n: u32| Lease { index, token: Token(u64::from(n)), ..made.clone() };
            let created = race(|n| leases.create(&racer(n)).unwrap() == Creation::Created);
            let &[winner] = &created[..] else { panic!("{created:?}") };
            let winner = racer(winner);
            let found: Lookup<Lease> = leases.get(&winner.key()).unwrap();
            assert_eq!(found, Lookup::Found(winner.clone()));
            let next = |n: u32| Lease { version: n + 2, ..winner.clone() };
            let replaced = race(|n| leases.replace(&winner, &next(n)).unwrap().is_done());
            let &[now] = &replaced[..] else { panic!("{replaced:?}") };
            let deleted = race(|_| leases.delete(&next(now)).unwrap().is_done());
            assert_eq!(deleted.len(), 1);
        }
    }

    #[test]
    fn names_are_hashes_or_numbers_and_nothing_else_is_left() {
        let dir = tempfile::tempdir().unwrap();
        allocate(dir.path(), &pool("203.0.113.50-203.0.113.59"), "shop").unwrap();
        let names: Vec<_> = files(dir.path())
            .iter()
            .map(|path| path.strip_prefix(dir.path()).unwrap().display().to_string())
            .collect();
        let [cursor, lock, pair, claim] = &names[..] else { panic!("{names:?}") };
        assert_eq!(
            [cursor, lock, pair],
            ["leases/001/cursor", "leases/001/lock", "leases/001/pairs/00000000.json"]
        );
        assert!(claim.starts_with("leases/claims/") && !claim.contains("shop"), "{claim}");
    }

    #[test]
    fn threads_that_allocate_at_once_share_nothing_but_their_own_key() {
        let dir = tempfile::tempdir().unwrap();
        let pool = pool("203.0.113.0-203.0.113.63");
        let mut granted: Vec<(String, u32)> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..64)
                .map(|n| {
                    let (path, pool) = (dir.path(), &pool);
                    scope.spawn(move || {
                        let key = format!("ns-{}", n / 2);
                        let lease = allocate(path, pool, &key).unwrap();
                        (key, index_of(&lease))
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        granted.sort();
        granted.dedup();
        assert_eq!(granted.len(), 32, "a key has one pair: {granted:?}");
        let indexes: std::collections::BTreeSet<_> = granted.iter().map(|(_, i)| i).collect();
        assert_eq!(indexes.len(), 32, "a pair has one key: {granted:?}");
    }

    #[test]
    fn a_begun_allocation_is_completed_by_the_next_for_its_owner() {
        let dir = tempfile::tempdir().unwrap();
        let pool = pool("203.0.113.50-203.0.113.59");
        let leases = LeaseDir::new(dir.path());
        let whole = allocate(dir.path(), &pool, "shop").unwrap();
        let begun = Lease {
            index: 7.try_into().unwrap(),
            pair: Pair { v4: Some([203, 0, 113, 57].into()), v6: None },
            owner: applicant("bank").owner,
            state: LeaseState::Pending,
            ..whole
        };
        assert_eq!(leases.create(&begun).unwrap(), Creation::Created);
        let lease = allocate(dir.path(), &pool, "bank").unwrap();
        assert_eq!((index_of(&lease), lease.state), (7, LeaseState::Bound));
        assert!(leases.pending(pool.id()).unwrap().is_empty());
    }

    #[test]
    fn a_full_pool_is_cleared_of_what_nobody_finished() {
        let dir = tempfile::tempdir().unwrap();
        let pool = pool("203.0.113.50");
        let leases = LeaseDir::new(dir.path());
        let stamps = stamps(1);
        let allocator = Allocator::new(&leases, &stamps);
        let lease = allocator.allocate(&pool, &applicant("shop")).unwrap().lease;
        allocator.release(&lease, |_| Ok(false)).unwrap();
        leases.create(&Lease { state: LeaseState::Pending, ..lease }).unwrap();
        assert_eq!(index_of(&allocate(dir.path(), &pool, "bank").unwrap()), 0);
        let error = allocate(dir.path(), &pool, "shop").unwrap_err().to_string();
        assert_eq!(
            error,
            "pool \"tenants\" is exhausted: of 1 usable pairs 0 are excluded, \
             0 are named by policies, 0 are draining and 1 are leased"
        );
    }

    /// Each record cut and with flipped bits (`envelope` tests every one of them): its owner keeps
    /// its pair or is told, and nobody else gets it.
    #[test]
    fn no_damage_gives_a_pair_to_another() {
        let dir = tempfile::tempdir().unwrap();
        let pool = pool("203.0.113.50-203.0.113.53");
        let state = dir.path().join("state");
        for key in ["shop", "bank"] {
            allocate(&state, &pool, key).unwrap();
        }
        let records: Vec<_> =
            files(&state).into_iter().filter(|path| path.extension().is_some()).collect();
        assert_eq!(records.len(), 4);
        for path in &records {
            let whole = fs::read(path).unwrap();
            let truncated = (0..whole.len() - 1).step_by(61).map(|length| whole[..length].to_vec());
            let flipped = (0..whole.len() * 8 - 8).step_by(211).map(|bit| {
                let mut bytes = whole.clone();
                bytes[bit / 8] ^= 1 << (bit % 8);
                bytes
            });
            for damaged in truncated.chain(flipped).chain([vec![0; whole.len()]]) {
                overwrite(path, &damaged);
                let outcomes = ["shop", "bank", "third"].map(|key| allocate(&state, &pool, key));
                for (expected, outcome) in outcomes.iter().enumerate() {
                    match outcome {
                        Ok(lease) if expected < 2 => {
                            assert_eq!(index_of(lease) as usize, expected, "{}", path.display());
                        }
                        Ok(lease) => assert!(index_of(lease) >= 2, "{}", path.display()),
                        Err(error) => assert!(error.to_string().contains("format"), "{error}"),
                    }
                }
                restore(&state, &records, path, &whole);
            }
        }
    }

    /// The state before the damage, without the third owner.
    fn restore(state: &Path, records: &[PathBuf], path: &Path, whole: &[u8]) {
        overwrite(path, whole);
        for found in files(state) {
            if found.extension().is_some() && !records.contains(&found) {
                fs::remove_file(found).unwrap();
            }
        }
    }

    #[test]
    fn a_record_under_the_name_of_another_is_damage() {
        let dir = tempfile::tempdir().unwrap();
        let pool = pool("203.0.113.50-203.0.113.53");
        let lease = allocate(dir.path(), &pool, "shop").unwrap();
        let pairs = dir.path().join("leases/001/pairs");
        fs::copy(pairs.join("00000000.json"), pairs.join("00000001.json")).unwrap();
        let leases = LeaseDir::new(dir.path());
        let other = Lease { index: 1.try_into().unwrap(), ..lease };
        let found: Lookup<Lease> = leases.get(&other.key()).unwrap();
        assert_eq!(found, Lookup::Lost);
        assert_eq!(index_of(&allocate(dir.path(), &pool, "bank").unwrap()), 2);
        let listing = leases.leases(pool.id()).unwrap();
        assert!(listing.lost[0].ends_with("00000001.json.corrupt"), "{listing:?}");
    }

    #[test]
    fn a_later_format_is_left_alone_and_named() {
        let dir = tempfile::tempdir().unwrap();
        let pool = pool("203.0.113.50-203.0.113.53");
        allocate(dir.path(), &pool, "shop").unwrap();
        let path = dir.path().join("leases/001/pairs/00000000.json");
        let later = fs::read_to_string(&path)
            .unwrap()
            .replace("\"version\":2,\"sum", "\"version\":3,\"sum");
        overwrite(&path, later.as_bytes());
        let error = allocate(dir.path(), &pool, "shop").unwrap_err().to_string();
        assert!(error.contains("has format 3"), "{error}");
        assert!(path.exists());
    }

    #[test]
    fn a_hint_is_what_was_left() {
        use egret_ipam::ports::Hint;
        let dir = tempfile::tempdir().unwrap();
        let (leases, pool) = (LeaseDir::new(dir.path()), pool("203.0.113.0/28"));
        allocate(dir.path(), &pool, "shop").unwrap();
        for (hint, texts) in [
            (Hint::Cursor, ["16777215", "0", "12"]),
            (Hint::CheckedRanges, ["203.0.113.0-203.0.113.15 ", "", "a b "]),
        ] {
            for text in texts {
                leases.set_hint(pool.id(), hint, text);
                assert_eq!(leases.hint(pool.id(), hint).as_deref(), Some(text));
            }
        }
    }

    fn attachment(container: &str) -> Attachment {
        Attachment {
            network: "podnet".parse().unwrap(),
            container_id: container.parse().unwrap(),
            ifname: "eth0".parse().unwrap(),
        }
    }

    #[test]
    fn holders_of_another_boot_hold_nothing_and_leases_stay() {
        let dir = tempfile::tempdir().unwrap();
        let pool = pool("203.0.113.50-203.0.113.53");
        let (leases, holders) =
            (LeaseDir::new(dir.path()), HolderDir::new(dir.path(), Purpose::Egress));
        let (one, two) = (stamps_in("one", 3), stamps_in("two", 4));
        let ipam = |boot| Ipam::new((&leases, &holders), if boot == "one" { &one } else { &two });
        let wants = [Want { pool: &pool, applicant: applicant("shop"), explicit: Pair::default() }];
        let node = "worker-1".parse().unwrap();
        let (first, second) = (attachment("c1"), attachment("c2"));
        let arrival = |attachment| Arrival { attachment, netns: None, node: &node };
        let before = ipam("one").add(&arrival(&first), &wants).unwrap();
        ipam("one").check(&first, None, None).unwrap();
        let error = ipam("two").check(&first, None, None).unwrap_err().to_string();
        assert!(error.ends_with("from before the last boot"), "{error}");
        let boot = |text: &str| BootId::try_from(text.to_owned()).unwrap();
        let held = |text| inventory::read(dir.path(), &boot(text)).unwrap().leases[0].holders.len();
        assert_eq!((held("one"), held("two")), (1, 0));
        let after = ipam("two").add(&arrival(&second), &wants).unwrap();
        assert_eq!(before[0].index, after[0].index);
        ipam("two").del(&"c1".parse().unwrap(), &"eth0".parse().unwrap()).unwrap();
        ipam("two").check(&second, None, None).unwrap();
    }

    #[test]
    fn changed_ranges_name_the_lease_in_the_way() {
        let dir = tempfile::tempdir().unwrap();
        allocate(dir.path(), &pool("203.0.113.50-203.0.113.59"), "shop").unwrap();
        let shifted = pool("203.0.113.49-203.0.113.59");
        for key in ["shop", "bank"] {
            let error = allocate(dir.path(), &shifted, key).unwrap_err().to_string();
            assert!(
                error.starts_with(
                    "the lease of namespace \"shop\" on pair 0 of pool \"tenants\" \
                     (203.0.113.50) stands in the way"
                ) && error.contains("now has 203.0.113.49 there"),
                "{error}"
            );
        }
        let longer = pool("203.0.113.50-203.0.113.61");
        assert_eq!(index_of(&allocate(dir.path(), &longer, "bank").unwrap()), 1);
    }

    #[test]
    fn a_claim_survives_what_its_lease_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let pool = pool("203.0.113.50-203.0.113.53");
        let lease = allocate(dir.path(), &pool, "shop").unwrap();
        fs::remove_file(dir.path().join("leases/001/pairs/00000000.json")).unwrap();
        let again = allocate(dir.path(), &pool, "shop").unwrap();
        assert_ne!(lease.token, again.token);
        let key =
            egret_ipam::ClaimKey { pool: pool.name().clone(), owner: applicant("shop").owner };
        let claim: Lookup<Claim> = LeaseDir::new(dir.path()).get(&key).unwrap();
        assert!(matches!(claim, Lookup::Found(claim) if claim.lease == again.token));
    }

    /// A directory without a disk below it: nothing here is about power failures.
    fn in_memory() -> tempfile::TempDir {
        tempfile::tempdir_in("/dev/shm").unwrap()
    }

    /// Of each kind of record a file: cut at every byte, and with every bit flipped. It reads as what
    /// was written, as lost (which keeps its key from others), or is refused by name.
    #[test]
    fn every_cut_and_every_flipped_bit_of_every_record_is_noticed() {
        let dir = in_memory();
        let id = PoolId::try_from(1).unwrap();
        let definition = EgressPool {
            ipv4: vec!["203.0.113.50-203.0.113.53".parse().unwrap()],
            quota: Some(2),
            ..EgressPool::new(
                "tenants".parse().unwrap(),
                id,
                Serves::Egress("edge".parse().unwrap()),
            )
        };
        let pool = Pool::new(&definition, []);
        let (leases, holders) =
            (LeaseDir::new(dir.path()), HolderDir::new(dir.path(), Purpose::Egress));
        let (stamps, node) = (stamps(5), "worker-1".parse().unwrap());
        let attachment = attachment("c1");
        let wants = [Want { pool: &pool, applicant: applicant("shop"), explicit: Pair::default() }];
        let arrival = Arrival { attachment: &attachment, netns: None, node: &node };
        let ipam = Ipam::new((&leases, &holders), &stamps);
        let lease = ipam.add(&arrival, &wants).unwrap().remove(0);
        let claim = egret_ipam::ClaimKey { pool: lease.pool.clone(), owner: lease.owner.clone() };
        let slot = egret_ipam::SlotKey { pool: id, namespace: "shop".parse().unwrap(), number: 0 };
        let records: Vec<_> =
            files(dir.path()).into_iter().filter(|path| path.extension().is_some()).collect();
        assert_eq!(records.len(), 4, "a lease, a claim, a slot and a holder: {records:?}");
        let look = |path: &Path| -> Result<bool, PortError> {
            let text = path.display().to_string();
            Ok(if text.contains("/pairs/") {
                matches!(Records::<Lease>::get(&leases, &lease.key())?, Lookup::Lost)
            } else if text.contains("/claims/") {
                matches!(Records::<Claim>::get(&leases, &claim)?, Lookup::Lost)
            } else if text.contains("/slots/") {
                matches!(Records::<Slot>::get(&leases, &slot)?, Lookup::Lost)
            } else {
                let found = HolderPort::get(&holders, &attachment.container_id, &attachment.ifname);
                matches!(found?, Lookup::Lost)
            })
        };
        for path in &records {
            let whole = fs::read(path).unwrap();
            let cut = (0..whole.len() - 1).map(|length| whole[..length].to_vec());
            // The last byte is a newline, which may be any space.
            let flipped = (0..(whole.len() - 1) * 8).map(|bit| {
                let mut bytes = whole.clone();
                bytes[bit / 8] ^= 1 << (bit % 8);
                bytes
            });
            for damaged in cut.chain(flipped).chain([vec![0; whole.len()], Vec::new()]) {
                overwrite(path, &damaged);
                match look(path) {
                    Ok(lost) => assert!(lost, "{}: {damaged:?} was believed", path.display()),
                    Err(error) => assert!(error.to_string().contains("has format"), "{error}"),
                }
                fs::remove_file(path.with_extension("json.corrupt")).ok();
            }
            overwrite(path, &whole);
            assert!(!look(path).unwrap());
        }
    }
}
