//! One attack that is made in a laboratory: who it is, and how its packets are known.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use egret_tests::{
    Datagram, Finished, Frame, Ns, Packet, Pod, Transport, link_mac, send_frame, send_vxlan,
    underlay, vxlan,
};
use egret_types::{Family, MacAddr, ours};

use super::attack::{Attack, Who};
use super::packet::{ADVERTISEMENT, ALL_NODES, BROADCAST, all_nodes, claim, discovery};
use super::stage::Stage;
use crate::forgery::{identity, node_mac};
use crate::segment::{REPLY, arp};
use crate::world::{BILLING, SHOP};

/// An attack in a laboratory.
pub(super) struct Shot<'a> {
    pub(super) attack: &'static Attack,
    pub(super) stage: &'a Stage<'a>,
    /// The pod that attacks. Who changes its own namespace has one of its own.
    pub(super) pod: &'a Pod<'a>,
    /// No two shots have the same, in the payload of everything they send, or as a port.
    pub(super) text: String,
    pub(super) port: u16,
}

impl Shot<'_> {
    /// Whether the packet, or what it carries, comes from this shot.
    pub(super) fn made(&self, packet: &Packet) -> bool {
        let mut windows = packet.payload.windows(self.text.len());
        [packet.source_port, packet.destination_port].contains(&Some(self.port))
            || windows.any(|window| window == self.text.as_bytes())
            || packet.inner().is_some_and(|inner| self.made(&inner))
    }

    pub(super) fn fire(&self) {
        (self.attack.act)(self);
    }

    pub(super) fn own(&self) -> IpAddr {
        self.pod.address(self.stage.family)
    }

    pub(super) fn victims(&self) -> IpAddr {
        self.stage.victim.address(self.stage.family)
    }

    pub(super) fn server(&self) -> IpAddr {
        self.stage.server()
    }

    pub(super) fn datagram(&self) -> Transport {
        Transport::Udp {
            source: self.port,
            destination: 9999,
            payload: self.text.clone().into_bytes(),
        }
    }

    /// A frame between these MACs and addresses, good but for what is changed in it.
    pub(super) fn frame(
        &self,
        macs: [MacAddr; 2],
        addresses: [IpAddr; 2],
        change: impl FnOnce(&mut Frame),
    ) -> Frame {
        let mut frame = Frame::new(macs, addresses, self.datagram());
        change(&mut frame);
        frame
    }

    /// The good frame of the pod on `egr0`, but for what is changed in it.
    pub(super) fn steered(&self, change: impl FnOnce(&mut Frame)) -> Frame {
        let own = self.pod.inside(|| link_mac(ours::POD_LINK)).unwrap();
        self.frame([own, identity(SHOP)], [self.own(), self.server()], change)
    }

    /// The same on the primary link, to the node.
    pub(super) fn primary(&self, change: impl FnOnce(&mut Frame)) -> Frame {
        let own = self.pod.inside(|| link_mac("eth0")).unwrap();
        self.frame([own, self.bridge_mac()], [self.own(), self.server()], change)
    }

    pub(super) fn bridge_mac(&self) -> MacAddr {
        self.stage.lab.node("w1").ns().inside(|| link_mac("cni0")).unwrap()
    }

    /// Out of the pod, as it is.
    pub(super) fn out(&self, link: &str, frame: &[u8]) {
        self.pod.inside(|| send_frame(link, frame)).unwrap();
    }

    pub(super) fn on_segment(&self, change: impl FnOnce(&mut Frame)) {
        self.out(ours::POD_LINK, &self.steered(change).encode());
    }

    pub(super) fn on_primary(&self, change: impl FnOnce(&mut Frame)) {
        self.out("eth0", &self.primary(change).encode());
    }

    /// Out of the pod that is not guarded, on its primary link.
    pub(super) fn out_of_plain(&self, frame: &Frame) {
        self.stage.plain.inside(|| send_frame("eth0", &frame.encode())).unwrap();
    }

    /// A datagram out of an ordinary socket of the pod, whatever becomes of it.
    pub(super) fn ask(&self, change: impl FnOnce(&mut Datagram)) {
        let mut datagram = Datagram::new((self.server(), 9999));
        datagram.source_port = self.port;
        change(&mut datagram);
        self.pod.inside(|| datagram.send(self.text.as_bytes())).ok();
    }

    /// The pod changes its own links, routes and rules. What an earlier shot has done may fail.
    pub(super) fn ip(&self, lines: &str) {
        for line in lines.lines() {
            let family = if self.own().is_ipv4() { "-4" } else { "-6" };
            self.pod.exec(&format!("ip {family} {}", line.trim()));
        }
    }

    /// A program without any capability, in the namespace of the pod or of the node. `FROM` in its
    /// line is this shot's port and payload.
    pub(super) fn probe(&self, line: &str) -> Finished {
        let from = match self.attack.who {
            Who::Process => self.stage.lab.node("w1").ns(),
            _ => self.pod.ns(),
        };
        self.probe_in(from, line)
    }

    pub(super) fn probe_in(&self, namespace: &Ns, line: &str) -> Finished {
        let program = namespace.unprivileged(env!("CARGO_BIN_EXE_egret-probe"));
        let words = line.split_whitespace().flat_map(|word| match word {
            "NAMED" => vec!["--payload", self.text.as_str()],
            _ => vec![word],
        });
        program.args(words).run()
    }

    /// The words for the frame of another tenant's pod, as the node with this number would send it.
    pub(super) fn forged_words(&self, node: u8, index: u8) -> String {
        format!(
            "--src-mac {} --dst-mac {} --src {} --dst {} --sport {} NAMED",
            node_mac(node),
            identity(index),
            self.victims(),
            self.server(),
            self.port,
        )
    }

    /// A frame of a node with this number for the gateway, good but for what is changed in it.
    pub(super) fn tunnelled(&self, node: u8, change: impl FnOnce(&mut Frame)) -> Frame {
        self.frame([node_mac(node), identity(SHOP)], [self.victims(), self.server()], change)
    }

    /// A frame of the gateway for the other tenant's pod.
    pub(super) fn answer(&self, change: impl FnOnce(&mut Frame)) -> Frame {
        let macs = [identity(BILLING), node_mac(11)];
        self.frame(macs, [self.server(), self.victims()], change)
    }

    /// Into the tunnel's port of the node with this number, out of an ordinary socket.
    pub(super) fn send_tunnelled(&self, from: &Ns, node: u8, frame: &[u8]) {
        let vtep = SocketAddr::from((underlay(self.stage.family, node), ours::PORT));
        from.inside(|| send_vxlan(vtep, ours::VNI, frame)).unwrap();
    }

    /// The same as a hand-made frame on the underlay, with the outer source of another host.
    pub(super) fn send_tunnelled_as(&self, from: &Ns, [source, to]: [u8; 2], inner: &[u8]) {
        let name = if to == 21 { "g1" } else { "w1" };
        let mac = |ns: &Ns| ns.inside(|| link_mac("eth0")).unwrap();
        let macs = [mac(from), mac(self.stage.lab.node(name).ns())];
        let addresses = [source, to].map(|host| underlay(self.stage.family, host));
        let payload = vxlan(ours::VNI, inner);
        let transport = Transport::Udp { source: 50_000, destination: ours::PORT, payload };
        let outer = Frame::new(macs, addresses, transport).encode();
        from.inside(|| send_frame("eth0", &outer)).unwrap();
    }

    /// "This address is at this link of mine", to everybody.
    pub(super) fn announcement(&self, link: &str, address: IpAddr) -> Vec<u8> {
        let own = self.pod.inside(|| link_mac(link)).unwrap();
        match self.stage.family {
            Family::V4 => {
                let reply = arp(REPLY, [own, BROADCAST], address, address);
                [reply, self.text.clone().into_bytes()].concat()
            }
            Family::V6 => {
                let (macs, between) = ([own, ALL_NODES], [address, all_nodes()]);
                discovery(macs, between, ADVERTISEMENT, &claim(address, own), &self.text)
            }
        }
    }

    /// The frame's datagram in two fragments, each of which has the name.
    pub(super) fn in_fragments(&self, frame: Frame) -> [Vec<u8>; 2] {
        let payload = format!("{:<24}", self.text).repeat(3).into_bytes();
        let transport = Transport::Udp { source: self.port, destination: 9999, payload };
        Frame { transport, ..frame }.fragments(self.port, 32)
    }

    /// Somebody else pretends that the server speaks to the pod, and the pod answers. To connection
    /// tracking that is a connection from outside.
    pub(super) fn forge_connection(&self, from: &Ns, link: &str, node: MacAddr) {
        let own = from.inside(|| link_mac(link)).unwrap();
        // An error about it quotes the text.
        let payload = self.text.clone().into_bytes();
        let transport = Transport::Udp { source: 9999, destination: self.port, payload };
        let ends = [self.server(), self.own()];
        let question = self.frame([own, node], ends, |frame| frame.transport = transport);
        from.inside(|| send_frame(link, &question.encode())).unwrap();
        std::thread::sleep(Duration::from_millis(30));
        self.on_primary(|_| ());
    }

    pub(super) fn w2(&self) -> &Ns {
        self.stage.lab.node("w2").ns()
    }
}
