//! The numbers that the two links of an attachment in the egret namespace have now. Apart from the
//! objects, which go by name: ADD and CHECK both must see that a link was made anew.

use egret_cni::CniError;
use egret_egress::desired::Names;
use egret_egress::kernel::{Kernel, unless_gone};
use egret_egress::object::Place;
use egret_egress::record::{AttachmentRecord, LinkNumbers};
use egret_types::{LinkName, ours};

use crate::error;

/// `None` if one of them is missing.
pub(crate) fn numbers(
    kernel: &mut dyn Kernel,
    names: &Names,
) -> Result<Option<LinkNumbers>, CniError> {
    let links =
        unless_gone(kernel.list_links(Place::Egret)).map_err(|failure| error::kernel(&failure))?;
    let number = |name: &LinkName| links.iter().find(|link| link.name == *name).map(|l| l.index);
    let both = number(&names.node).zip(number(&ours::link(ours::TUNNEL_LINK)));
    Ok(both.map(|(veth, tunnel)| LinkNumbers { veth, tunnel }))
}

/// A sentence if both are there, but not those of ADD. That one is missing, others tell.
pub(crate) fn difference(
    kernel: &mut dyn Kernel,
    names: &Names,
    record: &AttachmentRecord,
) -> Result<Option<String>, CniError> {
    let now = numbers(kernel, names)?;
    let renewed = now.is_some() && now != record.links;
    Ok(renewed
        .then(|| format!("link {} or {} was made anew since ADD", names.node, ours::TUNNEL_LINK)))
}
