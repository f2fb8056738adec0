//! Chains: whether each is what it should be, and the steps that make it so.

use egret_egress::nft::{Chain, Ruleset};

use super::error::Error;
use super::found;
use super::hook::Hook;
use super::rule;
use super::snapshot::{Scope, Snapshot};
use super::socket::Socket;
use super::table::Table;

/// What must be done to one chain, in order; nothing: it is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Delete,
    Create,
    SetPolicy,
    Flush,
    AddRules,
}

/// What must be done to each chain of a ruleset.
pub(super) fn chain_steps(
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
            let (wanted, hook) = (chain.hook.as_ref().map(Hook::from), present.hook.as_ref());
            if wanted.as_ref().map(|hook| &hook.place) != hook.map(|hook| &hook.place) {
                return replacement(at, chain, present);
            }
            let mut steps = Vec::new();
            if wanted.as_ref() != hook {
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
    match &found.hook {
        Some(_) if chain.rules.is_some() => Ok(vec![Step::Delete, Step::Create, Step::AddRules]),
        hook => Err(Error::Foreign {
            object: at.name("chain", &chain.name),
            found: format!("it has {}", hook_text(hook.as_ref())),
        }),
    }
}

/// A hook in words.
pub(super) fn hook_text(hook: Option<&Hook>) -> String {
    hook.map_or_else(|| "no hook".to_owned(), |hook| hook.place.to_string())
}

/// Writes the steps of one chain.
pub(super) fn plan_chain(
    table: &mut Table<'_>,
    chain: &Chain,
    steps: &[Step],
) -> Result<(), Error> {
    for step in steps {
        match step {
            Step::Delete => table.delete_chain(&chain.name),
            Step::Create => table.add_chain(chain),
            Step::Flush => table.flush_chain(&chain.name),
            Step::SetPolicy => {
                if let Some(hook) = &chain.hook {
                    table.set_policy(&chain.name, &hook.into());
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
