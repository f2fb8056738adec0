//! The operations of the protocol, for `egret` and for plugins that give pods their link. Each reads, lets `egret_ipam` decide on the records
//! of this node, and answers.

use std::hash::{BuildHasher, RandomState};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use egret_cni::{
    About, Added, CniError, Code, IpamResult, NetworkRequest, Plugin, Request, ResultIp,
    ValidAttachments,
};
use egret_ipam::{Arrival, HolderNetns, Ipam, Lease, Pool, Purpose, Stamps, Want};
use egret_resources::{Resources, explicit_pairs};
use egret_store::{HolderDir, LeaseDir, clock, resource_dir};
use egret_types::LinkAddress;
use serde_json::Value;

use crate::config::{Config, IpamSection};
use crate::pods::{self, Keys};
use crate::requests::{self, Answer, LEASES};
use crate::{error, status};

/// The plugin.
pub(crate) struct EgretIpam;

impl Plugin for EgretIpam {
    type Config = Config;

    fn about(&self) -> About {
        About { name: "egret-ipam", version: env!("CARGO_PKG_VERSION") }
    }

    /// A lease for each request, or pool of pod addresses, in their order, or none; again for the same
    /// attachment, the same.
    fn add(&self, request: &Request<Config>) -> Result<Added, CniError> {
        warn_unknown(request);
        let section = &request.own().ipam;
        section.refuse_other_purpose()?;
        let result = match section.purpose() {
            Purpose::Egress => add_pairs(request, section.requests.as_ref()),
            Purpose::Address => add_addresses(request),
        };
        result.map(Added::Ipam)
    }

    /// The attachment holds nothing any more. Its leases stay reserved for their owners; those that run
    /// out do so from now on. Nothing but the state directory is needed.
    fn del(&self, request: &Request<Config>) -> Result<(), CniError> {
        let attachment = request.attachment();
        let (container, ifname) = (&attachment.container_id, &attachment.ifname);
        let later = |failed: String| CniError::new(Code::TRY_AGAIN_LATER, failed);
        let section = &request.own().ipam;
        match Records::open(section) {
            Ok(records) => {
                records.ipam().del(container, ifname).map_err(|failed| later(failed.to_string()))
            }
            Err(failed) => {
                log::warn!("DEL without a clock: {}", failed.msg());
                let holders = HolderDir::new(&section.state_dir(), section.purpose());
                egret_ipam::HolderPort::remove(&holders, container, ifname)
                    .map_err(|failed| later(failed.to_string()))
            }
        }
    }

    /// The leases that ADD gave are still the attachment's, and those of the requests, if there
    /// are requests.
    fn check(&self, request: &Request<Config>) -> Result<(), CniError> {
        let section = &request.own().ipam;
        section.refuse_other_purpose()?;
        let asked = match &section.requests {
            Some(requests) => requests::read(requests)?,
            None => Vec::new(),
        };
        let pairs: Vec<_> =
            asked.into_iter().map(|asked| (asked.pool, asked.applicant.owner)).collect();
        let wants = Some(pairs.as_slice()).filter(|pairs| !pairs.is_empty());
        let records = Records::open(section)?;
        let netns = request.netns().and_then(look_at);
        records.ipam().check(request.attachment(), netns.as_ref(), wants).map_err(error::ipam)
    }

    /// The attachments of this network that the runtime does not have, and whose namespaces are
    /// gone, hold nothing any more.
    fn gc(&self, request: &NetworkRequest<Config>) -> Result<(), CniError> {
        let valid = valid_attachments(request)?;
        let records = Records::open(&request.own().ipam)?;
        let lives = |netns: &HolderNetns| look_at(&netns.path).as_ref() == Some(netns);
        let network = request.config().name();
        let collected = records.ipam().gc(network, |attachment| valid.contains(attachment), lives);
        let collected = collected.map_err(|failed| error::ipam(failed.into()))?;
        for attachment in &collected.removed {
            log::info!("GC: {attachment} held addresses and does not exist: released");
        }
        expire(&records, &request.own().ipam)?;
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
        section.refuse_other_purpose()?;
        let resources = resource_dir::load(&section.resources_dir())
            .map_err(|error| CniError::new(Code::NOT_AVAILABLE, error.to_string()))?;
        let records = Records::open(section)?;
        let (ipam, node) = (records.ipam(), section.node()?);
        match section.purpose() {
            Purpose::Egress => status::check(&ipam, &resources, &node),
            Purpose::Address => {
                status::check_pods(&ipam, &Keys::read(section)?.pools(&resources)?, &node)
            }
        }
    }
}

fn add_pairs(request: &Request<Config>, requests: Option<&Value>) -> Result<IpamResult, CniError> {
    let asked = requests.map(requests::read).transpose()?.unwrap_or_default();
    if asked.is_empty() {
        let msg = "keys \"ipam.requests\" and \"ipam.pools\" are missing or empty: the plugin \"egret\" \
                   gives the one, a network configuration for pod addresses the other";
        return Err(CniError::new(Code::INVALID_CONFIG, msg));
    }
    let resources = load(&request.own().ipam)?;
    let pools = requests::pools(&asked, &resources)?;
    answer(&grant(request, &requests::wants(&asked, &pools))?)
}

fn add_addresses(request: &Request<Config>) -> Result<IpamResult, CniError> {
    let section = &request.own().ipam;
    let keys = Keys::read(section)?;
    let resources = load(section)?;
    let pools = keys.pools(&resources)?;
    let leases = grant(request, &pods::wants(request, &pools)?)?;
    Ok(keys.answer(&pools, &leases))
}

fn load(section: &IpamSection) -> Result<Resources, CniError> {
    resource_dir::load(&section.resources_dir()).map_err(error::resources)
}

fn grant(request: &Request<Config>, wants: &[Want<'_>]) -> Result<Vec<Lease>, CniError> {
    let section = &request.own().ipam;
    let records = Records::open(section)?;
    let node = section.node()?;
    let netns = request.netns().and_then(look_at);
    let arrival = Arrival { attachment: request.attachment(), netns: netns.as_ref(), node: &node };
    records.ipam().add(&arrival, wants).map_err(error::ipam)
}

/// The records of this node, and this call's clock.
struct Records {
    leases: LeaseDir,
    holders: HolderDir,
    stamps: Stamps,
}

impl Records {
    fn open(section: &IpamSection) -> Result<Self, CniError> {
        let state_dir = section.state_dir();
        let random = RandomState::new().hash_one(std::process::id());
        Ok(Self {
            leases: LeaseDir::new(&state_dir),
            holders: HolderDir::new(&state_dir, section.purpose()),
            stamps: Stamps::new(clock::read().map_err(error::store)?, random),
        })
    }

    fn ipam(&self) -> Ipam<'_, LeaseDir, HolderDir> {
        Ipam::new((&self.leases, &self.holders), &self.stamps)
    }
}

/// Releases what ran out, as far as the resources say what that is. Without them nothing runs out.
fn expire(records: &Records, section: &IpamSection) -> Result<(), CniError> {
    let resources = match resource_dir::load(&section.resources_dir()) {
        Ok(resources) => resources,
        Err(error) => {
            log::warn!("GC without resources: {error}");
            return Ok(());
        }
    };
    for definition in &resources.pools {
        let pool = Pool::new(definition, explicit_pairs(&resources, &definition.name));
        let released = records.ipam().expire(&pool).map_err(error::ipam)?;
        if released > 0 {
            log::info!("GC: {released} leases of pool {} ran out: released", definition.name);
        }
    }
    Ok(())
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

/// The result for `egret`. `ips` is for others, as networks of one address; `egret` reads the leases.
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
