//! Making a ruleset so: what differs is planned into one transaction, in the order in which things
//! refer to each other: table, sets, chains with their rules, elements.

use std::collections::BTreeMap;

use egret_egress::nft::{Content, Count, Element, Removal, Ruleset, Set, ValueType};
use netlink_packet_netfilter::nftables::SetFlags;

use super::batch::Batch;
use super::chain::{Step, chain_steps, plan_chain};
use super::element::{self, Pair, RawValue, Shape};
use super::error::Error;
use super::found;
use super::interval;
use super::remove::{Going, count_jumps, release};
use super::snapshot::{Scope, Snapshot};
use super::socket::{Next, Plan, Socket};
use super::table::Table;

impl Socket {
    /// Makes the table what the ruleset says. Nothing is sent if it is.
    pub(crate) fn ensure(&mut self, ruleset: &Ruleset) -> Result<(), Error> {
        let object = Scope::of(ruleset).name("table", "");
        self.transact(object.trim_end(), |socket| plan(socket, ruleset))
    }
}

fn plan(socket: &mut Socket, ruleset: &Ruleset) -> Result<Plan, Error> {
    let at = Scope::of(ruleset);
    let found = Snapshot::read(socket, ruleset)?;
    if let Some(stranger) = found.stranger() {
        return Err(Error::Foreign {
            object: at.name("table", "").trim_end().to_owned(),
            found: stranger,
        });
    }
    let steps = chain_steps(socket, ruleset, &found)?;
    let mut batch = found.batch(socket);
    if found.table.is_none() {
        at.writer(&mut batch).add();
    }
    for (set, present) in ruleset.sets.iter().zip(&found.sets) {
        plan_set(&mut at.writer(&mut batch), set, present.as_ref())?;
    }
    for (chain, steps) in ruleset.chains.iter().zip(&steps) {
        plan_chain(&mut at.writer(&mut batch), chain, steps)?;
    }
    // Behind the chains, to which values may jump.
    for (set, _) in ruleset.sets.iter().zip(&found.sets).filter(|(_, found)| found.is_none()) {
        at.writer(&mut batch).add_elements(&set.name, element::content(set));
    }
    let objects = batch.mark();
    let mut gone: Vec<RawValue> = Vec::new();
    for (set, _) in ruleset.sets.iter().zip(&found.sets).filter(|(_, found)| found.is_some()) {
        let chain = chain_of(ruleset, set, &steps);
        let extra = plan_content(socket, &mut at.writer(&mut batch), (set, chain))?;
        gone.extend(extra.into_iter().map(|pair| pair.value));
    }
    gone.extend(plan_elements(&mut at.writer(&mut batch), ruleset, &found).into_iter().cloned());
    // During a commit there is a moment in which a packet finds the new element, but nothing yet
    // in a set or chain that is new in the same transaction. Where an element changes its value
    // its pod or node has traffic: objects first, elements in a second transaction.
    if !gone.is_empty() && Batch::has_messages_before(objects) {
        batch.truncate(objects);
        return Ok(Plan { batch, next: Next::Again });
    }
    let mut going = Going::new();
    count_jumps(&mut going, gone.iter());
    release(socket, ruleset, &mut batch, &going)?;
    Ok(Plan { batch, next: Next::Done })
}

/// The steps of a decision set's chain. A set without such a chain is compared by its elements.
fn chain_of<'a>(ruleset: &Ruleset, set: &Set, steps: &'a [Vec<Step>]) -> Option<&'a [Step]> {
    if set.removal != Removal::Unused {
        return None;
    }
    let index = ruleset.chains.iter().position(|chain| chain.name == set.name)?;
    steps.get(index).map(Vec::as_slice)
}

fn plan_set(table: &mut Table<'_>, set: &Set, present: Option<&found::Set>) -> Result<(), Error> {
    match present.map(|present| shape_difference(set, present)) {
        None => table.add_set(set),
        Some(None) => {}
        Some(Some(found)) => {
            let object = format!("set {} {} {}", table.family, table.name, set.name);
            return Err(Error::Foreign { object, found });
        }
    }
    Ok(())
}

/// Changes a set that is there and that one owner fills, where it is not what it should be. Returns
/// the elements that are deleted.
fn plan_content(
    socket: &mut Socket,
    table: &mut Table<'_>,
    (set, chain): (&Set, Option<&[Step]>),
) -> Result<Vec<Pair>, Error> {
    let at = Scope { family: table.family, table: table.name };
    match (&set.content, chain) {
        // A decision's set and chain are named by what they hold, and made together.
        (Content::Shared | Content::Dynamic(_), _) | (_, Some([])) => {}
        (Content::Exact(_), _) => {
            let (extra, missing) = exact_difference(socket, at, set)?;
            table.delete_elements(&set.name, extra.iter().map(Pair::key_element).collect());
            table.add_elements(&set.name, missing.iter().map(Pair::element).collect());
            return Ok(extra);
        }
        (Content::Ranges(wanted), _) => {
            if *wanted != ranges(socket, at, set)? {
                table.flush_set(&set.name);
                table.add_elements(&set.name, element::content(set));
            }
        }
    }
    Ok(Vec::new())
}

/// In which respect a set of this name is another one; the kernel refuses to change it.
pub(super) fn shape_difference(set: &Set, present: &found::Set) -> Option<String> {
    let shape = Shape::of(set);
    let found = Shape {
        key_type: present.key_type,
        key_len: present.key_len,
        value: present.value.map(|(kind, length)| match set.value {
            // Its length is the kernel's business.
            ValueType::Verdict => (kind, 0),
            _ => (kind, length),
        }),
    };
    if shape != found {
        return Some(format!(
            "its type is {found}, should be {shape}: another configuration of the tunnel (its outer \
             family) or another version made it. That may change only while no pod is attached: \
             remove the pods, run `egretctl gc`, and try again"
        ));
    }
    let kind = |flag: SetFlags| present.flags & flag.bits() != 0;
    let size = match set.content {
        Content::Dynamic(capacity) => Some(capacity.size),
        _ => None,
    };
    if matches!(set.content, Content::Ranges(_)) != kind(SetFlags::Interval)
        || matches!(set.content, Content::Dynamic(_)) != kind(SetFlags::Eval)
    {
        Some(format!("its flags are {:#x}", present.flags))
    } else if (set.count == Count::Packets) != present.has_expression {
        let is = if present.has_expression { "count" } else { "do not count" };
        Some(format!("its elements {is}: another version made it, see `egretctl gateway down`"))
    } else if size.is_some() && size != present.size {
        Some(format!("its size is {:?}, should be {size:?}", present.size))
    } else {
        None
    }
}

/// Elements that the set of one owner has too many or of another value, and that it lacks.
pub(super) fn exact_difference(
    socket: &mut Socket,
    at: Scope<'_>,
    set: &Set,
) -> Result<(Vec<Pair>, Vec<Pair>), Error> {
    let Content::Exact(entries) = &set.content else { return Ok((Vec::new(), Vec::new())) };
    let mut wanted: BTreeMap<Vec<u8>, RawValue> = entries
        .iter()
        .map(|entry| {
            let pair = Pair::from(entry);
            (pair.key, pair.value)
        })
        .collect();
    let mut extra = Vec::new();
    for element in at.elements(socket, &set.name)? {
        if wanted.get(&element.pair.key) == Some(&element.pair.value) {
            wanted.remove(&element.pair.key);
        } else {
            extra.push(element.pair);
        }
    }
    let missing = wanted.into_iter().map(|(key, value)| Pair { key, value }).collect();
    Ok((extra, missing))
}

/// The ranges of an interval set.
pub(super) fn ranges(
    socket: &mut Socket,
    at: Scope<'_>,
    set: &Set,
) -> Result<Vec<(std::net::IpAddr, std::net::IpAddr)>, Error> {
    let elements = at.elements(socket, &set.name)?;
    Ok(interval::ranges(
        elements.into_iter().map(|element| (element.pair.key, element.ends_interval)).collect(),
    ))
}

/// Adds the elements that are missing and replaces those of another value, which must be deleted
/// first. Returns the values that were replaced.
fn plan_elements<'a>(
    table: &mut Table<'_>,
    ruleset: &Ruleset,
    found: &'a Snapshot,
) -> Vec<&'a RawValue> {
    let mut replaced = Vec::new();
    let elements = ruleset.elements.iter().zip(&found.wanted).zip(&found.elements);
    for ((Element { set, .. }, wanted), found) in elements {
        if found.as_ref() == Some(&wanted.value) {
            continue;
        }
        if let Some(found) = found {
            table.delete_elements(set, vec![wanted.key_element()]);
            replaced.push(found);
        }
        table.add_elements(set, vec![wanted.element()]);
    }
    replaced
}
