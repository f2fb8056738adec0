//! Making a ruleset so: what differs is planned into one transaction, in the order in which things
//! refer to each other: table, sets, chains with their rules, elements.

use std::collections::BTreeMap;

use egret_egress::nft::{
    Chain, Content, Element, Hook, HookPoint, Removal, Ruleset, Set, ValueType,
};
use netlink_packet_netfilter::nftables::SetFlags;

use super::batch::{Batch, Table, chain_type, hook_number, policy_number};
use super::element::{self, Pair, RawValue, Shape};
use super::error::Error;
use super::found;
use super::remove::{Going, count_jumps, release};
use super::rule;
use super::snapshot::{Scope, Snapshot};
use super::socket::{Next, Plan, Socket};

/// What must be done to one chain, in order; nothing: it is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Delete,
    Create,
    SetPolicy,
    Flush,
    AddRules,
}

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
    if let Some(comment) = found.stranger() {
        return Err(Error::Foreign {
            object: at.name("table", "").trim_end().to_owned(),
            found: format!("its comment is {comment:?}"),
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
    // Values may jump to the chains.
    let mut going = Going::new();
    for (set, present) in ruleset.sets.iter().zip(&found.sets) {
        let chain = chain_of(ruleset, set, &steps);
        let extra = plan_content(socket, &mut at.writer(&mut batch), (set, present, chain))?;
        count_jumps(&mut going, extra.iter().map(|pair| &pair.value));
    }
    let objects = batch.mark();
    let replaced = plan_elements(&mut at.writer(&mut batch), ruleset, &found);
    // During a commit there is a moment in which a packet finds the new element, but nothing yet
    // in a set or chain that is new in the same transaction. Where an element changes its value
    // its pod has traffic: objects first, elements in a second transaction.
    if !replaced.is_empty() && Batch::has_messages_before(objects) {
        batch.truncate(objects);
        return Ok(Plan { batch, next: Next::Again });
    }
    count_jumps(&mut going, replaced.into_iter());
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

/// Fills a set that one owner fills, where it is not what it should be. Returns the elements that
/// are deleted.
fn plan_content(
    socket: &mut Socket,
    table: &mut Table<'_>,
    (set, present, chain): (&Set, &Option<found::Set>, Option<&[Step]>),
) -> Result<Vec<Pair>, Error> {
    let at = Scope { family: table.family, table: table.name };
    match (&set.content, present, chain) {
        (Content::Shared, _, _) => {}
        (_, None, _) => table.add_elements(&set.name, element::content(set)),
        // A decision's set and chain are named by what they hold, and made together.
        (_, Some(_), Some([])) => {}
        (Content::Exact(_), Some(_), _) => {
            let (extra, missing) = exact_difference(socket, at, set)?;
            table.delete_elements(&set.name, extra.iter().map(Pair::key_element).collect());
            table.add_elements(&set.name, missing.iter().map(Pair::element).collect());
            return Ok(extra);
        }
        (Content::Ranges(wanted), Some(_), _) => {
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
    let interval = matches!(set.content, Content::Ranges(_));
    if shape != found {
        Some(format!("its type is {found:?}, should be {shape:?}"))
    } else if interval != (present.flags & SetFlags::Interval.bits() != 0) {
        Some(format!("its flags are {:#x}", present.flags))
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
    for element in at.elements(socket, set)? {
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
    let elements = at.elements(socket, set)?;
    Ok(element::ranges(
        elements.into_iter().map(|element| (element.pair.key, element.ends_interval)).collect(),
    ))
}

fn chain_steps(
    socket: &mut Socket,
    ruleset: &Ruleset,
    found: &Snapshot,
) -> Result<Vec<Vec<Step>>, Error> {
    let at = Scope::of(ruleset);
    let untouched = untouched(socket, ruleset, found)?;
    let chains = ruleset.chains.iter().zip(&found.chains).zip(untouched);
    chains
        .map(|((chain, present), untouched)| {
            let Some(present) = present else { return Ok(vec![Step::Create, Step::AddRules]) };
            if !same_hook(chain.hook.as_ref(), present.hook.as_ref()) {
                return replacement(at, chain, present);
            }
            let mut steps = Vec::new();
            if !same_policy(chain.hook.as_ref(), present.hook.as_ref()) {
                steps.push(Step::SetPolicy);
            }
            if !untouched && !has_rules(socket, at, chain)? {
                steps.extend([Step::Flush, Step::AddRules]);
            }
            Ok(steps)
        })
        .collect()
}

/// Which chains have, as far as cheap reads tell, the rules with which they were made: the comment
/// is the fingerprint of these, the uses are enough, and each rule is still there. The kernel does
/// not change a chain's comment when its rules are replaced, but it numbers a table's objects as
/// they are made: the rules made right after their chain have the next numbers. So this overlooks
/// one thing alone, a rule that somebody put between ours in a chain that is only jumped to.
fn untouched(socket: &mut Socket, ruleset: &Ruleset, found: &Snapshot) -> Result<Vec<bool>, Error> {
    let at = Scope::of(ruleset);
    let mut questions = Vec::new();
    let mut asked = Vec::new();
    let mut untouched = vec![false; ruleset.chains.len()];
    for (index, (chain, present)) in ruleset.chains.iter().zip(&found.chains).enumerate() {
        let Some(present) = present else { continue };
        let Some(rules) = made_with(chain, present) else { continue };
        let handles = present.handle + 1..=present.handle + rules;
        questions.extend(handles.map(|handle| at.rule(&chain.name, handle)));
        asked.extend((0..rules).map(|_| index));
        if let Some(untouched) = untouched.get_mut(index) {
            *untouched = true;
        }
    }
    for (index, answer) in asked.into_iter().zip(socket.ask(questions)?) {
        if let (Some(untouched), None) = (untouched.get_mut(index), answer) {
            *untouched = false;
        }
    }
    Ok(untouched)
}

/// The number of rules with which a chain of this comment was made, if it may still have them.
fn made_with(chain: &Chain, present: &found::Chain) -> Option<u64> {
    let rules = chain.rules.as_ref()?.len();
    let enough = match &present.hook {
        Some(_) => present.uses as usize == rules,
        None => present.uses as usize >= rules,
    };
    let known = present.comment.as_deref() == Some(&chain.fingerprint());
    (enough && known && rules > 0).then_some(rules as u64)
}

/// Whether the chain has exactly its rules, by reading them.
fn has_rules(socket: &mut Socket, at: Scope<'_>, chain: &Chain) -> Result<bool, Error> {
    let Some(wanted) = &chain.rules else { return Ok(true) };
    let found = at.rules(socket, &chain.name)?;
    if found.len() != wanted.len() {
        return Ok(false);
    }
    for (found, wanted) in found.iter().zip(wanted) {
        if !found.is(&rule::encode(wanted)?) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Deletes a base chain to make it elsewhere; nothing can jump to it.
fn replacement(at: Scope<'_>, chain: &Chain, found: &found::Chain) -> Result<Vec<Step>, Error> {
    if found.hook.is_none() || chain.rules.is_none() {
        return Err(Error::Foreign {
            object: at.name("chain", &chain.name),
            found: hook_text(found.hook.as_ref()),
        });
    }
    Ok(vec![Step::Delete, Step::Create, Step::AddRules])
}

pub(super) fn same_hook(wanted: Option<&Hook>, found: Option<&found::Hook>) -> bool {
    match (wanted, found) {
        (None, None) => true,
        (Some(wanted), Some(found)) => {
            let links: &[&str] = match &wanted.point {
                HookPoint::Ingress(link) | HookPoint::Egress(link) => &[link.as_str()],
                _ => &[],
            };
            found.kind == chain_type(&wanted.point)
                && found.number == u32::from(hook_number(&wanted.point))
                && found.priority == wanted.priority
                && found.links == links
        }
        _ => false,
    }
}

pub(super) fn same_policy(wanted: Option<&Hook>, found: Option<&found::Hook>) -> bool {
    wanted.map(|hook| policy_number(hook.policy)) == found.map(|hook| hook.policy)
}

/// A found hook in words.
pub(super) fn hook_text(hook: Option<&found::Hook>) -> String {
    let Some(hook) = hook else { return "it has no hook".to_owned() };
    let found::Hook { kind, number, priority, links, .. } = hook;
    format!("its hook is type {kind} number {number} priority {priority} links {links:?}")
}

fn plan_chain(table: &mut Table<'_>, chain: &Chain, steps: &[Step]) -> Result<(), Error> {
    for step in steps {
        match step {
            Step::Delete => table.delete_chain(&chain.name),
            Step::Create => table.add_chain(chain),
            Step::Flush => table.flush_chain(&chain.name),
            Step::SetPolicy => {
                if let Some(hook) = &chain.hook {
                    table.set_policy(&chain.name, hook.policy);
                }
            }
            Step::AddRules => {
                for wanted in chain.rules.iter().flatten() {
                    table.add_rule(&chain.name, rule::encode(wanted)?);
                }
            }
        }
    }
    Ok(())
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
