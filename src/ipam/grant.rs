//! ADD, DEL and CHECK of an attachment: leases and holders together.

use std::net::IpAddr;

use egret_types::{Attachment, ContainerId, DualStack, IfName, NodeName, PoolName};

use crate::{
    Allocator, BootId, Granted, HeldLease, Holder, HolderNetns, HolderPort, IpamError, Lease,
    LeaseKey, LeasePort, LeaseState, Novelty, Owner, Pool, Stamps,
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
    pub owner: Owner,
    /// The addresses that the policy names; none: any pair of the pool.
    pub explicit: DualStack<IpAddr>,
}

/// The leases and holders of one node.
#[derive(Debug)]
pub struct Ipam<'a, L, H> {
    allocator: Allocator<'a, L>,
    pub(crate) holders: &'a H,
    pub(crate) boot: BootId,
    node: NodeName,
}

impl<'a, L: LeasePort, H: HolderPort> Ipam<'a, L, H> {
    /// Works on these stores, on this node, in this boot.
    pub fn new(
        (leases, holders): (&'a L, &'a H),
        stamps: &'a Stamps,
        boot: BootId,
        node: NodeName,
    ) -> Self {
        Self { allocator: Allocator::new(leases, stamps), holders, boot, node }
    }

    /// Gives the attachment a lease for each want, in their order, or none.
    ///
    /// Guarantees: repeated for the same attachment it gives the same; of a call that fails nothing
    /// remains that was not there before.
    pub fn add(
        &self,
        attachment: &Attachment,
        netns: Option<&HolderNetns>,
        wants: &[Want<'_>],
    ) -> Result<Vec<Lease>, IpamError> {
        let mut created = Vec::new();
        let outcome = self.hold(attachment, netns, wants, &mut created);
        if outcome.is_err() {
            for lease in &created {
                // Whatever fails here, the first error is the one to report; the lease stays
                // reserved for its owner, which is safe.
                self.allocator.release(lease, |key| self.is_held(key)).ok();
            }
        }
        outcome
    }

    fn hold(
        &self,
        attachment: &Attachment,
        netns: Option<&HolderNetns>,
        wants: &[Want<'_>],
        created: &mut Vec<Lease>,
    ) -> Result<Vec<Lease>, IpamError> {
        for _ in 0..TRIES {
            let mut leases = Vec::with_capacity(wants.len());
            for want in wants {
                let granted = self.grant(want)?;
                if granted.novelty == Novelty::Created {
                    created.push(granted.lease.clone());
                }
                leases.push(granted.lease);
            }
            self.put_holder(attachment, netns, &leases)?;
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

    fn grant(&self, want: &Want<'_>) -> Result<Granted, IpamError> {
        if !want.explicit.is_empty() {
            return self.allocator.reserve(want.pool, &want.owner, &want.explicit);
        }
        match want.pool.node() {
            Some(node) if *node != self.node => Err(IpamError::OtherNode {
                pool: want.pool.name().clone(),
                node: node.clone(),
                here: self.node.clone(),
            }),
            _ => self.allocator.allocate(want.pool, &want.owner),
        }
    }

    fn put_holder(
        &self,
        attachment: &Attachment,
        netns: Option<&HolderNetns>,
        leases: &[Lease],
    ) -> Result<(), IpamError> {
        let holder = Holder {
            attachment: attachment.clone(),
            netns: netns.cloned(),
            boot: self.boot.clone(),
            leases: leases.iter().map(HeldLease::from).collect(),
            since: self.allocator.stamps.now(),
        };
        // A repeated ADD writes nothing and keeps its first date.
        match self.holders.get(&attachment.container_id, &attachment.ifname)? {
            Lookup::Found(old) if (Holder { since: old.since, ..holder.clone() }) == old => Ok(()),
            _ => Ok(self.holders.put(&holder)?),
        }
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
        let used = holders.found.iter().any(|holder| holder.uses(key, &self.boot));
        Ok(used || !holders.lost.is_empty())
    }

    /// The attachment uses nothing any more. Its leases stay reserved for their owners.
    ///
    /// Guarantees: succeeds when there is nothing, and as often as it is called.
    pub fn del(&self, container: &ContainerId, ifname: &IfName) -> Result<(), IpamError> {
        Ok(self.holders.remove(container, ifname)?)
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
        if holder.boot != self.boot {
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
