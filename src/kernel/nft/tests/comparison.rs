//! differences: each change by hand is found and named.

use rstest::rstest;

use super::testbed::{ip, namespace, nft, pod, worker};

#[rstest]
#[case("delete table netdev egret", &["table netdev egret: missing"])]
#[case("delete element netdev egret tx4 { 101 . 10.244.0.1 . 02:e6:01:00:00:01 }", &[
    "set netdev egret tx4: element 101 . 10.244.0.1 . 02:e6:01:00:00:01 : jump dA-4 is missing",
])]
#[case("delete element netdev egret rx6 { fd00::1 . 02:e6:00:00:00:03 }; add element netdev egret rx6 { fd00::1 . 02:e6:00:00:00:03 : 55 }", &[
    "set netdev egret rx6: element fd00::1 . 02:e6:00:00:00:03 : 101 leads to 55",
])]
#[case("delete element netdev egret tx4 { 101 . 10.244.0.1 . 02:e6:01:00:00:01 }; add element netdev egret tx4 { 101 . 10.244.0.1 . 02:e6:01:00:00:01 : jump pod2 }", &[
    "set netdev egret tx4: element 101 . 10.244.0.1 . 02:e6:01:00:00:01 : jump dA-4 leads to jump pod2",
])]
#[case("flush chain netdev egret egrpod1", &["chain netdev egret egrpod1: rule 1 `jump pod` is missing"])]
#[case("add rule netdev egret egrpod1 accept", &[
    "chain netdev egret egrpod1: rule 2 is one too many: [immediate]",
])]
#[case("insert rule netdev egret dA-4 accept", &[
    "chain netdev egret dA-4: rule 1 is [immediate], differing at 1, should be `ip daddr @dA-4 fwd to 1`",
    "chain netdev egret dA-4: rule 2 is `ip daddr @dA-4 fwd to 1`, should be `counter drop`",
    "chain netdev egret dA-4: rule 3 is one too many: [counter immediate]",
])]
#[case("add chain netdev egret egrpod1 { policy accept; }", &[
    "chain netdev egret egrpod1: its policy is accept, should be drop",
])]
#[case("delete chain netdev egret egrpod1", &["chain netdev egret egrpod1: missing"])]
#[case("delete chain netdev egret egrpod1; add chain netdev egret egrpod1 { type filter hook ingress device egrpod1 priority 5; policy drop; }; add rule netdev egret egrpod1 jump pod", &[
    "chain netdev egret egrpod1: it has type filter hook ingress device egrpod1 priority 5, should have type filter hook ingress device egrpod1 priority 0",
])]
#[case("add element netdev egret dA-4 { 0.0.0.7 }", &["set netdev egret dA-4: entry too many: 0.0.0.7"])]
#[case("flush set netdev egret dA-6", &[
    "set netdev egret dA-6: entry missing: ::100:0-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
])]
fn each_change_by_hand_is_named(#[case] change: &str, #[case] expected: &[&str]) {
    let mut socket = namespace();
    ip("link add egrpod1 type veth peer name outside");
    socket.ensure(&worker()).unwrap();
    socket.ensure(&pod(1, "dA")).unwrap();
    nft("add chain netdev egret pod2");
    assert_eq!(socket.differences(&pod(1, "dA")).unwrap(), Vec::<String>::new());
    nft(change);
    assert_eq!(socket.differences(&pod(1, "dA")).unwrap(), expected);
}
