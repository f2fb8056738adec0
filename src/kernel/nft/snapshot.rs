//! Everything that a ruleset names, as the kernel has it, with the generation under which it was
//! read; and the questions about single objects and lists.

use egret_egress::nft::{Ruleset, TableFamily};
use egret_types::ours::NFT_OWNER;
use netlink_packet_netfilter::NetfilterProtoFamily;
use netlink_packet_netfilter::nftables::{
    ChainAttribute, ChainMessage, GenMessage, NfTablesMessage, RuleAttribute, RuleMessage,
    SetAttribute, SetElementList, SetElementMessage, SetMessage, TableAttribute, TableMessage,
};

use super::attribute::{attribute, be32};
use super::batch::{Batch, protocol};
use super::bytecode;
use super::element::{Pair, RawValue};
use super::error::Error;
use super::found;
use super::socket::{Question, Socket};
use super::table::{Table, element_list};

/// What of a ruleset is there. The lists are parallel to the ruleset's.
pub(super) struct Snapshot {
    pub(super) generation: u32,
    pub(super) table: Option<found::Table>,
    pub(super) sets: Vec<Option<found::Set>>,
    pub(super) chains: Vec<Option<found::Chain>>,
    /// Value of each element's key.
    pub(super) elements: Vec<Option<RawValue>>,
    /// Each element as it should be.
    pub(super) wanted: Vec<Pair>,
}

impl Snapshot {
    /// One send, whatever the ruleset names. The generation is asked first: what is written under
    /// it is refused if anything was changed after that.
    pub(super) fn read(socket: &mut Socket, ruleset: &Ruleset) -> Result<Self, Error> {
        let at = Scope::of(ruleset);
        let wanted: Vec<Pair> =
            ruleset.elements.iter().map(|element| Pair::from(&element.entry)).collect();
        let mut questions = vec![generation(), at.table()];
        questions.extend(ruleset.sets.iter().map(|set| at.set(&set.name)));
        questions.extend(ruleset.chains.iter().map(|chain| at.chain(&chain.name)));
        let elements = ruleset.elements.iter().zip(&wanted);
        questions.extend(elements.map(|(element, pair)| at.element(&element.set, pair)));
        let mut answers = socket.ask(questions)?.into_iter();
        let generation = generation_of(answers.next().flatten())?;
        let mut answers = answers.map(|answer| answer.filter(|bytes| !bytes.is_empty()));
        Ok(Self {
            generation,
            table: answers.next().flatten().map(|bytes| found::Table::from(bytes.as_slice())),
            sets: answers
                .by_ref()
                .take(ruleset.sets.len())
                .map(|answer| answer.map(|bytes| found::Set::from(bytes.as_slice())))
                .collect(),
            chains: answers
                .by_ref()
                .take(ruleset.chains.len())
                .map(|answer| answer.map(|bytes| found::Chain::from(bytes.as_slice())))
                .collect(),
            elements: answers
                .map(|answer| {
                    let element = found::elements(&answer?).pop()?;
                    Some(element.pair.value)
                })
                .collect(),
            wanted,
        })
    }

    /// How it shows that somebody else has a table of this name: ours has our comment, which every
    /// kernel that has what Egret needs (5.10) keeps.
    pub(super) fn stranger(&self) -> Option<String> {
        match self.table.as_ref()?.comment.as_deref() {
            Some(NFT_OWNER) => None,
            Some(comment) => Some(format!("its comment is {comment:?}, should be {NFT_OWNER:?}")),
            None => Some(format!("its comment is absent, should be {NFT_OWNER:?}")),
        }
    }

    /// An empty batch under the generation of this snapshot.
    pub(super) fn batch(&self, socket: &mut Socket) -> Batch {
        Batch::new(socket.take_sequence(Batch::SEQUENCES), self.generation)
    }
}

/// The table that questions are about.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scope<'a> {
    pub(super) family: TableFamily,
    pub(super) table: &'a str,
}

impl<'a> Scope<'a> {
    pub(super) fn of(ruleset: &'a Ruleset) -> Self {
        Self { family: ruleset.family, table: &ruleset.table }
    }

    /// `set netdev egret nodes`
    pub(super) fn name(self, kind: &str, name: &str) -> String {
        format!("{kind} {} {} {name}", self.family, self.table)
    }

    /// The same table, to write to it.
    pub(super) fn writer(self, batch: &'a mut Batch) -> Table<'a> {
        Table { family: self.family, name: self.table, batch }
    }

    fn question(self, message: NfTablesMessage, kind: &str, name: &str) -> Question {
        Question { family: protocol(self.family), message, object: self.name(kind, name) }
    }

    pub(super) fn table(self) -> Question {
        let attributes = vec![TableAttribute::Name(self.table.to_owned())];
        let message = NfTablesMessage::GetTable(TableMessage { attributes });
        self.question(message, "table", "")
    }

    pub(super) fn set(self, name: &str) -> Question {
        let attributes =
            vec![SetAttribute::Table(self.table.to_owned()), SetAttribute::Name(name.to_owned())];
        self.question(NfTablesMessage::GetSet(SetMessage { attributes }), "set", name)
    }

    pub(super) fn chain(self, name: &str) -> Question {
        let attributes = vec![
            ChainAttribute::Table(self.table.to_owned()),
            ChainAttribute::Name(name.to_owned()),
        ];
        self.question(NfTablesMessage::GetChain(ChainMessage { attributes }), "chain", name)
    }

    /// One rule of a chain by its handle.
    pub(super) fn rule(self, chain: &str, handle: u64) -> Question {
        let attributes = vec![
            RuleAttribute::Table(self.table.to_owned()),
            RuleAttribute::Chain(chain.to_owned()),
            RuleAttribute::Handle(handle),
        ];
        self.question(NfTablesMessage::GetRule(RuleMessage { attributes }), "rule of chain", chain)
    }

    fn element(self, set: &str, pair: &Pair) -> Question {
        let list = element_list(self.table, set, vec![pair.key_element()]);
        self.question(NfTablesMessage::GetSetElement(list), "element of set", set)
    }

    /// The rules of one chain in order.
    pub(super) fn rules(
        self,
        socket: &mut Socket,
        chain: &str,
    ) -> Result<Vec<bytecode::Rule>, Error> {
        let attributes = || {
            vec![
                RuleAttribute::Table(self.table.to_owned()),
                RuleAttribute::Chain(chain.to_owned()),
            ]
        };
        self.list_rules(socket, attributes, chain)
    }

    /// The rules of all chains of the table, chain by chain in order.
    pub(super) fn all_rules(self, socket: &mut Socket) -> Result<Vec<bytecode::Rule>, Error> {
        let attributes = || vec![RuleAttribute::Table(self.table.to_owned())];
        self.list_rules(socket, attributes, "")
    }

    fn list_rules(
        self,
        socket: &mut Socket,
        attributes: impl Fn() -> Vec<RuleAttribute>,
        chain: &str,
    ) -> Result<Vec<bytecode::Rule>, Error> {
        let list = socket.dump(|| {
            let message = NfTablesMessage::GetRule(RuleMessage { attributes: attributes() });
            self.question(message, "rules of", chain)
        })?;
        Ok(list.iter().map(|bytes| bytecode::Rule::from(bytes.as_slice())).collect())
    }

    /// All elements of a set.
    pub(super) fn elements(
        self,
        socket: &mut Socket,
        set: &str,
    ) -> Result<Vec<found::Element>, Error> {
        let list = socket.dump(|| {
            let attributes = vec![
                SetElementList::Table(self.table.to_owned()),
                SetElementList::Set(set.to_owned()),
            ];
            let message = NfTablesMessage::GetSetElement(SetElementMessage { attributes });
            self.question(message, "elements of set", set)
        })?;
        Ok(list.iter().flat_map(|bytes| found::elements(bytes)).collect())
    }
}

/// Asks for the generation of the namespace's ruleset, which every transaction raises.
pub(super) fn generation() -> Question {
    Question {
        family: NetfilterProtoFamily::Unspec,
        message: NfTablesMessage::GetGen(GenMessage { attributes: Vec::new() }),
        object: "the generation of the ruleset".to_owned(),
    }
}

/// The answer to [`generation`]. 0 is none, and would be no condition for a transaction.
pub(super) fn generation_of(answer: Option<Vec<u8>>) -> Result<u32, Error> {
    const ID: u16 = 1;
    answer
        .and_then(|bytes| attribute(&bytes, ID).map(be32))
        .filter(|generation| *generation != 0)
        .ok_or_else(|| Error::Read {
            object: generation().object,
            source: std::io::ErrorKind::InvalidData.into(),
        })
}
