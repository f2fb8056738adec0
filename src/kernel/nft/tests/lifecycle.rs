//! ensure and remove: what comes, what goes, what stays.

use egret_egress::nft::{
    Content, DataType, Datum, Element, Entry, Expr, Field, HookPoint, Op, Policy, Removal, Ruleset,
    TableFamily, Value, ValueType,
};
use egret_types::{Family, IfIndex};

use super::testbed::{
    base, chain, generation, ip, link, listing, mac, namespace, nft, pod, ruleset, run, set, worker,
};
use crate::nft::{Error, Socket};

fn pod_link() {
    ip("link add egrpod1 type veth peer name outside");
}

fn assert_ensured(socket: &mut Socket, ruleset: &Ruleset) {
    socket.ensure(ruleset).unwrap();
    assert_eq!(socket.differences(ruleset).unwrap(), Vec::<String>::new());
    let before = generation(socket);
    socket.ensure(ruleset).unwrap();
    assert_eq!(generation(socket), before, "something was sent though nothing differed");
}

#[test]
fn a_pod_comes_in_one_transaction_and_goes_without_a_trace() {
    let mut socket = namespace();
    pod_link();
    assert_ensured(&mut socket, &worker());
    let (empty, before) = (listing(), generation(&mut socket));
    socket.ensure(&pod(1, "dA")).unwrap();
    assert_eq!(generation(&mut socket), before + 1);
    assert_ensured(&mut socket, &pod(1, "dA"));
    assert!(listing().contains("101 . 10.244.0.1 . 02:e6:01:00:00:01 : jump dA-4"));
    socket.remove(&pod(1, "dA")).unwrap();
    assert_eq!(listing(), empty);
    let before = generation(&mut socket);
    socket.remove(&pod(1, "dA")).unwrap();
    assert_eq!(generation(&mut socket), before, "something was sent though nothing was there");
}

#[test]
fn a_decision_stays_until_its_last_pod_goes() {
    let mut socket = namespace();
    socket.ensure(&worker()).unwrap();
    let empty = listing();
    socket.ensure(&pod(1, "dA")).unwrap();
    socket.ensure(&pod(2, "dA")).unwrap();
    socket.remove(&pod(1, "dA")).unwrap();
    assert_eq!(socket.differences(&pod(2, "dA")).unwrap(), Vec::<String>::new());
    socket.remove(&pod(2, "dA")).unwrap();
    assert_eq!(listing(), empty);
}

#[test]
fn a_change_of_decision_takes_two_transactions_and_removes_the_old_one() {
    let mut socket = namespace();
    socket.ensure(&worker()).unwrap();
    socket.ensure(&pod(1, "dA")).unwrap();
    let before = generation(&mut socket);
    assert_ensured(&mut socket, &pod(1, "dB"));
    assert_eq!(generation(&mut socket), before + 2, "chain and set first, then the elements");
    let text = listing();
    assert!(text.contains("jump dB-4") && text.contains("set dB-6"));
    assert!(!text.contains("dA-"), "{text}");
    // To a decision that somebody has, one transaction is enough.
    socket.ensure(&pod(2, "dC")).unwrap();
    let before = generation(&mut socket);
    socket.ensure(&pod(1, "dC")).unwrap();
    assert_eq!(generation(&mut socket), before + 1);
    assert!(!listing().contains("dB-"));
}

#[test]
fn removal_goes_by_what_is_there_now() {
    let mut socket = namespace();
    socket.ensure(&worker()).unwrap();
    let empty = listing();
    socket.ensure(&pod(1, "dA")).unwrap();
    socket.ensure(&pod(1, "dB")).unwrap();
    // The record still names the old decision.
    socket.remove(&pod(1, "dA")).unwrap();
    assert_eq!(listing(), empty);
}

#[test]
fn an_address_that_a_newer_pod_has_is_left_to_it() {
    let mut socket = namespace();
    socket.ensure(&worker()).unwrap();
    let old = pod(1, "dA");
    let mut new = pod(1, "dA");
    new.chains.pop();
    for element in &mut new.elements {
        for datum in element.entry.key.iter_mut().filter(|d| matches!(d, Datum::IfIndex(_))) {
            *datum = Datum::IfIndex(IfIndex(77));
        }
        if matches!(element.entry.value, Value::Data(_)) {
            element.entry.value = Value::Data(Datum::IfIndex(IfIndex(77)));
        }
    }
    socket.ensure(&old).unwrap();
    socket.ensure(&new).unwrap();
    socket.remove(&old).unwrap();
    assert_eq!(socket.differences(&new).unwrap(), Vec::<String>::new());
    assert!(!listing().contains("101"));
}

#[test]
fn removal_takes_what_is_left_of_a_damaged_pod() {
    let mut socket = namespace();
    socket.ensure(&worker()).unwrap();
    let empty = listing();
    for damage in [
        "delete chain netdev egret egrpod1",
        "flush map netdev egret tx4; delete chain netdev egret dA-4",
        "flush map netdev egret rx6",
        "flush chain netdev egret dA-6",
        "flush map netdev egret tx6; delete chain netdev egret dA-6; delete set netdev egret dA-6",
        "add rule netdev egret dA-4 accept",
    ] {
        socket.ensure(&pod(1, "dA")).unwrap();
        nft(damage);
        socket.remove(&pod(1, "dA")).unwrap();
        assert_eq!(listing(), empty, "after {damage}");
    }
}

#[test]
fn a_table_goes_with_its_last_object_and_not_before() {
    let mut socket = namespace();
    let mut all = ruleset(TableFamily::Inet);
    let jump = vec![Expr::Jump("inner".into())];
    all.sets.push(set("some", &[DataType::Mark], ValueType::None, Content::Shared));
    all.chains.push(chain("inner", vec![vec![Expr::Drop]], Removal::Delete));
    all.chains.push(base("in", HookPoint::Input, vec![jump]));
    socket.ensure(&all).unwrap();
    nft("add chain inet egret other");
    socket.remove(&all).unwrap();
    assert!(socket.table_exists(TableFamily::Inet, "egret").unwrap());
    assert!(!listing().contains("inner"));
    nft("delete chain inet egret other");
    socket.ensure(&all).unwrap();
    socket.remove(&all).unwrap();
    assert!(!socket.table_exists(TableFamily::Inet, "egret").unwrap());
    socket.remove(&all).unwrap();
}

#[test]
fn a_chain_of_another_owner_only_exists() {
    let mut socket = namespace();
    let mut space = ruleset(TableFamily::Netdev);
    let mut inner = chain("worker", vec![], Removal::Keep);
    inner.rules = None;
    space.chains.push(inner);
    space.chains.push(chain("entry", vec![vec![Expr::Jump("worker".into())]], Removal::Keep));
    socket.ensure(&space).unwrap();
    // The owner fills it; whoever only names it leaves its rules alone.
    assert_ensured(&mut socket, &worker());
    let filled = listing();
    socket.ensure(&space).unwrap();
    assert_eq!(listing(), filled);
    // It is emptied, since there is a jump to it.
    socket.remove(&worker()).unwrap();
    assert!(listing().contains("chain worker {\n\t}"), "{}", listing());
}

#[test]
fn other_tables_are_never_touched() {
    let mut socket = namespace();
    let theirs = "add table inet other; add set inet other s { type ipv4_addr; elements = { \
        10.0.0.1 }; }; add chain inet other c { type filter hook input priority 0; }; \
        add rule inet other c counter; add table netdev other; add chain netdev other pod";
    nft(theirs);
    let before = listing();
    socket.ensure(&worker()).unwrap();
    socket.ensure(&pod(1, "dA")).unwrap();
    socket.remove(&pod(1, "dA")).unwrap();
    socket.remove(&worker()).unwrap();
    nft("delete table netdev egret");
    assert_eq!(listing(), before);
}

#[test]
fn a_table_of_somebody_else_is_refused_and_left_alone() {
    let mut socket = namespace();
    nft("add table netdev egret { comment \"mine\"; }; add chain netdev egret pod");
    let before = listing();
    let error = socket.ensure(&worker()).unwrap_err();
    let found = "its comment is \"mine\", should be \"egret.dev\"";
    assert_eq!(error.to_string(), format!("table netdev egret is not ours: {found}"));
    socket.remove(&worker()).unwrap();
    assert_eq!(listing(), before);
}

/// `nft add table`, by somebody who never heard of us: without a comment it is not ours either.
#[test]
fn a_table_without_a_comment_is_refused_and_left_alone() {
    let mut socket = namespace();
    nft("add table netdev egret; add chain netdev egret pod");
    let before = listing();
    let found = "its comment is absent, should be \"egret.dev\"";
    let error = socket.ensure(&worker()).unwrap_err();
    assert_eq!(error.to_string(), format!("table netdev egret is not ours: {found}"));
    let differences = socket.differences(&worker()).unwrap();
    assert_eq!(differences[0], format!("table netdev egret: {found}"));
    socket.remove(&worker()).unwrap();
    assert_eq!(listing(), before);
}

#[test]
fn a_set_of_another_type_is_refused_before_anything_is_sent() {
    let mut socket = namespace();
    nft("add table netdev egret { comment \"egret.dev\"; }; add set netdev egret tx4 { type \
        ipv6_addr . inet_service; }");
    let before = generation(&mut socket);
    let error = socket.ensure(&worker()).unwrap_err();
    assert!(matches!(error, Error::Foreign { .. }));
    let text = error.to_string();
    let start = "set netdev egret tx4 is not ours: its type is ipv6_addr . type 13, should be \
        iface_index . ipv4_addr . ether_addr : verdict: another";
    assert!(text.starts_with(start) && text.contains("`egretctl gc`"), "{text}");
    assert_eq!(generation(&mut socket), before);
}

#[test]
fn a_chain_without_a_hook_is_not_made_a_base_chain() {
    let mut socket = namespace();
    nft(
        "add table inet egret { comment \"egret.dev\"; }; add chain inet egret in; add chain inet egret x; add rule inet \
        egret x jump in",
    );
    let before = listing();
    let error = socket.ensure(&guard(Policy::Drop, 0, vec![vec![Expr::Accept]])).unwrap_err();
    assert_eq!(error.to_string(), "chain inet egret in is not ours: it has no hook");
    assert_eq!(listing(), before);
}

#[test]
fn a_refused_message_is_named_with_its_object_and_attribute() {
    let mut socket = namespace();
    let mut all = ruleset(TableFamily::Inet);
    all.chains.push(chain("c", vec![vec![Expr::Jump("nowhere".into())]], Removal::Delete));
    let error = socket.ensure(&all).unwrap_err();
    assert_eq!(error.errno(), Some(nix::errno::Errno::ENOENT as i32));
    assert!(!error.is_not_permitted());
    let text = error.to_string();
    assert!(
        text.starts_with("add rule to chain inet egret c: No such file or directory"),
        "{text}"
    );
    assert_eq!(listing(), "");
}

fn guard(policy: Policy, priority: i32, rules: Vec<Vec<Expr>>) -> Ruleset {
    let mut all = ruleset(TableFamily::Inet);
    let mut input = base("in", HookPoint::Input, rules);
    if let Some(hook) = &mut input.hook {
        (hook.policy, hook.priority) = (policy, priority);
    }
    all.chains.push(input);
    all
}

#[test]
fn a_base_chain_follows_its_policy_hook_and_rules() {
    let mut socket = namespace();
    let rules = || vec![vec![Expr::Accept]];
    for wanted in [
        guard(Policy::Drop, 0, rules()),
        guard(Policy::Accept, 0, rules()),
        guard(Policy::Accept, -200, rules()),
        guard(Policy::Accept, -200, vec![vec![Expr::Counter, Expr::Drop], vec![Expr::Return]]),
        guard(Policy::Drop, 10, rules()),
        guard(Policy::Drop, 0, vec![]),
        guard(Policy::Drop, 0, rules()),
    ] {
        assert_ensured(&mut socket, &wanted);
    }
}

#[test]
fn a_chain_that_is_jumped_to_follows_its_rules_there_and_back() {
    let mut socket = namespace();
    let with = |last| {
        let mut all = ruleset(TableFamily::Inet);
        let rules = vec![vec![Expr::Counter], vec![last]];
        all.chains.push(chain("inner", rules, Removal::Delete));
        all.chains.push(base("in", HookPoint::Input, vec![vec![Expr::Jump("inner".into())]]));
        all
    };
    // The comment of the chain stays the first version's: it must not be believed afterwards.
    for last in [Expr::Drop, Expr::Accept, Expr::Drop, Expr::Return] {
        assert_ensured(&mut socket, &with(last));
    }
}

#[test]
fn damage_to_rules_is_repaired() {
    let mut socket = namespace();
    socket.ensure(&worker()).unwrap();
    socket.ensure(&pod(1, "dA")).unwrap();
    let right = listing();
    for damage in [
        "flush chain netdev egret pod",
        "flush chain netdev egret egrpod1",
        "add rule netdev egret egrpod1 accept",
        "delete rule netdev egret dA-4 handle",
        "replace rule netdev egret dA-4 handle",
    ] {
        let command = match damage.strip_suffix(" handle") {
            None => damage.to_owned(),
            Some(start) => {
                let rules = run("nft", &["-a", "list", "chain", "netdev", "egret", "dA-4"]);
                let handle = rules.lines().find(|line| line.contains("drop # handle")).unwrap();
                let handle = handle.rsplit(' ').next().unwrap();
                let rule = if start.starts_with("replace") { "accept" } else { "" };
                format!("{start} handle {handle} {rule}")
            }
        };
        nft(&command);
        assert_ne!(listing(), right);
        socket.ensure(&worker()).unwrap();
        socket.ensure(&pod(1, "dA")).unwrap();
        assert_eq!(listing(), right, "after {command}");
    }
}

#[test]
fn a_verdict_map_of_one_owner_takes_its_chains_along() {
    let mut socket = namespace();
    let with = |nodes: &[u8]| {
        let mut all = ruleset(TableFamily::Netdev);
        let name = |node: &u8| format!("node-{node}");
        let entries = nodes.iter().map(|node| Entry {
            key: vec![Datum::Mac(mac(&format!("06:e6:00:00:00:{node:02x}")))],
            value: Value::Jump(name(node)),
        });
        let content = Content::Exact(entries.collect());
        all.sets.push(set("checked", &[DataType::Ether], ValueType::Verdict, content));
        for node in nodes {
            all.chains.push(chain(&name(node), vec![vec![Expr::Drop]], Removal::Delete));
        }
        let check = Expr::VerdictMap(vec![Field::EtherSaddr], "checked".into());
        all.chains.push(chain("gateway", vec![vec![check]], Removal::Flush));
        all
    };
    nft(
        "add table netdev egret { comment \"egret.dev\"; }; add chain netdev egret gateway; add chain netdev egret x; add \
        rule netdev egret x jump gateway",
    );
    assert_ensured(&mut socket, &with(&[1, 2]));
    assert_ensured(&mut socket, &with(&[2, 3]));
    assert!(!listing().contains("node-1"), "{}", listing());
    socket.remove(&with(&[2, 3])).unwrap();
    let rest = "table netdev egret {\n\tcomment \"egret.dev\"\n\tchain gateway {\n\t}\n\n\tchain x {\n\t\tjump \
        gateway\n\t}\n}\n";
    assert_eq!(listing(), rest);
}

#[test]
fn an_element_named_twice_is_one() {
    let mut socket = namespace();
    socket.ensure(&worker()).unwrap();
    let empty = listing();
    let mut twice = pod(1, "dA");
    twice.elements.extend(pod(1, "dA").elements);
    assert_ensured(&mut socket, &twice);
    socket.remove(&twice).unwrap();
    assert_eq!(listing(), empty);
}

#[test]
fn elements_of_several_owners_live_side_by_side() {
    let mut socket = namespace();
    let owner = |mark: u32| {
        let mut all = ruleset(TableFamily::Inet);
        all.sets.push(set("marks", &[DataType::Mark], ValueType::None, Content::Shared));
        all.sets[0].removal = Removal::Keep;
        let entry = Entry { key: vec![Datum::Mark(mark)], value: Value::None };
        all.elements.push(Element { set: "marks".into(), entry });
        all
    };
    assert_ensured(&mut socket, &owner(1));
    assert_ensured(&mut socket, &owner(2));
    socket.remove(&owner(1)).unwrap();
    assert_eq!(socket.differences(&owner(2)).unwrap(), Vec::<String>::new());
    assert_eq!(
        socket.differences(&owner(1)).unwrap(),
        ["set inet egret marks: element 0x00000001 is missing"]
    );
}

#[test]
fn counters_are_told_by_chain_and_rule() {
    let mut socket = namespace();
    ip("link set lo up");
    let mut all = ruleset(TableFamily::Inet);
    let only = Expr::Match(Field::IifName, Op::Is, egret_egress::nft::Constant::Name(link("lo")));
    all.chains.push(base("in", HookPoint::Input, vec![vec![Expr::Accept], vec![Expr::Counter]]));
    all.chains.push(base(
        "out",
        HookPoint::Output,
        vec![vec![only], vec![Expr::Counter, Expr::Accept]],
    ));
    socket.ensure(&all).unwrap();
    let sender = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    sender.send_to(&[0; 72], sender.local_addr().unwrap()).unwrap();
    let counters = socket.counters(TableFamily::Inet, "egret").unwrap();
    let told: Vec<_> =
        counters.iter().map(|c| (c.chain.as_str(), c.rule, c.packets, c.bytes)).collect();
    assert_eq!(told, [("in", 1, 0, 0), ("out", 1, 1, 100)]);
    assert_eq!(socket.counters(TableFamily::Inet, "nothing").unwrap(), []);
}

#[test]
fn both_families_take_the_same_path() {
    let elements = pod(1, "dA").elements;
    let of = |family: Family| {
        elements
            .iter()
            .filter(|element| {
                let is = |d: &Datum| matches!(d, Datum::Address(a) if Family::of(*a) == family);
                element.entry.key.iter().any(is)
            })
            .count()
    };
    assert_eq!((of(Family::V4), of(Family::V6)), (3, 3));
}
