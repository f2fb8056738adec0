//! The bytes of one transaction. Each method adds one message about one object; the caller knows
//! what is there and what is not.

use egret_egress::nft::{Chain, Content, Hook, HookPoint, Policy, Set, TableFamily, ValueType};
use egret_types::ours::NFT_OWNER;
use netlink_packet_core::{
    DefaultNla, Emitable, NLM_F_ACK, NLM_F_APPEND, NLM_F_CREATE, NLM_F_REQUEST,
};
use netlink_packet_netfilter::nftables::{
    ChainAttribute, ChainMessage, DevHookNumber, Hook as HookAttribute, HookNumber, InetHookNumber,
    NfTablesMessage, RuleAttribute, RuleMessage, SetAttribute, SetElementList, SetElementMessage,
    SetFlags, SetMessage, TableAttribute, TableMessage,
};
use netlink_packet_netfilter::none::ControlMessage;
use netlink_packet_netfilter::{NetfilterHeader, NetfilterMessage, NetfilterProtoFamily};

use super::attribute::attributes;
use super::element::{self, ElementNla};
use super::expression::Expression;
use super::socket::{append, append_netfilter};

/// For which part of nfnetlink a batch is.
const NFNL_SUBSYS_NFTABLES: u16 = 10;
const NFNL_MSG_BATCH_BEGIN: u8 = 16;
/// "Only if the ruleset is still of this generation" (kernel 4.12).
const NFNL_BATCH_GENID: u16 = 1;
/// A list of elements is one attribute, whose length has 16 bits.
const LIST_BYTES: usize = 60_000;
/// More elements than this in one message the kernel need not take.
const LIST_ELEMENTS: usize = 1000;
/// Place of the flags in a netlink header.
const FLAGS: std::ops::Range<usize> = 6..8;
/// nft's user data: a comment of a table, chain or rule.
const UDATA_COMMENT: u8 = 0;

/// A transaction that is being written.
pub(super) struct Batch {
    bytes: Vec<u8>,
    first: u32,
    /// Where each message starts, and what it tries on which object. The first begins the batch.
    messages: Vec<(usize, String)>,
}

/// A place in a batch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark {
    bytes: usize,
    messages: usize,
}

/// A whole transaction.
pub(super) struct Sent {
    pub(super) bytes: Vec<u8>,
    first: u32,
    messages: Vec<(usize, String)>,
}

/// The table that messages are about.
pub(super) struct Table<'a> {
    pub(super) family: TableFamily,
    pub(super) name: &'a str,
    pub(super) batch: &'a mut Batch,
}

impl Batch {
    /// Sequence numbers from `first` on are the batch's.
    pub(super) fn new(first: u32, generation: u32) -> Self {
        let mut batch = Self { bytes: Vec::with_capacity(4096), first, messages: Vec::new() };
        let id = DefaultNla::new(NFNL_BATCH_GENID, generation.to_be_bytes().to_vec());
        let begin =
            ControlMessage::Other { message_type: NFNL_MSG_BATCH_BEGIN, attributes: vec![id] };
        batch.messages.push((0, "begin a transaction".to_owned()));
        append_netfilter(&mut batch.bytes, NLM_F_REQUEST, first, control(begin));
        batch
    }

    /// Sequence numbers a batch may use.
    pub(super) const SEQUENCES: u32 = 1 << 20;

    pub(super) fn mark(&self) -> Mark {
        Mark { bytes: self.bytes.len(), messages: self.messages.len() }
    }

    /// Whether something was added before `mark`.
    pub(super) fn has_messages_before(mark: Mark) -> bool {
        mark.messages > 1
    }

    /// Takes back what was added after `mark`.
    pub(super) fn truncate(&mut self, mark: Mark) {
        self.bytes.truncate(mark.bytes);
        self.messages.truncate(mark.messages);
    }

    fn next_sequence(&self) -> u32 {
        let count = u32::try_from(self.messages.len()).unwrap_or(u32::MAX);
        self.first.wrapping_add(count)
    }

    fn push(&mut self, family: TableFamily, flags: u16, message: NfTablesMessage, label: String) {
        let sequence = self.next_sequence();
        self.messages.push((self.bytes.len(), label));
        append(&mut self.bytes, NLM_F_REQUEST | flags, sequence, protocol(family), message);
    }

    /// The bytes to send; `None` if nothing was added.
    pub(super) fn finish(mut self) -> Option<Sent> {
        if self.messages.len() < 2 {
            return None;
        }
        // Errors come unasked; the last message alone is acknowledged.
        let (last, _) = self.messages.last()?;
        let flags = self.bytes.get_mut(*last..)?.get_mut(FLAGS)?;
        let asked = u16::from_ne_bytes([flags[0], flags[1]]) | NLM_F_ACK;
        flags.copy_from_slice(&asked.to_ne_bytes());
        let sequence = self.next_sequence();
        append_netfilter(
            &mut self.bytes,
            NLM_F_REQUEST,
            sequence,
            control(ControlMessage::BatchEnd),
        );
        self.messages.push((self.bytes.len(), "commit a transaction".to_owned()));
        Some(Sent { bytes: self.bytes, first: self.first, messages: self.messages })
    }
}

impl Sent {
    /// Which message of this batch has this sequence number.
    pub(super) fn index_of(&self, sequence: u32) -> Option<usize> {
        let index = sequence.wrapping_sub(self.first) as usize;
        (index < self.messages.len()).then_some(index)
    }

    /// The last message about an object.
    pub(super) fn last(&self) -> usize {
        self.messages.len().saturating_sub(2)
    }

    pub(super) fn operation(&self, index: usize) -> String {
        self.messages.get(index).map(|(_, operation)| operation.clone()).unwrap_or_default()
    }

    /// The attribute at this offset of a message.
    pub(super) fn attribute_at(&self, index: usize, offset: usize) -> Option<(u16, Vec<u8>)> {
        let (start, _) = self.messages.get(index)?;
        let (kind, value) = attributes(self.bytes.get(start + offset..)?).next()?;
        Some((kind, value.to_vec()))
    }
}

impl Table<'_> {
    fn push(&mut self, flags: u16, message: NfTablesMessage, verb: &str, name: &str) {
        let label = format!("{verb} {} {} {name}", self.family, self.name);
        self.batch.push(self.family, flags, message, label.trim_end().to_owned());
    }

    pub(super) fn add(&mut self) {
        let attributes = vec![
            TableAttribute::Name(self.name.to_owned()),
            TableAttribute::UserData(comment(NFT_OWNER)),
        ];
        let message = NfTablesMessage::NewTable(TableMessage { attributes });
        self.push(NLM_F_CREATE, message, "add table", "");
    }

    /// Deletes the table with all that is in it.
    pub(super) fn delete(&mut self) {
        let attributes = vec![TableAttribute::Name(self.name.to_owned())];
        let message = NfTablesMessage::DeleteTable(TableMessage { attributes });
        self.push(0, message, "delete table", "");
    }

    pub(super) fn add_set(&mut self, set: &Set) {
        let shape = element::Shape::of(set);
        let mut flags = SetFlags::empty();
        if matches!(set.content, Content::Ranges(_)) {
            flags |= SetFlags::Interval;
        }
        if set.value != ValueType::None {
            flags |= SetFlags::Map;
        }
        let mut attributes = vec![
            SetAttribute::Table(self.name.to_owned()),
            SetAttribute::Name(set.name.clone()),
            SetAttribute::Flags(flags),
            SetAttribute::KeyType(shape.key_type),
            SetAttribute::KeyLen(shape.key_len),
            // Mandatory, and unique in the batch.
            SetAttribute::Id(self.batch.next_sequence()),
        ];
        if let Some((kind, len)) = shape.value {
            attributes.extend([SetAttribute::DataType(kind), SetAttribute::DataLen(len)]);
        }
        attributes.push(SetAttribute::UserData(element::byte_orders(set)));
        let message = NfTablesMessage::NewSet(SetMessage { attributes });
        self.push(NLM_F_CREATE, message, "add set", &set.name);
    }

    pub(super) fn delete_set(&mut self, name: &str) {
        let attributes =
            vec![SetAttribute::Table(self.name.to_owned()), SetAttribute::Name(name.to_owned())];
        let message = NfTablesMessage::DeleteSet(SetMessage { attributes });
        self.push(0, message, "delete set", name);
    }

    /// Deletes all elements of a set.
    pub(super) fn flush_set(&mut self, name: &str) {
        let attributes =
            vec![SetElementList::Table(self.name.to_owned()), SetElementList::Set(name.to_owned())];
        let message = NfTablesMessage::DeleteSetElement(SetElementMessage { attributes });
        self.push(0, message, "flush set", name);
    }

    pub(super) fn add_elements(&mut self, set: &str, elements: Vec<ElementNla>) {
        for list in lists(elements) {
            let message = NfTablesMessage::NewSetElement(element_list(self.name, set, list));
            self.push(NLM_F_CREATE, message, "add elements to", set);
        }
    }

    pub(super) fn delete_elements(&mut self, set: &str, elements: Vec<ElementNla>) {
        for list in lists(elements) {
            let message = NfTablesMessage::DeleteSetElement(element_list(self.name, set, list));
            self.push(0, message, "delete elements of", set);
        }
    }

    /// The comment is written only here: the kernel does not change that of a chain that is there.
    pub(super) fn add_chain(&mut self, chain: &Chain) {
        let mut attributes = self.chain(&chain.name);
        if let Some(hook) = &chain.hook {
            attributes.extend([
                ChainAttribute::Hook(hook_attributes(hook)),
                ChainAttribute::Type(chain_type(&hook.point).to_owned()),
                ChainAttribute::Policy(policy_number(hook.policy)),
            ]);
        }
        if chain.rules.is_some() {
            attributes.push(ChainAttribute::UserData(comment(&chain.fingerprint())));
        }
        let message = NfTablesMessage::NewChain(ChainMessage { attributes });
        self.push(NLM_F_CREATE, message, "add chain", &chain.name);
    }

    /// Changes the policy of a base chain that is there.
    pub(super) fn set_policy(&mut self, name: &str, policy: Policy) {
        let mut attributes = self.chain(name);
        attributes.push(ChainAttribute::Policy(policy_number(policy)));
        let message = NfTablesMessage::NewChain(ChainMessage { attributes });
        self.push(0, message, "set policy of chain", name);
    }

    /// Deletes a chain with its rules.
    pub(super) fn delete_chain(&mut self, name: &str) {
        let attributes = self.chain(name);
        let message = NfTablesMessage::DeleteChain(ChainMessage { attributes });
        self.push(0, message, "delete chain", name);
    }

    /// Deletes the rules of a chain, which may have none.
    pub(super) fn flush_chain(&mut self, name: &str) {
        let attributes =
            vec![RuleAttribute::Table(self.name.to_owned()), RuleAttribute::Chain(name.to_owned())];
        let message = NfTablesMessage::DeleteRule(RuleMessage { attributes });
        self.push(0, message, "flush chain", name);
    }

    pub(super) fn add_rule(&mut self, chain: &str, expressions: Vec<Expression>) {
        let attributes = vec![
            RuleAttribute::Table(self.name.to_owned()),
            RuleAttribute::Chain(chain.to_owned()),
            RuleAttribute::Expressions(expressions),
        ];
        let message = NfTablesMessage::NewRule(RuleMessage { attributes });
        self.push(NLM_F_CREATE | NLM_F_APPEND, message, "add rule to chain", chain);
    }

    fn chain(&self, name: &str) -> Vec<ChainAttribute> {
        vec![ChainAttribute::Table(self.name.to_owned()), ChainAttribute::Name(name.to_owned())]
    }
}

/// The family of the messages about a table.
pub(super) fn protocol(family: TableFamily) -> NetfilterProtoFamily {
    match family {
        TableFamily::Netdev => NetfilterProtoFamily::NetDev,
        TableFamily::Inet => NetfilterProtoFamily::Inet,
    }
}

/// A message about elements of a set; also the question for one.
pub(super) fn element_list(table: &str, set: &str, elements: Vec<ElementNla>) -> SetElementMessage {
    let attributes = vec![
        SetElementList::Table(table.to_owned()),
        SetElementList::Set(set.to_owned()),
        SetElementList::Elements(elements),
    ];
    SetElementMessage { attributes }
}

/// `NF_DROP` and `NF_ACCEPT`.
pub(super) fn policy_number(policy: Policy) -> u32 {
    match policy {
        Policy::Drop => 0,
        Policy::Accept => 1,
    }
}

/// What a chain of this hook is for, as the kernel calls it.
pub(super) fn chain_type(point: &HookPoint) -> &'static str {
    match point {
        HookPoint::OutputRoute => "route",
        HookPoint::PostroutingNat => "nat",
        _ => "filter",
    }
}

/// Number of the hook in its family.
pub(super) fn hook_number(point: &HookPoint) -> HookNumber {
    match point {
        HookPoint::Ingress(_) => DevHookNumber::Ingress.into(),
        HookPoint::Egress(_) => DevHookNumber::Egress.into(),
        HookPoint::Prerouting => InetHookNumber::PreRouting.into(),
        HookPoint::Input => InetHookNumber::LocalIn.into(),
        HookPoint::Forward => InetHookNumber::Forward.into(),
        HookPoint::Output | HookPoint::OutputRoute => InetHookNumber::LocalOut.into(),
        HookPoint::Postrouting | HookPoint::PostroutingNat => InetHookNumber::PostRouting.into(),
    }
}

fn hook_attributes(hook: &Hook) -> Vec<HookAttribute> {
    let mut attributes = vec![
        HookAttribute::Number(hook_number(&hook.point)),
        HookAttribute::Priority(hook.priority.cast_unsigned()),
    ];
    if let HookPoint::Ingress(link) | HookPoint::Egress(link) = &hook.point {
        attributes.push(HookAttribute::NetDeviceName(link.as_str().to_owned()));
    }
    attributes
}

fn control(message: ControlMessage) -> NetfilterMessage {
    let header = NetfilterHeader::new(NetfilterProtoFamily::Unspec, 0, NFNL_SUBSYS_NFTABLES);
    NetfilterMessage::new(header, message)
}

/// A comment as nft writes it: kind, length, text with NUL. Ours are short.
fn comment(text: &str) -> Vec<u8> {
    let mut bytes = vec![UDATA_COMMENT, u8::try_from(text.len() + 1).unwrap_or(u8::MAX)];
    bytes.extend_from_slice(text.as_bytes());
    bytes.push(0);
    bytes
}

/// Elements in lists that fit one attribute each.
fn lists(elements: Vec<ElementNla>) -> Vec<Vec<ElementNla>> {
    let mut lists: Vec<Vec<ElementNla>> = Vec::new();
    let mut room = 0;
    for element in elements {
        let length = element.buffer_len();
        match lists.last_mut() {
            Some(list) if length <= room && list.len() < LIST_ELEMENTS => {
                room -= length;
                list.push(element);
            }
            _ => {
                room = LIST_BYTES.saturating_sub(length);
                lists.push(vec![element]);
            }
        }
    }
    lists
}
