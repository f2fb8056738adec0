//! ADD: from a selected pod to its way through the gateway.
//!
//! The order makes every prefix safe. The record comes before anything it describes, the pod's guard
//! before all else, the lease before anything that is shared, the tunnel guard before the tunnel,
//! what controls a pod before what steers it; the result is printed when everything is there. A
//! failure anywhere removes what the record lists, the guard last.

use std::time::Duration;

use egret_cni::{CniError, Code, Delegate, IpamResult, NewInterface, PrevResult, Request};
use egret_egress::apply;
use egret_egress::cluster::{cluster_networks, may_capture_services};
use egret_egress::decision::{Decision, decide};
use egret_egress::desired::{
    Names, PodFacts, identity_fdb, pod_filter, pod_link, pod_steering, reverse_path, worker,
};
use egret_egress::kernel::{Kernel, unless_gone};
use egret_egress::links;
use egret_egress::object::{Object, Place, Placed};
use egret_egress::obsolete::obsolete;
use egret_egress::record::{AttachmentRecord, LeaseRecord, NetnsRecord, PodRecord, Stage};
use egret_resources::{EgressPolicy, LocalConfig, Resources};
use egret_store::journal::{AttachmentDir, Journaled};
use egret_store::lock::NodeLock;
use egret_types::{Attachment, LinkName, Prefix};

use crate::exec::Programs;
use crate::leases::{Asker, Wanted, ipam_section, read_leases};
use crate::node::Node;
use crate::pod::{self, Pod};
use crate::{detach, error, guard, tombstones};

/// How long ADD waits for others on this node.
pub(crate) const LOCK_DEADLINE: Duration = Duration::from_secs(5);
/// Next hops are numbered in one byte.
const MAX_IDENTITIES: usize = 254;

/// One ADD of a selected pod.
pub(crate) struct Attach<'a> {
    pub(crate) request: &'a Request<LocalConfig>,
    pub(crate) resources: &'a Resources,
    pub(crate) policies: &'a [&'a EgressPolicy],
    pub(crate) records: &'a AttachmentDir<AttachmentRecord>,
    pub(crate) netns: NetnsRecord,
}

/// What is known before anything is changed.
struct Plan<'a> {
    node: Node<'a>,
    pod: Pod,
    cluster: Vec<Prefix>,
    wanted: Wanted,
    guard: Vec<Placed>,
}

impl<'a> Attach<'a> {
    /// Attaches the pod and answers with the previous result and the ends of the tunnel. The caller
    /// holds the node lock.
    pub(crate) fn run(
        &self,
        kernel: &mut dyn Kernel,
        prev: PrevResult,
    ) -> Result<PrevResult, CniError> {
        let plan = self.plan(kernel, &prev)?;
        let old = self.settle(kernel)?;
        match self.attach(kernel, &plan, old.as_ref()) {
            Ok(record) => self.answer(prev, &record, &plan),
            Err(error) => {
                self.undo(kernel, old.as_ref());
                Err(error)
            }
        }
    }

    /// What this ADD began, it ends; the error that led here is the one to tell. Twice, since what
    /// stopped it may stop the first try as well. What cannot be undone stays recorded. A pod that
    /// was attached before stays attached as it was: it may be running.
    fn undo(&self, kernel: &mut dyn Kernel, old: Option<&AttachmentRecord>) {
        let mut undo = || match old {
            None => {
                detach::finish(self.request, self.records, kernel)?;
                tombstones::settle(self.request.network(), None)
            }
            Some(old) => ensure(kernel, &old.objects).and_then(|()| self.put(old)),
        };
        if let Err(second) = undo().or_else(|_| undo()) {
            log::error!("undo the failed ADD: {}", second.msg());
        }
    }

    /// Reads everything that is needed and refuses what cannot work.
    fn plan(&self, kernel: &mut dyn Kernel, prev: &PrevResult) -> Result<Plan<'a>, CniError> {
        let config = self.request.own();
        let (args, attachment) = (self.request.args(), self.request.attachment());
        let wanted = Wanted::by(self.policies, &Asker { args, attachment })?;
        if let Some(policy) = may_capture_services(self.resources, self.policies) {
            let msg = format!(
                "policy {} could reach the cluster's services, whose network is unknown: set EgressCluster serviceCIDRs ([] if there is none)",
                policy.name
            );
            return Err(CniError::new(Code::INVALID_CONFIG, msg));
        }
        let node = Node::observe(kernel, config, self.resources)?;
        let pod = pod::observe(kernel, prev, &self.request.attachment().ifname)?;
        self.alone_in(kernel, &pod)?;
        let way_back = node.topology.pod_networks();
        for address in &pod.addresses {
            if !way_back.iter().any(|network| network.contains_address(*address)) {
                let msg = format!(
                    "pod address {address} is in no network of EgressCluster clusterCIDRs or EgressNode podCIDRs: gateways would have no way back to it"
                );
                return Err(CniError::new(Code::INVALID_CONFIG, msg));
            }
        }
        let mut evidence = node.evidence(kernel, config, &self.request.attachment().network)?;
        evidence.0.extend(pod::networks(kernel, prev, &pod)?);
        let cluster = cluster_networks(self.resources, &evidence);
        let cluster: Vec<Prefix> = cluster.into_iter().map(|network| network.prefix).collect();
        let reach = decide(&Wanted::reach(self.policies, self.resources), &cluster);
        self.refuse_untouched(&reach)?;
        let (mode, names) = (self.resources.cluster.guard, Names::of(self.request.attachment()));
        let guard = guard::plan(kernel, mode, &pod, &names, &reach)?;
        Ok(Plan { node, pod, cluster, wanted, guard })
    }

    /// Policies of which nothing is left cannot be what somebody wanted.
    fn refuse_untouched(&self, decision: &Decision) -> Result<(), CniError> {
        if !decision.is_untouched() {
            return Ok(());
        }
        let names: Vec<String> = self.policies.iter().map(|p| p.name.to_string()).collect();
        let msg = format!(
            "policies {} select this pod, but all their destinations are cluster networks or excepted",
            names.join(", ")
        );
        Err(CniError::new(Code::INVALID_CONFIG, msg))
    }

    /// Links and routes of a second attachment in one pod would have the names of the first. The
    /// record of another is not enough: the kernel gives the number of a dead namespace out again, and
    /// the link of a pod ends with its namespace.
    fn alone_in(&self, kernel: &mut dyn Kernel, pod: &Pod) -> Result<(), CniError> {
        let own = self.request.attachment();
        if !pod.links.iter().any(|link| link.name == Names::of(own).pod) {
            return Ok(());
        }
        let links = unless_gone(kernel.list_links(Place::Egret))
            .map_err(|failure| error::kernel(&failure))?;
        let lives = |attachment: &Attachment| {
            let name = Names::of(attachment).node;
            links.iter().any(|link| link.name == name)
        };
        for found in self.records.list().map_err(|e| error::store(&e))? {
            let Journaled::Whole { attachment, record } = found else { continue };
            if record.netns == self.netns && attachment != *own && lives(&attachment) {
                let msg = format!(
                    "this pod is attached already, as {attachment}: one Egret attachment a pod is possible"
                );
                return Err(CniError::new(Code::NOT_APPLICABLE, msg));
            }
        }
        Ok(())
    }

    /// The record of an earlier ADD of this attachment that may still serve. One that was broken
    /// off, or was for another namespace, is removed.
    fn settle(&self, kernel: &mut dyn Kernel) -> Result<Option<AttachmentRecord>, CniError> {
        let attachment = self.request.attachment();
        let serves =
            |old: &AttachmentRecord| old.stage == Stage::Committed && old.netns == self.netns;
        match self.records.get(attachment) {
            Ok(None) => Ok(None),
            Ok(Some(old)) if serves(&old) => Ok(Some(old)),
            _ => self.remove(kernel).map(|()| None),
        }
    }

    fn attach(
        &self,
        kernel: &mut dyn Kernel,
        plan: &Plan<'_>,
        old: Option<&AttachmentRecord>,
    ) -> Result<AttachmentRecord, CniError> {
        let config = self.request.own();
        let ipam = ipam_section(self.request.config().ipam()?, config, &plan.wanted.requests)?;
        // Looked for before anything is begun: DEL of what was begun needs it as well.
        let delegate = Delegate::new(&Programs, self.request.network(), &ipam)?;
        let mut record = self.begun(plan);
        if old.is_none() {
            self.put(&record)?;
            ensure(kernel, &plan.guard)?;
        }
        let result = delegate.add()?;
        (record.leases, record.decision) = self.decide(plan, &result)?;
        self.ensure_shared(kernel, plan, &record)?;
        ensure(kernel, &Self::ways_to_gateways(plan, &record)?)?;
        let links = links::numbers(kernel, &Names::of(self.request.attachment()))
            .map_err(|e| error::kernel(&e))?;
        match old {
            Some(old) if old.serves(&record) && old.links == links => {
                ensure(kernel, &old.objects)?;
                Ok(old.clone())
            }
            _ => self.make(kernel, plan, record, old),
        }
    }

    /// The record as it is written first.
    fn begun(&self, plan: &Plan<'_>) -> AttachmentRecord {
        let args = self.request.args();
        let facts = &plan.node.facts;
        let mut shared = plan.node.topology.foundation(facts);
        shared.push(worker(facts.id));
        AttachmentRecord {
            stage: Stage::Pending,
            netns: self.netns.clone(),
            pod: PodRecord {
                namespace: args.pod_namespace.clone(),
                name: args.pod_name.clone(),
                addresses: plan.pod.addresses.clone(),
            },
            leases: Vec::new(),
            decision: Decision::default(),
            shared,
            links: None,
            objects: plan.guard.clone(),
        }
    }

    fn decide(
        &self,
        plan: &Plan<'_>,
        result: &IpamResult,
    ) -> Result<(Vec<LeaseRecord>, Decision), CniError> {
        let leases = read_leases(result, &plan.wanted.requests, self.resources)?;
        let decision = decide(&plan.wanted.claims(self.policies, &leases), &plan.cluster);
        let identities = decision.identities().len();
        if identities > MAX_IDENTITIES {
            let msg = format!(
                "the policies of this pod use {identities} egress pairs; {MAX_IDENTITIES} are possible"
            );
            return Err(CniError::new(Code::NOT_APPLICABLE, msg));
        }
        Ok((leases, decision))
    }

    /// Where the frames of the attachment's identities go.
    fn ways_to_gateways(
        plan: &Plan<'_>,
        record: &AttachmentRecord,
    ) -> Result<Vec<Placed>, CniError> {
        let way = |lease: &LeaseRecord| {
            let owner = plan.node.topology.owner(&lease.pool).map_err(|e| error::topology(&e))?;
            Ok(identity_fdb(lease.identity, owner))
        };
        record.leases.iter().map(way).collect()
    }

    /// What the attachment stands on. One process at a time makes it; when it is there, this is a
    /// few reads.
    fn ensure_shared(
        &self,
        kernel: &mut dyn Kernel,
        plan: &Plan<'_>,
        record: &AttachmentRecord,
    ) -> Result<(), CniError> {
        let guard = plan.node.topology.tunnel_guard().map_err(|e| error::topology(&e))?;
        let run_dir = &self.request.own().run_dir;
        let _making = NodeLock::making(run_dir, LOCK_DEADLINE).map_err(|e| error::store(&e))?;
        apply::ensure_guarded(kernel, &guard, &record.shared).map_err(|e| error::kernel(&e))
    }

    /// Makes the pod's own objects; what an earlier ADD made and this one does not goes afterwards,
    /// so that a pod with traffic is never without both. The filter names links by their number,
    /// which is known when they exist; the record is written again before anything that needs it is
    /// made, and until all is done it lists the old and the new.
    fn make(
        &self,
        kernel: &mut dyn Kernel,
        plan: &Plan<'_>,
        mut record: AttachmentRecord,
        old: Option<&AttachmentRecord>,
    ) -> Result<AttachmentRecord, CniError> {
        let before = old.map(|old| old.objects.clone()).unwrap_or_default();
        let facts = self.pod_facts(kernel, plan, &record, &before);
        let mut objects = plan.guard.clone();
        objects.push(pod_link(&facts));
        self.put_both(&mut record, &before, &objects)?;
        ensure(kernel, &objects)?;
        let links = links::numbers(kernel, &facts.names)
            .map_err(|e| error::kernel(&e))?
            .ok_or_else(|| {
                let msg =
                    format!("link {} or the tunnel vanished while it was made", facts.names.node);
                CniError::new(Code::TRY_AGAIN_LATER, msg)
            })?;
        record.links = Some(links);
        objects.push(pod_filter(&facts, links.veth, links.tunnel));
        objects.extend(pod_steering(&facts));
        self.put_both(&mut record, &before, &objects)?;
        ensure(kernel, &objects)?;
        if let Some(failure) = apply::remove_all(kernel, &obsolete(&before, &objects)).first() {
            return Err(error::kernel(failure));
        }
        (record.stage, record.objects) = (Stage::Committed, objects);
        self.put(&record)?;
        Ok(record)
    }

    /// Writes the record with what was and what will be.
    fn put_both(
        &self,
        record: &mut AttachmentRecord,
        before: &[Placed],
        objects: &[Placed],
    ) -> Result<(), CniError> {
        let gone = before.iter().filter(|placed| !objects.contains(placed));
        record.objects = gone.chain(objects).cloned().collect();
        self.put(record)
    }

    fn pod_facts(
        &self,
        kernel: &mut dyn Kernel,
        plan: &Plan<'_>,
        record: &AttachmentRecord,
        before: &[Placed],
    ) -> PodFacts {
        let links: Vec<LinkName> = plan.pod.links.iter().map(|link| link.name.clone()).collect();
        let mut current = |path: &str| kernel.get_sysctl(Place::Pod, path).ok().flatten();
        let mut parameters = reverse_path(&links, &mut current);
        // An earlier ADD knows what was there before it; now its own values are.
        parameters.extend(before.iter().filter_map(|placed| match &placed.object {
            Object::Sysctl(sysctl) if sysctl.was.is_some() => Some(sysctl.clone()),
            _ => None,
        }));
        PodFacts {
            names: Names::of(self.request.attachment()),
            primary: plan.pod.primary.name.clone(),
            addresses: plan.pod.addresses.clone(),
            decision: record.decision.clone(),
            node: plan.node.facts.id,
            mtu: plan.node.facts.mtu,
            reverse_path: parameters,
        }
    }

    fn remove(&self, kernel: &mut dyn Kernel) -> Result<(), CniError> {
        detach::remove(kernel, self.records, self.request.attachment(), Some(self.netns.inode))
    }

    fn put(&self, record: &AttachmentRecord) -> Result<(), CniError> {
        self.records.put(self.request.attachment(), record).map_err(|e| error::store(&e))
    }

    /// The previous result with both ends of the tunnel behind its own interfaces.
    fn answer(
        &self,
        mut prev: PrevResult,
        record: &AttachmentRecord,
        plan: &Plan<'_>,
    ) -> Result<PrevResult, CniError> {
        let names = Names::of(self.request.attachment());
        let (mac, mtu) = (plan.node.facts.id.mac(), Some(plan.node.facts.mtu));
        let inside = Some(record.netns.path.as_path());
        let here = Some(self.request.own().netns.as_path());
        for (name, sandbox) in [(&names.pod, inside), (&names.node, here)] {
            prev.append_interface(&NewInterface { name, mac, sandbox, mtu })?;
        }
        Ok(prev)
    }
}

fn ensure(kernel: &mut dyn Kernel, objects: &[Placed]) -> Result<(), CniError> {
    apply::ensure_all(kernel, objects).map_err(|failure| error::kernel(&failure))
}
