//! What an attack is: who makes it, for whom it is, and what is expected of it.

use egret_types::Family;

use super::shot::Shot;

/// Who attacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Who {
    /// A process of a selected pod without any capability.
    Pod,
    /// One with `CAP_NET_RAW` in its pod.
    PodRaw,
    /// One with `CAP_NET_ADMIN` as well.
    PodAdmin,
    /// A process of a node, without any capability.
    Process,
    /// Root on a worker.
    Worker,
    /// A host on the network between the nodes.
    Underlay,
}

impl Who {
    /// Nothing of such an attacker's has a reason to be on the underlay.
    pub(super) fn is_on_the_attacked_node(self) -> bool {
        !matches!(self, Who::Worker | Who::Underlay)
    }
}

/// What becomes of an attack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expected {
    /// Nothing of it is seen anywhere.
    Nowhere,
    /// It may leave as what it is: with the egress IP of the tenant who sends it.
    AsItself,
    /// It gets through. docs/security.md says so, in this sentence.
    Open(&'static str),
}

/// What the same attack does where Egret's defences are taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Control {
    /// It gets through.
    Arrives,
    /// More than one thing holds it, the kernel for one: it is seen that it was sent.
    Sent,
    /// The kernel does not even send it.
    Refused,
}

/// For whom it is: what is seen elsewhere is what others pass on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Aim {
    /// The networks between nodes. Another pod takes part in it.
    Networks,
    /// The same, and other pods.
    Pods,
    /// The same, and who listens on the bridge: the node itself.
    Neighbours,
}

/// An attack.
#[derive(Debug)]
pub(super) struct Attack {
    pub(super) name: &'static str,
    pub(super) who: Who,
    pub(super) expected: Expected,
    pub(super) control: Control,
    /// The one family in which there is such a thing.
    pub(super) family: Option<Family>,
    pub(super) aim: Aim,
    /// `podCIDRs` in the node's `EgressNode` close it.
    pub(super) closed_by_pod_cidrs: bool,
    pub(super) act: fn(&Shot<'_>),
}

impl Attack {
    pub(super) const fn only(mut self, family: Family) -> Self {
        self.family = Some(family);
        self
    }

    pub(super) const fn control(mut self, control: Control) -> Self {
        self.control = control;
        self
    }

    pub(super) const fn own_traffic(mut self) -> Self {
        self.expected = Expected::AsItself;
        self
    }

    pub(super) const fn open(mut self, sentence: &'static str) -> Self {
        self.expected = Expected::Open(sentence);
        self
    }

    pub(super) const fn for_neighbours(mut self) -> Self {
        self.aim = Aim::Neighbours;
        self
    }

    pub(super) const fn with_another_pod(mut self) -> Self {
        self.aim = Aim::Networks;
        self
    }

    pub(super) const fn closed_by_pod_cidrs(mut self) -> Self {
        self.closed_by_pod_cidrs = true;
        self
    }
}

pub(super) const fn attack(who: Who, name: &'static str, act: fn(&Shot<'_>)) -> Attack {
    Attack {
        name,
        who,
        expected: Expected::Nowhere,
        control: Control::Arrives,
        family: None,
        aim: Aim::Pods,
        closed_by_pod_cidrs: false,
        act,
    }
}
