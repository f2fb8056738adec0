//! STATUS: whether a pod that a policy selects could be given its way now. Looks at what ADD would
//! look at before it changes anything.

use egret_cni::{CniError, Code, Delegate, NetworkRequest};
use egret_egress::apply;
use egret_egress::desired::{tunnel_link, tunnel_name};
use egret_egress::kernel::{Kernel, Link, unless_gone};
use egret_egress::nft::TableFamily;
use egret_egress::object::Place;
use egret_egress::presence::is_of_a_pod;
use egret_kernel::LinuxKernel;
use egret_resources::{LocalConfig, Resources};
use egret_store::resource_dir;
use egret_types::ours;

use crate::error;
use crate::exec::Programs;
use crate::leases::ipam_section;
use crate::node::Node;

/// Fails when ADD would. Without a policy every pod passes through, whatever else is wrong.
pub(crate) fn check(
    request: &NetworkRequest<LocalConfig>,
    kernel: &mut LinuxKernel,
) -> Result<(), CniError> {
    let config = request.own();
    let resources = resource_dir::load(&config.resources_dir)
        .map_err(|failure| with_code(&error::resources(&failure), Code::NOT_AVAILABLE))?;
    if resources.policies.is_empty() {
        return Ok(());
    }
    let links = unless_gone(kernel.list_links(Place::Egret))
        .map_err(|failure| with_code(&error::kernel(&failure), Code::NOT_AVAILABLE))?;
    let code = if links.iter().any(is_of_a_pod) {
        Code::LIMITED_CONNECTIVITY
    } else {
        Code::NOT_AVAILABLE
    };
    data_path(kernel, config, &resources, &links).map_err(|failure| with_code(&failure, code))?;
    let ipam = ipam_section(request.config().ipam()?, config, &[])?;
    // What the IPAM plugin says is its own; that it cannot be found is ours.
    let delegate = Delegate::new(&Programs, request, &ipam);
    delegate.map_err(|failure| with_code(&failure, Code::NOT_AVAILABLE))?.status()
}

/// The node is one of the resources' and has an underlay link with room for a tunnel; the kernel
/// lets us read nft tables; the tunnel, if there is one, is the one that the resources describe.
fn data_path(
    kernel: &mut LinuxKernel,
    config: &LocalConfig,
    resources: &Resources,
    links: &[Link],
) -> Result<(), CniError> {
    let node = Node::observe(kernel, config, resources)?;
    kernel
        .table_exists(Place::Root, TableFamily::Inet, ours::NFT_TUNNEL_TABLE)
        .map_err(|failure| error::kernel(&failure))?;
    if !links.iter().any(|link| link.name == tunnel_name() || is_of_a_pod(link)) {
        return Ok(());
    }
    let tunnel = tunnel_link(&node.facts);
    let found = apply::differences(kernel, &[tunnel]).map_err(|failure| error::kernel(&failure))?;
    match found.first() {
        None => Ok(()),
        Some(first) => {
            let msg = format!("the tunnel {} is not as it should be: {first}", tunnel_name());
            Err(CniError::new(Code::IO_FAILURE, msg).with_details(found.join("; ")))
        }
    }
}

fn with_code(error: &CniError, code: Code) -> CniError {
    CniError::new(code, error.msg()).with_details(error.details())
}
