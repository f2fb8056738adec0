//! Who is attached: the names by which the CNI specification (1.1.0, section "Parameters") tells
//! one attachment from another.

use crate::text_type;

/// `^[a-zA-Z0-9][a-zA-Z0-9_.\-]*$`, the specification's rule for container ids and network names.
fn is_cni_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphanumeric())
        && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

/// A name the kernel takes for a link: 1 to 15 bytes, no `/`, `:` or whitespace, not `.` or `..`.
pub(crate) fn is_link_name(text: &str) -> bool {
    (1..=15).contains(&text.len())
        && text != "."
        && text != ".."
        && !text.contains(|c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control())
}

text_type! {
    /// The runtime's id of a container (`CNI_CONTAINERID`).
    ContainerId, is_cni_name,
    "a container id (a letter or digit, then letters, digits, '_', '.', '-')"
}

text_type! {
    /// The name of a network configuration (`name`).
    NetworkName, is_cni_name,
    "a network name (a letter or digit, then letters, digits, '_', '.', '-')"
}

text_type! {
    /// The name of an interface inside the container (`CNI_IFNAME`).
    IfName, is_link_name,
    "an interface name (1 to 15 bytes, no '/', ':' or blank, not '.' or '..')"
}

/// One attachment. Container id and interface name identify it; the network says whose it is.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "camelCase")]
pub struct Attachment {
    /// The network configuration it was made from.
    pub network: NetworkName,
    /// The container.
    #[serde(rename = "containerID")]
    pub container_id: ContainerId,
    /// The interface inside the container.
    pub ifname: IfName,
}

impl std::fmt::Display for Attachment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{} of network {}", self.container_id, self.ifname, self.network)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn container_ids_follow_the_specification() {
        for good in ["a", "A9", "cnitool-77383ca0d0d0d0d0d0d0", &"f".repeat(64), "x_y.z-1"] {
            assert!(good.parse::<ContainerId>().is_ok(), "{good}");
        }
        for bad in ["", "-bad", "a/b", "a b", ".x", "ä"] {
            assert!(bad.parse::<ContainerId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn interface_names_are_what_the_kernel_takes() {
        assert!("a23456789012345".parse::<IfName>().is_ok());
        for bad in ["", "a234567890123456", ".", "..", "a/b", "a:b", "a b"] {
            assert!(bad.parse::<IfName>().is_err(), "{bad}");
        }
    }
}
