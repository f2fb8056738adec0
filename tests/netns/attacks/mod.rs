//! Attacks by name, from everywhere an attacker can be: all are in one table, and each is made twice,
//! against the defences and where they have been taken away. The verdict is a count on captures of
//! both networks, of the tunnel and of the links of other pods.

mod attack;
mod packet;
mod shot;
mod stage;
mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use egret_tests::{Families, Lab, Pod, pod_network, resources, root};
use egret_types::Family;
use rstest::rstest;

use crate::world;
use attack::{Attack, Control, Expected, Who};
use shot::Shot;
use stage::{Place, Sightings, Stage, settle};
use table::ATTACKS;

/// The attacks of these attackers that there are in a family.
fn attacks_of(who: &[Who], family: Family) -> Vec<&'static Attack> {
    let there = |attack: &&Attack| {
        who.contains(&attack.who) && attack.family.is_none_or(|only| only == family)
    };
    ATTACKS.iter().filter(there).collect()
}

/// A time in which attacks are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Defended = 1,
    Disarmed = 2,
    PodNetworksChecked = 3,
}

/// Pods for those who change their own namespace, one each.
type OwnPods<'lab> = BTreeMap<&'static str, Pod<'lab>>;

fn own_pods<'lab>(lab: &'lab Lab, attacks: &[&'static Attack]) -> OwnPods<'lab> {
    let admins = attacks.iter().filter(|attack| attack.who == Who::PodAdmin);
    admins.map(|attack| (attack.name, lab.add_pod("w1", "shop", attack.name))).collect()
}

/// Makes these attacks, and gives what is needed to recognize them.
fn make<'a>(
    stage: &'a Stage<'a>,
    pods: &'a OwnPods<'a>,
    attacks: &[&'static Attack],
    phase: Phase,
) -> Vec<Shot<'a>> {
    let shots = attacks.iter().enumerate().map(|(place, attack)| {
        let number = phase as u16 * 200 + u16::try_from(place).unwrap();
        let pod = pods.get(attack.name).unwrap_or(&stage.pod);
        Shot { attack, stage, pod, text: format!("attack-{number:04};"), port: 20_000 + number }
    });
    let shots: Vec<Shot<'a>> = shots.collect();
    for shot in &shots {
        shot.fire();
    }
    if phase == Phase::Disarmed {
        // Neighbours believe anything by now: nothing good is sure to arrive.
        settle();
    } else {
        stage.after_all("after the attacks");
    }
    shots
}

fn names(attacks: impl Iterator<Item = &'static Attack>) -> BTreeSet<&'static str> {
    attacks.map(|attack| attack.name).collect()
}

/// Names and places, for a sentence.
fn places(seen: &BTreeMap<&'static str, Sightings>) -> BTreeMap<&'static str, Vec<Place>> {
    let list = |sightings: &Sightings| sightings.iter().map(|(place, _)| *place).collect();
    seen.iter().map(|(name, sightings)| (*name, list(sightings))).collect()
}

/// Against the defences: what is open is seen, and nothing else.
fn defended(stage: &Stage<'_>, pods: &OwnPods<'_>, attacks: &[&'static Attack]) {
    let shots = make(stage, pods, attacks, Phase::Defended);
    let is_open = |attack: &&Attack| matches!(attack.expected, Expected::Open(_));
    let seen = stage.seen_of(&shots);
    let wanted = names(attacks.iter().copied().filter(is_open));
    assert_eq!(seen.keys().copied().collect::<BTreeSet<_>>(), wanted, "seen: {:#?}", places(&seen));
    let open: Vec<&Shot<'_>> = shots.iter().filter(|shot| is_open(&shot.attack)).collect();
    let strangers = stage.strangers(&open);
    assert_eq!(strangers, [], "outside, with an address that is nobody's to use there");
    assert_eq!(stage.missed(), 0, "packets that no capture has seen");
    let unsent = shots.iter().filter(|shot| shot.attack.control == Control::Sent);
    let unsent = names(unsent.filter(|shot| !stage.was_sent(shot)).map(|shot| shot.attack));
    assert_eq!(unsent, BTreeSet::new(), "control: these were never sent");
    say(&format!(
        "{}, {} attacks: {} blocked, 0 packets with the address of a node, a pod or another tenant \
         outside; {} declared open",
        stage.family,
        attacks.len(),
        attacks.len() - wanted.len(),
        wanted.len(),
    ));
}

/// The same attacks where nothing holds them.
fn disarmed(stage: &Stage<'_>, pods: &OwnPods<'_>, attacks: &[&'static Attack]) {
    stage.disarm();
    let attacks: Vec<&'static Attack> =
        attacks.iter().copied().filter(|attack| attack.control == Control::Arrives).collect();
    let shots = make(stage, pods, &attacks, Phase::Disarmed);
    let seen = stage.seen_of(&shots);
    let held: BTreeSet<_> = names(attacks.iter().copied())
        .into_iter()
        .filter(|name| !seen.contains_key(name))
        .collect();
    assert_eq!(held, BTreeSet::new(), "control: not seen without the defences");
    let strangers = stage.strangers(&[]).len();
    assert!(strangers > 0, "control: nothing outside has a wrong address");
    say(&format!(
        "{}, control: without the defences all {} of {} are seen, {strangers} packets outside have \
         an address of others",
        stage.family,
        seen.len(),
        attacks.len()
    ));
}

#[rstest]
fn nothing_of_a_pod_gets_through_and_all_of_it_where_the_defences_are_gone(
    #[values(Families::V4, Families::V6)] families: Families,
) {
    let lab = world::builder(families).start();
    let stage = Stage::new(&lab);
    let attacks = attacks_of(&[Who::Pod, Who::PodRaw, Who::PodAdmin], stage.family);
    let pods = own_pods(&lab, &attacks);
    defended(&stage, &pods, &attacks);
    disarmed(&stage, &pods, &attacks);
}

#[rstest]
fn nothing_of_a_process_a_worker_or_a_stranger_gets_through_but_what_is_declared(
    #[values(Families::V4, Families::V6)] families: Families,
) {
    let lab = world::builder(families).start();
    let stage = Stage::new(&lab);
    let attacks = attacks_of(&[Who::Process, Who::Worker, Who::Underlay], stage.family);
    let none = OwnPods::new();
    defended(&stage, &none, &attacks);
    pod_networks_checked(&stage, &none, &attacks);
    disarmed(&stage, &none, &attacks);
}

/// Where the gateway knows which pods a node has: of what is open, this is closed.
fn pod_networks_checked(stage: &Stage<'_>, pods: &OwnPods<'_>, attacks: &[&'static Attack]) {
    let lab = stage.lab;
    let defaults = resources::defaults(lab.nodes(), lab.families());
    let text = lab.nodes().iter().fold(defaults.clone(), |text, node| {
        let id = format!("  id: {}\n", node.host());
        let network = pod_network(stage.family, node.host());
        text.replace(&id, &format!("{id}  podCIDRs: [\"{network}\"]\n"))
    });
    let with = |text: &str| {
        lab.write_resources("10-defaults.yaml", text);
        lab.node("g1").egretctl("gateway up").success();
    };
    with(&text);
    let worker = attacks.iter().copied().filter(|attack| attack.who == Who::Worker);
    let worker: Vec<&'static Attack> = worker.collect();
    let shots = make(stage, pods, &worker, Phase::PodNetworksChecked);
    let seen = stage.seen_of(&shots);
    let open = |attack: &&Attack| {
        matches!(attack.expected, Expected::Open(_)) && !attack.closed_by_pod_cidrs
    };
    let wanted = names(worker.iter().copied().filter(open));
    assert_eq!(seen.keys().copied().collect::<BTreeSet<_>>(), wanted, "seen: {:#?}", places(&seen));
    assert!(worker.iter().any(|attack| attack.closed_by_pod_cidrs));
    with(&defaults);
}

/// A line for who reads the output of the test, also when it passes.
fn say(line: &str) {
    writeln!(std::io::stderr(), "attacks: {line}").ok();
}

#[test]
fn the_table_has_forty_names_or_more_and_none_twice() {
    let names = names(ATTACKS.iter());
    assert_eq!(names.len(), ATTACKS.len(), "a name is there twice");
    assert!(names.len() >= 40, "{}", names.len());
    for who in [Who::Pod, Who::PodRaw, Who::PodAdmin, Who::Process, Who::Worker, Who::Underlay] {
        assert!(ATTACKS.iter().any(|attack| attack.who == who), "{who:?} attacks nobody");
    }
}

#[test]
fn the_security_page_names_each_attack_and_says_which_are_open() {
    let page = std::fs::read_to_string(root().join("docs/security.md")).unwrap();
    let flat = page.split_whitespace().collect::<Vec<_>>().join(" ");
    for attack in ATTACKS {
        assert!(flat.contains(&format!("`{}`", attack.name)), "{} is not named", attack.name);
        if let Expected::Open(sentence) = attack.expected {
            assert!(flat.contains(sentence), "{}: no such sentence: {sentence}", attack.name);
        }
    }
}
