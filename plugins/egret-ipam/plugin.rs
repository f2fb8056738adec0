//! The operations of the protocol, for `egret`. Each reads, lets `egret_ipam` decide on the records
//! of this node, and answers.

use std::hash::{BuildHasher, RandomState};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::SystemTime;

use egret_cni::{
    About, Added, CniError, Code, IpamResult, NetworkRequest, Plugin, Request, ResultIp,
    ValidAttachments,
};
use egret_ipam::{Allocator, BootId, HolderNetns, Ipam, Lease, Stamps, Timestamp};
use egret_store::{HolderDir, LeaseDir, boot_id, resource_dir};
use egret_types::{LinkAddress, NodeName};

use crate::config::{Config, IpamSection};
use crate::requests::{self, Answer, LEASES};
use crate::{error, status};

/// The plugin.
pub(crate) struct EgretIpam;

impl Plugin for EgretIpam {
    type Config = Config;

    fn about(&self) -> About {
        About { name: "egret-ipam", version: env!("CARGO_PKG_VERSION") }
    }

    /// A lease for each request, in their order, or none; again for the same attachment, the same.
    fn add(&self, request: &Request<Config>) -> Result<Added, CniError> {
        warn_unknown(request);
        let section = &request.own().ipam;
        section.refuse_pod_addresses()?;
        let asked = match &section.requests {
            Some(requests) => requests::read(requests)?,
            None => Vec::new(),
        };
        if asked.is_empty() {
            let msg =
                "key \"ipam.requests\" is missing or empty: this plugin is called by \"egret\"";
            return Err(CniError::new(Code::INVALID_CONFIG, msg));
        }
        let resources = resource_dir::load(&section.resources_dir()).map_err(error::resources)?;
        let pools = requests::pools(&asked, &resources)?;
        let wants = requests::wants(&asked, &pools);
        let node = Node::open(section)?;
        let netns = request.netns().and_then(look_at);
        let leases =
            node.ipam().add(request.attachment(), netns.as_ref(), &wants).map_err(error::ipam)?;
        answer(&leases).map(Added::Ipam)
    }

    /// The attachment holds nothing any more. Its leases stay reserved for their namespaces.
    fn del(&self, request: &Request<Config>) -> Result<(), CniError> {
        let attachment = request.attachment();
        let holders = HolderDir::new(&request.own().ipam.state_dir());
        egret_ipam::HolderPort::remove(&holders, &attachment.container_id, &attachment.ifname)
            .map_err(|failed| CniError::new(Code::TRY_AGAIN_LATER, failed.to_string()))
    }

    /// The leases that ADD gave are still the attachment's, and those of the requests, if there
    /// are requests.
    fn check(&self, request: &Request<Config>) -> Result<(), CniError> {
        let section = &request.own().ipam;
        section.refuse_pod_addresses()?;
        let asked = match &section.requests {
            Some(requests) => requests::read(requests)?,
            None => Vec::new(),
        };
        let pairs: Vec<_> = asked.into_iter().map(|asked| (asked.pool, asked.owner)).collect();
        let wants = Some(pairs.as_slice()).filter(|pairs| !pairs.is_empty());
        let node = Node::open(section)?;
        let netns = request.netns().and_then(look_at);
        node.ipam().check(request.attachment(), netns.as_ref(), wants).map_err(error::ipam)
    }

    /// The attachments of this network that the runtime does not have, and whose namespaces are
    /// gone, hold nothing any more.
    fn gc(&self, request: &NetworkRequest<Config>) -> Result<(), CniError> {
        let valid = valid_attachments(request)?;
        let node = Node::open(&request.own().ipam)?;
        let lives = |netns: &HolderNetns| look_at(&netns.path).as_ref() == Some(netns);
        let network = request.config().name();
        let collected = node.ipam().gc(network, |attachment| valid.contains(attachment), lives);
        let collected = collected.map_err(|failed| error::ipam(failed.into()))?;
        for attachment in &collected.removed {
            log::info!("GC: {attachment} held addresses and does not exist: released");
        }
        if collected.failed.is_empty() {
            return Ok(());
        }
        let told = |(attachment, error): &(_, _)| format!("{attachment}: {error}");
        let msg = format!("{} attachments could not be released", collected.failed.len());
        let details: Vec<String> = collected.failed.iter().map(told).collect();
        Err(CniError::new(Code::IO_FAILURE, msg).with_details(details.join("; ")))
    }

    /// The resources can be used, and an address can be given.
    fn status(&self, request: &NetworkRequest<Config>) -> Result<(), CniError> {
        let section = &request.own().ipam;
        section.refuse_pod_addresses()?;
        let resources = resource_dir::load(&section.resources_dir())
            .map_err(|error| CniError::new(Code::NOT_AVAILABLE, error.to_string()))?;
        let node = Node::open(section)?;
        status::check(&Allocator::new(&node.leases, &node.stamps), &resources, &node.name)
    }
}

/// The records of this node, and this call's clock.
struct Node {
    leases: LeaseDir,
    holders: HolderDir,
    stamps: Stamps,
    boot: BootId,
    name: NodeName,
}

impl Node {
    fn open(section: &IpamSection) -> Result<Self, CniError> {
        let state_dir = section.state_dir();
        let random = RandomState::new().hash_one(std::process::id());
        // A clock before 1970 is shown as 1970; nothing is decided by it.
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs();
        Ok(Self {
            leases: LeaseDir::new(&state_dir),
            holders: HolderDir::new(&state_dir),
            stamps: Stamps::new(Timestamp(now), random),
            boot: boot_id::read().map_err(error::store)?,
            name: section.node()?,
        })
    }

    fn ipam(&self) -> Ipam<'_, LeaseDir, HolderDir> {
        let stores = (&self.leases, &self.holders);
        Ipam::new(stores, &self.stamps, self.boot.clone(), self.name.clone())
    }
}

/// Keys outside the `ipam` section are those of `egret`.
fn warn_unknown(request: &Request<Config>) {
    for key in request.config().unknown_keys() {
        if key.path.starts_with("ipam.") {
            log::warn!("network configuration: {key}");
        }
    }
}

fn valid_attachments(request: &NetworkRequest<Config>) -> Result<ValidAttachments, CniError> {
    match request.valid_attachments()? {
        Some(valid) => Ok(valid),
        None if request.own().ipam.gc_without_list => Ok(ValidAttachments::default()),
        None => {
            let msg = "key \"cni.dev/valid-attachments\" is missing: GC without a list removes \
                       nothing unless \"ipam.gcWithoutList\" is true";
            Err(CniError::new(Code::INVALID_CONFIG, msg))
        }
    }
}

/// The namespace at a path, if there is one.
fn look_at(path: &Path) -> Option<HolderNetns> {
    let inode = path.metadata().ok()?.ino();
    Some(HolderNetns { path: path.to_path_buf(), inode })
}

/// `ips` is for others, as networks of one address; `egret` reads the leases.
fn answer(leases: &[Lease]) -> Result<IpamResult, CniError> {
    let mut result = IpamResult::default();
    for (family, &address) in leases.iter().flat_map(|lease| lease.pair.iter()) {
        let address = LinkAddress::new(address, family.bits());
        result.ips.extend(address.map(|address| ResultIp { address, gateway: None }));
    }
    let answers: Vec<Answer<'_>> = leases.iter().map(Answer::from).collect();
    result.set_extra(LEASES, &answers)?;
    Ok(result)
}
