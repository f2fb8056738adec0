//! Whether a pool has something to give, for STATUS: looks, and changes nothing.

use crate::{
    Allocator, ClaimKey, HolderPort, Ipam, IpamError, LeasePort, LeaseState, Origin, Owner, Pool,
    ports::Lookup,
};

impl<L: LeasePort, H: HolderPort> Ipam<'_, L, H> {
    /// The pool has a pair for an owner that has none yet.
    ///
    /// # Errors
    /// What ADD would say for such an owner.
    pub fn room(&self, pool: &Pool) -> Result<(), IpamError> {
        match self.allocator.room(pool) {
            Err(IpamError::Exhausted { .. }) if self.has_idle(pool)? => Ok(()),
            room => room,
        }
    }

    /// The owner has its pair in the pool already.
    pub fn has_lease(&self, pool: &Pool, owner: &Owner) -> Result<bool, IpamError> {
        self.allocator.has_lease(pool, owner)
    }
}

impl<L: LeasePort> Allocator<'_, L> {
    fn room(&self, pool: &Pool) -> Result<(), IpamError> {
        if !self.ranges_are_checked(pool) {
            self.compare_ranges(pool)?;
        }
        let occupied = self.port.occupied(pool.id())?;
        if pool.next_free(None, &occupied).is_some() {
            return Ok(());
        }
        // An allocation that finds the pool full deletes what others did not finish.
        for lease in self.port.pending(pool.id())? {
            let begun = lease.state == LeaseState::Pending && lease.origin == Origin::Allocated;
            if begun && !self.is_claimed(&lease)? {
                return Ok(());
            }
        }
        Err(pool.exhausted(&occupied))
    }

    fn has_lease(&self, pool: &Pool, owner: &Owner) -> Result<bool, IpamError> {
        let key = ClaimKey { pool: pool.name().clone(), owner: owner.clone() };
        let Lookup::Found(claim) = self.claim(&key)? else { return Ok(false) };
        let lease = self.lease(claim.lease_key())?;
        Ok(matches!(lease, Lookup::Found(lease) if claim.names(&lease)))
    }
}
