//! Messages that change the objects of one table. Each method adds one to a transaction; the caller
//! knows what is there and what is not.

use egret_egress::nft::{Capacity, Chain, Content, Count, Set, TableFamily, ValueType};
use egret_types::ours::NFT_OWNER;
use netlink_packet_core::{DefaultNla, Emitable, NLM_F_APPEND, NLM_F_CREATE};
use netlink_packet_netfilter::nftables::{
    ChainAttribute, ChainMessage, NfTablesMessage, RuleAttribute, RuleMessage, SetAttribute,
    SetDescription, SetElementList, SetElementMessage, SetFlags, SetMessage, TableAttribute,
    TableMessage,
};

use super::batch::Batch;
use super::element::{self, ElementNla};
use super::expression::{Expression, element_counter};
use super::found;
use super::hook::Hook;

/// A list of elements is one attribute, whose length has 16 bits.
const LIST_BYTES: usize = 60_000;
/// More elements than this in one message the kernel need not take.
const LIST_ELEMENTS: usize = 1000;
/// nft's user data: a comment of a table, chain or rule.
const UDATA_COMMENT: u8 = 0;

/// The table that messages are about.
pub(super) struct Table<'a> {
    pub(super) family: TableFamily,
    pub(super) name: &'a str,
    pub(super) batch: &'a mut Batch,
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
        if let Content::Dynamic(capacity) = set.content {
            flags |= SetFlags::Eval;
            if capacity.seconds.is_some() {
                flags |= SetFlags::Timeout;
            }
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
        if let Content::Dynamic(Capacity { size, seconds }) = set.content {
            attributes.push(SetAttribute::Description(vec![SetDescription::Size(size)]));
            attributes.extend(seconds.map(|it| SetAttribute::Timeout(u64::from(it) * 1000)));
        }
        if set.count == Count::Packets {
            let counter = DefaultNla::new(found::SET_EXPRESSION, element_counter());
            attributes.push(SetAttribute::Other(counter));
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
            attributes.extend(Hook::from(hook).attributes());
        }
        if chain.rules.is_some() {
            attributes.push(ChainAttribute::UserData(comment(&chain.fingerprint())));
        }
        let message = NfTablesMessage::NewChain(ChainMessage { attributes });
        self.push(NLM_F_CREATE, message, "add chain", &chain.name);
    }

    /// Changes the policy of a base chain that is there.
    pub(super) fn set_policy(&mut self, name: &str, hook: &Hook) {
        let mut attributes = self.chain(name);
        attributes.push(ChainAttribute::Policy(hook.policy));
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

/// A message about elements of a set; also the question for one.
pub(super) fn element_list(table: &str, set: &str, elements: Vec<ElementNla>) -> SetElementMessage {
    let attributes = vec![
        SetElementList::Table(table.to_owned()),
        SetElementList::Set(set.to_owned()),
        SetElementList::Elements(elements),
    ];
    SetElementMessage { attributes }
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
