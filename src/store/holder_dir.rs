//! Holders as files: `stateDir/holders/<hash of container id and interface name>.json`.
//!
//! Their content survives a power failure, but whether the last one written is there after it does
//! not matter: a holder of an earlier boot holds nothing.

use std::path::Path;

use egret_ipam::{
    Holder, HolderPort, PortError,
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
        holder_name(&self.attachment.container_id, &self.attachment.ifname)
    }
}

fn holder_name(container: &ContainerId, ifname: &IfName) -> String {
    envelope::file_name(&[container.as_str(), ifname.as_str()])
}

/// The holders of this node.
#[derive(Debug)]
pub struct HolderDir(RecordDir<Holder>);

impl HolderDir {
    /// Those below this `stateDir`.
    pub fn new(state_dir: &Path) -> Self {
        Self(RecordDir::new(state_dir, "holders"))
    }
}

impl HolderPort for HolderDir {
    fn put(&self, holder: &Holder) -> Result<(), PortError> {
        self.0.ensure()?;
        Ok(self.0.put(holder, Durability::Content)?)
    }

    fn get(&self, container: &ContainerId, ifname: &IfName) -> Result<Lookup<Holder>, PortError> {
        Ok(self.0.get(&holder_name(container, ifname))?)
    }

    fn remove(&self, container: &ContainerId, ifname: &IfName) -> Result<(), PortError> {
        let name = holder_name(container, ifname);
        self.0.remove(&name, Durability::Process)?;
        // A damaged record of this attachment has nothing to protect any more.
        let aside = atomic::corrupt_name(&self.0.path(&name));
        Ok(atomic::remove(&aside, Durability::Process)?)
    }

    fn list(&self) -> Result<Listing<Holder>, PortError> {
        Ok(self.0.list()?)
    }
}
