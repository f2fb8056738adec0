//! A laboratory: nodes, the networks between them, a host outside, all in network namespaces of
//! its own. It is gone when the value is dropped, also after a panic.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use egret_types::Family;

use crate::node::Role;
use crate::{
    Families, MainPlugin, Node, Ns, PluginSet, Pod, PodSpec, Program, Running, Snapshot, conflist,
    location, reaper, resources, wiring,
};

/// What a laboratory shall have.
pub struct LabBuilder {
    families: Families,
    nodes: Vec<(String, Role)>,
    far: bool,
    plugins: PluginSet,
    main: MainPlugin,
    chained: bool,
}

impl LabBuilder {
    /// One more worker. The first has host number 11, the next 12.
    #[must_use]
    pub fn worker(mut self, name: &str) -> Self {
        self.nodes.push((name.to_owned(), Role::Worker));
        self
    }

    /// One more gateway node, from host number 21. It can run pods as well.
    #[must_use]
    pub fn gateway(mut self, name: &str) -> Self {
        self.nodes.push((name.to_owned(), Role::Gateway));
        self
    }

    /// A router segment with an MTU of 1300 behind the outside host, and a host at its end.
    #[must_use]
    pub fn far_host(mut self) -> Self {
        self.far = true;
        self
    }

    /// Which reference plugins stand before ours.
    #[must_use]
    pub fn plugins(mut self, plugins: PluginSet) -> Self {
        self.plugins = plugins;
        self
    }

    /// Which of them gives pods their link.
    #[must_use]
    pub fn main(mut self, main: MainPlugin) -> Self {
        self.main = main;
        self
    }

    /// The network configuration lists without `egret`: only what stands before it.
    #[must_use]
    pub fn unchained(mut self) -> Self {
        self.chained = false;
        self
    }

    /// Builds it.
    pub fn start(self) -> Lab {
        Lab::build(&self)
    }
}

/// A running laboratory.
pub struct Lab {
    tag: String,
    families: Families,
    nodes: Vec<Node>,
    switch: Ns,
    external: Ns,
    far: Option<Ns>,
    // Killed before the namespaces go: `Drop` of the laboratory empties it first.
    servers: Mutex<Vec<Running>>,
}

impl Lab {
    /// Describes a laboratory with these families.
    pub fn builder(families: Families) -> LabBuilder {
        LabBuilder {
            families,
            nodes: Vec::new(),
            far: false,
            plugins: PluginSet::default(),
            main: MainPlugin::default(),
            chained: true,
        }
    }

    fn build(wanted: &LabBuilder) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        assert!(
            nix::unistd::geteuid().is_root(),
            "a laboratory is made of network namespaces and real plugins: run the tests as root"
        );
        reaper::remove_orphans();
        let tag = reaper::tag(NUMBER.fetch_add(1, Ordering::Relaxed));
        // From here on a panic removes what has been made: the guard is the laboratory itself.
        let mut lab = Self {
            families: wanted.families,
            nodes: Vec::new(),
            switch: Ns::named(format!("{tag}-sw")),
            external: Ns::named(format!("{tag}-ext")),
            far: wanted.far.then(|| Ns::named(format!("{tag}-far"))),
            servers: Mutex::default(),
            tag,
        };
        let switch = lab.namespace("sw");
        wiring::make_switch(&switch);
        lab.namespace("ext");
        wiring::make_external(&lab.external, &switch, lab.families);
        if let Some(far) = lab.far.clone() {
            lab.namespace("far");
            wiring::make_far(&far, &lab.external, lab.families);
        }
        lab.make_nodes(wanted, &switch);
        let outside: Vec<Ns> =
            [Some(lab.external.clone()), lab.far.clone()].into_iter().flatten().collect();
        for namespace in &outside {
            lab.serve(namespace);
        }
        lab
    }

    fn make_nodes(&mut self, wanted: &LabBuilder, switch: &Ns) {
        let mut next = [(Role::Worker, 11), (Role::Gateway, 21)];
        for (name, role) in &wanted.nodes {
            let slot = next.iter_mut().find(|(kind, _)| kind == role).expect("every role has one");
            let namespace = self.namespace(name);
            let node = Node::new(name, *role, slot.1, namespace, (&self.tag, self.families))
                .with_plugins(wanted.plugins, wanted.main);
            slot.1 += 1;
            wiring::make_node(&node, switch, self.families);
            node.write_conflist();
            if wanted.chained {
                node.edit_conflist(|list| conflist::chain(list, conflist::ours(&node)));
            }
            self.nodes.push(node);
        }
        wiring::join_pod_networks(&self.nodes, self.families);
        let set = resources::defaults(&self.nodes, self.families);
        self.write_resources("10-defaults.yaml", &set);
    }

    /// A new namespace of this laboratory.
    pub fn namespace(&self, name: &str) -> Ns {
        let namespace = Ns::create(format!("{}-{name}", self.tag));
        wiring::prepare(&namespace, self.families);
        namespace
    }

    /// Starts an echo server in a namespace and waits until it can be asked.
    pub fn serve(&self, namespace: &Ns) {
        let server = start_echo(namespace);
        self.servers.lock().unwrap_or_else(PoisonError::into_inner).push(server);
    }

    /// Its families.
    pub fn families(&self) -> Families {
        self.families
    }

    /// The name of the network in every network configuration list.
    pub fn network(&self) -> &str {
        &self.tag
    }

    /// A node by name.
    #[track_caller]
    pub fn node(&self, name: &str) -> &Node {
        let found = self.nodes.iter().find(|node| node.name() == name);
        found.unwrap_or_else(|| panic!("no node {name} in this laboratory"))
    }

    /// All nodes, in the order of the builder.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Where the two networks between nodes are: the bridges `ul` (the underlay) and `ex` (the external
    /// network). A capture on a bridge sees every frame of its network, whoever it is for.
    pub fn switch(&self) -> &Ns {
        &self.switch
    }

    /// The host outside, with an echo server.
    pub fn external(&self) -> &Ns {
        &self.external
    }

    /// The address of the host outside.
    pub fn external_address(&self, family: Family) -> IpAddr {
        crate::external(family, 10)
    }

    /// The host at the end of the segment with the small MTU, with an echo server.
    #[track_caller]
    pub fn far(&self) -> &Ns {
        self.far.as_ref().unwrap_or_else(|| panic!("this laboratory was built without far_host()"))
    }

    /// Writes a resource file on every node.
    pub fn write_resources(&self, file: &str, text: &str) {
        for node in &self.nodes {
            node.write_resources(file, text);
        }
    }

    /// Describes a pod; nothing happens before `add` or `prepare`.
    pub fn pod<'lab>(&'lab self, node: &str, namespace: &str, name: &str) -> PodSpec<'lab> {
        PodSpec::new(self, self.node(node), namespace, name)
    }

    /// A pod that is expected to start.
    #[track_caller]
    pub fn add_pod<'lab>(&'lab self, node: &str, namespace: &str, name: &str) -> Pod<'lab> {
        let added = self.pod(node, namespace, name).add();
        added.unwrap_or_else(|failure| panic!("ADD of {namespace}/{name} on {node}: {failure}"))
    }

    /// Lets the host outside reach pods at their own addresses, through their nodes.
    pub fn route_pods_from_outside(&self) {
        wiring::route_pods(&self.external, &self.nodes, self.families);
    }

    /// Starts and ends an unselected pod on every node, so that what the main plugin makes once and
    /// keeps (its bridge, its chains) is there before a [`Lab::snapshot`].
    pub fn warm_up(&self) {
        for node in &self.nodes {
            let pod = self.add_pod(node.name(), "warm-up", node.name());
            pod.del().unwrap_or_else(|failure| panic!("DEL on {}: {failure}", node.name()));
            pod.destroy_namespace();
        }
    }

    /// All that the nodes hold, their files, the machine, and which namespaces exist.
    pub fn snapshot(&self) -> Snapshot {
        let mut snapshot = Snapshot::of_machine();
        for node in &self.nodes {
            snapshot = snapshot
                .and(node.ns().snapshot())
                .and(node.egress_ns().snapshot())
                .and(Snapshot::of_files(node.directory()));
        }
        snapshot
    }

    /// Waits until everything is as it was: the kernel takes links and namespaces away later. Lines
    /// with one of the texts in `promised` may differ.
    #[track_caller]
    pub fn assert_as_before(&self, before: &Snapshot, promised: &[&str]) {
        let reduce =
            |snapshot: Snapshot| promised.iter().fold(snapshot, |rest, text| rest.without(text));
        let before = reduce(before.clone());
        let end = std::time::Instant::now() + Duration::from_secs(5);
        loop {
            let changes = before.changes_to(&reduce(self.snapshot()));
            if changes.is_empty() {
                return;
            }
            assert!(
                std::time::Instant::now() < end,
                "not as before (- is gone, + was left behind):\n{changes}"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner).clear();
        reaper::remove(&self.tag);
    }
}

fn start_echo(namespace: &Ns) -> Running {
    let program = Program::new(location::own("egret-echo"));
    let mut server = program.args(["--until-stdin-closes"]).within(namespace).start();
    let mut ready = [0; 6];
    let mut output = server.output();
    std::io::Read::read_exact(&mut output, &mut ready)
        .unwrap_or_else(|e| panic!("egret-echo in {} did not start: {e}", namespace.name()));
    server
}
