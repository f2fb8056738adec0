//! Removing a ruleset: whatever of it is left, and nothing that others have put in its place or
//! still use.

use std::collections::{BTreeMap, BTreeSet};

use egret_egress::nft::{Datum, Element, Expr, Removal, Ruleset, Set, Value, ValueType};

use super::batch::Batch;
use super::bytecode;
use super::element::{Pair, RawValue};
use super::error::Error;
use super::found;
use super::snapshot::{Scope, Snapshot};
use super::socket::{Next, Plan, Socket};
use super::table::Table;

/// How often that which a transaction removes jumps to which chain.
pub(super) type Going = BTreeMap<String, u32>;

impl Socket {
    /// Removes what the ruleset's owner has in the table.
    pub(crate) fn remove(&mut self, ruleset: &Ruleset) -> Result<(), Error> {
        let object = Scope::of(ruleset).name("table", "");
        self.transact(object.trim_end(), |socket| plan(socket, ruleset))
    }
}

fn plan(socket: &mut Socket, ruleset: &Ruleset) -> Result<Plan, Error> {
    let at = Scope::of(ruleset);
    let found = Snapshot::read(socket, ruleset)?;
    let mut batch = found.batch(socket);
    let next = Next::Done;
    if found.table.is_none() || found.stranger().is_some() {
        return Ok(Plan { batch, next });
    }
    if names_nothing(ruleset) || is_all_of_table(ruleset, &found) {
        at.writer(&mut batch).delete();
        return Ok(Plan { batch, next });
    }
    let mut going = plan_elements(&mut at.writer(&mut batch), ruleset, &found);
    plan_verdict_maps(socket, ruleset, &found, (&mut batch, &mut going))?;
    plan_ways_to(socket, ruleset, &found, (&mut batch, &mut going))?;
    release(socket, ruleset, &mut batch, &going)?;
    plan_chains(socket, ruleset, &found, (&mut batch, &mut going))?;
    for (set, present) in ruleset.sets.iter().zip(&found.sets) {
        if set.removal == Removal::Delete && present.is_some() {
            at.writer(&mut batch).delete_set(&set.name);
        }
    }
    Ok(Plan { batch, next })
}

/// The table itself is meant, whatever is in it.
fn names_nothing(ruleset: &Ruleset) -> bool {
    let Ruleset { sets, chains, elements, .. } = ruleset;
    sets.is_empty() && chains.is_empty() && elements.is_empty()
}

/// Whether the table holds nothing but what goes: of what others could use, nobody has anything that
/// uses it.
fn is_all_of_table(ruleset: &Ruleset, found: &Snapshot) -> bool {
    let mut removals = ruleset
        .chains
        .iter()
        .map(|chain| chain.removal)
        .chain(ruleset.sets.iter().map(|set| set.removal));
    let ours = found.chains.iter().flatten().count() + found.sets.iter().flatten().count();
    !ruleset.chains.is_empty()
        && removals.all(|removal| removal != Removal::Keep && removal != Removal::Flush)
        && found.table.as_ref().is_some_and(|table| table.uses as usize == ours)
}

/// Deletes the elements that still have the owner's value. What the key calls by the number of the
/// owner's link is the owner's wherever it leads by now; an address may be another's by now.
fn plan_elements(table: &mut Table<'_>, ruleset: &Ruleset, found: &Snapshot) -> Going {
    let mut gone = Vec::new();
    let mut keys = BTreeSet::new();
    let elements = ruleset.elements.iter().zip(&found.wanted).zip(&found.elements);
    for ((element, wanted), found) in elements {
        let is_emptied = |set: &Set| set.name == element.set && is_emptied(set);
        // The kernel refuses to delete one key twice.
        if ruleset.sets.iter().any(is_emptied) || !keys.insert((&element.set, &wanted.key)) {
            continue;
        }
        match (found, &wanted.value) {
            (Some(value @ RawValue::Jump(_)), wanted @ RawValue::Jump(_))
                if value == wanted || names_a_link(element) =>
            {
                gone.push(value);
            }
            (Some(found), wanted) if found == wanted => {}
            _ => continue,
        }
        table.delete_elements(&element.set, vec![wanted.key_element()]);
    }
    let mut going = Going::new();
    count_jumps(&mut going, gone.into_iter());
    going
}

fn names_a_link(element: &Element) -> bool {
    element.entry.key.iter().any(|datum| matches!(datum, Datum::IfIndex(_)))
}

/// Deletes what leads to a chain that goes, out of the maps that others fill as well, where the
/// ruleset does not name it: whoever lost the record of an owner knows its chain, not its elements.
fn plan_ways_to(
    socket: &mut Socket,
    ruleset: &Ruleset,
    found: &Snapshot,
    (batch, going): (&mut Batch, &mut Going),
) -> Result<(), Error> {
    let at = Scope::of(ruleset);
    for (chain, present) in ruleset.chains.iter().zip(&found.chains) {
        // An estimate, since to list rules is dear: the rules it should have.
        let rules = chain.rules.as_ref().map_or(0, Vec::len);
        let known = rules + going.get(&chain.name).copied().unwrap_or_default() as usize;
        let more = present.as_ref().is_some_and(|present| present.uses as usize > known);
        if chain.removal != Removal::Delete || chain.hook.is_some() || !more {
            continue;
        }
        let maps = ruleset.sets.iter().zip(&found.sets).filter(|(set, present)| {
            set.value == ValueType::Verdict && !is_emptied(set) && present.is_some()
        });
        for (map, _) in maps {
            let mut ways = at.elements(socket, &map.name)?;
            ways.retain(|way| way.pair.value == RawValue::Jump(chain.name.clone()));
            ways.retain(|way| !names(ruleset, map, &way.pair.key));
            count_jumps(going, ways.iter().map(|way| &way.pair.value));
            let keys = ways.iter().map(|way| way.pair.key_element()).collect();
            at.writer(batch).delete_elements(&map.name, keys);
        }
    }
    Ok(())
}

/// The ruleset has an element with this key, which has been dealt with.
fn names(ruleset: &Ruleset, map: &Set, key: &[u8]) -> bool {
    let named = ruleset.elements.iter().filter(|element| element.set == map.name);
    named.map(|element| Pair::from(&element.entry)).any(|pair| pair.key == key)
}

/// Empties the verdict maps that go, so that the chains they lead to can go before them.
fn plan_verdict_maps(
    socket: &mut Socket,
    ruleset: &Ruleset,
    found: &Snapshot,
    (batch, going): (&mut Batch, &mut Going),
) -> Result<(), Error> {
    let at = Scope::of(ruleset);
    for (set, present) in ruleset.sets.iter().zip(&found.sets) {
        if !is_emptied(set) || present.is_none() {
            continue;
        }
        let elements = at.elements(socket, &set.name)?;
        if !elements.is_empty() {
            count_jumps(going, elements.iter().map(|element| &element.pair.value));
            at.writer(batch).flush_set(&set.name);
        }
    }
    Ok(())
}

fn is_emptied(set: &Set) -> bool {
    set.removal == Removal::Delete && set.value == ValueType::Verdict
}

/// Adds the jumps of elements that are removed.
pub(super) fn count_jumps<'a>(going: &mut Going, values: impl Iterator<Item = &'a RawValue>) {
    for value in values {
        if let RawValue::Jump(chain) = value {
            *going.entry(chain.clone()).or_default() += 1;
        }
    }
}

fn plan_chains(
    socket: &mut Socket,
    ruleset: &Ruleset,
    found: &Snapshot,
    (batch, going): (&mut Batch, &mut Going),
) -> Result<(), Error> {
    let at = Scope::of(ruleset);
    // A chain stands after those that it jumps to, so the last goes first.
    for (chain, present) in ruleset.chains.iter().zip(&found.chains).rev() {
        let Some(present) = present else {
            if chain.removal == Removal::Unused {
                delete_set_of(&mut at.writer(batch), ruleset, found, &chain.name);
            }
            continue;
        };
        if matches!(chain.removal, Removal::Keep | Removal::Last) {
            continue;
        }
        let rules = at.rules(socket, &chain.name)?;
        let uses = going.get(&chain.name).copied().unwrap_or_default();
        let mut table = at.writer(batch);
        match (chain.removal, is_last_use(present, &rules, uses)) {
            (Removal::Delete, true) => table.delete_chain(&chain.name),
            (Removal::Unused, true) => {
                table.delete_chain(&chain.name);
                delete_set_of(&mut table, ruleset, found, &chain.name);
            }
            // Something of others jumps to a chain that goes: it finds no rules.
            (Removal::Delete, false) | (Removal::Flush, _) if !rules.is_empty() => {
                table.flush_chain(&chain.name);
            }
            _ => continue,
        }
        for chain in rules.iter().flat_map(bytecode::Rule::jumps) {
            *going.entry(chain).or_default() += 1;
        }
    }
    Ok(())
}

/// Deletes the set that belongs to a chain of the same name.
fn delete_set_of(table: &mut Table<'_>, ruleset: &Ruleset, found: &Snapshot, chain: &str) {
    for (set, present) in ruleset.sets.iter().zip(&found.sets) {
        if set.name == chain && set.removal == Removal::Unused && present.is_some() {
            table.delete_set(chain);
        }
    }
}

/// Deletes the chains that lose their last use with elements of old values, and their sets.
/// What the ruleset itself names is not judged here.
pub(super) fn release(
    socket: &mut Socket,
    ruleset: &Ruleset,
    batch: &mut Batch,
    going: &Going,
) -> Result<(), Error> {
    let at = Scope::of(ruleset);
    for (name, uses) in going {
        if is_named(ruleset, name) {
            continue;
        }
        let answers = socket.ask(vec![at.chain(name), at.set(name)])?;
        let [Some(chain), set] = answers.as_slice() else { continue };
        let chain = found::Chain::from(chain.as_slice());
        if is_last_use(&chain, &at.rules(socket, name)?, *uses) {
            let mut table = at.writer(batch);
            table.delete_chain(name);
            if set.is_some() {
                table.delete_set(name);
            }
        }
    }
    Ok(())
}

/// Whether a chain is used by its own rules and by what goes, and by nothing that stays. The count
/// is exact under the generation in which it was read: nobody can add a use before the transaction.
fn is_last_use(chain: &found::Chain, rules: &[bytecode::Rule], going: u32) -> bool {
    chain.uses as usize == rules.len() + going as usize
}

/// Whether the ruleset itself has or uses this chain.
fn is_named(ruleset: &Ruleset, name: &str) -> bool {
    let jumps = |expr: &Expr| matches!(expr, Expr::Jump(chain) if chain == name);
    let leads = |value: &Value| matches!(value, Value::Jump(chain) if chain == name);
    ruleset
        .chains
        .iter()
        .any(|chain| chain.name == name || chain.rules.iter().flatten().flatten().any(jumps))
        || ruleset.elements.iter().any(|element| leads(&element.entry.value))
}
