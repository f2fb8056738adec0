//! What an older list of objects has and a newer one has not: to be removed after the newer one is
//! in place.

use crate::nft::{Element, Ruleset};
use crate::object::{Object, Placed};

/// The objects of `old` that `new` does not have. Two rulesets of one table are compared set by set
/// and chain by chain: making the new one has already replaced what both name.
pub fn obsolete(old: &[Placed], new: &[Placed]) -> Vec<Placed> {
    old.iter().filter_map(|placed| leftover(placed, new)).collect()
}

fn leftover(old: &Placed, new: &[Placed]) -> Option<Placed> {
    if new.contains(old) {
        return None;
    }
    let Object::Nft(ruleset) = &old.object else {
        // The same object with another value has been changed in place.
        return (!new.iter().any(|placed| replaces(placed, old))).then(|| old.clone());
    };
    let successors = new.iter().filter(|placed| placed.place == old.place);
    let successor = successors.filter_map(|placed| match &placed.object {
        Object::Nft(next) => Some(next),
        _ => None,
    });
    let successor = successor
        .into_iter()
        .find(|next| next.family == ruleset.family && next.table == ruleset.table);
    let Some(next) = successor else { return Some(old.clone()) };
    let rest = Ruleset {
        family: ruleset.family,
        table: ruleset.table.clone(),
        sets: without(&ruleset.sets, &next.sets, |set| &set.name),
        chains: without(&ruleset.chains, &next.chains, |chain| &chain.name),
        elements: ruleset.elements.iter().filter(|old| !has_key_of(next, old)).cloned().collect(),
    };
    let empty = rest.sets.is_empty() && rest.chains.is_empty() && rest.elements.is_empty();
    (!empty).then_some(Placed { place: old.place, object: Object::Nft(rest) })
}

/// The ruleset has an element with the key of this one: making it has replaced the value.
fn has_key_of(ruleset: &Ruleset, old: &Element) -> bool {
    ruleset.elements.iter().any(|new| (&new.set, &new.entry.key) == (&old.set, &old.entry.key))
}

/// `new` is the object under the key of `old`, with another value.
fn replaces(new: &Placed, old: &Placed) -> bool {
    if new.place != old.place {
        return false;
    }
    match (&new.object, &old.object) {
        (Object::Fdb(a), Object::Fdb(b)) => (&a.link, a.mac) == (&b.link, b.mac),
        (Object::Neighbour(a), Object::Neighbour(b)) => {
            (&a.link, a.address) == (&b.link, b.address)
        }
        (Object::Sysctl(a), Object::Sysctl(b)) => a.path == b.path,
        (Object::Route(a), Object::Route(b)) => {
            (a.table, a.destination, a.metric) == (b.table, b.destination, b.metric)
        }
        (Object::Address(a), Object::Address(b)) => {
            (&a.link, a.address, a.length) == (&b.link, b.address, b.length)
        }
        (Object::Macvlan(a), Object::Macvlan(b)) => a.name == b.name,
        (Object::Veth(a), Object::Veth(b)) => (&a.name, &a.peer) == (&b.name, &b.peer),
        _ => false,
    }
}

fn without<T: Clone, K: PartialEq + ?Sized>(
    old: &[T],
    new: &[T],
    key: impl Fn(&T) -> &K,
) -> Vec<T> {
    let kept = |item: &&T| !new.iter().any(|other| key(other) == key(item));
    old.iter().filter(kept).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nft::{Chain, Datum, Entry, Removal, TableFamily, Value};
    use crate::object::{Fdb, Place};
    use egret_types::{MacAddr, ours};

    fn fdb(last: u8, vtep: &str) -> Placed {
        let mac = MacAddr([6, 0xe6, 0, 0, 0, last]);
        let fdb = Fdb { link: ours::link("egret0"), mac, vtep: vtep.parse().unwrap() };
        Placed { place: Place::Egret, object: Object::Fdb(fdb) }
    }

    fn table(chains: &[&str]) -> Placed {
        let chain = |name: &&str| Chain {
            name: (*name).into(),
            hook: None,
            rules: Some(vec![]),
            removal: Removal::Delete,
        };
        let ruleset = Ruleset {
            family: TableFamily::Netdev,
            table: "egret".into(),
            sets: vec![],
            chains: chains.iter().map(chain).collect(),
            elements: vec![],
        };
        Placed { place: Place::Egret, object: Object::Nft(ruleset) }
    }

    #[test]
    fn an_element_that_leads_elsewhere_now_is_not_removed() {
        let with = |chain: &str| {
            let mut placed = table(&[]);
            let Object::Nft(ruleset) = &mut placed.object else { return placed };
            let key = vec![Datum::Mark(7)];
            let entry = Entry { key, value: Value::Jump(chain.into()) };
            ruleset.elements.push(Element { set: "tx4".into(), entry });
            placed
        };
        assert_eq!(obsolete(&[with("old")], &[with("new")]), []);
        assert_eq!(obsolete(&[with("old")], &[table(&[])]), [with("old")]);
    }

    #[test]
    fn what_was_changed_in_place_is_not_removed() {
        let old = [fdb(1, "172.18.0.1"), fdb(2, "172.18.0.2"), table(&["a", "node-1"])];
        let new = [fdb(1, "172.18.0.9"), table(&["a"])];
        assert_eq!(obsolete(&old, &new), [fdb(2, "172.18.0.2"), table(&["node-1"])]);
        assert_eq!(obsolete(&new, &new), []);
        assert_eq!(obsolete(&old, &[]), old);
    }
}
