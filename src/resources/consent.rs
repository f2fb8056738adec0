//! `namespaces` of a pool: who may use its addresses. A namespace is in when its name is on the list
//! and it has all the labels; a part that is not written asks for nothing.

use std::collections::BTreeMap;

use egret_types::Namespace;

use crate::{
    cursor::{Cursor, Fields, Keys},
    problem::Problems,
};

/// Labels of a namespace.
pub type Labels = BTreeMap<String, String>;

/// Which namespaces may use a pool.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Consent {
    /// `names`; `None`: those of any name.
    pub names: Option<Vec<Namespace>>,
    /// `matchLabels`, each of which the namespace must have.
    pub labels: Labels,
}

/// What a pool says to a namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It may use the pool.
    Granted,
    /// It may not.
    Refused,
    /// That depends on labels that nobody told.
    Unknown,
}

impl Consent {
    /// Whether a namespace may use the pool. `labels` are `None` when nobody knows them.
    pub fn admits(&self, namespace: &Namespace, labels: Option<&Labels>) -> Admission {
        if self.names.as_ref().is_some_and(|names| !names.contains(namespace)) {
            return Admission::Refused;
        }
        if self.labels.is_empty() {
            return Admission::Granted;
        }
        let Some(labels) = labels else { return Admission::Unknown };
        let all = self.labels.iter().all(|(key, value)| labels.get(key) == Some(value));
        if all { Admission::Granted } else { Admission::Refused }
    }
}

const KEYS: Keys = Keys { honoured: &["names", "matchLabels"], later: &[] };

pub(crate) fn read(at: Cursor<'_>, problems: &mut Problems) -> Option<Consent> {
    let fields = Fields::open(at, &KEYS, problems)?;
    let names = fields.get("names").map(|at| {
        if at.items("a list").is_ok_and(|items| items.len() == 0) {
            problems.add(at.problem("the list is empty; nobody could use the pool"));
        }
        at.list("a list of namespaces", problems, |item| item.parse("a namespace"))
    });
    let labels = match fields.get("matchLabels") {
        Some(at) => read_labels(&at, problems),
        None => Labels::new(),
    };
    if names.is_none() && labels.is_empty() {
        let what = "neither \"names\" nor a label is given; remove the key to mean every namespace";
        problems.add(at.problem(what));
    }
    Some(Consent { names, labels })
}

fn read_labels(at: &Cursor<'_>, problems: &mut Problems) -> Labels {
    let mut labels = Labels::new();
    for (key, value) in problems.keep(at.pairs("a mapping of labels")).unwrap_or_default() {
        if let Some(value) = problems.keep(value.text("the value of a label, a text")) {
            labels.insert(key.to_owned(), value.to_owned());
        }
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    fn consent(names: Option<&[&str]>, labels: &[(&str, &str)]) -> Consent {
        Consent {
            names: names.map(|names| names.iter().map(|name| name.parse().unwrap()).collect()),
            labels: of(labels),
        }
    }

    fn of(labels: &[(&str, &str)]) -> Labels {
        labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn all_given_parts_must_match_and_unknown_labels_are_no_guess() {
        let shop: Namespace = "shop".parse().unwrap();
        let gold: &[(&str, &str)] = &[("tier", "gold")];
        let more = of(&[("tier", "gold"), ("zone", "a")]);
        let silver = of(&[("tier", "silver")]);
        for (consent, labels, expected) in [
            (consent(Some(&["shop"]), &[]), None, Admission::Granted),
            (consent(Some(&["bank"]), &[]), Some(&more), Admission::Refused),
            (consent(Some(&["bank"]), gold), None, Admission::Refused),
            (consent(Some(&["shop"]), gold), None, Admission::Unknown),
            (consent(Some(&["shop"]), gold), Some(&more), Admission::Granted),
            (consent(None, gold), Some(&silver), Admission::Refused),
            (consent(None, gold), Some(&of(&[])), Admission::Refused),
        ] {
            assert_eq!(consent.admits(&shop, labels), expected, "{consent:?} {labels:?}");
        }
    }
}
