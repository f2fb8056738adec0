//! Giving a lease back, as [`ports`](crate::ports) says: the lease is turned to pending before anybody looks for holders, so that an attachment that comes in between
//! is seen or sees.

use crate::{
    Allocator, ClaimKey, IpamError, Lease, LeaseKey, LeasePort, LeaseState,
    ports::{Lookup, PortError},
};

/// What became of a lease that was to be released.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Released {
    /// It is gone, and its claim.
    Gone,
    /// An attachment holds it; it stays.
    Held,
    /// Somebody else changed it meanwhile; it is theirs to deal with.
    Changed,
}

impl<L: LeasePort> Allocator<'_, L> {
    /// Releases a lease unless `is_held` says that some attachment uses it.
    ///
    /// Guarantees: a lease that an attachment holds, and has looked at after it wrote its holder
    /// record, is never released.
    pub fn release(
        &self,
        lease: &Lease,
        is_held: impl Fn(LeaseKey) -> Result<bool, PortError>,
    ) -> Result<Released, IpamError> {
        let Some(leaving) = self.begin_release(lease)? else { return Ok(Released::Changed) };
        if is_held(LeaseKey { pool: lease.pool_id, index: lease.index })? {
            self.keep(&leaving)?;
            return Ok(Released::Held);
        }
        let gone = self.end_release(&leaving)?;
        Ok(if gone { Released::Gone } else { Released::Changed })
    }

    /// Takes a lease out of use, if it is unchanged. Then comes the look for holders, then
    /// [`keep`](Self::keep) or [`end_release`](Self::end_release).
    pub(crate) fn begin_release(&self, lease: &Lease) -> Result<Option<Lease>, IpamError> {
        let leaving = lease.turned(LeaseState::Pending);
        Ok(self.port.replace(lease, &leaving)?.is_done().then_some(leaving))
    }

    /// Somebody holds it: back into use.
    pub(crate) fn keep(&self, leaving: &Lease) -> Result<(), IpamError> {
        self.port.replace(leaving, &leaving.turned(LeaseState::Bound))?;
        Ok(())
    }

    /// Nobody holds it: away with it, its claim and its slot. Whether it was still as expected.
    pub(crate) fn end_release(&self, leaving: &Lease) -> Result<bool, IpamError> {
        if !self.port.delete(leaving)?.is_done() {
            return Ok(false);
        }
        self.delete_claim(leaving)?;
        self.discharge(leaving)?;
        Ok(true)
    }

    fn delete_claim(&self, lease: &Lease) -> Result<(), IpamError> {
        let key = ClaimKey { pool: lease.pool.clone(), owner: lease.owner.clone() };
        if let Lookup::Found(claim) = self.claim(&key)?
            && claim.names(lease)
        {
            self.port.delete(&claim)?;
        }
        Ok(())
    }
}
