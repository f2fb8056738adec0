//! Frames that are none, thousands of them, from a pod and into the tunnel's port: nothing of them
//! passes, nothing breaks, counters move. What is odd but lawful may leave, as the sender's own
//! traffic only.
//!
//! The pod's primary link is left out: nothing guards it yet.

mod pod;
mod tunnel;

use std::cell::Cell;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use egret_tests::{
    Capture, Fate, Frame, Hostile, Identities, Lab, Ns, Packet, PacketSocket, Pod, Program,
    Question, Sender, Transport, egress_ip, link_mac, pod_network, underlay,
};
use egret_types::{Family, Identity, MacAddr, PairIndex, PoolId, ours};

use crate::forgery::{identity, node_mac};
use crate::world::{self, BILLING, SHOP};

/// Frames of each seed, each fate and each place.
const FRAMES: usize = 10_000;

/// The laboratory, those who look on, and everybody's place to look from.
struct Scene<'lab> {
    lab: &'lab Lab,
    family: Family,
    /// Of `shop` on `w1`.
    pod: Pod<'lab>,
    /// Of `billing` on `w1`, of `shop` on `w2`.
    bystanders: [Pod<'lab>; 2],
    uplink: Capture,
    heard: Vec<(&'static str, Capture)>,
    /// What the kernel had to say before.
    complaints: Vec<String>,
    /// How many good datagrams were sent between the others.
    good: Cell<u64>,
}

/// The beginning of the payload of a good datagram.
const GOOD: &str = "good datagram ";

impl<'lab> Scene<'lab> {
    fn new(lab: &'lab Lab) -> Self {
        world::open(lab);
        allow_source_routes(lab);
        let pod = lab.add_pod("w1", "shop", "cart");
        let bystanders = [lab.add_pod("w1", "billing", "b"), lab.add_pod("w2", "shop", "second")];
        let watch =
            |pod: &Pod| [ours::POD_LINK, "eth0"].map(|link| (link, pod.capture(link, "inbound")));
        let heard = bystanders.iter().flat_map(watch).collect();
        // Of the gateway's cable, so that nothing is missed that is for another host there.
        let uplink = lab.node("g1").ns().capture("ext0", "not arp");
        let family = lab.families().list()[0];
        Self {
            lab,
            family,
            pod,
            bystanders,
            uplink,
            heard,
            complaints: complaints(),
            good: Cell::new(0),
        }
    }

    /// The pod, and what is refused from it on `egr0`.
    fn pod_as_sender(&self) -> Sender {
        let mac = self.pod.inside(|| link_mac(ours::POD_LINK)).unwrap();
        let text = |v4: &[&str], v6: &[&str]| -> Vec<IpAddr> {
            let list = if self.family == Family::V4 { v4 } else { v6 };
            list.iter().map(|text| text.parse().unwrap()).collect()
        };
        let others = self.bystanders.each_ref().map(|pod| pod.address(self.family));
        let own_node = underlay(self.family, 11);
        Sender {
            macs: [mac, identity(SHOP)],
            addresses: [self.pod.address(self.family), self.lab.external_address(self.family)],
            port: 9999,
            payload: Vec::new(),
            identities: Identities::Own,
            foreign_source_macs: vec![node_mac(12), node_mac(21), identity(SHOP), MacAddr([0; 6])],
            foreign_macs: vec![
                identity(BILLING),
                identity(9),
                node_mac(11),
                node_mac(12),
                node_mac(21),
                ours::GATEWAY_MAC,
                ours::RETURN_HOP_MAC,
                MacAddr([0xff; 6]),
            ],
            foreign_sources: [
                others.to_vec(),
                vec![own_node, egress_ip(self.family, SHOP)],
                text(
                    &["0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255", "192.0.2.66"],
                    &["::", "::1", "ff02::1", "fe80::66", "2001:db8:66::66"],
                ),
            ]
            .concat(),
            foreign_destinations: [
                others.to_vec(),
                vec![own_node, underlay(self.family, 21)],
                text(
                    &["127.0.0.1", "224.0.0.251", "255.255.255.255", "169.254.169.254", "0.0.0.0"],
                    &["::1", "ff02::fb", "fe80::a9fe", "::", "fd00:10:96::a"],
                ),
            ]
            .concat(),
        }
    }

    /// Root on `w2`, with the address of a pod there that is not. The gateway takes every identity
    /// and every source from it, and sends to all that is outside.
    fn worker_as_sender(&self) -> Sender {
        let pod = self.pod_as_sender();
        let network = pod_network(self.family, 12).address();
        let own: IpAddr = match network {
            IpAddr::V4(address) => IpAddr::from((u32::from(address) + 77).to_be_bytes()),
            IpAddr::V6(address) => IpAddr::from((u128::from(address) + 77).to_be_bytes()),
        };
        let nobodys = PairIndex::try_from(500).unwrap();
        let nobodys = Identity::new(PoolId::try_from(1).unwrap(), nobodys).mac();
        let others = self.bystanders.each_ref().map(|pod| pod.address(self.family));
        Sender {
            macs: [node_mac(12), identity(SHOP)],
            addresses: [own, self.lab.external_address(self.family)],
            identities: Identities::Any,
            foreign_source_macs: vec![node_mac(11), node_mac(21), identity(SHOP)],
            foreign_macs: vec![
                nobodys,
                node_mac(11),
                node_mac(21),
                ours::GATEWAY_MAC,
                ours::RETURN_HOP_MAC,
                MacAddr([0xff; 6]),
            ],
            foreign_sources: vec![],
            foreign_destinations: [
                others.to_vec(),
                vec![self.pod.address(self.family), egress_ip(self.family, BILLING)],
            ]
            .concat(),
            ..pod
        }
    }

    /// What left at the gateway since the capture began, and is not the outside's own, nor what the
    /// gateway's link says to its neighbours, nor good.
    fn left(&self) -> Vec<Packet> {
        assert_eq!(self.uplink.unreadable(), Vec::<Vec<u8>>::new(), "left as no packet");
        let outside = self.lab.external_address(self.family);
        let (ours, others): (Vec<Packet>, Vec<Packet>) =
            self.uplink.packets().into_iter().partition(neighbourly);
        // The link's own are few; those of a generator would be hundreds.
        assert!(ours.len() < 100, "{ours:#?}");
        let good = |packet: &Packet| packet.payload.starts_with(GOOD.as_bytes());
        let foreign = |packet: &Packet| packet.source != Some(outside) && !good(packet);
        others.into_iter().filter(foreign).collect()
    }

    /// What was sent may leave, and then only from the given egress IPs to the one outside.
    fn left_only_as(&self, indices: std::ops::Range<u8>, seed: u64) {
        let pairs: Vec<IpAddr> = indices.map(|index| egress_ip(self.family, index)).collect();
        let left = self.left();
        let strange = |p: &&Packet| !p.source.is_some_and(|source| pairs.contains(&source));
        assert_eq!(left.iter().find(strange), None, "seed {seed}: another source");
        // Lest the generator makes nothing that passes: then all that is refused proves nothing.
        assert!(left.len() > FRAMES / 10, "seed {seed}: only {} left", left.len());
    }

    /// A good datagram from the pod arrives, after all that was sent before.
    fn after_all(&self) {
        self.good.set(self.good.get() + 1);
        let name = format!("{GOOD}{}", self.good.get());
        let Sender { macs, addresses, .. } = self.pod_as_sender();
        let frame = Frame::new(macs, addresses, Transport::udp(&name)).encode();
        self.pod.inside(|| PacketSocket::open(ours::POD_LINK)?.send(&frame)).unwrap();
        self.uplink.wait_for(&name, |packet| packet.payload == name.as_bytes());
        // What went through the queue of the other processor.
        std::thread::sleep(Duration::from_millis(200));
    }

    /// Nobody heard anything, and the kernel does not complain.
    fn unharmed(&self, seed: u64) {
        for (link, capture) in &self.heard {
            // Neighbours are there on the pod's own link only.
            let excused = |packet: &Packet| *link == "eth0" && neighbourly(packet);
            let heard: Vec<_> = capture.packets().into_iter().filter(|p| !excused(p)).collect();
            assert_eq!(heard, [], "seed {seed}: a bystander heard on {link}");
            assert_eq!(capture.unreadable(), Vec::<Vec<u8>>::new(), "seed {seed}: on {link}");
        }
        // The log may have forgotten some of the older ones.
        let new = complaints().into_iter().filter(|line| !self.complaints.contains(line));
        assert_eq!(new.collect::<Vec<_>>(), Vec::<String>::new(), "seed {seed}: in the log");
    }

    fn works_as_before(&self) {
        let outside = self.lab.external_address(self.family);
        let [billing, second] = &self.bystanders;
        for question in [Question::Tcp, Question::Udp] {
            for (pod, index) in [(&self.pod, SHOP), (billing, BILLING), (second, SHOP)] {
                let seen = pod.who(question, outside).unwrap();
                assert_eq!(seen.address, egress_ip(self.family, index));
            }
        }
        self.pod.check().unwrap();
    }
}

/// A namespace takes its parameters from the machine's: one that routes by the wishes of senders
/// makes no such gateway.
fn allow_source_routes(lab: &Lab) {
    let g1 = lab.node("g1");
    g1.egress_ns().set_sysctl("net.ipv4.conf.all.accept_source_route", "1");
    g1.egretctl("gateway up").success();
}

/// What every link has of itself: discovery of neighbours and reports of listeners.
pub(crate) fn neighbourly(packet: &Packet) -> bool {
    let kind = packet.payload.first();
    // Listener reports stand behind a hop-by-hop header, which is the payload then.
    let report = packet.protocol == Some(0) && packet.payload.get(8) == Some(&143);
    let discovery = packet.protocol == Some(58) && matches!(kind, Some(133..=137));
    // A bridge that looks for multicast routers joins their group, also where no pod has IPv4.
    let joins = packet.protocol == Some(2) && packet.source == Some([0; 4].into());
    packet.ether_type == 0x0806 || report || discovery || joins
}

/// Warnings in the kernel's log, where it may be read.
fn complaints() -> Vec<String> {
    let log = Program::new("dmesg").run();
    let bad = ["BUG:", "WARNING:", "Oops", "general protection", "refcount_t", "skb_over_panic"];
    let complains = |line: &&str| bad.iter().any(|text| line.contains(text));
    log.stdout.lines().filter(complains).map(str::to_owned).collect()
}

/// Sends frames and gives their kinds; what the sender's own kernel refuses to send is not counted.
fn send(
    from: &Ns,
    frames: impl Iterator<Item = Hostile> + Send,
    put: impl FnOnce() -> Put + Send,
) -> Vec<&'static str> {
    from.inside(|| {
        let put = put();
        let sent = frames.filter(|frame| put(&frame.bytes).is_ok());
        sent.map(|frame| frame.kind).collect()
    })
}

/// So many of one fate.
fn some(
    frames: impl Iterator<Item = Hostile> + Send,
    fate: Fate,
) -> impl Iterator<Item = Hostile> + Send {
    frames.filter(move |frame| frame.fate == fate).take(FRAMES)
}

/// Something that sends bytes.
type Put = Box<dyn Fn(&[u8]) -> std::io::Result<()>>;

fn on_link(link: &str) -> Put {
    let socket = PacketSocket::open(link).unwrap();
    Box::new(move |bytes| socket.send(bytes))
}

/// Into the tunnel's port of a node, out of an ordinary socket.
fn into_tunnel(vtep: IpAddr) -> Put {
    let any = match vtep {
        IpAddr::V4(_) => IpAddr::from([0; 4]),
        IpAddr::V6(_) => IpAddr::from([0; 16]),
    };
    let socket = UdpSocket::bind((any, 0)).unwrap();
    Box::new(move |bytes| socket.send_to(bytes, SocketAddr::from((vtep, ours::PORT))).map(drop))
}

/// Counters of the tunnel guard of a node: what it took and what it dropped.
fn guarded(lab: &Lab, node: &str) -> [u64; 2] {
    let chain = format!("chain inet {} input", ours::NFT_TUNNEL_TABLE);
    ["accept", "drop"].map(|verdict| lab.node(node).ns().counted(&chain, verdict))
}
