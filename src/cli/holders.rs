//! Leases and holders of this node, for commands that change them.

use std::hash::{BuildHasher, RandomState};

use egret_ipam::ports::{Lookup, Record, Records};
use egret_ipam::{Holder, HolderPort, Ipam, Lease, Purpose, Released, Stamps};
use egret_kernel::Netns;
use egret_store::{HolderDir, LeaseDir, clock};
use egret_types::Attachment;

use crate::error::CliError;
use crate::node::{self, Local};

/// The records, and the time of the command.
pub(crate) struct Book {
    leases: LeaseDir,
    stamps: Stamps,
    local: Local,
}

impl Book {
    pub(crate) fn open(local: &Local) -> Result<Self, CliError> {
        let random = RandomState::new().hash_one(std::process::id());
        Ok(Self {
            leases: LeaseDir::new(&local.config.state_dir),
            stamps: Stamps::new(clock::read()?, random),
            local: local.clone(),
        })
    }

    fn holders(&self, purpose: Purpose) -> HolderDir {
        HolderDir::new(&self.local.config.state_dir, purpose)
    }

    /// The holder's attachment uses nothing any more, as after its DEL.
    pub(crate) fn drop_holder(&self, holder: &Holder) -> Result<(), CliError> {
        let holders = self.holders(holder.purpose);
        let Attachment { container_id, ifname, .. } = &holder.attachment;
        Ok(Ipam::new((&self.leases, &holders), &self.stamps).del(container_id, ifname)?)
    }

    /// Takes a lease away from its owner, unless somebody holds it.
    pub(crate) fn release(&self, lease: &Lease) -> Result<Released, CliError> {
        let holders = self.holders(Purpose::Egress);
        // Dropping a holder may have written in the lease since it was read.
        let Lookup::Found(now) = Records::<Lease>::get(&self.leases, &lease.key())? else {
            return Ok(Released::Changed);
        };
        if now.token != lease.token {
            return Ok(Released::Changed);
        }
        Ok(Ipam::new((&self.leases, &holders), &self.stamps).release(&now)?)
    }

    /// Removes holders of attachments that are not alive. Those of egress pairs: of an earlier boot, or
    /// of an IPAM plugin that was still at work when the plugin that had called it was killed and
    /// deleted. Those of pod addresses, of which only the runtime keeps a record: of pods whose
    /// namespace is gone. Returns whose they were.
    pub(crate) fn drop_stray(&self, records: &node::Records) -> Result<Vec<Attachment>, CliError> {
        let mut stray = Vec::new();
        for holder in self.holders(Purpose::Egress).list()?.found {
            let alive = match holder.purpose {
                Purpose::Egress => {
                    records.live.iter().any(|(attachment, _)| *attachment == holder.attachment)
                }
                Purpose::Address => self.may_live(&holder),
            };
            if !alive {
                self.drop_holder(&holder)?;
                stray.push(holder.attachment);
            }
        }
        Ok(stray)
    }

    /// One of which nobody knows the namespace, or whose namespace cannot be looked at, may live.
    pub(crate) fn may_live(&self, holder: &Holder) -> bool {
        let known = |netns: &egret_ipam::HolderNetns| {
            Netns::inode_at(&netns.path).map_or(true, |inode| inode == Some(netns.inode))
        };
        holder.boot == self.stamps.clock().boot && holder.netns.as_ref().is_none_or(known)
    }
}
