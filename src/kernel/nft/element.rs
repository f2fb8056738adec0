//! Keys and values of sets: their types, and their bytes in registers and messages.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use egret_egress::nft::{Content, DataType, Datum, Entry, Set, Value, ValueType};
use egret_types::{Family, IfIndex, MacAddr};
use netlink_packet_netfilter::nftables::{
    DataAttribute, ListAttribute, SetElementAttribute, Verdict, VerdictAttribute,
};

use super::interval;

/// One element in a message.
pub(super) type ElementNla = ListAttribute<SetElementAttribute>;

/// `NFT_DATA_VERDICT`: the values of the map are verdicts.
pub(super) const VERDICT_TYPE: u32 = 0xffff_ff00;
/// In a concatenation's type each part has six bits, the first part the highest.
const CONCATENATION_BITS: u32 = 6;

// nft's user data of sets and elements. The kernel keeps it for nft, which prints with it.
const UDATA_KEY_BYTE_ORDER: u8 = 0;
const UDATA_VALUE_BYTE_ORDER: u8 = 1;

/// Types and lengths of a set's keys and values, as the kernel stores them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) key_type: u32,
    pub(super) key_len: u32,
    /// Type and length.
    pub(super) value: Option<(u32, u32)>,
}

/// A value as bytes, to compare with what the kernel has.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum RawValue {
    None,
    Data(Vec<u8>),
    /// A jump to this chain; without a name another verdict, which nothing of ours is.
    Jump(String),
}

/// Key and value of one element as bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Pair {
    pub(super) key: Vec<u8>,
    pub(super) value: RawValue,
}

impl Shape {
    pub(super) fn of(set: &Set) -> Self {
        let key_type = set.key.iter().fold(0, |concatenation, part| {
            (concatenation << CONCATENATION_BITS) | type_number(*part)
        });
        let key_len = match set.key.as_slice() {
            [one] => length(*one),
            parts => parts.iter().map(|part| length(*part).next_multiple_of(4)).sum(),
        };
        let value = match set.value {
            ValueType::None => None,
            ValueType::Verdict => Some((VERDICT_TYPE, 0)),
            ValueType::Data(kind) => Some((type_number(kind), length(kind))),
        };
        Self { key_type, key_len, value }
    }
}

/// As nft writes a set's type: `ipv4_addr . ether_addr : verdict`. Lengths follow from the types.
impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const PARTS: u32 = u32::BITS.div_ceil(CONCATENATION_BITS);
        const PART: u32 = (1 << CONCATENATION_BITS) - 1;
        let parts =
            (0..PARTS).rev().map(|part| (self.key_type >> (part * CONCATENATION_BITS)) & PART);
        let numbers = parts.filter(|number| *number != 0);
        f.write_str(&numbers.map(type_name).collect::<Vec<_>>().join(" . "))?;
        self.value.map_or(Ok(()), |(kind, _)| write!(f, " : {}", type_name(kind)))
    }
}

fn type_name(number: u32) -> String {
    const NAMED: [DataType; 5] = [
        DataType::Address(Family::V4),
        DataType::Address(Family::V6),
        DataType::Ether,
        DataType::Mark,
        DataType::IfIndex,
    ];
    match NAMED.into_iter().find(|kind| type_number(*kind) == number) {
        Some(kind) => kind.to_string(),
        None if number == VERDICT_TYPE => "verdict".to_owned(),
        None => format!("type {number}"),
    }
}

/// nft's number of a type. The kernel only stores it.
fn type_number(kind: DataType) -> u32 {
    match kind {
        DataType::Address(Family::V4) => 7,
        DataType::Address(Family::V6) => 8,
        DataType::Ether => 9,
        DataType::Mark => 19,
        DataType::IfIndex => 20,
    }
}

fn length(kind: DataType) -> u32 {
    match kind {
        DataType::Address(Family::V4) | DataType::Mark | DataType::IfIndex => 4,
        DataType::Address(Family::V6) => 16,
        DataType::Ether => 6,
    }
}

/// User data that tells nft the byte order of keys and values; without it, it prints a mark
/// byte-swapped. Concatenations and verdicts have none (0); 1 is the host's, 2 the network's.
pub(super) fn byte_orders(set: &Set) -> Vec<u8> {
    let order = |kind: DataType| match kind {
        DataType::Mark | DataType::IfIndex => 1,
        DataType::Address(_) | DataType::Ether => 2,
    };
    let key = match set.key.as_slice() {
        [one] => order(*one),
        _ => 0,
    };
    let mut bytes = user_number(UDATA_KEY_BYTE_ORDER, key);
    match set.value {
        ValueType::None => {}
        ValueType::Verdict => bytes.extend(user_number(UDATA_VALUE_BYTE_ORDER, 0)),
        ValueType::Data(kind) => bytes.extend(user_number(UDATA_VALUE_BYTE_ORDER, order(kind))),
    }
    bytes
}

/// nft's user data: kind, length, value; numbers in host order.
pub(super) fn user_number(kind: u8, number: u32) -> Vec<u8> {
    let mut bytes = vec![kind, 4];
    bytes.extend_from_slice(&number.to_ne_bytes());
    bytes
}

/// The bytes of a datum as they stand in a register: addresses as in packets, numbers in host order.
pub(super) fn bytes(datum: &Datum) -> Vec<u8> {
    match datum {
        Datum::Address(IpAddr::V4(address)) => address.octets().to_vec(),
        Datum::Address(IpAddr::V6(address)) => address.octets().to_vec(),
        Datum::Mac(mac) => mac.0.to_vec(),
        Datum::Mark(mark) => mark.to_ne_bytes().to_vec(),
        Datum::IfIndex(index) => index.0.to_ne_bytes().to_vec(),
    }
}

/// A key; the parts of a concatenation are padded to four bytes each.
fn key(parts: &[Datum]) -> Vec<u8> {
    match parts {
        [one] => bytes(one),
        parts => parts.iter().fold(Vec::new(), |mut key, part| {
            key.extend(bytes(part));
            key.resize(key.len().next_multiple_of(4), 0);
            key
        }),
    }
}

/// The parts of a key again, if it is of these types.
pub(super) fn parts(mut bytes: &[u8], kinds: &[DataType]) -> Option<Vec<Datum>> {
    let mut key = Vec::with_capacity(kinds.len());
    for kind in kinds {
        let (part, _) = bytes.split_at_checked(length(*kind) as usize)?;
        key.push(datum(*kind, part)?);
        bytes = bytes.get(part.len().next_multiple_of(4)..).unwrap_or_default();
    }
    Some(key)
}

impl From<&Entry> for Pair {
    fn from(entry: &Entry) -> Self {
        let value = match &entry.value {
            Value::None => RawValue::None,
            Value::Jump(chain) => RawValue::Jump(chain.clone()),
            Value::Data(datum) => RawValue::Data(bytes(datum)),
        };
        Self { key: key(&entry.key), value }
    }
}

impl Pair {
    /// The element, to add it.
    pub(super) fn element(&self) -> ElementNla {
        let mut attributes = vec![key_attribute(&self.key)];
        match &self.value {
            RawValue::None => {}
            RawValue::Data(bytes) => {
                attributes.push(SetElementAttribute::Data(DataAttribute::Value(bytes.clone())));
            }
            RawValue::Jump(chain) => {
                attributes.push(SetElementAttribute::Data(DataAttribute::Verdict(vec![
                    VerdictAttribute::Code(Verdict::Jump),
                    VerdictAttribute::Chain(chain.clone()),
                ])));
            }
        }
        ListAttribute::Element(attributes)
    }

    /// The element's key, to ask for it or to delete it.
    pub(super) fn key_element(&self) -> ElementNla {
        ListAttribute::Element(vec![key_attribute(&self.key)])
    }

    /// The pair in words, if it is of the set's types.
    pub(super) fn text(&self, set: &Set) -> String {
        self.entry(set).map_or_else(|| format!("{:02x?}", self.key), |entry| entry.to_string())
    }

    fn entry(&self, set: &Set) -> Option<Entry> {
        let key = parts(&self.key, &set.key)?;
        let value = match (&self.value, set.value) {
            (RawValue::None, _) => Value::None,
            (RawValue::Jump(chain), _) => Value::Jump(chain.clone()),
            (RawValue::Data(bytes), ValueType::Data(kind)) => Value::Data(datum(kind, bytes)?),
            (RawValue::Data(_), _) => return None,
        };
        Some(Entry { key, value })
    }
}

impl RawValue {
    /// The value in words, if it is of the type of another one.
    pub(super) fn text_like(&self, other: &Value) -> String {
        let kind = match other {
            Value::Data(Datum::Address(address)) => Some(DataType::Address(Family::of(*address))),
            Value::Data(Datum::Mac(_)) => Some(DataType::Ether),
            Value::Data(Datum::Mark(_)) => Some(DataType::Mark),
            Value::Data(Datum::IfIndex(_)) => Some(DataType::IfIndex),
            Value::None | Value::Jump(_) => None,
        };
        match (self, kind) {
            (RawValue::None, _) => "nothing".to_owned(),
            (RawValue::Jump(chain), _) => format!("jump {chain}"),
            (RawValue::Data(bytes), kind) => kind
                .and_then(|kind| datum(kind, bytes))
                .map_or_else(|| format!("{bytes:02x?}"), |datum| datum.to_string()),
        }
    }
}

fn datum(kind: DataType, bytes: &[u8]) -> Option<Datum> {
    let number = || Some(u32::from_ne_bytes(bytes.try_into().ok()?));
    Some(match kind {
        DataType::Address(_) => Datum::Address(address(bytes)?),
        DataType::Ether => Datum::Mac(MacAddr(bytes.try_into().ok()?)),
        DataType::Mark => Datum::Mark(number()?),
        DataType::IfIndex => Datum::IfIndex(IfIndex(number()?)),
    })
}

pub(super) fn address(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(octets) = <[u8; 4]>::try_from(bytes) {
        return Some(Ipv4Addr::from(octets).into());
    }
    <[u8; 16]>::try_from(bytes).ok().map(|octets| Ipv6Addr::from(octets).into())
}

pub(super) fn key_attribute(key: &[u8]) -> SetElementAttribute {
    SetElementAttribute::Key(DataAttribute::Value(key.to_vec()))
}

/// What a set that one owner fills holds, as elements to add.
pub(super) fn content(set: &Set) -> Vec<ElementNla> {
    match &set.content {
        Content::Shared | Content::Dynamic(_) => Vec::new(),
        Content::Exact(entries) => {
            entries.iter().map(|entry| Pair::from(entry).element()).collect()
        }
        Content::Ranges(ranges) => interval::elements(ranges),
    }
}
