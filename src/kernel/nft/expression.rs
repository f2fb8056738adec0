//! Single expressions of `nf_tables` bytecode. A register is named by the offset of its bytes in
//! the sixteen 32-bit registers, so that a concatenation lies where its parts follow each other.

use netlink_packet_core::{DefaultNla, Emitable};
use netlink_packet_netfilter::nftables::{
    Bitwise, Cmp, DataAttribute, ExpressionAttribute, Expressions, Immediate, ListAttribute,
    Lookup, Meta, MetaKey, Operator, Payload, Register, Verdict, VerdictAttribute,
};

/// One expression in a rule's list.
pub(super) type Expression = ListAttribute<ExpressionAttribute>;

/// Where an expression reads or writes: an offset in bytes, a multiple of 4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct At(pub(super) u32);

/// The first register: keys and values start here.
pub(super) const START: At = At(0);

/// From which header a payload offset counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Header {
    Link,
    Network,
    Transport,
}

/// `ct` keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CtKey {
    State,
    Direction,
    Mark,
    /// Of the original direction.
    OriginalZone,
    /// A keyed hash over the entry: another one for each flow.
    Id,
}

/// Which way numbers are converted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Convert {
    ToHost,
    ToNetwork,
}

/// What a lookup does with what it finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LookupMode {
    /// The rule ends without an element.
    Member,
    /// The rule ends with one.
    NoMember,
    /// The value goes to the first register.
    Map,
    /// The value is a verdict.
    VerdictMap,
}

impl From<At> for Register {
    /// The kernel names a register at a multiple of 16 bytes by its old 128-bit number; so do we,
    /// to find in a dump what was written.
    fn from(at: At) -> Register {
        const FIRST_128: u32 = 1;
        const FIRST_32: u32 = 8;
        if at.0.is_multiple_of(16) {
            Register::from(FIRST_128 + at.0 / 16)
        } else {
            Register::from(FIRST_32 + at.0 / 4)
        }
    }
}

fn number(kind: u16, value: u32) -> DefaultNla {
    DefaultNla::new(kind, value.to_be_bytes().to_vec())
}

fn register(kind: u16, at: At) -> DefaultNla {
    number(kind, Register::from(at).into())
}

fn value(bytes: &[u8]) -> DataAttribute {
    DataAttribute::Value(bytes.to_vec())
}

/// An expression for which the crate has no type.
fn other(name: &str, attributes: Vec<DefaultNla>) -> Expression {
    Expressions::Other { expression_type: name.to_owned(), attributes }.into()
}

pub(super) fn load_meta(key: MetaKey, to: At) -> Expression {
    Expressions::Meta(vec![Meta::Key(key), Meta::DestinationRegister(to.into())]).into()
}

pub(super) fn store_meta(key: MetaKey, from: At) -> Expression {
    Expressions::Meta(vec![Meta::Key(key), Meta::SourceRegister(from.into())]).into()
}

fn place(header: Header, offset: u32, len: u32) -> [Payload; 3] {
    let base = match header {
        Header::Link => 0,
        Header::Network => 1,
        Header::Transport => 2,
    };
    [Payload::Base(base), Payload::Offset(offset), Payload::Len(len)]
}

pub(super) fn load_payload(header: Header, offset: u32, len: u32, to: At) -> Expression {
    let mut attributes = vec![Payload::DestinationRegister(to.into())];
    attributes.extend(place(header, offset, len));
    Expressions::Payload(attributes).into()
}

/// Writes bytes of the link header, which no checksum covers.
pub(super) fn store_link(offset: u32, len: u32, from: At) -> Expression {
    let mut attributes = vec![Payload::SourceRegister(from.into())];
    attributes.extend(place(Header::Link, offset, len));
    Expressions::Payload(attributes).into()
}

pub(super) fn load_ct(key: CtKey, to: At) -> Expression {
    const DREG: u16 = 1;
    other("ct", ct(key, register(DREG, to)))
}

pub(super) fn store_ct(key: CtKey, from: At) -> Expression {
    const SREG: u16 = 4;
    other("ct", ct(key, register(SREG, from)))
}

fn ct(key: CtKey, register: DefaultNla) -> Vec<DefaultNla> {
    const KEY: u16 = 2;
    const DIRECTION: u16 = 3;
    const ORIGINAL: u8 = 0;
    let code = match key {
        CtKey::State => 0,
        CtKey::Direction => 1,
        CtKey::Mark => 3,
        CtKey::OriginalZone => 17,
        CtKey::Id => 23,
    };
    let mut attributes = vec![number(KEY, code), register];
    if key == CtKey::OriginalZone {
        attributes.push(DefaultNla::new(DIRECTION, vec![ORIGINAL]));
    }
    attributes
}

/// `fib daddr type`: a number in host order.
pub(super) fn load_fib_daddr_type(to: At) -> Expression {
    const RESULT: u32 = 3; // NFT_FIB_RESULT_ADDRTYPE
    const FLAGS: u32 = 2; // NFTA_FIB_F_DADDR
    fib(FLAGS, RESULT, to)
}

/// `fib saddr . iif oif`: the index of a link in host order, or 0.
pub(super) fn load_fib_reverse_path(to: At) -> Expression {
    const RESULT: u32 = 1; // NFT_FIB_RESULT_OIF
    const FLAGS: u32 = 1 | 8; // NFTA_FIB_F_SADDR, NFTA_FIB_F_IIF
    fib(FLAGS, RESULT, to)
}

fn fib(flags: u32, result: u32, to: At) -> Expression {
    const DREG: u16 = 1;
    const RESULT: u16 = 2;
    const FLAGS: u16 = 3;
    other("fib", vec![number(FLAGS, flags), number(RESULT, result), register(DREG, to)])
}

pub(super) fn compare(operator: Operator, at: At, with: &[u8]) -> Expression {
    Expressions::Cmp(vec![
        Cmp::SourceRegister(at.into()),
        Cmp::Op(operator),
        Cmp::Data(value(with)),
    ])
    .into()
}

pub(super) fn immediate(to: At, bytes: &[u8]) -> Expression {
    Expressions::Immediate(vec![
        Immediate::DestinationRegister(to.into()),
        Immediate::Data(value(bytes)),
    ])
    .into()
}

/// `register & mask ^ xor`, byte by byte.
pub(super) fn bitwise(at: At, mask: &[u8], xor: &[u8]) -> Expression {
    let len = u32::try_from(mask.len()).unwrap_or(u32::MAX);
    Expressions::Bitwise(vec![
        Bitwise::SourceRegister(at.into()),
        Bitwise::DestinationRegister(at.into()),
        Bitwise::Length(len),
        Bitwise::Mask(value(mask)),
        Bitwise::Xor(value(xor)),
    ])
    .into()
}

/// Converts one number of `len` bytes (2 or 4) in place; bytes behind it stay.
pub(super) fn byteorder(convert: Convert, len: u32, at: At) -> Expression {
    let operation = match convert {
        Convert::ToHost => 0,
        Convert::ToNetwork => 1,
    };
    let attributes = vec![
        register(1, at),
        register(2, at),
        number(3, operation),
        number(4, len),
        number(5, len), // Size of one number: as much as there is.
    ];
    other("byteorder", attributes)
}

/// Looks up what begins in the first register.
pub(super) fn lookup(set: &str, mode: LookupMode) -> Expression {
    const INVERTED: u32 = 1;
    let mut attributes = vec![Lookup::SourceRegister(START.into()), Lookup::Set(set.to_owned())];
    match mode {
        LookupMode::Member => {}
        LookupMode::NoMember => attributes.push(Lookup::Flags(INVERTED)),
        LookupMode::Map => attributes.push(Lookup::DestinationRegister(START.into())),
        LookupMode::VerdictMap => attributes.push(Lookup::DestinationRegister(Register::Verdict)),
    }
    Expressions::Lookup(attributes).into()
}

/// Adds what begins in the first register to a dynamic set, unless it is there, and counts the
/// packet's flow there. The rule goes on while no more than `limit` live flows are counted.
pub(super) fn count_flows_within(set: &str, limit: u32) -> Expression {
    const COUNT: u16 = 1;
    add_with(set, nested("connlimit", &[number(COUNT, limit)]))
}

/// The same for a rate of packets, with a burst of one second.
pub(super) fn within_rate(set: &str, per_second: u32) -> Expression {
    const RATE: u16 = 1;
    const UNIT: (u16, u64) = (2, 1); // Seconds.
    const BURST: u16 = 3;
    const TYPE: (u16, u32) = (4, 0); // NFT_LIMIT_PKTS
    const FLAGS: u16 = 5;
    let long = |kind, value: u64| DefaultNla::new(kind, value.to_be_bytes().to_vec());
    let limit = [
        long(RATE, per_second.into()),
        long(UNIT.0, UNIT.1),
        number(BURST, per_second),
        number(TYPE.0, TYPE.1),
        number(FLAGS, 0),
    ];
    add_with(set, nested("limit", &limit))
}

/// Adds the key in the first register with this expression, and evaluates it.
fn add_with(set: &str, expression: Vec<u8>) -> Expression {
    const ADD: u32 = 0; // NFT_DYNSET_OP_ADD
    const EXPRESSION: u16 = 7;
    let mut attributes = put(set, ADD);
    attributes.push(DefaultNla::new(EXPRESSION, expression));
    other("dynset", attributes)
}

/// Puts what begins in the first register into a dynamic set, or makes it young again there.
pub(super) fn put_into(set: &str) -> Expression {
    const UPDATE: u32 = 1; // NFT_DYNSET_OP_UPDATE
    other("dynset", put(set, UPDATE))
}

fn put(set: &str, operation: u32) -> Vec<DefaultNla> {
    const SET_NAME: u16 = 1;
    const OPERATION: u16 = 3;
    const SREG_KEY: u16 = 4;
    vec![
        DefaultNla::new(SET_NAME, terminated(set)),
        register(SREG_KEY, START),
        number(OPERATION, operation),
    ]
}

/// The value of an attribute that holds one expression: its name and its own attributes.
fn nested(name: &str, attributes: &[DefaultNla]) -> Vec<u8> {
    const NAME: u16 = 1;
    const DATA: u16 = 2;
    let name = DefaultNla::new(NAME, terminated(name));
    let list = DefaultNla::new(DATA, emitted(attributes));
    emitted(&[name, list])
}

/// What the elements of a set count with: the value of the set's attribute for it.
pub(super) fn element_counter() -> Vec<u8> {
    nested("counter", &[])
}

fn terminated(text: &str) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    bytes.push(0);
    bytes
}

fn emitted(attributes: &[DefaultNla]) -> Vec<u8> {
    let mut bytes = vec![0; attributes.buffer_len()];
    attributes.emit(&mut bytes);
    bytes
}

/// Forwards to the link whose index is in the register. Tables of family netdev only.
pub(super) fn forward(at: At) -> Expression {
    const SREG_DEV: u16 = 1;
    other("fwd", vec![register(SREG_DEV, at)])
}

/// Source translation to the address in the register. `protocol` is that of the address.
pub(super) fn snat(protocol: u8, at: At) -> Expression {
    const TYPE: (u16, u32) = (1, 0); // NFT_NAT_SNAT
    const FAMILY: u16 = 2;
    const REG_ADDR_MIN: u16 = 3;
    let attributes =
        vec![number(TYPE.0, TYPE.1), number(FAMILY, protocol.into()), register(REG_ADDR_MIN, at)];
    other("nat", attributes)
}

pub(super) fn no_track() -> Expression {
    other("notrack", Vec::new())
}

pub(super) fn counter() -> Expression {
    other("counter", Vec::new())
}

/// Ends the rule with a verdict; `NF_DROP` is 0, `NF_ACCEPT` is 1, the others have names.
pub(super) fn verdict(code: Verdict) -> Expression {
    verdict_with(vec![VerdictAttribute::Code(code)])
}

pub(super) fn jump(chain: &str) -> Expression {
    verdict_with(vec![
        VerdictAttribute::Code(Verdict::Jump),
        VerdictAttribute::Chain(chain.to_owned()),
    ])
}

fn verdict_with(attributes: Vec<VerdictAttribute>) -> Expression {
    Expressions::Immediate(vec![
        Immediate::DestinationRegister(Register::Verdict),
        Immediate::Data(DataAttribute::Verdict(attributes)),
    ])
    .into()
}
