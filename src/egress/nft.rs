//! nftables objects as values: what a table should hold, without a word of netlink. `kernel`
//! encodes them; here they can be printed, compared, recorded and tested.
//!
//! A value says what is meant (`ip saddr`, `ct mark`), not where it lies in a packet or register:
//! offsets, registers and byte order are the encoder's. Displays are close to what `nft` prints.

use egret_types::{Family, IfIndex, LinkName, MacAddr};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use crate::nft_set::{
    Capacity, Content, Count, DataType, Datum, Element, Entry, Set, Value, ValueType,
};

/// The family of an nft table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TableFamily {
    /// Frames at one link's ingress or egress.
    Netdev,
    /// IPv4 and IPv6 packets in the stack.
    Inet,
}

/// What one owner wants in one nft table: one of our roles, or one attachment. Tables, sets and
/// chains that several owners share are named by each of them; what one owner alone wants is
/// removed with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ruleset {
    /// Family of the table.
    pub family: TableFamily,
    /// Name of the table.
    pub table: String,
    /// Sets and maps, made before the chains that look into them.
    pub sets: Vec<Set>,
    /// Chains. A chain stands after those that it jumps to.
    pub chains: Vec<Chain>,
    /// Elements of sets and maps that several owners fill.
    pub elements: Vec<Element>,
}

/// A chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chain {
    /// Name in the table.
    pub name: String,
    /// Where packets enter it; absent for a chain that is only jumped to.
    pub hook: Option<Hook>,
    /// Its rules in order; absent: the chain must exist, its rules are another owner's.
    pub rules: Option<Vec<Rule>>,
    /// What becomes of it when its owner goes.
    pub removal: Removal,
}

/// What becomes of a chain or set when the owner that named it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Removal {
    /// Deleted.
    Delete,
    /// Deleted when nothing else jumps to it (a chain) or its chain of the same name goes (a set).
    Unused,
    /// Emptied, since others jump to it.
    Flush,
    /// Left alone: goes with the table.
    Keep,
    /// Left alone while others have anything in the table; then the table goes.
    Last,
}

/// Where and when packets enter a base chain, and what happens to those that reach its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    /// The place in the stack.
    pub point: HookPoint,
    /// Order among chains of one place.
    pub priority: i32,
    /// At the end of the chain.
    pub policy: Policy,
}

/// The place in the stack at which a base chain sees packets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HookPoint {
    /// netdev: frames that arrive on a link.
    Ingress(LinkName),
    /// netdev: frames that are about to leave on a link (kernel 5.16).
    Egress(LinkName),
    /// inet, type filter: before routing.
    Prerouting,
    /// inet, type filter: to this host.
    Input,
    /// inet, type filter: through this host.
    Forward,
    /// inet, type filter: from this host.
    Output,
    /// inet, type route: from this host; a changed mark makes the kernel route again.
    OutputRoute,
    /// inet, type filter: after routing.
    Postrouting,
    /// inet, type nat: source translation.
    PostroutingNat,
}

/// The verdict of a base chain on what reaches its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// The packet goes on.
    Accept,
    /// The packet ends here.
    Drop,
}

/// One rule: matches, then statements, in order.
pub type Rule = Vec<Expr>;

/// Something that can be read from a packet or its metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Field {
    /// `ether daddr`
    EtherDaddr,
    /// `ether saddr`
    EtherSaddr,
    /// The first two bytes of `ether daddr`: those of an identity's MAC are 02:e6.
    EtherDaddrPrefix,
    /// The last four bytes of `ether daddr` as a number: the identity of a frame to a gateway.
    EtherDaddrIdentity,
    /// The last two bytes of `ether saddr` as a number: the node id of a frame from a worker.
    EtherSaddrNode,
    /// `ether type`: what stands in the frame itself, never what is behind a VLAN tag.
    EtherType,
    /// `ip saddr` or `ip6 saddr`
    Saddr(Family),
    /// `ip daddr` or `ip6 daddr`
    Daddr(Family),
    /// The first byte of an IPv4 packet: its version, and the words of its header. 0x45 where there are
    /// no options.
    Ip4Start,
    /// The first eight bytes of `ip6 saddr`: those of a link-local address are `fe80::/64`.
    Ip6SaddrNetwork,
    /// `arp saddr ip`; match [`Field::EtherType`] first.
    ArpSender,
    /// `nd_na target`, and the first eight bytes of it; match [`Field::IcmpType`] first.
    NdTarget,
    /// See [`Field::NdTarget`].
    NdTargetNetwork,
    /// The type of an ICMP or `ICMPv6` message (`@th,0,8`); match [`Field::L4Proto`] first.
    IcmpType,
    /// `udp dport`; match [`Field::L4Proto`] first.
    UdpDport,
    /// Behind UDP and VXLAN header: the inner destination MAC (`@th,128,48`).
    InnerEtherDaddr,
    /// Behind UDP and VXLAN header: the inner source MAC (`@th,176,48`).
    InnerEtherSaddr,
    /// `meta iif`
    Iif,
    /// `meta iifname`
    IifName,
    /// `meta oifname`
    OifName,
    /// `meta nfproto`
    NfProto,
    /// `meta l4proto`
    L4Proto,
    /// `meta mark`
    Mark,
    /// `meta priority`
    Priority,
    /// `meta skuid`: all ones for a packet without a socket of this namespace.
    SkUid,
    /// `ct state`, a bit mask.
    CtState,
    /// `ct direction`
    CtDirection,
    /// `ct mark`
    CtMark,
    /// `ct original zone`
    CtOriginalZone,
    /// `fib daddr type`
    FibDaddrType,
    /// `fib saddr . iif oif`: the link on which the packet came if the source would be answered on
    /// it, otherwise 0.
    FibReversePath,
}

/// A constant to compare with or to store. The encoder gives it the byte order of its field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Constant {
    /// A number as wide as the field.
    Number(u32),
    /// An Ethernet address.
    Mac(MacAddr),
    /// Some bytes as they stand in the packet.
    Bytes(Vec<u8>),
    /// The name of a link, compared whole.
    Name(LinkName),
}

/// How a match compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Op {
    /// Equal; in the set.
    Is,
    /// Not equal; not in the set.
    IsNot,
}

/// One match or statement of a rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Expr {
    /// `field value`, `field != value`
    Match(Field, Op, Constant),
    /// `field & mask != 0`: one of these bits is set. For fields in host order.
    AnyBit(Field, u32),
    /// `part . part @set`, `... != @set`
    Lookup(Vec<Field>, Op, String),
    /// `part . part vmap @map`; without an element the rule ends and the next one is tried.
    VerdictMap(Vec<Field>, String),
    /// `target set value`
    SetConstant(Target, u32),
    /// `target set field`
    SetField(Target, Field),
    /// `target set target or bits`
    SetBits(Target, u32),
    /// Writes both MACs of a return frame: destination the node whose id is the packet mark (the
    /// rule ends when it is 0), source as told.
    ReturnMacs(ReturnSource),
    /// `fwd to link`: the frame leaves on the link with this index.
    Forward(IfIndex),
    /// `fwd to part . part map @map`; without an element the rule ends.
    ForwardMap(Vec<Field>, String),
    /// `snat ip to part . part map @map`; without an element the rule ends.
    SnatMap(Family, Vec<Field>, String),
    /// `add @set { ct mark . ct id & mask ct count limit }`: counts the flow under its mark and some
    /// bits of its number, which the kernel makes by a keyed hash; the rule goes on where no more
    /// than so many flows live there, and ends otherwise, also where the set is full. For the first
    /// packet of a flow.
    FlowsWithin(FlowLimit),
    /// `add @set { ct mark limit rate N/second burst N packets }`: the rule goes on within that rate,
    /// and ends otherwise, also where the set is full.
    RateWithin {
        /// The dynamic set that counts, with the key mark.
        set: String,
        /// Packets of a mark in a second, and at once.
        per_second: u32,
    },
    /// `update @set { ct id . ct mark }`: the number of the packet's flow, by which connection
    /// tracking lists and deletes it (`CTA_ID`), and its identity: another flow may get the number.
    NoteFlow(String),
    /// `notrack`
    NoTrack,
    /// `counter`
    Counter,
    /// `accept`
    Accept,
    /// `drop`
    Drop,
    /// `return`
    Return,
    /// `jump chain`
    Jump(String),
}

/// How many flows one connection mark may have, counted in buckets: a list of all its flows would
/// be walked for each new one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowLimit {
    /// The dynamic set that counts, with the keys mark and bucket.
    pub set: String,
    /// The bits of a flow's number that tell its bucket.
    pub mask: u32,
    /// Flows in one bucket.
    pub limit: u32,
}

/// Where the source MAC of a return frame comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReturnSource {
    /// The identity in the packet's priority; the rule ends when that is no identity (below 2^24).
    Priority,
    /// The MAC that all gateways share.
    Gateway,
}

/// Metadata that a statement writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// `meta mark`
    Mark,
    /// `meta priority`
    Priority,
    /// `meta pkttype`; 0 is "to this host".
    PktType,
    /// `ct mark`
    CtMark,
    /// `ct original zone`
    CtOriginalZone,
}

impl Chain {
    /// What is written into the chain's comment: chains with equal fingerprints have equal rules,
    /// so that one cheap read tells whether a chain is what it should be.
    pub fn fingerprint(&self) -> String {
        fingerprint(&(&self.hook, &self.rules))
    }
}

/// Sixteen hexadecimal digits of a hash over a value's JSON.
pub fn fingerprint<T: Serialize>(value: &T) -> String {
    // A value of this module always has a JSON form; an empty one would still be a valid name.
    let json = serde_json::to_vec(value).unwrap_or_default();
    Sha256::digest(json)
        .iter()
        .take(8)
        .fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}
