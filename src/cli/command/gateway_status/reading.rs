//! What `gateway status` reads from the kernel: everything the answer is made of, as values that a
//! test can make up.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use egret_egress::desired::{counted, uplink_name};
use egret_egress::kernel::{Failure, Kernel, Link, unless_gone};
use egret_egress::nft::{DataType, Datum, TableFamily};
use egret_egress::object::Place;
use egret_kernel::{Counter, ElementCounter, LinkState, LinuxKernel};
use egret_types::{DualStack, Family, LinkName, MacAddr, Prefix, ours};

use super::drops::Counters;
use super::value::{Count, Fill};
use crate::blocked;
use crate::error::CliError;

const FRAMES: (TableFamily, &str) = (TableFamily::Netdev, ours::NFT_TABLE);
const PACKETS: (TableFamily, &str) = (TableFamily::Inet, ours::NFT_TABLE);
const GUARD: (TableFamily, &str) = (TableFamily::Inet, ours::NFT_TUNNEL_TABLE);

/// See the file comment. What is in the egret namespace is empty where that does not exist.
#[derive(Debug, Default)]
pub(super) struct Reading {
    /// The identities that are served: egress addresses, and what left from them.
    pub(super) sent: BTreeMap<u32, (DualStack<IpAddr>, Count)>,
    /// What came back, by identity.
    pub(super) received: BTreeMap<u32, Count>,
    /// First packets dropped over the share, by identity.
    pub(super) over_share: BTreeMap<u32, u64>,
    /// Live flows, by identity.
    pub(super) flows: BTreeMap<u32, u64>,
    /// Flows that met a packet of another identity, and live.
    pub(super) blocked: u64,
    /// Frames, by the MAC of the node that sent them.
    pub(super) frames: BTreeMap<MacAddr, Count>,
    pub(super) counters: Counters,
    pub(super) growth: Growth,
    pub(super) conntrack: Option<Fill>,
    pub(super) uplink: UplinkReading,
}

/// First packets that were dropped while we looked.
#[derive(Debug, Default)]
pub(super) struct Growth {
    /// Over the share, by identity.
    pub(super) over_share: BTreeMap<u32, u64>,
    /// For want of room in the table of flows.
    pub(super) table_full: u64,
}

/// Whoever finds no room tries again within it: the first retry of TCP comes after a second.
const WATCHED: Duration = Duration::from_millis(1200);

/// The uplink link of the egret namespace, and the link below it.
#[derive(Debug, Default)]
pub(super) struct UplinkReading {
    /// Of the parent; `None`: there is no such link.
    pub(super) parent: Option<LinkState>,
    /// With the lengths of their networks.
    pub(super) addresses: Vec<(IpAddr, u8)>,
    pub(super) next_hops: BTreeSet<IpAddr>,
}

impl Reading {
    /// Reads all of it. `parent` is the link below the uplink, if it is known.
    pub(super) fn take(
        kernel: &mut LinuxKernel,
        parent: Option<&LinkName>,
    ) -> Result<Self, CliError> {
        let mut reading = Self::default();
        let (family, table) = GUARD;
        reading.counters.guard = kernel.counters(Place::Root, family, table)?;
        if let Some(parent) = parent {
            reading.uplink.parent = kernel.link_state(Place::Root, parent)?;
        }
        match kernel.list_links(Place::Egret) {
            // Not made yet, or gone with a reboot.
            Err(Failure::NoNamespace { .. }) => {}
            links => reading.add_namespace(kernel, &links?)?,
        }
        Ok(reading)
    }

    /// Looks again at what was dropped for want of room, a moment after `begin`. Where nothing ever
    /// was, at once.
    pub(super) fn watch(
        &mut self,
        kernel: &mut LinuxKernel,
        begin: Instant,
    ) -> Result<(), CliError> {
        let full = self.counters.conntrack.table_full();
        if full > 0 || self.over_share.values().any(|packets| *packets > 0) {
            std::thread::sleep(WATCHED.saturating_sub(begin.elapsed()));
        }
        let over = over_share(kernel)?.into_iter().filter_map(|(identity, now)| {
            let before = self.over_share.get(&identity).copied().unwrap_or_default();
            Some((identity, now.checked_sub(before).filter(|more| *more > 0)?))
        });
        let statistics = unless_gone(kernel.conntrack_statistics(Place::Egret))?;
        self.growth = Growth {
            over_share: over.collect(),
            table_full: statistics.table_full().saturating_sub(full),
        };
        Ok(())
    }

    fn add_namespace(&mut self, kernel: &mut LinuxKernel, links: &[Link]) -> Result<(), CliError> {
        self.counters.frames = rules(kernel, FRAMES)?;
        self.counters.packets = rules(kernel, PACKETS)?;
        self.counters.conntrack = kernel.conntrack_statistics(Place::Egret)?;
        self.add_sets(kernel)?;
        self.flows = kernel.flows_by_mark(Place::Egret)?;
        let noted = blocked::noted(kernel)?;
        self.blocked = kernel.count_living(Place::Egret, &noted)?;
        self.conntrack = fill(kernel)?;
        if let Some(link) = links.iter().find(|link| link.name == uplink_name()) {
            self.uplink.addresses.clone_from(&link.addresses);
            let routes = kernel.list_main_routes(Place::Egret)?.into_iter();
            let out = routes.filter(|route| route.link == link.index);
            let beyond = out.filter(|route| route.destination == Prefix::all(route.family()));
            self.uplink.next_hops = beyond.filter_map(|route| route.hop).collect();
        }
        Ok(())
    }

    fn add_sets(&mut self, kernel: &mut LinuxKernel) -> Result<(), CliError> {
        for family in Family::BOTH {
            let kinds = [DataType::Mark, DataType::Address(family)];
            for element in elements(kernel, PACKETS, pair_set(family), &kinds)? {
                if let [Datum::Mark(mark), Datum::Address(address)] = element.key[..] {
                    let (pair, sent) = self.sent.entry(mark).or_default();
                    *pair.slot(family) = Some(address);
                    sent.packets += element.packets;
                    sent.bytes += element.bytes;
                }
            }
        }
        let by_mark = |kernel: &mut _, set| elements(kernel, PACKETS, set, &[DataType::Mark]);
        for element in by_mark(kernel, counted::RECEIVED)? {
            if let [Datum::Mark(mark)] = element.key[..] {
                self.received.insert(mark, Count::from(&element));
            }
        }
        self.over_share = over_share(kernel)?;
        for element in elements(kernel, FRAMES, counted::NODES, &[DataType::Ether])? {
            if let [Datum::Mac(mac)] = element.key[..] {
                self.frames.insert(mac, Count::from(&element));
            }
        }
        Ok(())
    }
}

impl From<&ElementCounter> for Count {
    fn from(element: &ElementCounter) -> Self {
        Self { packets: element.packets, bytes: element.bytes }
    }
}

fn pair_set(family: Family) -> &'static str {
    match family {
        Family::V4 => "pair4",
        Family::V6 => "pair6",
    }
}

fn rules(
    kernel: &mut LinuxKernel,
    (family, table): (TableFamily, &str),
) -> Result<Vec<Counter>, CliError> {
    Ok(kernel.counters(Place::Egret, family, table)?)
}

fn elements(
    kernel: &mut LinuxKernel,
    table: (TableFamily, &str),
    set: &str,
    kinds: &[DataType],
) -> Result<Vec<ElementCounter>, CliError> {
    Ok(kernel.element_counters(Place::Egret, table, set, kinds)?)
}

fn over_share(kernel: &mut LinuxKernel) -> Result<BTreeMap<u32, u64>, CliError> {
    let (family, table) = PACKETS;
    let read =
        kernel.element_counters(Place::Egret, (family, table), counted::OVER, &[DataType::Mark]);
    let by_mark = unless_gone(read)?.into_iter().filter_map(|element| match element.key[..] {
        [Datum::Mark(mark)] => Some((mark, element.packets)),
        _ => None,
    });
    Ok(by_mark.collect())
}

/// `None` where the kernel does not say.
fn fill(kernel: &mut LinuxKernel) -> Result<Option<Fill>, CliError> {
    let mut number = |name: &str| -> Result<Option<u64>, CliError> {
        let text = kernel.get_sysctl(Place::Egret, &format!("net/netfilter/{name}"))?;
        Ok(text.and_then(|text| text.parse().ok()))
    };
    let (count, max) = (number("nf_conntrack_count")?, number("nf_conntrack_max")?);
    Ok(count.zip(max).map(|(count, max)| Fill { count, max }))
}
