//! The operations of the protocol. Each reads, decides, lets `attach` or `detach` act, and answers.

use std::path::Path;

use egret_cni::{About, Added, CniError, Code, Delegate, NetworkRequest, Plugin, Request};
use egret_egress::apply;
use egret_egress::desired::{Names, identity_fdb};
use egret_egress::kernel::{Failure, Kernel};
use egret_egress::links;
use egret_egress::object::Place;
use egret_egress::record::{AttachmentRecord, NetnsRecord};
use egret_egress::selection::select;
use egret_egress::topology::Topology;
use egret_kernel::{LinuxKernel, Netns, Places};
use egret_resources::{LocalConfig, Resources};
use egret_store::journal::AttachmentDir;
use egret_store::lock::NodeLock;
use egret_store::{boot_id, resource_dir};

use crate::attach::{Attach, LOCK_DEADLINE};
use crate::exec::Programs;
use crate::leases::ipam_section;
use crate::{collect, detach, error, logger, node, status, tombstones};

/// The plugin.
pub(crate) struct Egret;

impl Plugin for Egret {
    type Config = LocalConfig;

    fn about(&self) -> About {
        About { name: "egret", version: env!("CARGO_PKG_VERSION") }
    }

    /// Passes a pod that no policy selects through, untouched; attaches any other.
    fn add(&self, request: &Request<LocalConfig>) -> Result<Added, CniError> {
        start_log(request);
        let config = request.own();
        let prev = request.config().require_prev_result()?;
        let netns = identify(request.require_netns()?)?;
        let records = AttachmentDir::new(&config.state_dir);
        let mut kernel = kernel(request);
        let namespace = request.args().pod_namespace.as_ref();
        if select(&load(config)?.policies, namespace).is_empty() {
            detach_if_begun(request, &records, &mut kernel)?;
            return Ok(Added::Chained(prev));
        }
        let _node =
            NodeLock::shared(&config.run_dir, LOCK_DEADLINE).map_err(|e| error::store(&e))?;
        // Once more: who has changed the files and repaired this node meanwhile must not find what
        // the old files said written behind.
        let resources = load(config)?;
        let policies = select(&resources.policies, namespace);
        if policies.is_empty() {
            detach::finish(request, &records, &mut kernel)?;
            return Ok(Added::Chained(prev));
        }
        tombstones::settle(request.network(), Some(request.attachment()))?;
        let (policies, resources) = (policies.as_slice(), &resources);
        let attach = Attach { request, resources, policies, records: &records, netns };
        attach.run(&mut kernel, prev).map(Added::Chained)
    }

    fn del(&self, request: &Request<LocalConfig>) -> Result<(), CniError> {
        start_log(request);
        let records = AttachmentDir::new(&request.own().state_dir);
        detach::run(request, &records, &mut kernel(request))
    }

    /// Compares the kernel with the record of ADD, and forwards to the IPAM plugin.
    fn check(&self, request: &Request<LocalConfig>) -> Result<(), CniError> {
        start_log(request);
        request.config().require_prev_result()?;
        let netns = identify(request.require_netns()?)?;
        let records = AttachmentDir::new(&request.own().state_dir);
        let mut kernel = kernel(request);
        let record = records.get(request.attachment()).map_err(|e| error::store(&e))?;
        let Some(record) = record else {
            return unrecorded(&mut kernel, &Names::of(request.attachment()));
        };
        let mut found = differences(&mut kernel, &record)?;
        found.extend(failover_differences(request, &mut kernel, &record)?);
        let renewed = links::difference(&mut kernel, &Names::of(request.attachment()), &record);
        found.extend(renewed.map_err(|e| error::kernel(&e))?);
        if record.netns != netns {
            found.push(format!(
                "the pod's namespace is not the one of ADD, {}",
                record.netns.path.display()
            ));
        }
        if let Some((first, others)) = found.split_first() {
            let msg = format!("the kernel differs from the record of ADD: {first}");
            let error = CniError::new(Code::CHECK_DIFFERENCE, msg);
            return Err(error.with_details(others.join("; ")));
        }
        let ipam = ipam_section(request.config().ipam()?, request.own(), &[])?;
        Delegate::new(&Programs, request.network(), &ipam)?.check()
    }

    fn gc(&self, request: &NetworkRequest<LocalConfig>) -> Result<(), CniError> {
        start_network_log(request);
        let records = AttachmentDir::new(&request.own().state_dir);
        collect::run(request, &records, &mut node_kernel(request.own()))
    }

    fn status(&self, request: &NetworkRequest<LocalConfig>) -> Result<(), CniError> {
        start_network_log(request);
        status::check(request, &mut node_kernel(request.own()))
    }
}

fn load(config: &LocalConfig) -> Result<Resources, CniError> {
    resource_dir::load(&config.resources_dir).map_err(|e| error::resources(&e))
}

/// A policy may have selected the pod at an earlier ADD. Of any other it costs one look for a file.
fn detach_if_begun(
    request: &Request<LocalConfig>,
    records: &AttachmentDir<AttachmentRecord>,
    kernel: &mut LinuxKernel,
) -> Result<(), CniError> {
    match records.get(request.attachment()) {
        Ok(None) => Ok(()),
        _ => detach::run(request, records, kernel),
    }
}

fn start_log(request: &Request<LocalConfig>) {
    logger::start(request.own(), request.attachment());
    warn_unknown(request.network());
}

fn start_network_log(request: &NetworkRequest<LocalConfig>) {
    logger::start(request.own(), &format_args!("network {}", request.config().name()));
    warn_unknown(request);
}

fn warn_unknown(request: &NetworkRequest<LocalConfig>) {
    for key in request.config().unknown_keys() {
        log::warn!("network configuration: {key}");
    }
}

/// The kernel of a call without a pod.
fn node_kernel(config: &LocalConfig) -> LinuxKernel {
    LinuxKernel::new(Places { egret: config.netns.clone(), pod: None })
}

/// The kernel of this call: the egret namespace, and the pod's while it exists.
fn kernel(request: &Request<LocalConfig>) -> LinuxKernel {
    let egret = request.own().netns.clone();
    let pod = request.netns().map(Path::to_path_buf);
    LinuxKernel::new(Places { egret, pod })
}

/// The pod's namespace, which must be one, and not our own.
fn identify(path: &Path) -> Result<NetnsRecord, CniError> {
    let unknown = |e: egret_kernel::Error| CniError::caused_by(Code::UNKNOWN_CONTAINER, &e);
    let netns = Netns::open(path).map_err(unknown)?;
    if netns.is_current().map_err(unknown)? {
        let msg = format!("CNI_NETNS {} is the namespace of the node itself", path.display());
        return Err(CniError::new(Code::INVALID_NETNS, msg));
    }
    let boot_id = boot_id::read().map_err(|e| error::store(&e))?;
    Ok(NetnsRecord { path: path.to_path_buf(), inode: netns.inode(), boot_id: boot_id.into() })
}

/// Without a record the pod was not selected at ADD, unless its link says otherwise.
fn unrecorded(kernel: &mut dyn Kernel, names: &Names) -> Result<(), CniError> {
    match kernel.list_links(Place::Egret) {
        Ok(links) if links.iter().any(|link| link.name == names.node) => {
            let msg = format!("link {} exists, but the record of its ADD is gone", names.node);
            Err(CniError::new(Code::CHECK_DIFFERENCE, msg))
        }
        Ok(_) | Err(Failure::NoNamespace { .. }) => Ok(()),
        Err(failure) => Err(error::kernel(&failure)),
    }
}

fn differences(
    kernel: &mut dyn Kernel,
    record: &AttachmentRecord,
) -> Result<Vec<String>, CniError> {
    let mut found = Vec::new();
    for objects in [&record.shared, &record.objects] {
        found.extend(apply::differences(kernel, objects).map_err(|f| error::kernel(&f))?);
    }
    Ok(found)
}

/// Where the frames of the attachment's identities go is not in its record: it follows the
/// resources of today. Resources that cannot be read say nothing about a running pod.
fn failover_differences(
    request: &Request<LocalConfig>,
    kernel: &mut dyn Kernel,
    record: &AttachmentRecord,
) -> Result<Vec<String>, CniError> {
    let resources = match resource_dir::load(&request.own().resources_dir) {
        Ok(resources) => resources,
        Err(error) => {
            log::warn!("CHECK without resources: {error}");
            return Ok(Vec::new());
        }
    };
    let topology =
        Topology::of(&resources, &node::name(request.own())?).map_err(|e| error::topology(&e))?;
    let mut objects = vec![topology.tunnel_guard().map_err(|e| error::topology(&e))?];
    for lease in &record.leases {
        let owner = topology.owner(&lease.pool).map_err(|e| error::topology(&e))?;
        objects.push(identity_fdb(lease.identity, owner));
    }
    apply::differences(kernel, &objects).map_err(|f| error::kernel(&f))
}
