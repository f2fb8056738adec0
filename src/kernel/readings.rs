//! What the kernel can tell beyond the port: counters and entries that commands for operators show.
//! And the one thing that is taken away beyond it: flows, which no object of ours describes.

use std::collections::{BTreeMap, BTreeSet};

use egret_egress::kernel::Failure;
use egret_egress::nft::{DataType, Datum, TableFamily};
use egret_egress::object::{Fdb, Place};
use egret_types::LinkName;

use crate::conntrack::{self, FlowKey, Statistics};
use crate::linux::LinuxKernel;
use crate::netlink::fdb;
use crate::netlink::link::{self, LinkState, Traffic};
use crate::nft;

impl LinuxKernel {
    /// Packets and bytes of the rules of an nft table; empty if there is no such table.
    pub fn counters(
        &mut self,
        place: Place,
        family: TableFamily,
        table: &str,
    ) -> Result<Vec<nft::Counter>, Failure> {
        self.ask(place, "reading counters", |at| Ok(at.nft()??.counters(family, table)?))
    }

    /// Packets and bytes of the elements of a set whose keys are of these types; empty if there is
    /// no such set.
    pub fn element_counters(
        &mut self,
        place: Place,
        table: (TableFamily, &str),
        set: &str,
        kinds: &[DataType],
    ) -> Result<Vec<nft::ElementCounter>, Failure> {
        self.ask(place, "reading counters of a set", |at| {
            Ok(at.nft()??.element_counters(table, set, kinds)?)
        })
    }

    /// The keys of the elements of a set whose keys are of these types; empty if there is no such set.
    pub fn element_keys(
        &mut self,
        place: Place,
        table: (TableFamily, &str),
        set: &str,
        kinds: &[DataType],
    ) -> Result<Vec<Vec<Datum>>, Failure> {
        self.ask(place, "listing a set", |at| Ok(at.nft()??.element_keys(table, set, kinds)?))
    }

    /// Whether there is an nft table of this name.
    pub fn table_exists(
        &mut self,
        place: Place,
        family: TableFamily,
        table: &str,
    ) -> Result<bool, Failure> {
        self.ask(place, "looking for an nft table", |at| {
            Ok(at.nft()??.table_exists(family, table)?)
        })
    }

    /// What a link carried; `None` if there is no such link.
    pub fn traffic(&mut self, place: Place, link: &LinkName) -> Result<Option<Traffic>, Failure> {
        self.ask(place, "reading counters of a link", |at| Ok(link::traffic(&at.route, link)?))
    }

    /// The forwarding entries of a tunnel link; none if there is no such link.
    pub fn list_fdb(&mut self, place: Place, link: &LinkName) -> Result<Vec<Fdb>, Failure> {
        self.ask(place, "listing fdb entries", |at| Ok(fdb::list(&at.route, link)?))
    }

    /// Whether a link can carry frames; `None` if there is no such link.
    pub fn link_state(
        &mut self,
        place: Place,
        link: &LinkName,
    ) -> Result<Option<LinkState>, Failure> {
        self.ask(place, "reading the state of a link", |at| Ok(link::state(&at.route, link)?))
    }

    /// What became of packets for which connection tracking had no place.
    pub fn conntrack_statistics(&mut self, place: Place) -> Result<Statistics, Failure> {
        self.ask(place, "reading conntrack statistics", |at| {
            Ok(conntrack::statistics(at.conntrack()?)?)
        })
    }

    /// How many flows each connection mark has. What comes and goes during the reading may be
    /// counted or not.
    pub fn flows_by_mark(&mut self, place: Place) -> Result<BTreeMap<u32, u64>, Failure> {
        self.ask(place, "listing flows", |at| Ok(conntrack::flows_by_mark(at.conntrack()?)?))
    }

    /// How many of these flows there are still.
    pub fn count_living(
        &mut self,
        place: Place,
        flows: &BTreeSet<FlowKey>,
    ) -> Result<u64, Failure> {
        self.ask(place, "listing flows", |at| Ok(conntrack::count_living(at.conntrack()?, flows)?))
    }

    /// Deletes these flows, and tells how many there were still.
    pub fn delete_flows(
        &mut self,
        place: Place,
        flows: &BTreeSet<FlowKey>,
    ) -> Result<u64, Failure> {
        self.ask(place, "deleting flows", |at| Ok(conntrack::delete(at.conntrack()?, flows)?))
    }
}
