//! This node as configured: where files are, which resources there are, who we are in them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use egret_egress::desired::gateway_by_name;
use egret_egress::kernel::{Kernel, Link};
use egret_egress::record::AttachmentRecord;
use egret_egress::topology::Topology;
use egret_egress::underlay::underlay_link;
use egret_kernel::{LinuxKernel, Places};
use egret_resources::{LocalConfig, Resources};
use egret_store::boot_id;
use egret_store::detect::network_lists;
use egret_store::journal::{AttachmentDir, Journaled, RecordFile};
use egret_store::lock::NodeLock;
use egret_store::resource_dir;

use egret_types::{Attachment, NodeName};
use serde_json::Value;

use crate::args::Args;
use crate::error::CliError;
use crate::role::GatewayRecord;

const CONF_DIR: &str = "/etc/cni/net.d";
const PLUGIN: &str = "egret";
const IPAM_PLUGIN: &str = "egret-ipam";
/// How long a command waits for plugins at work.
const LOCK_DEADLINE: Duration = Duration::from_secs(10);

/// Where things are on this node. Enough to take away; resources may be broken or gone by then.
#[derive(Clone)]
pub(crate) struct Local {
    pub(crate) config: LocalConfig,
}

/// What the journal of attachments holds.
#[derive(Default)]
pub(crate) struct Records {
    /// Made since this boot.
    pub(crate) live: Vec<(Attachment, AttachmentRecord)>,
    /// Of an earlier boot, or of a pod that is gone: nothing of them is left in the kernel.
    pub(crate) dead: Vec<Attachment>,
    /// Files that no longer say whose they were.
    pub(crate) damaged: Vec<PathBuf>,
}

/// This node and the resources.
pub(crate) struct Node {
    pub(crate) local: Local,
    pub(crate) name: NodeName,
    pub(crate) resources: Resources,
}

impl Local {
    /// Reads the configuration.
    pub(crate) fn load(args: &Args) -> Result<Self, CliError> {
        Ok(Self { config: local_config(args)? })
    }

    /// The kernel: root and egret namespace.
    pub(crate) fn kernel(&self) -> LinuxKernel {
        LinuxKernel::new(Places { egret: self.config.netns.clone(), pod: None })
    }

    /// The records of attachments on this node.
    pub(crate) fn records(&self) -> Result<Records, CliError> {
        let boot: String = boot_id::read()?.into();
        let mut records = Records::default();
        for found in AttachmentDir::<AttachmentRecord>::new(&self.config.state_dir).list()? {
            match found {
                Journaled::Damaged { file, .. } => records.damaged.push(file),
                Journaled::Whole { attachment, record } if record.netns.boot_id == boot => {
                    records.live.push((attachment, record));
                }
                Journaled::Whole { attachment, .. } => records.dead.push(attachment),
            }
        }
        Ok(records)
    }

    /// The record of one attachment, if there is one today.
    pub(crate) fn record(
        &self,
        attachment: &Attachment,
    ) -> Result<Option<AttachmentRecord>, CliError> {
        match AttachmentDir::new(&self.config.state_dir).get(attachment) {
            // Its file is named elsewhere.
            Err(error) if error.is_damaged() => Ok(None),
            record => Ok(record?),
        }
    }

    /// Removes the records of what does not exist any more.
    pub(crate) fn discard_dead(&self, records: &Records) -> Result<(), CliError> {
        let dir = AttachmentDir::<AttachmentRecord>::new(&self.config.state_dir);
        Ok(records.dead.iter().try_for_each(|attachment| dir.remove(attachment))?)
    }

    /// Removes the records that cannot be read.
    pub(crate) fn discard_damaged(&self, records: &Records) -> Result<(), CliError> {
        let dir = AttachmentDir::<AttachmentRecord>::new(&self.config.state_dir);
        Ok(records.damaged.iter().try_for_each(|file| dir.discard(file))?)
    }

    /// Where the record of the gateway role is.
    pub(crate) fn gateway_record(&self) -> RecordFile<GatewayRecord> {
        RecordFile::new(&self.config.state_dir, "gateway")
    }

    /// The record of the gateway role. One that is damaged still says that there was a gateway;
    /// what it listed is then known by name alone.
    pub(crate) fn gateway(&self) -> Result<Option<GatewayRecord>, CliError> {
        match self.gateway_record().get() {
            Err(error) if error.is_damaged() => {
                Ok(Some(GatewayRecord { objects: gateway_by_name() }))
            }
            record => Ok(record?),
        }
    }

    /// Removes what says that an attachment's holder has still to be removed: none is left.
    pub(crate) fn discard_tombstones(&self) -> Result<(), CliError> {
        let tombstones = AttachmentDir::tombstones(&self.config.state_dir);
        for found in tombstones.list()? {
            match found {
                Journaled::Whole { attachment, .. } => tombstones.remove(&attachment)?,
                Journaled::Damaged { file, .. } => tombstones.discard(&file)?,
            }
        }
        Ok(())
    }

    /// Removes directories and locks that say nothing any more. Leases stay.
    pub(crate) fn tidy(&self) -> Result<(), egret_store::Error> {
        egret_store::tidy(&self.config.state_dir, &self.config.run_dir)
    }

    /// Nobody else attaches, detaches or changes what is shared while both are held.
    pub(crate) fn lock_shared_objects(&self) -> Result<[NodeLock; 2], CliError> {
        let run_dir = &self.config.run_dir;
        Ok([NodeLock::shared(run_dir, LOCK_DEADLINE)?, NodeLock::making(run_dir, LOCK_DEADLINE)?])
    }

    /// No attachment comes or goes while it is held.
    pub(crate) fn lock_node(&self) -> Result<NodeLock, CliError> {
        self.lock_node_within(LOCK_DEADLINE)
    }

    /// The same for who can do without it.
    pub(crate) fn lock_node_within(&self, deadline: Duration) -> Result<NodeLock, CliError> {
        Ok(NodeLock::exclusive(&self.config.run_dir, deadline)?)
    }
}

impl Node {
    /// Reads configuration and resources.
    pub(crate) fn load(args: &Args) -> Result<Self, CliError> {
        Self::read(Local::load(args)?)
    }

    /// Reads the resources. What changes the node calls this under its lock: who waited for the
    /// lock would otherwise write what the files said before.
    pub(crate) fn read(local: Local) -> Result<Self, CliError> {
        let name = match &local.config.node_name {
            Some(name) => name.clone(),
            None => host_name()?,
        };
        let resources = resource_dir::load(&local.config.resources_dir)?;
        Ok(Self { local, name, resources })
    }

    /// The cluster as this node sees it.
    pub(crate) fn topology(&self) -> Result<Topology<'_>, CliError> {
        Ok(Topology::of(&self.resources, &self.name)?)
    }

    /// The underlay link.
    pub(crate) fn underlay(&self, kernel: &mut dyn Kernel) -> Result<Link, CliError> {
        let topology = self.topology()?;
        let own = (&self.name, topology.vtep()?);
        let configured = self.local.config.underlay.interface.as_ref();
        Ok(underlay_link(kernel, own, configured, topology.toward()?)?)
    }
}

/// The plugin's keys, from the list that was named or the first that there is, and what the command
/// line says instead.
pub(crate) fn local_config(args: &Args) -> Result<LocalConfig, CliError> {
    let mut config = match &args.config {
        Some(file) => read_config(file)?,
        None => first_config(&rooted(args, Path::new(CONF_DIR)))?.unwrap_or_default(),
    };
    if let Some(dir) = &args.resources {
        config.resources_dir.clone_from(dir);
    }
    if let Some(name) = &args.node {
        config.node_name = Some(name.clone());
    }
    let paths = [
        &mut config.resources_dir,
        &mut config.state_dir,
        &mut config.run_dir,
        &mut config.netns,
        &mut config.conf_dir,
    ];
    for path in paths {
        *path = rooted(args, path);
    }
    Ok(config)
}

fn rooted(args: &Args, path: &Path) -> PathBuf {
    match &args.root {
        Some(root) => root.join(path.strip_prefix("/").unwrap_or(path)),
        None => path.to_path_buf(),
    }
}

fn read_config(file: &Path) -> Result<LocalConfig, CliError> {
    let text = std::fs::read(file)
        .map_err(|source| CliError::ReadConfig { file: file.to_path_buf(), source })?;
    let wrong = |source| CliError::ParseConfig { file: file.to_path_buf(), source };
    let list: Value = serde_json::from_slice(&text).map_err(wrong)?;
    let plugin = plugin(&list).ok_or_else(|| CliError::NoPlugin { file: file.to_path_buf() })?;
    serde_json::from_value(plugin.clone()).map_err(wrong)
}

fn first_config(dir: &Path) -> Result<Option<LocalConfig>, CliError> {
    let lists = network_lists(dir)
        .map_err(|source| CliError::ReadConfig { file: dir.to_path_buf(), source })?;
    let Some((file, own)) = lists.iter().find_map(|(file, list)| Some((file, plugin(list)?)))
    else {
        return Ok(None);
    };
    let wrong = |source| CliError::ParseConfig { file: file.into(), source };
    serde_json::from_value(own.clone()).map(Some).map_err(wrong)
}

/// Our object in a list, or in a single plugin configuration; where the IPAM plugin is used alone, its
/// section.
fn plugin(list: &Value) -> Option<&Value> {
    let is = |object: &Value, name| object.get("type").and_then(Value::as_str) == Some(name);
    let plugins = match list.get("plugins").and_then(Value::as_array) {
        Some(plugins) => plugins.as_slice(),
        None => std::slice::from_ref(list),
    };
    let alone = || {
        let mut sections = plugins.iter().filter_map(|plugin| plugin.get("ipam"));
        sections.find(|section| is(section, IPAM_PLUGIN))
    };
    plugins.iter().find(|plugin| is(plugin, PLUGIN)).or_else(alone)
}

fn host_name() -> Result<NodeName, CliError> {
    let host = nix::unistd::gethostname().map_err(CliError::HostName)?;
    Ok(host.to_string_lossy().parse()?)
}
