//! The ways of a packet that are compared, each in a laboratory of its own, so that nobody pays for
//! the rules of another: a pod on a worker, a gateway node, a host outside.

use std::net::IpAddr;

use egret_tests::{Families, Lab, Ns, Question, egress_ip, external, resources, underlay};
use egret_types::Family;

use crate::reference;
use crate::server::Server;
use crate::traffic::{Kind, Rate, rate};

/// How a pod's packets leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// The pod's node masquerades and is a neighbour of the outside.
    Node,
    /// The pod's node masquerades; between it and the outside stands one router without a rule.
    Router,
    /// The same, but the router tracks connections, as it does where any pod or service is.
    TrackingRouter,
    /// Through a gateway by the rules of the reference design.
    Reference,
    /// Through a gateway of ours.
    Egret,
}

/// A pod on its way out.
pub(crate) struct Lane {
    way: Way,
    lab: Lab,
    /// The pod's namespace.
    pod: Ns,
    server: Server,
}

impl Lane {
    /// Builds it, and sees that packets take it.
    pub(crate) fn new(way: Way) -> Self {
        let builder = Lab::builder(Families::Dual).worker("w1").gateway("g1");
        let lab = if way == Way::Egret { builder.start() } else { builder.unchained().start() };
        if way == Way::Egret {
            let policy = resources::policy("shop", "partners", "tenants", "");
            lab.write_resources("20-policies.yaml", &policy);
            lab.node("g1").egretctl("gateway up").success();
        }
        let pod = lab.add_pod("w1", "shop", "p");
        match way {
            Way::Node | Way::Egret => {}
            Way::Router => route_by_router(&lab),
            Way::TrackingRouter => {
                route_by_router(&lab);
                track_connections(&lab);
            }
            Way::Reference => reference::set_up(&lab, &pod),
        }
        let pod = pod.ns().clone();
        let lane = Self { way, server: Server::start(lab.external()), lab, pod };
        for family in Family::BOTH {
            lane.assert_source(family);
        }
        if way == Way::Reference {
            reference::assert_both_directions(&lane.lab);
        }
        lane
    }

    fn assert_source(&self, family: Family) {
        let source = match self.way {
            Way::Node => external(family, 11),
            Way::Router | Way::TrackingRouter => underlay(family, 11),
            Way::Reference | Way::Egret => egress_ip(family, 0),
        };
        let seen = self.pod.who(Question::Tcp, self.outside(family));
        let seen = seen.map(|seen| seen.address).map_err(|error| error.to_string());
        assert_eq!(seen, Ok(source), "the source of {family} outside, {:?}", self.way);
    }

    fn outside(&self, family: Family) -> IpAddr {
        self.lab.external_address(family)
    }

    /// Its traffic for one slice of time.
    pub(crate) fn rate(&self, family: Family, kind: Kind, time: std::time::Duration) -> Rate {
        rate(&self.pod, (self.outside(family), &self.server), kind, time)
    }
}

/// The outside is a neighbour of every node, so the way by the router is a route to this one host,
/// and one back.
fn route_by_router(lab: &Lab) {
    for family in Family::BOTH {
        let router = lab.node("g1").host();
        let (hop, outside) = (underlay(family, router), lab.external_address(family));
        lab.node("w1").ns().ip(&format!("route add {outside} via {hop} dev eth0"));
        let worker = underlay(family, lab.node("w1").host());
        lab.external().ip(&format!("route add {worker} via {}", external(family, router)));
    }
}

/// What a masquerading main plugin leaves on every node, for a pod that does not exist.
fn track_connections(lab: &Lab) {
    for family in Family::BOTH {
        let iptables = match family {
            Family::V4 => "iptables",
            Family::V6 => "ip6tables",
        };
        let pod = underlay(family, 99);
        let rule = format!("{iptables} -t nat -A POSTROUTING -s {pod} -j MASQUERADE");
        lab.node("g1").ns().exec(&rule).success();
    }
}
