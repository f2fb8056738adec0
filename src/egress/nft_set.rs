//! Sets and maps of nftables as values: types of keys and values, and who fills them. Apart from
//! chains and rules, which only name them.

use std::net::IpAddr;

use egret_types::{Family, IfIndex, MacAddr};
use serde::{Deserialize, Serialize};

use crate::nft::Removal;

/// A set, or a map when its elements have values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Set {
    /// Name in the table.
    pub name: String,
    /// Type of each part of the key.
    pub key: Vec<DataType>,
    /// What an element leads to.
    pub value: ValueType,
    /// Who fills it.
    pub content: Content,
    /// Whether its elements count.
    pub count: Count,
    /// What becomes of it when its owner goes.
    pub removal: Removal,
}

/// Who fills a set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Content {
    /// Several owners, each through [`Ruleset::elements`](crate::nft::Ruleset::elements).
    Shared,
    /// Its owner alone: the set holds exactly these keys and values.
    Exact(Vec<Entry>),
    /// Its owner alone: exactly these ranges of addresses, sorted and disjoint. An interval set.
    Ranges(Vec<(IpAddr, IpAddr)>),
    /// Packets, by a statement in a rule. What they put in is nobody's to compare.
    Dynamic(Capacity),
}

/// How much a set holds that packets fill.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capacity {
    /// Elements at a time.
    pub size: u32,
    /// How long an element stays after it was last put in; absent: as long as what it counts.
    pub seconds: Option<u32>,
}

/// Whether the elements of a set count the packets that find them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Count {
    /// No counters.
    Nothing,
    /// Each has a counter of packets and bytes (kernel 5.7).
    Packets,
}

/// Type of one part of a key, or of a map's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DataType {
    /// `ipv4_addr` or `ipv6_addr`.
    Address(Family),
    /// `ether_addr`.
    Ether,
    /// `mark`: a number in host order.
    Mark,
    /// `iface_index`.
    IfIndex,
}

/// What an element of a set leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ValueType {
    /// Nothing: a set.
    None,
    /// A verdict: a verdict map.
    Verdict,
    /// A datum: a map.
    Data(DataType),
}

/// One part of a key, or a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Datum {
    /// An address of either family.
    Address(IpAddr),
    /// An Ethernet address.
    Mac(MacAddr),
    /// A mark.
    Mark(u32),
    /// A link of the namespace in which the table is.
    IfIndex(IfIndex),
}

/// Key and value of one element.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Entry {
    /// The parts of the key, as many as the set's type says.
    pub key: Vec<Datum>,
    /// What it leads to.
    pub value: Value,
}

/// What one element leads to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Value {
    /// Nothing: an element of a set.
    None,
    /// A jump to this chain.
    Jump(String),
    /// A datum.
    Data(Datum),
}

/// An element that one owner puts into a shared set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Element {
    /// Name of the set.
    pub set: String,
    /// Key and value.
    pub entry: Entry,
}
