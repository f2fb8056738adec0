//! The worker side in the egret namespace: the control. A frame leaves a pod's veth only if (veth,
//! source address, identity) is known, and only to what the decision of that pod allows; a frame
//! from the tunnel reaches a pod only as (its address, an identity it uses).

use egret_types::{Family, NodeId, ours};

use super::{chain, drop_counted, ether_type, mac_is, of_family, shared_set};
use crate::nft::{DataType, Expr, Field, Op, Removal, Ruleset, Set, TableFamily, ValueType};
use crate::object::{Object, Place, Placed};

/// The maps that attachments fill, and the two chains that look into them.
pub fn worker(node: NodeId) -> Placed {
    // ether type ip iif . ip saddr . ether daddr vmap @tx4
    let sent = |family| {
        let key = vec![Field::Iif, Field::Saddr(family), Field::EtherDaddr];
        vec![ether_type(family), Expr::VerdictMap(key, of_family("tx", family))]
    };
    // ether type ip fwd to ip daddr . ether saddr map @rx4
    let received = |family| {
        let key = vec![Field::Daddr(family), Field::EtherSaddr];
        vec![ether_type(family), Expr::ForwardMap(key, of_family("rx", family))]
    };
    let foreign_mac =
        vec![mac_is(Field::EtherSaddr, Op::IsNot, node.mac()), Expr::Counter, Expr::Drop];
    let [sent4, sent6] = Family::BOTH.map(sent);
    let [received4, received6] = Family::BOTH.map(received);
    let ruleset = Ruleset {
        family: TableFamily::Netdev,
        table: ours::NFT_TABLE.into(),
        sets: Family::BOTH.into_iter().flat_map(maps).collect(),
        chains: vec![
            chain("pod", vec![foreign_mac, sent4, sent6, drop_counted()], Removal::Delete),
            chain("worker", vec![received4, received6, drop_counted()], Removal::Flush),
        ],
        elements: vec![],
    };
    Placed { place: Place::Egret, object: Object::Nft(ruleset) }
}

fn maps(family: Family) -> [Set; 2] {
    let address = DataType::Address(family);
    let sent = [DataType::IfIndex, address, DataType::Ether];
    let received = [address, DataType::Ether];
    [
        shared_set(&of_family("tx", family), &sent, ValueType::Verdict),
        shared_set(&of_family("rx", family), &received, ValueType::Data(DataType::IfIndex)),
    ]
}
