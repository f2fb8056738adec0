//! ADD, DEL and CHECK of an attachment: leases and holders together.

use std::net::IpAddr;

use egret_types::{Attachment, ContainerId, DualStack, IfName, NodeName, PoolName};

use crate::{
    Allocator, Applicant, Farewell, Granted, HeldLease, Holder, HolderNetns, HolderPort, IpamError,
    Lease, LeaseKey, LeasePort, LeaseState, Novelty, Owner, Pool, Released, Stamps, Witness,
    allocate::TRIES,
    error::NotHeld,
    ports::{Lookup, PortError},
};

/// One egress pair that an attachment needs.
#[derive(Debug, Clone)]
pub struct Want<'a> {
    /// From where.
    pub pool: &'a Pool,
    /// For whom.
    pub applicant: Applicant,
    /// The addresses that the policy names; none: any pair of the pool.
    pub explicit: DualStack<IpAddr>,
}

/// An attachment that comes.
#[derive(Debug, Clone, Copy)]
pub struct Arrival<'a> {
    /// Which.
    pub attachment: &'a Attachment,
    /// Its namespace, if the runtime named one.
    pub netns: Option<&'a HolderNetns>,
    /// Where it comes.
    pub node: &'a NodeName,
}

/// The leases and holders of one node.
#[derive(Debug)]
pub struct Ipam<'a, L, H> {
    pub(crate) allocator: Allocator<'a, L>,
    pub(crate) holders: &'a H,
}

impl<'a, L: LeasePort, H: HolderPort> Ipam<'a, L, H> {
    /// Works on these stores, at this time.
    pub fn new((leases, holders): (&'a L, &'a H), stamps: &'a Stamps) -> Self {
        Self { allocator: Allocator::new(leases, stamps), holders }
    }

    pub(crate) fn stamps(&self) -> &'a Stamps {
        self.allocator.stamps
    }

    /// Gives the attachment a lease for each want, in their order, or none.
    ///
    /// Guarantees: repeated for the same attachment it gives the same; of a call that fails nothing
    /// remains that was not there before.
    pub fn add(&self, arrival: &Arrival<'_>, wants: &[Want<'_>]) -> Result<Vec<Lease>, IpamError> {
        let Attachment { container_id, ifname, .. } = arrival.attachment;
        let before = self.holders.get(container_id, ifname)?;
        let (mut created, mut holder) = (Vec::new(), before.clone());
        let outcome = self.hold(arrival, wants, &mut created, &mut holder);
        if outcome.is_err() {
            // Whatever fails here, the first error is the one to report; what stays is reserved for
            // its owner, which is safe.
            match &before {
                _ if holder == before => {}
                Lookup::Found(old) => drop(self.holders.put(old)),
                Lookup::Absent | Lookup::Lost => drop(self.holders.remove(container_id, ifname)),
            }
            for lease in &created {
                self.release(lease).ok();
            }
        }
        outcome
    }

    /// Releases a lease unless an attachment holds it.
    pub fn release(&self, lease: &Lease) -> Result<Released, IpamError> {
        self.allocator.release(lease, |key| self.is_held(key))
    }

    fn hold(
        &self,
        arrival: &Arrival<'_>,
        wants: &[Want<'_>],
        created: &mut Vec<Lease>,
        holder: &mut Lookup<Holder>,
    ) -> Result<Vec<Lease>, IpamError> {
        for _ in 0..TRIES {
            let mut leases = Vec::with_capacity(wants.len());
            for want in wants {
                let granted = self.grant(want, arrival.node)?;
                if granted.novelty == Novelty::Created {
                    created.push(granted.lease.clone());
                }
                leases.push(granted.lease);
            }
            self.put_holder(arrival, wants, &leases, holder)?;
            // Somebody who failed may have begun to give back what we share with it before it
            // could see our record.
            if self.all_bound(&leases)? {
                return Ok(leases);
            }
        }
        let pool = wants.first().map(|want| want.pool.name().clone());
        match pool {
            Some(pool) => Err(IpamError::Contended { pool }),
            None => Ok(Vec::new()),
        }
    }

    /// What an allocation could not find may be taken back from owners that nobody holds for.
    fn grant(&self, want: &Want<'_>, here: &NodeName) -> Result<Granted, IpamError> {
        let Applicant { namespace, labels, .. } = &want.applicant;
        want.pool.permit(namespace.as_ref(), labels.as_ref())?;
        for _ in 0..TRIES {
            let error = match self.try_grant(want, here) {
                Err(error) => error,
                granted => return granted,
            };
            let again = match &error {
                IpamError::Exhausted { .. } => self.make_room(want.pool)?,
                IpamError::QuotaUsed { namespace, .. } => self.free_slots(want.pool, namespace)?,
                IpamError::Taken { held, .. } => self.clear(want.pool, held)?,
                _ => false,
            };
            if !again {
                return Err(error);
            }
        }
        Err(IpamError::Contended { pool: want.pool.name().clone() })
    }

    fn try_grant(&self, want: &Want<'_>, here: &NodeName) -> Result<Granted, IpamError> {
        if !want.explicit.is_empty() {
            return self.allocator.reserve(want.pool, &want.applicant, &want.explicit);
        }
        match want.pool.node() {
            Some(node) if node != here => Err(IpamError::OtherNode {
                pool: want.pool.name().clone(),
                node: node.clone(),
                here: here.clone(),
            }),
            _ => self.allocator.allocate(want.pool, &want.applicant),
        }
    }

    fn put_holder(
        &self,
        arrival: &Arrival<'_>,
        wants: &[Want<'_>],
        leases: &[Lease],
        now: &mut Lookup<Holder>,
    ) -> Result<(), IpamError> {
        let held = |(want, lease): (&Want<'_>, &Lease)| {
            HeldLease::of(lease, want.pool.farewell(lease.owner.scope))
        };
        let Arrival { attachment, netns, .. } = arrival;
        let holder = Holder {
            attachment: (*attachment).clone(),
            purpose: self.holders.purpose(),
            netns: netns.cloned(),
            boot: self.stamps().clock().boot.clone(),
            leases: wants.iter().zip(leases).map(held).collect(),
            since: self.stamps().now(),
        };
        // A repeated ADD writes nothing and keeps its first date.
        if let Lookup::Found(old) = now
            && (Holder { since: old.since, ..holder.clone() }) == *old
        {
            return Ok(());
        }
        self.holders.put(&holder)?;
        *now = Lookup::Found(holder);
        Ok(())
    }

    fn all_bound(&self, leases: &[Lease]) -> Result<bool, IpamError> {
        for lease in leases {
            let key = LeaseKey { pool: lease.pool_id, index: lease.index };
            if self.bound(key)?.is_none_or(|now| now.token != lease.token) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn bound(&self, key: LeaseKey) -> Result<Option<Lease>, IpamError> {
        match self.allocator.lease(key)? {
            Lookup::Found(lease) if lease.state == LeaseState::Bound => Ok(Some(lease)),
            _ => Ok(None),
        }
    }

    /// Some attachment uses the pair. A holder that cannot be read may be the one.
    fn is_held(&self, key: LeaseKey) -> Result<bool, PortError> {
        let holders = self.holders.list()?;
        let used = holders.found.iter().any(|holder| holder.uses(key, &self.stamps().clock().boot));
        Ok(used || !holders.lost.is_empty())
    }

    /// The attachment uses nothing any more. Its leases stay reserved for their owners; those that run
    /// out do so from now on.
    ///
    /// Guarantees: succeeds when there is nothing, and as often as it is called. A lease that another
    /// attachment holds is not touched by it.
    pub fn del(&self, container: &ContainerId, ifname: &IfName) -> Result<(), IpamError> {
        let holder = self.holders.get(container, ifname);
        self.holders.remove(container, ifname)?;
        if let Ok(Lookup::Found(holder)) = holder {
            self.say_farewell(&holder);
        }
        Ok(())
    }

    /// Marks the leases that run out. A mark that cannot be written is no reason to fail: whoever needs
    /// the pair sees that nobody holds it, and marks it later.
    pub(crate) fn say_farewell(&self, holder: &Holder) {
        for held in holder.leases.iter().filter(|held| held.farewell == Farewell::Mark) {
            let Ok(Lookup::Found(lease)) = self.allocator.lease(held.key()) else { continue };
            if lease.token == held.token {
                let mark = self.stamps().mark(Witness::Told);
                self.allocator.port.replace(&lease, &lease.marked(mark)).ok();
            }
        }
    }

    /// The attachment holds what ADD gave it, and if `wants` is given, exactly that.
    pub fn check(
        &self,
        attachment: &Attachment,
        netns: Option<&HolderNetns>,
        wants: Option<&[(PoolName, Owner)]>,
    ) -> Result<(), IpamError> {
        let holder = self.holder_of(attachment, netns)?;
        let asked = holder.leases.iter().map(|held| (&held.pool, &held.owner));
        if wants.is_some_and(|wants| !asked.eq(wants.iter().map(|(pool, owner)| (pool, owner)))) {
            return Err(not_held(attachment, NotHeld::OtherRequests));
        }
        for held in &holder.leases {
            let now = match self.allocator.lease(held.key())? {
                Lookup::Found(lease) => Some(lease),
                Lookup::Absent | Lookup::Lost => None,
            };
            if now.as_ref().is_none_or(|lease| lease.owner != held.owner) {
                return Err(IpamError::LeaseGone {
                    attachment: Box::new(attachment.clone()),
                    pool: held.pool.clone(),
                    index: held.index.number(),
                    owner: held.owner.clone(),
                    held: now.map(Box::new),
                });
            }
        }
        Ok(())
    }

    fn holder_of(
        &self,
        attachment: &Attachment,
        netns: Option<&HolderNetns>,
    ) -> Result<Holder, IpamError> {
        let holder = match self.holders.get(&attachment.container_id, &attachment.ifname)? {
            Lookup::Found(holder) => holder,
            Lookup::Absent => return Err(not_held(attachment, NotHeld::NoRecord)),
            Lookup::Lost => return Err(not_held(attachment, NotHeld::Damaged)),
        };
        if holder.boot != self.stamps().clock().boot {
            return Err(not_held(attachment, NotHeld::OtherBoot));
        }
        let inodes = holder.netns.as_ref().zip(netns).map(|(held, now)| (held.inode, now.inode));
        if inodes.is_some_and(|(held, now)| held != now) {
            return Err(not_held(attachment, NotHeld::OtherNetns));
        }
        Ok(holder)
    }
}

fn not_held(attachment: &Attachment, why: NotHeld) -> IpamError {
    IpamError::NotHeld { attachment: Box::new(attachment.clone()), why }
}
