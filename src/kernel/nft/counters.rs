//! Reading the counters of a table's rules and of the elements of its sets, for status.

use egret_egress::nft::{DataType, Datum, TableFamily};

use super::element;
use super::error::Error;
use super::found;
use super::snapshot::Scope;
use super::socket::Socket;

/// The counter of one rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counter {
    /// The rule's chain.
    pub chain: String,
    /// Its place among the chain's rules, from 0.
    pub rule: usize,
    /// Packets that came to it.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// The counter of one element of a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ElementCounter {
    /// The parts of the element's key.
    pub key: Vec<Datum>,
    /// Packets that found it.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Socket {
    /// The counters of all rules of a table that have one, chain by chain in order; none if there
    /// is no such table.
    pub(crate) fn counters(
        &mut self,
        family: TableFamily,
        table: &str,
    ) -> Result<Vec<Counter>, Error> {
        let mut counters = Vec::new();
        let (mut chain, mut place) = (String::new(), 0);
        for rule in (Scope { family, table }).all_rules(self)? {
            place = if rule.chain == chain { place + 1 } else { 0 };
            chain.clone_from(&rule.chain);
            if let Some((packets, bytes)) = rule.counter() {
                counters.push(Counter { chain: rule.chain, rule: place, packets, bytes });
            }
        }
        Ok(counters)
    }

    /// The counters of the elements of a set whose keys are of these types; none if there is no such
    /// set.
    pub(crate) fn element_counters(
        &mut self,
        (family, table): (TableFamily, &str),
        set: &str,
        kinds: &[DataType],
    ) -> Result<Vec<ElementCounter>, Error> {
        let elements = Scope { family, table }.elements(self, set)?;
        let counter = |element: &found::Element| {
            let (packets, bytes) = element.counter?;
            Some(ElementCounter { key: element::parts(&element.pair.key, kinds)?, packets, bytes })
        };
        Ok(elements.iter().filter_map(counter).collect())
    }

    /// The keys of a set whose parts are of these types, counted or not; none if there is no such set.
    pub(crate) fn element_keys(
        &mut self,
        (family, table): (TableFamily, &str),
        set: &str,
        kinds: &[DataType],
    ) -> Result<Vec<Vec<Datum>>, Error> {
        let elements = Scope { family, table }.elements(self, set)?;
        let key = |element: &found::Element| element::parts(&element.pair.key, kinds);
        Ok(elements.iter().filter_map(key).collect())
    }

    /// Whether there is a table of this name, whoever made it.
    pub(crate) fn table_exists(&mut self, family: TableFamily, table: &str) -> Result<bool, Error> {
        let answers = self.ask(vec![Scope { family, table }.table()])?;
        Ok(answers.iter().flatten().next().is_some())
    }
}
