//! Every name and number in the kernel that is ours. Nothing else in the workspace writes such a
//! literal; a deletion goes by these, never by shape.

use crate::{LinkName, MacAddr};

/// The tunnel link in the egret namespace.
pub const TUNNEL_LINK: &str = "egret0";
/// The pod's end of its veth.
pub const POD_LINK: &str = "egr0";
/// The node's end of a pod's veth is this and twelve hexadecimal digits of a hash of the
/// attachment.
pub const NODE_LINK_PREFIX: &str = "egr";
/// The gateway's link to the outside in the egret namespace (mode macvlan).
pub const UPLINK: &str = "egru0";

/// nft table of the data path: family netdev and inet in the egret namespace, inet in the pod.
pub const NFT_TABLE: &str = "egret";
/// nft table of the tunnel guard in the node's root namespace.
pub const NFT_TUNNEL_TABLE: &str = "egret-tunnel";
/// nft tables of the pod guard in the node's root namespace: family inet and netdev.
pub const NFT_GUARD_TABLE: &str = "egret-guard";
/// Comment on our nft tables: who made them.
pub const NFT_OWNER: &str = "egret.dev";

/// Routing table of steering in the pod.
pub const ROUTE_TABLE: u32 = 230;
/// Routing protocol of every route and rule of ours (`ip route ... proto 230`).
pub const ROUTE_PROTOCOL: u8 = 230;
/// Priority of the rule that sends all traffic of a pod through table 230.
pub const RULE_STEERING: u32 = 1000;
/// Priority of the rule that keeps answers to inbound connections on the primary link.
pub const RULE_REPLIES: u32 = 990;
/// The bit, in packet mark and connection mark of a pod, of a connection that came in on the
/// primary link. Others' bits stay theirs.
pub const MARK_INBOUND: u32 = 0x4000_0000;
/// Metric of the last route of table 230 where a decision covers everything.
pub const METRIC_LAST: u32 = 4_000_000;

/// Next hop of the gateway's routes to pods. Its MAC below is a placeholder that the egress hook
/// of the tunnel link replaces; a frame that still carries it goes nowhere.
pub const RETURN_HOP_V4: std::net::Ipv4Addr = std::net::Ipv4Addr::new(169, 254, 230, 1);
/// The same for IPv6.
pub const RETURN_HOP_V6: std::net::Ipv6Addr =
    std::net::Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0xe6, 1);
/// See [`RETURN_HOP_V4`].
pub const RETURN_HOP_MAC: MacAddr = MacAddr([0x02, 0, 0, 0, 0, 1]);

/// MAC of "identity" 3 of pool 0: source of the packets that a gateway makes itself, the same on all.
pub const GATEWAY_MAC: MacAddr = MacAddr([0x02, 0xe6, 0, 0, 0, 3]);
/// First two bytes of every identity's MAC.
pub const IDENTITY_MAC_PREFIX: [u8; 2] = [0x02, 0xe6];
/// First four bytes of every node's MAC.
pub const NODE_MAC_PREFIX: [u8; 4] = [0x06, 0xe6, 0, 0];

/// Default VXLAN network identifier.
pub const VNI: u32 = 230;
/// Default UDP port of the tunnel.
pub const PORT: u16 = 7790;
/// Bytes that VXLAN adds over an IPv4 underlay; 20 more over IPv6.
pub const TUNNEL_OVERHEAD_V4: u32 = 50;
/// See [`TUNNEL_OVERHEAD_V4`].
pub const TUNNEL_OVERHEAD_V6: u32 = 70;

/// Next hop of the `n`th identity of a pod (n from 1), v4: `169.254.230.N`.
pub fn pod_hop_v4(n: u8) -> std::net::Ipv4Addr {
    std::net::Ipv4Addr::new(169, 254, 230, n)
}

/// The same, v6: `fe80::e6:N`.
pub fn pod_hop_v6(n: u8) -> std::net::Ipv6Addr {
    std::net::Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0xe6, u16::from(n))
}

/// The link with one of our names.
///
/// # Panics
/// Never for the constants above and names made of [`NODE_LINK_PREFIX`] and twelve digits: each is
/// a valid link name, shown by a test.
#[expect(clippy::expect_used, reason = "the names of this file are valid, shown by its test")]
pub fn link(name: &str) -> LinkName {
    name.parse().expect("a link name of ours")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_names_are_link_names() {
        let longest = format!("{NODE_LINK_PREFIX}0123456789ab");
        for name in [TUNNEL_LINK, POD_LINK, UPLINK, &longest] {
            assert_eq!(link(name).as_str(), name);
        }
    }
}
