//! The numbers that the two links of an attachment in the egret namespace have now. Apart from the
//! objects, which go by name: ADD, CHECK and `egretctl` must see that a link was made anew.

use egret_types::{LinkName, ours};

use crate::desired::Names;
use crate::kernel::{Failure, Kernel, unless_gone};
use crate::object::Place;
use crate::record::{AttachmentRecord, LinkNumbers};

/// `None` if one of them is missing.
pub fn numbers(kernel: &mut dyn Kernel, names: &Names) -> Result<Option<LinkNumbers>, Failure> {
    let links = unless_gone(kernel.list_links(Place::Egret))?;
    let number = |name: &LinkName| links.iter().find(|link| link.name == *name).map(|l| l.index);
    let both = number(&names.node).zip(number(&ours::link(ours::TUNNEL_LINK)));
    Ok(both.map(|(veth, tunnel)| LinkNumbers { veth, tunnel }))
}

/// A sentence if both are there, but not those of ADD. That one is missing, others tell.
pub fn difference(
    kernel: &mut dyn Kernel,
    names: &Names,
    record: &AttachmentRecord,
) -> Result<Option<String>, Failure> {
    let now = numbers(kernel, names)?;
    let renewed = now.is_some() && now != record.links;
    Ok(renewed
        .then(|| format!("link {} or {} was made anew since ADD", names.node, ours::TUNNEL_LINK)))
}
