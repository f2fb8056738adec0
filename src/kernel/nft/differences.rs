//! Comparing a ruleset with what the kernel has, object by object, in words.

use egret_egress::nft::{Chain, Content, Element, Rule, Ruleset, Set};

use super::bytecode;
use super::chain::hook_text;
use super::element::{Pair, RawValue};
use super::ensure::{exact_difference, ranges, shape_difference};
use super::error::Error;
use super::found;
use super::hook::Hook;
use super::rule;
use super::snapshot::{Scope, Snapshot, generation, generation_of};
use super::socket::Socket;

/// Entries of a set that are named; of more, the number is told.
const NAMED: usize = 3;
const TRIES: u32 = 100;

impl Socket {
    /// What differs between the ruleset and the kernel, one sentence each; all of one generation.
    pub(crate) fn differences(&mut self, ruleset: &Ruleset) -> Result<Vec<String>, Error> {
        for _ in 0..TRIES {
            let found = Snapshot::read(self, ruleset)?;
            let differences = compare(self, ruleset, &found);
            let now = self.ask(vec![generation()])?.pop().flatten();
            if generation_of(now)? == found.generation {
                return differences;
            }
        }
        let object = Scope::of(ruleset).name("table", "").trim_end().to_owned();
        Err(Error::Contended { object, tries: TRIES })
    }
}

fn compare(socket: &mut Socket, ruleset: &Ruleset, found: &Snapshot) -> Result<Vec<String>, Error> {
    let at = Scope::of(ruleset);
    let table = at.name("table", "").trim_end().to_owned();
    if found.table.is_none() {
        return Ok(vec![format!("{table}: missing")]);
    }
    let mut out = Vec::new();
    out.extend(found.stranger().map(|stranger| format!("{table}: {stranger}")));
    for (set, present) in ruleset.sets.iter().zip(&found.sets) {
        compare_set(socket, at, (set, present.as_ref()), &mut out)?;
    }
    for (chain, present) in ruleset.chains.iter().zip(&found.chains) {
        compare_chain(socket, at, (chain, present.as_ref()), &mut out)?;
    }
    let elements = ruleset.elements.iter().zip(&found.wanted).zip(&found.elements);
    for ((element, wanted), value) in elements {
        out.extend(element_difference(ruleset, element, wanted, value.as_ref()));
    }
    Ok(out)
}

fn compare_set(
    socket: &mut Socket,
    at: Scope<'_>,
    (set, present): (&Set, Option<&found::Set>),
    out: &mut Vec<String>,
) -> Result<(), Error> {
    let name = at.name("set", &set.name);
    let Some(present) = present else {
        out.push(format!("{name}: missing"));
        return Ok(());
    };
    if let Some(difference) = shape_difference(set, present) {
        out.push(format!("{name}: {difference}"));
        return Ok(());
    }
    let (extra, missing) = match &set.content {
        Content::Shared | Content::Dynamic(_) => return Ok(()),
        Content::Exact(_) => {
            let (extra, missing) = exact_difference(socket, at, set)?;
            let texts = |pairs: Vec<Pair>| pairs.iter().map(|pair| pair.text(set)).collect();
            (texts(extra), texts(missing))
        }
        Content::Ranges(wanted) => {
            let found = ranges(socket, at, set)?;
            (not_among(&found, wanted), not_among(wanted, &found))
        }
    };
    out.extend(entries(&name, "missing", &missing));
    out.extend(entries(&name, "too many", &extra));
    Ok(())
}

type Ranges = [(std::net::IpAddr, std::net::IpAddr)];

/// Those of `ranges` that `others` lack.
fn not_among(ranges: &Ranges, others: &Ranges) -> Vec<String> {
    let others: std::collections::BTreeSet<_> = others.iter().collect();
    ranges
        .iter()
        .filter(|range| !others.contains(range))
        .map(
            |(first, last)| {
                if first == last { first.to_string() } else { format!("{first}-{last}") }
            },
        )
        .collect()
}

fn entries(set: &str, what: &str, entries: &[String]) -> Option<String> {
    let named = entries.get(..NAMED).unwrap_or(entries).join(", ");
    match entries.len() {
        0 => None,
        1 => Some(format!("{set}: entry {what}: {named}")),
        count if count <= NAMED => Some(format!("{set}: {count} entries {what}: {named}")),
        count => Some(format!("{set}: {count} entries {what}: {named}, ...")),
    }
}

fn compare_chain(
    socket: &mut Socket,
    at: Scope<'_>,
    (chain, present): (&Chain, Option<&found::Chain>),
    out: &mut Vec<String>,
) -> Result<(), Error> {
    let name = at.name("chain", &chain.name);
    let Some(present) = present else {
        out.push(format!("{name}: missing"));
        return Ok(());
    };
    let (wanted, hook) = (chain.hook.as_ref().map(Hook::from), present.hook.as_ref());
    let (is, should_be) = (hook_text(hook), hook_text(wanted.as_ref()));
    if is != should_be {
        out.push(format!("{name}: it has {is}, should have {should_be}"));
    } else if let (Some(hook), Some(wanted)) = (hook, &wanted)
        && hook != wanted
    {
        let (is, should_be) = (hook.policy(), wanted.policy());
        out.push(format!("{name}: its policy is {is}, should be {should_be}"));
    }
    if let Some(rules) = &chain.rules {
        compare_rules(&name, rules, &at.rules(socket, &chain.name)?, out)?;
    }
    Ok(())
}

fn compare_rules(
    name: &str,
    wanted: &[Rule],
    found: &[bytecode::Rule],
    out: &mut Vec<String>,
) -> Result<(), Error> {
    let mut encoded = Vec::with_capacity(wanted.len());
    for rule in wanted {
        encoded.push(rule::encode(rule)?);
    }
    for (place, (rule, code)) in wanted.iter().zip(&encoded).enumerate() {
        let number = place + 1;
        let Some(present) = found.get(place) else {
            out.push(format!("{name}: rule {number} `{}` is missing", text(rule)));
            continue;
        };
        let Some(expression) = present.difference(code) else { continue };
        // One rule more or less shifts those behind it: then the rule is named that is there.
        let other = encoded.iter().position(|code| present.is(code));
        let is = match other.and_then(|place| wanted.get(place)) {
            Some(rule) => format!("`{}`", text(rule)),
            None => format!("[{}], differing at {expression}", expressions(present)),
        };
        out.push(format!("{name}: rule {number} is {is}, should be `{}`", text(rule)));
    }
    for (place, rule) in found.iter().enumerate().skip(wanted.len()) {
        out.push(format!("{name}: rule {} is one too many: [{}]", place + 1, expressions(rule)));
    }
    Ok(())
}

fn text(rule: &Rule) -> String {
    rule.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

fn expressions(rule: &bytecode::Rule) -> String {
    let names = rule.expressions.iter().map(|bytecode| bytecode.name.as_str());
    names.collect::<Vec<_>>().join(" ")
}

fn element_difference(
    ruleset: &Ruleset,
    Element { set, entry }: &Element,
    wanted: &Pair,
    value: Option<&RawValue>,
) -> Option<String> {
    let name = Scope::of(ruleset).name("set", set);
    match value {
        Some(value) if *value == wanted.value => None,
        None => Some(format!("{name}: element {entry} is missing")),
        Some(value) => {
            let found = value.text_like(&entry.value);
            Some(format!("{name}: element {entry} leads to {found}"))
        }
    }
}
