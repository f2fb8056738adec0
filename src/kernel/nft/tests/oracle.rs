//! Each match and statement against what `nft` makes of the same words: the kernel must hold the
//! same bytecode. What nft has no words for is compared with its disassembly.

use egret_egress::nft::{
    Constant, Content, DataType, Expr, Field, Op, Removal, ReturnSource, TableFamily, Target,
    ValueType,
};
use egret_types::{Family, IfIndex};
use rstest::rstest;

use super::testbed::{chain, link, mac, namespace, nft, ruleset, set};
use crate::nft::bytecode::{Bytecode, Rule};
use crate::nft::snapshot::Scope;

const ADDRESS4: DataType = DataType::Address(Family::V4);
const ADDRESS6: DataType = DataType::Address(Family::V6);

fn is(field: Field, number: u32) -> Expr {
    Expr::Match(field, Op::Is, Constant::Number(number))
}

/// A table with sets of every kind that rules look into, and a rule of ours in chain `ours`.
fn holding(family: TableFamily, rule: Vec<Expr>) -> egret_egress::nft::Ruleset {
    let mut all = ruleset(family);
    let marks = [DataType::Mark, DataType::Mark];
    let sent = [DataType::IfIndex, ADDRESS4, DataType::Ether];
    let sent6 = [DataType::IfIndex, ADDRESS6, DataType::Ether];
    for (name, key, value) in [
        ("nets", &[ADDRESS4][..], ValueType::None),
        ("nets6", &[ADDRESS6], ValueType::None),
        ("nodes", &[ADDRESS4, DataType::Ether], ValueType::None),
        ("pairs", &[DataType::Mark, ADDRESS6], ValueType::None),
        ("marks", &marks, ValueType::None),
        ("tx4", &sent, ValueType::Verdict),
        ("tx6", &sent6, ValueType::Verdict),
        ("rx4", &[ADDRESS4, DataType::Ether], ValueType::Data(DataType::IfIndex)),
        ("snat4", &marks, ValueType::Data(ADDRESS4)),
        ("snat6", &marks, ValueType::Data(ADDRESS6)),
    ] {
        all.sets.push(set(name, key, value, Content::Shared));
    }
    all.chains.push(chain("target", vec![], Removal::Delete));
    all.chains.push(chain("ours", vec![rule], Removal::Delete));
    all
}

/// Our rule and nft's, both read back from the kernel.
fn both(family: TableFamily, rule: Vec<Expr>, words: &str) -> (Vec<Bytecode>, Vec<Bytecode>) {
    let mut socket = namespace();
    socket.ensure(&holding(family, rule)).unwrap();
    nft(&format!("add chain {family} egret theirs; add rule {family} egret theirs {words}"));
    let at = Scope { family, table: "egret" };
    let mut read = |chain: &str| {
        let [Rule { expressions, .. }] = at.rules(&mut socket, chain).unwrap().try_into().unwrap();
        expressions
    };
    (read("ours"), read("theirs"))
}

#[rstest]
#[case("@ll,0,48 0x06e600000007", vec![Expr::Match(Field::EtherDaddr, Op::Is, Constant::Mac(mac("06:e6:00:00:00:07")))])]
#[case("@ll,48,48 != 0x06e600000007", vec![Expr::Match(Field::EtherSaddr, Op::IsNot, Constant::Mac(mac("06:e6:00:00:00:07")))])]
#[case("@ll,0,16 0x02e6", vec![Expr::Match(Field::EtherDaddrPrefix, Op::Is, Constant::Bytes(vec![2, 0xe6]))])]
#[case("@ll,16,32 0x01000002", vec![is(Field::EtherDaddrIdentity, 0x0100_0002)])]
#[case("@ll,80,16 0x0102", vec![is(Field::EtherSaddrNode, 0x0102)])]
#[case("ether type ip", vec![is(Field::EtherType, 0x0800)])]
#[case("iif 1", vec![is(Field::Iif, 1)])]
#[case("iif . ip saddr . ether daddr vmap @tx4", vec![Expr::VerdictMap(vec![Field::Iif, Field::Saddr(Family::V4), Field::EtherDaddr], "tx4".into())])]
#[case("iif . ip6 saddr . ether daddr vmap @tx6", vec![Expr::VerdictMap(vec![Field::Iif, Field::Saddr(Family::V6), Field::EtherDaddr], "tx6".into())])]
#[case("fwd to ip daddr . ether saddr map @rx4", vec![Expr::ForwardMap(vec![Field::Daddr(Family::V4), Field::EtherSaddr], "rx4".into())])]
#[case("fwd to lo", vec![Expr::Forward(IfIndex(1))])]
#[case("meta pkttype set host", vec![Expr::SetConstant(Target::PktType, 0)])]
fn frames_are_matched_as_nft_does(#[case] words: &str, #[case] rule: Vec<Expr>) {
    let (ours, theirs) = both(TableFamily::Netdev, rule, words);
    // nft puts what it needs to print a rule before it.
    assert!(theirs.ends_with(&ours), "{words}:\n{ours:?}\n{theirs:?}");
}

#[rstest]
#[case("meta nfproto ipv6", vec![is(Field::NfProto, 10)])]
#[case("meta l4proto 17", vec![is(Field::L4Proto, 17)])]
#[case("udp dport 7790", vec![is(Field::L4Proto, 17), is(Field::UdpDport, 7790)])]
#[case("@th,128,48 0x06e600000007", vec![Expr::Match(Field::InnerEtherDaddr, Op::Is, Constant::Mac(mac("06:e6:00:00:00:07")))])]
#[case("iifname egret0", vec![Expr::Match(Field::IifName, Op::Is, Constant::Name(link("egret0")))])]
#[case("oifname != egret0", vec![Expr::Match(Field::OifName, Op::IsNot, Constant::Name(link("egret0")))])]
#[case("meta mark 0x01000002", vec![is(Field::Mark, 0x0100_0002)])]
#[case("meta priority 100:2", vec![is(Field::Priority, 0x0100_0002)])]
#[case("meta skuid != 4294967295", vec![Expr::Match(Field::SkUid, Op::IsNot, Constant::Number(u32::MAX))])]
#[case("ct state established,related", vec![Expr::AnyBit(Field::CtState, 6)])]
#[case("ct mark and 0x40000000 != 0", vec![Expr::AnyBit(Field::CtMark, 0x4000_0000)])]
#[case("ct direction reply", vec![is(Field::CtDirection, 1)])]
#[case("ct mark 0x01000002", vec![is(Field::CtMark, 0x0100_0002)])]
#[case("ct original zone 258", vec![is(Field::CtOriginalZone, 258)])]
#[case("@nh,0,8 != 0x45", vec![Expr::Match(Field::Ip4Start, Op::IsNot, Constant::Number(0x45))])]
#[case("fib daddr type local", vec![is(Field::FibDaddrType, 2)])]
#[case("fib saddr . iif oif != 0", vec![Expr::Match(Field::FibReversePath, Op::IsNot, Constant::Number(0))])]
#[case("ip daddr @nets", vec![Expr::Lookup(vec![Field::Daddr(Family::V4)], Op::Is, "nets".into())])]
#[case("ip saddr @nets", vec![Expr::Lookup(vec![Field::Saddr(Family::V4)], Op::Is, "nets".into())])]
#[case("ip6 daddr @nets6", vec![Expr::Lookup(vec![Field::Daddr(Family::V6)], Op::Is, "nets6".into())])]
#[case("ip6 saddr != @nets6", vec![Expr::Lookup(vec![Field::Saddr(Family::V6)], Op::IsNot, "nets6".into())])]
#[case("ct mark . ip6 saddr != @pairs", vec![Expr::Lookup(vec![Field::CtMark, Field::Saddr(Family::V6)], Op::IsNot, "pairs".into())])]
#[case("meta mark . ct mark @marks", vec![Expr::Lookup(vec![Field::Mark, Field::CtMark], Op::Is, "marks".into())])]
#[case("meta mark set 0x01000002", vec![Expr::SetConstant(Target::Mark, 0x0100_0002)])]
#[case("meta priority set 100:2", vec![Expr::SetConstant(Target::Priority, 0x0100_0002)])]
#[case("ct mark set 0x01000002", vec![Expr::SetConstant(Target::CtMark, 0x0100_0002)])]
#[case("ct original zone set 258", vec![Expr::SetConstant(Target::CtOriginalZone, 258)])]
#[case("ct mark set meta mark", vec![Expr::SetField(Target::CtMark, Field::Mark)])]
#[case("meta mark set ct mark", vec![Expr::SetField(Target::Mark, Field::CtMark)])]
#[case("meta mark set meta mark or 0x40000000", vec![Expr::SetBits(Target::Mark, 0x4000_0000)])]
#[case("ct mark set ct mark or 0x40000000", vec![Expr::SetBits(Target::CtMark, 0x4000_0000)])]
#[case("meta nfproto ipv4 snat ip to ct mark . ct mark map @snat4", vec![Expr::SnatMap(Family::V4, vec![Field::CtMark, Field::CtMark], "snat4".into())])]
#[case("meta nfproto ipv6 snat ip6 to ct mark . ct mark map @snat6", vec![Expr::SnatMap(Family::V6, vec![Field::CtMark, Field::CtMark], "snat6".into())])]
#[case("notrack", vec![Expr::NoTrack])]
#[case("counter", vec![Expr::Counter])]
#[case("accept", vec![Expr::Accept])]
#[case("drop", vec![Expr::Drop])]
#[case("return", vec![Expr::Return])]
#[case("jump target", vec![Expr::Jump("target".into())])]
fn packets_are_matched_as_nft_does(#[case] words: &str, #[case] rule: Vec<Expr>) {
    let (ours, theirs) = both(TableFamily::Inet, rule, words);
    assert!(theirs.ends_with(&ours), "{words}:\n{ours:?}\n{theirs:?}");
}

/// nft's disassembly of our rule.
fn disassembly(family: TableFamily, rule: Vec<Expr>) -> Vec<String> {
    let mut socket = namespace();
    socket.ensure(&holding(family, rule)).unwrap();
    let text = super::testbed::run(
        "nft",
        &["--debug=netlink", "list", "chain", &family.to_string(), "egret", "ours"],
    );
    let lines = text.lines().map(str::trim).filter(|line| line.starts_with('['));
    lines.map(|line| line.trim_matches(['[', ']', ' ']).to_owned()).collect()
}

#[rstest]
#[case(TableFamily::Netdev, vec![Expr::SetField(Target::Mark, Field::EtherDaddrIdentity)], &[
    "payload load 4b @ link header + 2 => reg 1",
    "byteorder reg 1 = ntoh(reg 1, 4, 4)",
    "meta set mark with reg 1",
])]
#[case(TableFamily::Inet, vec![Expr::SetField(Target::CtOriginalZone, Field::EtherSaddrNode)], &[
    "payload load 2b @ link header + 10 => reg 1",
    "byteorder reg 1 = ntoh(reg 1, 2, 2)",
    "ct set zone with reg 1 , dir original",
])]
#[case(TableFamily::Inet, vec![Expr::Lookup(vec![Field::Saddr(Family::V4), Field::InnerEtherSaddr], Op::Is, "nodes".into())], &[
    "payload load 4b @ network header + 12 => reg 1",
    "payload load 6b @ transport header + 22 => reg 9",
    "lookup reg 1 set nodes 0x0",
])]
#[case(TableFamily::Inet, vec![Expr::SetField(Target::Mark, Field::CtOriginalZone)], &[
    "ct load zone => reg 1 , dir original",
    "meta set mark with reg 1",
])]
#[case(TableFamily::Inet, vec![Expr::SetField(Target::Priority, Field::CtMark)], &[
    "ct load mark => reg 1",
    "meta set priority with reg 1",
])]
#[case(TableFamily::Netdev, vec![Expr::ReturnMacs(ReturnSource::Priority)], &[
    "meta load mark => reg 9",
    "cmp neq reg 9 0x00000000",
    "byteorder reg 9 = hton(reg 9, 2, 2)",
    "bitwise reg 9 = ( reg 9 & 0x0000ffff ) ^ 0xe6020000",
    "meta load priority => reg 10",
    "byteorder reg 10 = hton(reg 10, 4, 4)",
    "cmp gte reg 10 0x00000001",
    "immediate reg 1 0x0000e606",
    "payload write reg 1 => 12b @ link header + 0 csum_type 0 csum_off 0 csum_flags 0x0",
])]
#[case(TableFamily::Netdev, vec![Expr::ReturnMacs(ReturnSource::Gateway)], &[
    "meta load mark => reg 9",
    "cmp neq reg 9 0x00000000",
    "byteorder reg 9 = hton(reg 9, 2, 2)",
    "bitwise reg 9 = ( reg 9 & 0x0000ffff ) ^ 0xe6020000",
    "immediate reg 10 0x03000000",
    "immediate reg 1 0x0000e606",
    "payload write reg 1 => 12b @ link header + 0 csum_type 0 csum_off 0 csum_flags 0x0",
])]
fn numbers_move_between_packets_and_registers(
    #[case] family: TableFamily,
    #[case] rule: Vec<Expr>,
    #[case] expected: &[&str],
) {
    assert_eq!(disassembly(family, rule), expected);
}

#[rstest]
#[case(is(Field::EtherType, 0x1_0000))]
#[case(is(Field::EtherDaddr, 1))]
#[case(is(Field::L4Proto, 256))]
#[case(Expr::Match(Field::EtherDaddr, Op::Is, Constant::Bytes(vec![2, 0xe6])))]
#[case(Expr::Match(Field::Mark, Op::Is, Constant::Mac(mac("06:e6:00:00:00:07"))))]
#[case(Expr::AnyBit(Field::EtherSaddr, 1))]
#[case(Expr::SetField(Target::Mark, Field::EtherSaddr))]
#[case(Expr::SetBits(Target::PktType, 1))]
#[case(Expr::SetConstant(Target::CtOriginalZone, 0x1_0000))]
#[case(Expr::Lookup(vec![], Op::Is, "nets".into()))]
#[case(Expr::Lookup(vec![Field::Saddr(Family::V6); 5], Op::Is, "nets".into()))]
fn what_has_no_bytecode_is_refused_by_name(#[case] expr: Expr) {
    let error = crate::nft::rule::encode(&vec![expr.clone()]).unwrap_err();
    assert_eq!(error.to_string(), format!("{expr} cannot be expressed in nftables"));
}
