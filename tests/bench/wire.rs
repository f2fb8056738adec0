//! The packet section: every kind of traffic over every way, in turn, in short slices; a ratio is
//! taken in each round. One way stands there twice: how far it is from itself is the noise.

use std::time::Duration;

use egret_types::Family;

use crate::Scale;
use crate::report;
use crate::samples::Samples;
use crate::traffic::{Kind, Rate};
use crate::ways::{Lane, Way};

/// How long one way has its turn: short, so that some turns are undisturbed on a busy machine.
const SLICE: Duration = Duration::from_millis(40);
/// The ways, as they are printed.
const WAYS: [(&str, Way); 6] = [
    ("node SNAT", Way::Node),
    ("node SNAT and a router: the floor", Way::Router),
    ("the floor again, in another laboratory", Way::Router),
    ("node SNAT and a router that tracks", Way::TrackingRouter),
    ("reference design", Way::Reference),
    ("egret", Way::Egret),
];
const NODE: usize = 0;
const FLOOR: usize = 1;
const AGAIN: usize = 2;
const TRACKING: usize = 3;
const REFERENCE: usize = 4;
const EGRET: usize = 5;
/// What is divided by what.
const RATIOS: [(&str, usize, usize); 6] = [
    ("egret / floor", EGRET, FLOOR),
    ("egret / router that tracks", EGRET, TRACKING),
    ("egret / reference design", EGRET, REFERENCE),
    ("egret / node SNAT", EGRET, NODE),
    ("reference design / floor", REFERENCE, FLOOR),
    ("noise: floor again / floor", AGAIN, FLOOR),
];

/// Measures and prints.
pub(crate) fn run(scale: Scale) {
    report::section("5. Packets of a pod to a host outside, by four ways");
    let lanes = WAYS.map(|(_, way)| Lane::new(way));
    let traffic: Vec<(Family, Kind)> =
        Family::BOTH.into_iter().flat_map(|family| Kind::ALL.map(|kind| (family, kind))).collect();
    let mut measured = vec![Measured::default(); traffic.len()];
    for round in 0..scale.rounds() {
        for ((family, kind), measured) in traffic.iter().zip(&mut measured) {
            for turn in 0..lanes.len() {
                let place = (round + turn) % lanes.len();
                measured.push(place, lanes[place].rate(*family, *kind, SLICE));
            }
        }
    }
    for ((family, kind), measured) in traffic.iter().zip(&measured) {
        measured.print(&format!("{}, {family}", kind.name()));
    }
}

/// Rates of all ways, by time and by work.
#[derive(Clone, Default)]
struct Measured {
    time: [Samples; WAYS.len()],
    work: [Samples; WAYS.len()],
}

impl Measured {
    fn push(&mut self, place: usize, rate: Rate) {
        self.time[place].push(rate.time);
        self.work[place].push(rate.work);
    }

    fn print(&self, name: &str) {
        let rows: Vec<_> =
            WAYS.iter().zip(&self.work).map(|((name, _), own)| (*name, own)).collect();
        report::figures(&format!("{name} of processor time"), &rows);
        for (samples, second) in [(&self.work, "processor time"), (&self.time, "time")] {
            let rows = RATIOS.map(|(name, own, peer)| (name, &samples[own], &samples[peer]));
            report::rates(&format!("ratio by {second}, pair by pair"), &rows);
        }
    }
}
