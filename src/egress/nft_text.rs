//! nftables values as text, close to what `nft` prints: for the sentences of CHECK. Apart from the
//! values themselves, which say nothing about how they look.

use std::fmt;

use egret_types::Family;

use crate::nft::{
    Constant, DataType, Datum, Entry, Expr, Field, FlowLimit, Op, ReturnSource, TableFamily,
    Target, Value,
};

fn joined<T: fmt::Display>(parts: &[T]) -> String {
    parts.iter().map(T::to_string).collect::<Vec<_>>().join(" . ")
}

impl fmt::Display for TableFamily {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TableFamily::Netdev => "netdev",
            TableFamily::Inet => "inet",
        })
    }
}

impl fmt::Display for Datum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Datum::Address(address) => address.fmt(f),
            Datum::Mac(mac) => mac.fmt(f),
            Datum::Mark(mark) => write!(f, "{mark:#010x}"),
            Datum::IfIndex(index) => write!(f, "{}", index.0),
        }
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&joined(&self.key))?;
        match &self.value {
            Value::None => Ok(()),
            Value::Jump(chain) => write!(f, " : jump {chain}"),
            Value::Data(datum) => write!(f, " : {datum}"),
        }
    }
}

impl fmt::Display for DataType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DataType::Address(Family::V4) => "ipv4_addr",
            DataType::Address(Family::V6) => "ipv6_addr",
            DataType::Ether => "ether_addr",
            DataType::Mark => "mark",
            DataType::IfIndex => "iface_index",
        })
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Field::EtherDaddr => "ether daddr",
            Field::EtherSaddr => "ether saddr",
            Field::EtherDaddrPrefix => "@ll,0,16",
            Field::EtherDaddrIdentity => "@ll,16,32",
            Field::EtherSaddrNode => "@ll,80,16",
            Field::EtherType => "ether type",
            Field::Saddr(Family::V4) => "ip saddr",
            Field::Saddr(Family::V6) => "ip6 saddr",
            Field::Daddr(Family::V4) => "ip daddr",
            Field::Daddr(Family::V6) => "ip6 daddr",
            Field::Ip4Start => "@nh,0,8",
            Field::Ip6SaddrNetwork => "@nh,64,64",
            Field::ArpSender => "arp saddr ip",
            Field::NdTarget => "@th,64,128",
            Field::NdTargetNetwork => "@th,64,64",
            Field::IcmpType => "@th,0,8",
            Field::UdpDport => "udp dport",
            Field::InnerEtherDaddr => "@th,128,48",
            Field::InnerEtherSaddr => "@th,176,48",
            Field::Iif => "iif",
            Field::IifName => "iifname",
            Field::OifName => "oifname",
            Field::NfProto => "meta nfproto",
            Field::L4Proto => "meta l4proto",
            Field::Mark => "meta mark",
            Field::Priority => "meta priority",
            Field::SkUid => "meta skuid",
            Field::CtState => "ct state",
            Field::CtDirection => "ct direction",
            Field::CtMark => "ct mark",
            Field::CtOriginalZone => "ct original zone",
            Field::FibDaddrType => "fib daddr type",
            Field::FibReversePath => "fib saddr . iif oif",
        })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Target::Mark => "meta mark",
            Target::Priority => "meta priority",
            Target::PktType => "meta pkttype",
            Target::CtMark => "ct mark",
            Target::CtOriginalZone => "ct original zone",
        })
    }
}

impl fmt::Display for Constant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Constant::Number(number) => write!(f, "{number:#x}"),
            Constant::Mac(mac) => mac.fmt(f),
            Constant::Bytes(bytes) => {
                f.write_str("0x")?;
                bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
            Constant::Name(name) => write!(f, "\"{name}\""),
        }
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Op::Is => "",
            Op::IsNot => "!= ",
        })
    }
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Expr::Match(field, op, value) => write!(f, "{field} {op}{value}"),
            Expr::AnyBit(field, bits) => write!(f, "{field} & {bits:#x} != 0"),
            Expr::Lookup(key, op, set) => write!(f, "{} {op}@{set}", joined(key)),
            Expr::VerdictMap(key, map) => write!(f, "{} vmap @{map}", joined(key)),
            Expr::SetConstant(target, number) => write!(f, "{target} set {number:#x}"),
            Expr::SetField(target, field) => write!(f, "{target} set {field}"),
            Expr::SetBits(target, bits) => write!(f, "{target} set {target} | {bits:#x}"),
            Expr::ReturnMacs(ReturnSource::Priority) => f.write_str(
                "ether daddr set node of meta mark ether saddr set identity of meta priority",
            ),
            Expr::ReturnMacs(ReturnSource::Gateway) => {
                f.write_str("ether daddr set node of meta mark ether saddr set gateway")
            }
            Expr::Forward(index) => write!(f, "fwd to {}", index.0),
            Expr::ForwardMap(key, map) => write!(f, "fwd to {} map @{map}", joined(key)),
            Expr::SnatMap(Family::V4, key, map) => {
                write!(f, "snat ip to {} map @{map}", joined(key))
            }
            Expr::SnatMap(Family::V6, key, map) => {
                write!(f, "snat ip6 to {} map @{map}", joined(key))
            }
            Expr::FlowsWithin(FlowLimit { set, mask, limit }) => {
                write!(f, "add @{set} {{ ct mark . ct id & {mask:#x} ct count {limit} }}")
            }
            Expr::RateWithin { set, per_second } => {
                let burst = format_args!("burst {per_second} packets");
                write!(f, "add @{set} {{ ct mark limit rate {per_second}/second {burst} }}")
            }
            Expr::NoteFlow(set) => write!(f, "update @{set} {{ ct id . ct mark }}"),
            Expr::NoTrack => f.write_str("notrack"),
            Expr::Counter => f.write_str("counter"),
            Expr::Accept => f.write_str("accept"),
            Expr::Drop => f.write_str("drop"),
            Expr::Return => f.write_str("return"),
            Expr::Jump(chain) => write!(f, "jump {chain}"),
        }
    }
}
