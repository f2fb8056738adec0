//! Taking the pair that a policy names. One swap: the pair is the only thing that must be unique.

use egret_types::DualStack;

use crate::{
    Allocator, Applicant, Granted, IpamError, Lease, LeaseKey, LeasePort, LeaseState, Novelty,
    Origin, PairError, Pool,
    allocate::TRIES,
    ports::{Creation, Lookup},
};

impl<L: LeasePort> Allocator<'_, L> {
    /// The owner's lease on the pair with these addresses.
    ///
    /// Errors: [`IpamError::Taken`] when another owner has it, also when nobody uses it now: a
    /// lease stays reserved for its owner.
    pub fn reserve(
        &self,
        pool: &Pool,
        applicant: &Applicant,
        wanted: &DualStack<std::net::IpAddr>,
    ) -> Result<Granted, IpamError> {
        let key = LeaseKey { pool: pool.id(), index: pool.locate(wanted)? };
        for _ in 0..TRIES {
            let granted = match self.lease(key)? {
                Lookup::Absent => self.create_reserved(pool, applicant, key)?,
                Lookup::Found(lease) => self.take_found(pool, applicant, lease)?,
                Lookup::Lost => {
                    let pair = pool.pair(key.index).unwrap_or_default();
                    return Err(IpamError::Lost { pool: pool.name().clone(), pair });
                }
            };
            if let Some(granted) = granted {
                return Ok(granted);
            }
        }
        Err(IpamError::Contended { pool: pool.name().clone() })
    }

    fn create_reserved(
        &self,
        pool: &Pool,
        applicant: &Applicant,
        key: LeaseKey,
    ) -> Result<Option<Granted>, IpamError> {
        self.refuse_moved(pool)?;
        let Some(pair) = pool.pair(key.index) else { return Ok(None) };
        if pool.drains(key.index) {
            return Err(PairError::Draining { pool: pool.name().clone(), pair }.into());
        }
        let lease = self.new_lease(pool, (key.index, pair), applicant, Origin::Reserved);
        if self.port.create(&lease)? == Creation::Exists {
            return Ok(None);
        }
        if lease.state == LeaseState::Bound {
            return Ok(Some(Granted { lease, novelty: Novelty::Created }));
        }
        match self.adopt(pool, applicant, lease.clone()) {
            Ok(granted) => Ok(granted.map(|now| Granted { novelty: Novelty::Created, ..now })),
            Err(refused) => {
                // As it was created: nobody has bound it, so nobody can hold it.
                self.port.delete(&lease)?;
                Err(refused)
            }
        }
    }

    fn take_found(
        &self,
        pool: &Pool,
        applicant: &Applicant,
        lease: Lease,
    ) -> Result<Option<Granted>, IpamError> {
        let in_use = match (lease.state, lease.origin) {
            // Somebody begins, or began, to allocate it.
            (LeaseState::Pending, Origin::Allocated) => self.is_claimed(&lease)?,
            // A reserved one that is pending is being given back; only a release knows whether
            // it is held.
            (LeaseState::Bound, _) | (LeaseState::Pending, Origin::Reserved) => true,
        };
        if !in_use {
            self.port.delete(&lease)?;
            return Ok(None);
        }
        if lease.owner != applicant.owner {
            let owner = applicant.owner.clone();
            return Err(IpamError::Taken { owner, held: Box::new(lease) });
        }
        self.adopt(pool, applicant, lease)
    }
}
