//! Holders as files: `stateDir/holders/<hash of container id, interface name and purpose>.json`.
//!
//! Their content survives a power failure, but whether the last one written is there after it does
//! not matter: a holder of an earlier boot holds nothing.

use std::path::Path;

use egret_ipam::{
    Holder, HolderPort, PortError, Purpose,
    ports::{Listing, Lookup},
};
use egret_types::{ContainerId, IfName};

use crate::{
    atomic::{self, Durability},
    envelope,
    record_dir::{Filed, RecordDir},
};

impl Filed for Holder {
    fn file_name(&self) -> String {
        holder_name(self.purpose, &self.attachment.container_id, &self.attachment.ifname)
    }
}

fn holder_name(purpose: Purpose, container: &ContainerId, ifname: &IfName) -> String {
    let (container, ifname) = (container.as_str(), ifname.as_str());
    match purpose {
        Purpose::Egress => envelope::file_name(&[container, ifname]),
        Purpose::Address => envelope::file_name(&[container, ifname, "address"]),
    }
}

/// The holders of this node.
#[derive(Debug)]
pub struct HolderDir {
    records: RecordDir<Holder>,
    purpose: Purpose,
}

impl HolderDir {
    /// Those below this `stateDir`.
    pub fn new(state_dir: &Path, purpose: Purpose) -> Self {
        Self { records: RecordDir::new(state_dir, "holders"), purpose }
    }

    fn name(&self, container: &ContainerId, ifname: &IfName) -> String {
        holder_name(self.purpose, container, ifname)
    }
}

impl HolderPort for HolderDir {
    fn purpose(&self) -> Purpose {
        self.purpose
    }

    fn put(&self, holder: &Holder) -> Result<(), PortError> {
        self.records.ensure()?;
        Ok(self.records.put(holder, Durability::Content)?)
    }

    fn get(&self, container: &ContainerId, ifname: &IfName) -> Result<Lookup<Holder>, PortError> {
        Ok(self.records.get(&self.name(container, ifname))?)
    }

    fn remove(&self, container: &ContainerId, ifname: &IfName) -> Result<(), PortError> {
        let name = self.name(container, ifname);
        self.records.remove(&name, Durability::Process)?;
        // A damaged record of this attachment has nothing to protect any more.
        let aside = atomic::corrupt_name(&self.records.path(&name));
        Ok(atomic::remove(&aside, Durability::Process)?)
    }

    fn list(&self) -> Result<Listing<Holder>, PortError> {
        Ok(self.records.list()?)
    }
}
