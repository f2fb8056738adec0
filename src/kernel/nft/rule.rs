//! The expressions of a rule: where each field of [`egret_egress::nft`] lies, in which byte order
//! it is, and which bytecode each match and statement becomes.

use egret_egress::nft::{Constant, Expr, Field, FlowLimit, Op, ReturnSource, Rule, Target};
use egret_types::Family;
use egret_types::ours::{GATEWAY_MAC, IDENTITY_MAC_PREFIX, NODE_MAC_PREFIX};
use netlink_packet_netfilter::NetfilterProtoFamily;
use netlink_packet_netfilter::nftables::{MetaKey, Operator, Verdict};

use super::error::Error;
use super::expression::{
    At, Convert, CtKey, Expression, Header, LookupMode, START, bitwise, byteorder, compare,
    count_flows_within, counter, forward, immediate, jump, load_ct, load_fib_daddr_type,
    load_fib_reverse_path, load_meta, load_payload, lookup, no_track, put_into, snat, store_ct,
    store_link, store_meta, verdict, within_rate,
};

/// `IFNAMSIZ`: a name of this many bytes, filled with zeros, is compared whole.
const NAME_LENGTH: u32 = 16;
const ETHER_LENGTH: u32 = 6;
/// Bytes of all registers.
const REGISTERS: u32 = 64;
const NF_DROP: u32 = 0;
const NF_ACCEPT: u32 = 1;

/// From where a field is read.
enum Source {
    Payload(Header, u32),
    Meta(MetaKey),
    Ct(CtKey),
    FibDaddrType,
    FibReversePath,
}

/// Byte order of a field in its register.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    Network,
    Host,
}

/// How a field is read: source, length in bytes, byte order.
struct Layout(Source, u32, Order);

/// The bytecode of a rule.
pub(super) fn encode(rule: &Rule) -> Result<Vec<Expression>, Error> {
    let mut out = Vec::with_capacity(4 * rule.len());
    for expr in rule {
        encode_expr(expr, &mut out)
            .ok_or_else(|| Error::Inexpressible { object: expr.to_string() })?;
    }
    Ok(out)
}

fn encode_expr(expr: &Expr, out: &mut Vec<Expression>) -> Option<()> {
    match expr {
        Expr::Match(field, op, constant) => {
            let layout = layout(*field);
            let with = constant_bytes(&layout, constant)?;
            out.extend([load(&layout, START), compare(operator(*op), START, &with)]);
        }
        Expr::AnyBit(field, bits) => {
            let layout = layout(*field);
            let mask = number_bytes(&layout, *bits)?;
            let zero = vec![0; mask.len()];
            out.extend([
                load(&layout, START),
                bitwise(START, &mask, &zero),
                compare(Operator::NotEqual, START, &zero),
            ]);
        }
        Expr::Lookup(key, Op::Is, set) => look_up(key, set, LookupMode::Member, out)?,
        Expr::Lookup(key, Op::IsNot, set) => look_up(key, set, LookupMode::NoMember, out)?,
        Expr::VerdictMap(key, map) => look_up(key, map, LookupMode::VerdictMap, out)?,
        Expr::SetConstant(target, constant) => {
            out.extend([immediate(START, &target_bytes(*target, *constant)?), store(*target)]);
        }
        Expr::SetField(target, field) => {
            load_number(*field, START, out)?;
            out.push(store(*target));
        }
        Expr::SetBits(target, bits) => {
            load_number(readable(*target)?, START, out)?;
            let set = bitwise(START, &(!bits).to_ne_bytes(), &bits.to_ne_bytes());
            out.extend([set, store(*target)]);
        }
        Expr::ReturnMacs(source) => return_macs(*source, out),
        Expr::Forward(index) => {
            out.extend([immediate(START, &index.0.to_ne_bytes()), forward(START)]);
        }
        Expr::ForwardMap(key, map) => {
            look_up(key, map, LookupMode::Map, out)?;
            out.push(forward(START));
        }
        Expr::SnatMap(family, key, map) => {
            look_up(key, map, LookupMode::Map, out)?;
            out.push(snat(protocol(*family), START));
        }
        Expr::FlowsWithin(limit) => count_flows(limit, out),
        Expr::RateWithin { set, per_second } => {
            out.extend([load_ct(CtKey::Mark, START), within_rate(set, *per_second)]);
        }
        Expr::NoteFlow(set) => {
            out.extend([load_ct(CtKey::Id, START), load_ct(CtKey::Mark, At(4)), put_into(set)]);
        }
        Expr::NoTrack => out.push(no_track()),
        Expr::Counter => out.push(counter()),
        Expr::Accept => out.push(verdict(Verdict::Other(NF_ACCEPT))),
        Expr::Drop => out.push(verdict(Verdict::Other(NF_DROP))),
        Expr::Return => out.push(verdict(Verdict::Return)),
        Expr::Jump(chain) => out.push(jump(chain)),
    }
    Some(())
}

fn look_up(key: &[Field], set: &str, mode: LookupMode, out: &mut Vec<Expression>) -> Option<()> {
    load_key(key, out)?;
    out.push(lookup(set, mode));
    Some(())
}

/// Where a field lies. Link-layer fields are those of the frame itself: nothing here looks behind
/// a VLAN tag.
fn layout(field: Field) -> Layout {
    use Order::{Host, Network};
    use Source::{Ct, FibDaddrType, FibReversePath, Meta, Payload};
    match field {
        Field::EtherDaddr => Layout(Payload(Header::Link, 0), ETHER_LENGTH, Network),
        Field::EtherDaddrPrefix => Layout(Payload(Header::Link, 0), 2, Network),
        Field::EtherDaddrIdentity => Layout(Payload(Header::Link, 2), 4, Network),
        Field::EtherSaddr => Layout(Payload(Header::Link, 6), ETHER_LENGTH, Network),
        Field::EtherSaddrNode => Layout(Payload(Header::Link, 10), 2, Network),
        Field::EtherType => Layout(Payload(Header::Link, 12), 2, Network),
        Field::Saddr(Family::V4) => Layout(Payload(Header::Network, 12), 4, Network),
        Field::Saddr(Family::V6) => Layout(Payload(Header::Network, 8), 16, Network),
        Field::Daddr(Family::V4) => Layout(Payload(Header::Network, 16), 4, Network),
        Field::Daddr(Family::V6) => Layout(Payload(Header::Network, 24), 16, Network),
        Field::Ip4Start => Layout(Payload(Header::Network, 0), 1, Network),
        Field::Ip6SaddrNetwork => Layout(Payload(Header::Network, 8), 8, Network),
        Field::ArpSender => Layout(Payload(Header::Network, 14), 4, Network),
        Field::NdTarget => Layout(Payload(Header::Transport, 8), 16, Network),
        Field::NdTargetNetwork => Layout(Payload(Header::Transport, 8), 8, Network),
        Field::IcmpType => Layout(Payload(Header::Transport, 0), 1, Network),
        Field::UdpDport => Layout(Payload(Header::Transport, 2), 2, Network),
        // Behind 8 bytes of UDP and 8 of VXLAN.
        Field::InnerEtherDaddr => Layout(Payload(Header::Transport, 16), ETHER_LENGTH, Network),
        Field::InnerEtherSaddr => Layout(Payload(Header::Transport, 22), ETHER_LENGTH, Network),
        Field::Iif => Layout(Meta(MetaKey::Iif), 4, Host),
        Field::IifName => Layout(Meta(MetaKey::Iifname), NAME_LENGTH, Network),
        Field::OifName => Layout(Meta(MetaKey::Oifname), NAME_LENGTH, Network),
        Field::NfProto => Layout(Meta(MetaKey::Nfproto), 1, Host),
        Field::L4Proto => Layout(Meta(MetaKey::L4Proto), 1, Host),
        Field::Mark => Layout(Meta(MetaKey::Mark), 4, Host),
        Field::Priority => Layout(Meta(MetaKey::Priority), 4, Host),
        Field::SkUid => Layout(Meta(MetaKey::SocketUserId), 4, Host),
        Field::CtState => Layout(Ct(CtKey::State), 4, Host),
        Field::CtDirection => Layout(Ct(CtKey::Direction), 1, Host),
        Field::CtMark => Layout(Ct(CtKey::Mark), 4, Host),
        Field::CtOriginalZone => Layout(Ct(CtKey::OriginalZone), 2, Host),
        Field::FibDaddrType => Layout(FibDaddrType, 4, Host),
        Field::FibReversePath => Layout(FibReversePath, 4, Host),
    }
}

fn load(Layout(source, length, _): &Layout, to: At) -> Expression {
    match source {
        Source::Payload(header, offset) => load_payload(*header, *offset, *length, to),
        Source::Meta(key) => load_meta(*key, to),
        Source::Ct(key) => load_ct(*key, to),
        Source::FibDaddrType => load_fib_daddr_type(to),
        Source::FibReversePath => load_fib_reverse_path(to),
    }
}

/// Whether the bytes of a field of the packet are a number, which registers hold in host order.
fn is_packet_number(field: Field) -> bool {
    matches!(field, Field::EtherDaddrIdentity | Field::EtherSaddrNode)
}

/// Loads a field as what it is elsewhere: numbers of the packet in host order.
fn load_number(field: Field, to: At, out: &mut Vec<Expression>) -> Option<()> {
    let layout = layout(field);
    out.push(load(&layout, to));
    match layout {
        Layout(_, length @ (2 | 4), Order::Network) if is_packet_number(field) => {
            out.push(byteorder(Convert::ToHost, length, to));
            Some(())
        }
        Layout(_, 2 | 4, Order::Host) => Some(()),
        _ => None,
    }
}

/// The parts of a key one behind the other, each at a multiple of four bytes.
fn load_key(key: &[Field], out: &mut Vec<Expression>) -> Option<()> {
    let mut offset = 0;
    for field in key {
        if is_packet_number(*field) {
            load_number(*field, At(offset), out)?;
        } else {
            out.push(load(&layout(*field), At(offset)));
        }
        let Layout(_, length, _) = layout(*field);
        offset += length.next_multiple_of(4);
    }
    (offset <= REGISTERS && offset > 0).then_some(())
}

fn operator(op: Op) -> Operator {
    match op {
        Op::Is => Operator::Equal,
        Op::IsNot => Operator::NotEqual,
    }
}

/// The bytes with which a field is compared; `None` if it cannot be this constant.
fn constant_bytes(layout: &Layout, constant: &Constant) -> Option<Vec<u8>> {
    let Layout(_, length, _) = layout;
    let length = *length as usize;
    let bytes = match constant {
        Constant::Number(number) => number_bytes(layout, *number)?,
        Constant::Mac(mac) => mac.0.to_vec(),
        Constant::Bytes(bytes) => bytes.clone(),
        Constant::Name(name) => {
            let mut bytes = name.as_str().as_bytes().to_vec();
            bytes.resize(NAME_LENGTH as usize, 0);
            bytes
        }
    };
    (bytes.len() == length).then_some(bytes)
}

/// A number as wide as a field, in the field's byte order.
fn number_bytes(Layout(_, length, order): &Layout, number: u32) -> Option<Vec<u8>> {
    Some(match (length, order) {
        (1, _) => vec![u8::try_from(number).ok()?],
        (2, Order::Network) => u16::try_from(number).ok()?.to_be_bytes().to_vec(),
        (2, Order::Host) => u16::try_from(number).ok()?.to_ne_bytes().to_vec(),
        (4, Order::Network) => number.to_be_bytes().to_vec(),
        (4, Order::Host) => number.to_ne_bytes().to_vec(),
        _ => return None,
    })
}

/// What a statement stores, as many bytes as the kernel takes from the register.
fn target_bytes(target: Target, number: u32) -> Option<Vec<u8>> {
    Some(match target {
        Target::Mark | Target::Priority | Target::CtMark => number.to_ne_bytes().to_vec(),
        Target::PktType => vec![u8::try_from(number).ok()?],
        Target::CtOriginalZone => u16::try_from(number).ok()?.to_ne_bytes().to_vec(),
    })
}

fn store(target: Target) -> Expression {
    match target {
        Target::Mark => store_meta(MetaKey::Mark, START),
        Target::Priority => store_meta(MetaKey::Priority, START),
        Target::PktType => store_meta(MetaKey::PacketType, START),
        Target::CtMark => store_ct(CtKey::Mark, START),
        Target::CtOriginalZone => store_ct(CtKey::OriginalZone, START),
    }
}

/// The target as a field, where it is a number of 32 bits.
fn readable(target: Target) -> Option<Field> {
    match target {
        Target::Mark => Some(Field::Mark),
        Target::Priority => Some(Field::Priority),
        Target::CtMark => Some(Field::CtMark),
        Target::PktType | Target::CtOriginalZone => None,
    }
}

fn protocol(family: Family) -> u8 {
    u8::from(match family {
        Family::V4 => NetfilterProtoFamily::IPv4,
        Family::V6 => NetfilterProtoFamily::IPv6,
    })
}

/// The mark of the flow and its bucket, one behind the other, as key.
fn count_flows(FlowLimit { set, mask, limit }: &FlowLimit, out: &mut Vec<Expression>) {
    const BUCKET: At = At(4);
    out.extend([
        load_ct(CtKey::Mark, START),
        load_ct(CtKey::Id, BUCKET),
        bitwise(BUCKET, &mask.to_ne_bytes(), &[0; 4]),
        count_flows_within(set, *limit),
    ]);
}

/// Three registers in a row become `06 e6 00 00 | NN NN S0 S1 | S2 S3 S4 S5`: destination and
/// source MAC of the frame, written at once.
fn return_macs(source: ReturnSource, out: &mut Vec<Expression>) {
    const PREFIX: At = At(0);
    const NODE: At = At(4);
    const IDENTITY: At = At(8);
    /// The lowest number of an identity is 2^24: pool 0 has none. Compared as big-endian bytes,
    /// since the kernel compares byte by byte.
    const LOWEST_IDENTITY: [u8; 4] = [1, 0, 0, 0];
    let [s0, s1, s2, s3, s4, s5] = GATEWAY_MAC.0;
    let [first, second] = match source {
        ReturnSource::Priority => IDENTITY_MAC_PREFIX,
        ReturnSource::Gateway => [s0, s1],
    };
    out.extend([
        load_meta(MetaKey::Mark, NODE),
        compare(Operator::NotEqual, NODE, &[0; 4]),
        byteorder(Convert::ToNetwork, 2, NODE),
        bitwise(NODE, &[0xff, 0xff, 0, 0], &[0, 0, first, second]),
    ]);
    match source {
        ReturnSource::Priority => out.extend([
            load_meta(MetaKey::Priority, IDENTITY),
            byteorder(Convert::ToNetwork, 4, IDENTITY),
            compare(Operator::GreatherThanEqual, IDENTITY, &LOWEST_IDENTITY),
        ]),
        ReturnSource::Gateway => out.push(immediate(IDENTITY, &[s2, s3, s4, s5])),
    }
    out.extend([immediate(PREFIX, &NODE_MAC_PREFIX), store_link(0, 2 * ETHER_LENGTH, PREFIX)]);
}
