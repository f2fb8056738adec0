//! A network namespace for one test, and `nft` and `ip` in it.

use std::net::IpAddr;

use egret_egress::nft::{
    Chain, Content, Count, DataType, Datum, Element, Entry, Expr, Field, Hook, HookPoint, Op,
    Policy, Removal, Ruleset, Set, TableFamily, Value, ValueType,
};
use egret_types::{Family, IfIndex, LinkName, MacAddr};

use crate::nft::Socket;

/// A new network namespace for this thread and those it starts; it goes with the last of them.
pub(super) fn namespace() -> Socket {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).expect("unshare, which needs root");
    Socket::open().unwrap()
}

#[expect(clippy::disallowed_methods, reason = "the tests' oracle is a program")]
pub(super) fn run(program: &str, arguments: &[&str]) -> String {
    let output = std::process::Command::new(program).args(arguments).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// Runs one command of nft's language.
pub(super) fn nft(command: &str) -> String {
    run("nft", &[command])
}

pub(super) fn ip(command: &str) -> String {
    run("ip", &command.split(' ').collect::<Vec<_>>())
}

/// The whole ruleset of the namespace.
pub(super) fn listing() -> String {
    nft("list ruleset")
}

/// The ruleset's generation: it rises with every transaction.
pub(super) fn generation(socket: &mut Socket) -> u32 {
    let answer = socket.ask(vec![crate::nft::snapshot::generation()]).unwrap();
    crate::nft::snapshot::generation_of(answer.into_iter().next().unwrap()).unwrap()
}

pub(super) fn link(name: &str) -> LinkName {
    name.parse().unwrap()
}

pub(super) fn mac(text: &str) -> MacAddr {
    text.parse().unwrap()
}

pub(super) fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(super) fn ruleset(family: TableFamily) -> Ruleset {
    let table = "egret".to_owned();
    Ruleset { family, table, sets: vec![], chains: vec![], elements: vec![] }
}

pub(super) fn chain(name: &str, rules: Vec<Vec<Expr>>, removal: Removal) -> Chain {
    Chain { name: name.to_owned(), hook: None, rules: Some(rules), removal }
}

pub(super) fn base(name: &str, point: HookPoint, rules: Vec<Vec<Expr>>) -> Chain {
    let hook = Some(Hook { point, priority: 0, policy: Policy::Drop });
    Chain { name: name.to_owned(), hook, rules: Some(rules), removal: Removal::Delete }
}

pub(super) fn set(name: &str, key: &[DataType], value: ValueType, content: Content) -> Set {
    let (name, key) = (name.to_owned(), key.to_vec());
    let count = Count::Nothing;
    Set { name, key, value, content, count, removal: Removal::Delete }
}

/// What an attachment asks of the worker's table: chain, decisions, elements, for both families.
pub(super) fn pod(number: u8, decision: &str) -> Ruleset {
    let device = format!("egrpod{number}");
    let index = Datum::IfIndex(IfIndex(u32::from(number) + 100));
    let identity = Datum::Mac(MacAddr([2, 0xe6, 1, 0, 0, 1]));
    let gateway = Datum::Mac(egret_types::ours::GATEWAY_MAC);
    let mut all = ruleset(TableFamily::Netdev);
    for (family, digit) in [(Family::V4, '4'), (Family::V6, '6')] {
        let own = match family {
            Family::V4 => IpAddr::from([10, 244, 0, number]),
            Family::V6 => IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, u16::from(number)]),
        };
        let name = format!("{decision}-{digit}");
        let key = [DataType::Address(family)];
        let last = family.address(family.last());
        let ranges = Content::Ranges(vec![(family.address(1 << 24), last)]);
        let mut allowed = set(&name, &key, ValueType::None, ranges);
        allowed.removal = Removal::Unused;
        all.sets.push(allowed);
        let daddr = Expr::Lookup(vec![Field::Daddr(family)], Op::Is, name.clone());
        let rules = vec![vec![daddr, Expr::Forward(IfIndex(1))], vec![Expr::Counter, Expr::Drop]];
        all.chains.push(chain(&name, rules, Removal::Unused));
        let own = Datum::Address(own);
        let mut element = |map: &str, key, value| {
            let entry = Entry { key, value };
            all.elements.push(Element { set: format!("{map}{digit}"), entry });
        };
        element("tx", vec![index, own, identity], Value::Jump(name));
        for source in [identity, gateway] {
            element("rx", vec![own, source], Value::Data(index));
        }
    }
    let rules = vec![vec![Expr::Jump("pod".to_owned())]];
    all.chains.push(base(&device, HookPoint::Ingress(link(&device)), rules));
    all
}

/// Where [`pod`]s put themselves.
pub(super) fn worker() -> Ruleset {
    let placed = egret_egress::desired::worker(egret_types::NodeId::try_from(7).unwrap());
    let egret_egress::object::Object::Nft(ruleset) = placed.object else { panic!("a ruleset") };
    ruleset
}
