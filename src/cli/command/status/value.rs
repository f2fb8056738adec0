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
    pub(super) sent_packets: u64,
    pub(super) received_packets: u64,
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
