//! Whether a namespace at our path is ours: somebody else's may have the same name (`ip netns add
//! egret`), and removing it would take its links with it. Links are what tells: ours has none but
//! ours and those that the kernel makes in each namespace.

use egret_types::ours::{NODE_LINK_PREFIX, TUNNEL_LINK, UPLINK};

use crate::error::Error;
use crate::namespace::Namespace;
use crate::netlink::link;

/// Links that the kernel makes by itself, name and kind: the loopback, and one for each kind of
/// tunnel whose module is loaded (`net.core.fb_tunnels_only_for_init_net`).
const OF_THE_KERNEL: [(&str, Option<&str>); 10] = [
    ("lo", None),
    ("tunl0", Some("ipip")),
    ("gre0", Some("gre")),
    ("gretap0", Some("gretap")),
    ("erspan0", Some("erspan")),
    ("ip_vti0", Some("vti")),
    ("sit0", Some("sit")),
    ("ip6tnl0", Some("ip6tnl")),
    ("ip6gre0", Some("ip6gre")),
    ("ip6_vti0", Some("vti6")),
];
const HASH_DIGITS: usize = 12;

/// Refuses a namespace with a link of somebody else in it.
pub(crate) fn check(egret: &Namespace) -> Result<(), Error> {
    match link::all(&egret.route)?.iter().find(|link| !is_ours(&link.name, link.kind.as_deref())) {
        None => Ok(()),
        Some(link) => {
            let found = format!("its link {} is {}", link.name, link.describe());
            Err(Error::Taken { found })
        }
    }
}

fn is_ours(name: &str, kind: Option<&str>) -> bool {
    let of_a_pod = |hash: &str| {
        hash.len() == HASH_DIGITS && hash.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    [TUNNEL_LINK, UPLINK].contains(&name)
        || name.strip_prefix(NODE_LINK_PREFIX).is_some_and(of_a_pod)
        || OF_THE_KERNEL.contains(&(name, kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_ours_by_name_and_those_of_the_kernel_by_kind_too() {
        let cases = [
            ("lo", None, true),
            ("sit0", Some("sit"), true),
            ("ip6tnl0", Some("ip6tnl"), true),
            ("egret0", Some("vxlan"), true),
            ("egru0", Some("macvlan"), true),
            ("egr0123456789ab", Some("veth"), true),
            ("sit0", Some("bridge"), false),
            ("sit1", Some("sit"), false),
            ("egr0", Some("veth"), false),
            ("egr0123456789AB", Some("veth"), false),
            ("eth0", None, false),
        ];
        for (name, kind, ours) in cases {
            assert_eq!(is_ours(name, kind), ours, "{name} {kind:?}");
        }
    }
}
