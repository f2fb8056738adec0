//! Reading the counters of a table's rules, for status.

use egret_egress::nft::TableFamily;

use super::error::Error;
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

    /// Whether there is a table of this name, whoever made it.
    pub(crate) fn table_exists(&mut self, family: TableFamily, table: &str) -> Result<bool, Error> {
        let answers = self.ask(vec![Scope { family, table }.table()])?;
        Ok(answers.iter().flatten().next().is_some())
    }
}
