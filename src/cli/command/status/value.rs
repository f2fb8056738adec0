//! The answer, for programs as JSON and for people as tables.

use std::net::IpAddr;

use serde::Serialize;

use super::drops::Drop;
use crate::attached::Attached;
use crate::error::CliError;
use crate::output;

/// This node.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Status {
    /// Its name; absent while the resources cannot be read.
    pub(super) node: Option<String>,
    pub(super) attachments: Vec<Attached>,
    /// Absent until the first selected pod or `gateway up`.
    pub(super) tunnel: Option<Tunnel>,
    /// The pod guard.
    pub(super) guard: Guarded,
    /// Gateways whose egress IPs are in use here.
    pub(super) gateways: Vec<GatewayInUse>,
    pub(super) drops: Vec<Drop>,
    /// In words.
    pub(super) problems: Vec<String>,
}

/// The tunnel link.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Tunnel {
    pub(super) up: bool,
    /// In bytes.
    pub(super) mtu: u32,
    /// UDP port, here and on the gateways.
    pub(super) port: u16,
    pub(super) sent_packets: u64,
    pub(super) received_packets: u64,
}

/// Which attachments have a pod guard, as recorded; what became of it is among their differences.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Guarded {
    /// So many.
    pub(super) guarded: usize,
    /// The container ids of the others, whose ADD went without.
    pub(super) unguarded: Vec<String>,
}

impl Guarded {
    /// Of all attachments.
    pub(super) fn of(attachments: &[Attached]) -> Self {
        let mut all = Self::default();
        for attached in attachments {
            if attached.guarded {
                all.guarded += 1;
            } else {
                all.unguarded.push(attached.container_id.clone());
            }
        }
        all
    }

    fn line(&self) -> String {
        let pods =
            format!("pod guard: {} of {}", self.guarded, self.guarded + self.unguarded.len());
        match &self.unguarded[..] {
            [] => format!("{pods} attachments"),
            without => format!("{pods} attachments, not on {}", without.join(", ")),
        }
    }
}

/// A gateway as this node uses it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct GatewayInUse {
    pub(super) name: String,
    /// The member that has its egress IPs.
    pub(super) owner: Option<String>,
    /// Where frames to it go.
    pub(super) vtep: Option<IpAddr>,
    #[serde(rename = "egressIPs")]
    pub(super) egress_ips: Vec<IpAddr>,
}

impl Status {
    /// Tables below each other, problems last.
    pub(super) fn print(&self) -> Result<(), CliError> {
        let node = self.node.as_deref().unwrap_or("(unknown)");
        output::line(format_args!("node {node}: {} attachments", self.attachments.len()))?;
        match &self.tunnel {
            None => output::line("tunnel: none")?,
            Some(tunnel) => output::line(format_args!(
                "tunnel: {}, MTU {} bytes, {} packets sent, {} received",
                if tunnel.up { "up" } else { "down" },
                tunnel.mtu,
                tunnel.sent_packets,
                tunnel.received_packets
            ))?,
        }
        output::line(self.guard.line())?;
        let rows: Vec<_> = self.attachments.iter().map(Attached::row).collect();
        output::table(&Attached::HEADERS, &rows)?;
        let rows: Vec<_> = self.gateways.iter().map(GatewayInUse::row).collect();
        output::table(&["GATEWAY", "OWNER", "VTEP", "EGRESS IPS"], &rows)?;
        let row = |drop: &Drop| vec![drop.packets.to_string(), drop.meaning.to_owned()];
        let rows: Vec<_> = self.drops.iter().map(row).collect();
        output::table(&["PACKETS DROPPED", "MEANING"], &rows)?;
        self.problems.iter().try_for_each(|it| output::line(format_args!("problem: {it}")))
    }
}

impl GatewayInUse {
    fn row(&self) -> Vec<String> {
        let ips: Vec<String> = self.egress_ips.iter().map(ToString::to_string).collect();
        let vtep = self.vtep.map(|vtep| vtep.to_string()).unwrap_or_default();
        vec![self.name.clone(), self.owner.clone().unwrap_or_default(), vtep, ips.join(",")]
    }
}
