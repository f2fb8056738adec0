//! Choosing a pair for an owner: the three swaps of [`ports`](crate::ports) and who wins them.

use std::collections::BTreeSet;

use egret_resources::Labels;
use egret_types::{Namespace, PairIndex};

use crate::{
    Claim, ClaimKey, IpamError, Lease, LeaseKey, LeasePort, LeaseState, Origin, Owner, Pair, Pool,
    Stamps,
    pool::Fit,
    ports::{Creation, Hint, Lookup, PortError},
};

/// How often an operation follows what others changed under its hands. Each of them got further,
/// so this is reached only when something is wrong.
pub(crate) const TRIES: u32 = 64;

/// For whom a pair is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applicant {
    /// Who will own it.
    pub owner: Owner,
    /// The pod's namespace, if somebody knows it.
    pub namespace: Option<Namespace>,
    /// The labels of that namespace, if somebody knows them.
    pub labels: Option<Labels>,
}

/// Whether a lease was there before the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Novelty {
    /// This call made it.
    Created,
    /// It was there.
    Adopted,
}

/// A lease that its owner may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Granted {
    /// The lease, bound.
    pub lease: Lease,
    /// Whether this call made it.
    pub novelty: Novelty,
}

/// Allocates, reserves and releases leases in a store.
#[derive(Debug)]
pub struct Allocator<'a, L> {
    pub(crate) port: &'a L,
    pub(crate) stamps: &'a Stamps,
}

impl<'a, L: LeasePort> Allocator<'a, L> {
    /// Works on this store.
    pub fn new(port: &'a L, stamps: &'a Stamps) -> Self {
        Self { port, stamps }
    }

    pub(crate) fn claim(&self, key: &ClaimKey) -> Result<Lookup<Claim>, PortError> {
        self.port.get(key)
    }

    pub(crate) fn lease(&self, key: LeaseKey) -> Result<Lookup<Lease>, PortError> {
        self.port.get(&key)
    }

    /// The owner's lease in the pool: the one it has, else a new one on the next free pair.
    ///
    /// Guarantees: as long as the lease is not released, the same owner gets the same pair, in
    /// whatever order and number of processes. Assumes: all callers read the same pool definition.
    pub fn allocate(&self, pool: &Pool, applicant: &Applicant) -> Result<Granted, IpamError> {
        for _ in 0..TRIES {
            if let Some(granted) = self.try_allocate(pool, applicant)? {
                return Ok(granted);
            }
        }
        Err(IpamError::Contended { pool: pool.name().clone() })
    }

    /// `None`: somebody changed something; look again.
    fn try_allocate(
        &self,
        pool: &Pool,
        applicant: &Applicant,
    ) -> Result<Option<Granted>, IpamError> {
        let key = ClaimKey { pool: pool.name().clone(), owner: applicant.owner.clone() };
        match self.claim(&key)? {
            Lookup::Found(claim) => self.follow(pool, applicant, &claim),
            Lookup::Lost if self.restore_claim(pool, &applicant.owner)? => Ok(None),
            Lookup::Absent | Lookup::Lost => self.start(pool, applicant),
        }
    }

    /// From the claim to its lease.
    fn follow(
        &self,
        pool: &Pool,
        applicant: &Applicant,
        claim: &Claim,
    ) -> Result<Option<Granted>, IpamError> {
        match self.lease(claim.lease_key())? {
            Lookup::Found(lease) if claim.names(&lease) => self.adopt(pool, applicant, lease),
            Lookup::Lost => self.restore_lease(pool, applicant, claim),
            Lookup::Found(_) | Lookup::Absent => {
                self.port.delete(claim)?;
                Ok(None)
            }
        }
    }

    /// Takes over a lease of the same owner that may be bound: it is bound already, or its claim
    /// was seen.
    pub(crate) fn adopt(
        &self,
        pool: &Pool,
        applicant: &Applicant,
        lease: Lease,
    ) -> Result<Option<Granted>, IpamError> {
        let pair = match pool.fit(&lease) {
            Fit::Same => lease.pair,
            Fit::Grown(pair) => pair,
            Fit::Moved(now) => return Err(moved(pool, lease, now)),
        };
        let counted = lease.namespace.clone();
        let counted =
            counted.or_else(|| applicant.namespace.clone().filter(|_| pool.quota().is_some()));
        let mut whole = Lease { pair, left: None, namespace: counted, ..lease.clone() };
        whole.slot = match self.charge(pool, &whole) {
            // It is older than the quota, and in use.
            Err(IpamError::QuotaUsed { .. })
                if lease.state == LeaseState::Bound && lease.left.is_none() =>
            {
                None
            }
            slot => slot?,
        };
        if whole == lease && lease.state == LeaseState::Bound {
            return Ok(Some(Granted { lease, novelty: Novelty::Adopted }));
        }
        let bound = whole.turned(LeaseState::Bound);
        let done = self.port.replace(&lease, &bound)?.is_done();
        Ok(done.then_some(Granted { lease: bound, novelty: Novelty::Adopted }))
    }

    /// The three swaps, and a slot of the quota before the second.
    fn start(&self, pool: &Pool, applicant: &Applicant) -> Result<Option<Granted>, IpamError> {
        let begun = if let Some(begun) = self.unfinished(pool, &applicant.owner)? {
            Some(begun)
        } else {
            if let Err(refused) = self.refuse_used_up(pool, applicant.namespace.as_ref()) {
                return self.unless_underway(pool, &applicant.owner, refused);
            }
            self.create_lease(pool, applicant)?
        };
        let Some(lease) = begun else { return Ok(None) };
        let claim = Claim::to(&lease, pool.name(), self.stamps.token());
        let slot = match self.charge(pool, &lease) {
            Ok(slot) => slot,
            Err(refused) => {
                self.withdraw(&lease, None, &claim.key_of())?;
                return self.unless_underway(pool, &applicant.owner, refused);
            }
        };
        if self.port.create(&claim)? == Creation::Exists {
            self.withdraw(&lease, slot, &claim.key_of())?;
            return Ok(None);
        }
        let bound = Lease { slot, ..lease.turned(LeaseState::Bound) };
        // Not done: the lease was deleted by an allocation that found the pool full, or bound
        // already by one that saw our claim. Following the claim tells.
        let done = self.port.replace(&lease, &bound)?.is_done();
        Ok(done.then_some(Granted { lease: bound, novelty: Novelty::Created }))
    }

    /// What was refused may have been taken by another call for the same owner, which this one
    /// follows. The pending lease is looked for before the claim: it becomes one.
    fn unless_underway(
        &self,
        pool: &Pool,
        owner: &Owner,
        refused: IpamError,
    ) -> Result<Option<Granted>, IpamError> {
        let key = ClaimKey { pool: pool.name().clone(), owner: owner.clone() };
        let underway = self.unfinished(pool, owner)?.is_some()
            || matches!(self.claim(&key)?, Lookup::Found(_));
        if underway { Ok(None) } else { Err(refused) }
    }

    /// A lease that a call for the same owner has begun and not finished, on a pair that may still
    /// be chosen.
    fn unfinished(&self, pool: &Pool, owner: &Owner) -> Result<Option<Lease>, IpamError> {
        let mine = |lease: &Lease| {
            lease.owner == *owner
                && lease.origin == Origin::Allocated
                && pool.is_open(lease.index)
                && pool.fit(lease) == Fit::Same
        };
        Ok(self.port.pending(pool.id())?.into_iter().find(mine))
    }

    /// Step 1: a pending lease on the next free pair. `None`: the pool was full for a moment only.
    fn create_lease(&self, pool: &Pool, applicant: &Applicant) -> Result<Option<Lease>, IpamError> {
        self.refuse_moved(pool)?;
        let cursor = self.port.hint(pool.id(), Hint::Cursor).and_then(|text| parse_cursor(&text));
        let mut occupied = self.port.occupied(pool.id())?;
        loop {
            let Some((index, pair)) = pool.next_free(cursor, &occupied) else {
                let full =
                    !self.sweep(pool)? && self.is_settled(pool, &applicant.owner, &occupied)?;
                return if full { Err(pool.exhausted(&occupied)) } else { Ok(None) };
            };
            let lease = self.new_lease(pool, (index, pair), applicant, Origin::Allocated);
            if self.port.create(&lease)? == Creation::Created {
                self.port.set_hint(pool.id(), Hint::Cursor, &index.number().to_string());
                return Ok(Some(lease));
            }
            occupied.insert(index);
        }
    }

    /// Nothing has changed since these pairs were found occupied, and nobody has allocated for the
    /// owner. Allocations at work have more pairs than they keep: two for one owner begin two
    /// leases, and one gives its own back.
    fn is_settled(
        &self,
        pool: &Pool,
        owner: &Owner,
        occupied: &BTreeSet<PairIndex>,
    ) -> Result<bool, IpamError> {
        let key = ClaimKey { pool: pool.name().clone(), owner: owner.clone() };
        let unclaimed = !matches!(self.claim(&key)?, Lookup::Found(_));
        Ok(unclaimed && self.port.occupied(pool.id())? == *occupied)
    }

    pub(crate) fn new_lease(
        &self,
        pool: &Pool,
        (index, pair): (PairIndex, Pair),
        applicant: &Applicant,
        origin: Origin,
    ) -> Lease {
        let state = match origin {
            Origin::Reserved if pool.quota().is_none() => LeaseState::Bound,
            Origin::Reserved | Origin::Allocated => LeaseState::Pending,
        };
        Lease {
            pool: pool.name().clone(),
            pool_id: pool.id(),
            index,
            pair,
            owner: applicant.owner.clone(),
            namespace: applicant.namespace.clone(),
            slot: None,
            left: None,
            origin,
            state,
            since: self.stamps.now(),
            token: self.stamps.token(),
            version: 0,
        }
    }

    /// Gives a lease back whose owner has another one, or may have none. Not when there is a claim to
    /// this very lease, which happens when somebody else completed it. Its record does not know the
    /// slot yet that was taken for it.
    fn withdraw(&self, lease: &Lease, slot: Option<u32>, key: &ClaimKey) -> Result<(), IpamError> {
        let claimed = matches!(self.claim(key)?, Lookup::Found(claim) if claim.names(lease));
        if !claimed && self.port.delete(lease)?.is_done() {
            self.discharge(&Lease { slot, ..lease.clone() })?;
        }
        Ok(())
    }

    /// Deletes what others began and did not finish in a full pool: pending leases that no claim
    /// names. Whether there were any, also when somebody was faster and finished or deleted it.
    pub(crate) fn sweep(&self, pool: &Pool) -> Result<bool, IpamError> {
        let mut found = false;
        for lease in self.port.leases(pool.id())?.found {
            let begun = lease.state == LeaseState::Pending && lease.origin == Origin::Allocated;
            if begun && !self.is_claimed(&lease)? {
                self.port.delete(&lease)?;
                found = true;
            }
        }
        Ok(found)
    }

    /// The owner's claim is to this lease.
    pub(crate) fn is_claimed(&self, lease: &Lease) -> Result<bool, IpamError> {
        let key = ClaimKey { pool: lease.pool.clone(), owner: lease.owner.clone() };
        Ok(matches!(self.claim(&key)?, Lookup::Found(claim) if claim.names(lease)))
    }

    /// A lease's record was damaged, but its claim tells all that it said. Its pair was never free
    /// in between.
    fn restore_lease(
        &self,
        pool: &Pool,
        applicant: &Applicant,
        claim: &Claim,
    ) -> Result<Option<Granted>, IpamError> {
        let Some(pair) = pool.pair(claim.index).filter(|_| claim.pool_id == pool.id()) else {
            return Err(IpamError::Lost { pool: pool.name().clone(), pair: Pair::default() });
        };
        let made = self.new_lease(pool, (claim.index, pair), applicant, Origin::Allocated);
        let lease = Lease { token: claim.lease, state: LeaseState::Bound, ..made };
        let created = self.port.create(&lease)? == Creation::Created;
        Ok(created.then_some(Granted { lease, novelty: Novelty::Adopted }))
    }

    /// A claim's record was damaged: the owner's lease tells what it said. Whether there is one.
    fn restore_claim(&self, pool: &Pool, owner: &Owner) -> Result<bool, IpamError> {
        let bound = |lease: &&Lease| {
            lease.owner == *owner
                && lease.origin == Origin::Allocated
                && lease.state == LeaseState::Bound
        };
        let leases = self.port.leases(pool.id())?.found;
        let Some(lease) = leases.iter().find(bound) else { return Ok(false) };
        self.port.create(&Claim::to(lease, pool.name(), self.stamps.token()))?;
        Ok(true)
    }

    /// Ranges were reordered under live leases: refuse every new lease of the pool, for it might
    /// get an address that an old one still has at another index. Looks at all leases only when
    /// the ranges are not those of the last look.
    pub(crate) fn refuse_moved(&self, pool: &Pool) -> Result<(), IpamError> {
        if !self.ranges_are_checked(pool) {
            self.compare_ranges(pool)?;
            self.port.set_hint(pool.id(), Hint::CheckedRanges, &pool.ranges_text());
        }
        Ok(())
    }

    pub(crate) fn ranges_are_checked(&self, pool: &Pool) -> bool {
        self.port.hint(pool.id(), Hint::CheckedRanges) == Some(pool.ranges_text())
    }

    pub(crate) fn compare_ranges(&self, pool: &Pool) -> Result<(), IpamError> {
        for lease in self.port.leases(pool.id())?.found {
            if let Some(now) = pool.conflict(&lease) {
                return Err(moved(pool, lease, now));
            }
        }
        Ok(())
    }
}

fn moved(pool: &Pool, lease: Lease, now: Pair) -> IpamError {
    IpamError::Moved { lease: Box::new(lease), pool: pool.name().clone(), now }
}

fn parse_cursor(text: &str) -> Option<PairIndex> {
    text.parse::<u32>().ok().and_then(|number| PairIndex::try_from(number).ok())
}
