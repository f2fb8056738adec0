//! egret-main-plugin: stands in for Calico's and for Flannel's main plugin where neither can run, for
//! want of a cluster. It is executed as `calico` or as `flannel`, and leaves in the kernel and in its
//! result what those leave there.
//!
//! Both get the section `addresses`, a configuration of `host-local`, in place of what the real ones
//! ask a cluster for. What their daemons on the node do (masquerading what leaves the cluster) is
//! done here at each ADD.

use std::io::{Read, Write};
use std::path::Path;
use std::process::ExitCode;

use egret_tests::Program;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// The MAC of every link of Calico's on a node, and the address that goes with it.
const CALICO_MAC: &str = "ee:ee:ee:ee:ee:ee";
const CALICO_HOP_V6: &str = "fe80::ecee:eeff:feee:eeee";
const CALICO_HOP_V4: &str = "169.254.1.1";

fn main() -> ExitCode {
    let name = std::env::args().next().unwrap_or_default();
    let kind = Path::new(&name).file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).ok();
    let config: Value = serde_json::from_str(&text).unwrap_or_default();
    let answer = match (kind, variable("CNI_COMMAND").as_str()) {
        (_, "VERSION") => Ok(json!({
            "cniVersion": "1.0.0", "supportedVersions": ["0.3.1", "0.4.0", "1.0.0"]
        })),
        ("calico", "ADD") => calico_add(&config),
        ("calico", "DEL") => calico_del(&config),
        ("calico", _) => Ok(Value::Null),
        (_, command) => flannel(&config, command),
    };
    let (said, code) = match answer {
        Ok(Value::Null) => return ExitCode::SUCCESS,
        Ok(result) => (result, ExitCode::SUCCESS),
        Err(msg) => (json!({ "code": 999, "msg": msg }), ExitCode::FAILURE),
    };
    writeln!(std::io::stdout(), "{said}").ok();
    code
}

fn variable(name: &str) -> String {
    #[expect(clippy::disallowed_methods, reason = "a plugin's variables, no plugin of the product")]
    let value = std::env::var(name);
    value.unwrap_or_default()
}

/// A plugin out of `CNI_PATH`, with our own variables.
fn delegate(kind: &str, config: &Value) -> Result<Value, String> {
    let path = variable("CNI_PATH");
    let found = path.split(':').map(|directory| Path::new(directory).join(kind));
    let plugin = found.into_iter().find(|path| path.exists()).ok_or(format!("no {kind}"))?;
    let finished = Program::new(plugin).input(config.to_string()).run();
    if !finished.succeeded() {
        return Err(finished.stdout);
    }
    Ok(serde_json::from_str(&finished.stdout).unwrap_or_default())
}

fn addresses(config: &Value) -> Value {
    json!({
        "cniVersion": config["cniVersion"], "name": config["name"], "type": config["type"],
        "ipam": config["addresses"]
    })
}

/// Lines of a program that reads them, in a namespace or here.
fn batch(netns: Option<&str>, program: &[&str], lines: &str) -> Result<(), String> {
    let enter = netns.map(|path| format!("--net={path}"));
    let run = match &enter {
        Some(enter) => Program::new("nsenter").args([enter.as_str()]).args(program),
        None => Program::new(program[0]).args(&program[1..]),
    };
    let finished = run.input(lines).run();
    if finished.succeeded() { Ok(()) } else { Err(finished.to_string()) }
}

const IP: [&str; 3] = ["ip", "-batch", "-"];
const SYSCTL: [&str; 4] = ["sysctl", "-q", "-p", "-"];

/// What leaves the networks of the pods is masqueraded.
fn masquerade() -> Result<(), String> {
    let rules = "table inet main-plugin
        flush table inet main-plugin
        table inet main-plugin { chain out { type nat hook postrouting priority 100;
            ip saddr 10.244.0.0/16 ip daddr != 10.244.0.0/16 masquerade
            ip6 saddr fd00:10:244::/48 ip6 daddr != fd00:10:244::/48 masquerade
        }
        }\n";
    batch(None, &["nft", "-f", "-"], rules)
}

/// Calico's names have eleven digits of a hash.
fn calico_link() -> String {
    let digest = Sha256::digest(variable("CNI_CONTAINERID").as_bytes());
    let number = digest[..8].iter().fold(0_u64, |all, byte| all << 8 | u64::from(*byte));
    format!("cali{:011x}", number >> 20)
}

/// The one address of each family, and the routes that belong to it: in the pod, and on the node.
fn calico_routes(address: &str, node: &str, pod: &str) -> [String; 2] {
    if address.contains(':') {
        let default = format!("route add default via {CALICO_HOP_V6} dev {pod}");
        let here = format!("route add {address}/128 dev {node}");
        return [format!("addr add {address}/128 dev {pod} nodad\n{default}\n"), here + "\n"];
    }
    [
        format!(
            "addr add {address}/32 dev {pod}
            route add {CALICO_HOP_V4} dev {pod} scope link
            route add default via {CALICO_HOP_V4} dev {pod}\n"
        ),
        format!("route add {address}/32 dev {node} scope link\n"),
    ]
}

/// A routed veth: the node answers for a next hop that nobody has.
fn calico_add(config: &Value) -> Result<Value, String> {
    let given = delegate("host-local", &addresses(config))?;
    let (node, pod, netns) = (calico_link(), variable("CNI_IFNAME"), variable("CNI_NETNS"));
    let pair = "type veth peer name";
    batch(
        None,
        &IP,
        &format!("link add {node} address {CALICO_MAC} {pair} {pod} netns {netns}\n"),
    )?;
    let here = format!(
        "net.ipv4.conf.{node}.proxy_arp = 1
        net.ipv4.neigh.{node}.proxy_delay = 0
        net.ipv4.conf.{node}.forwarding = 1
        net.ipv4.conf.{node}.route_localnet = 1
        net.ipv6.conf.{node}.disable_ipv6 = 0
        net.ipv6.conf.{node}.accept_dad = 0
        net.ipv6.conf.{node}.proxy_ndp = 1
        net.ipv6.conf.{node}.forwarding = 1\n"
    );
    batch(None, &SYSCTL, &here)?;
    let there = format!("net.ipv6.conf.{pod}.accept_dad = 0\n");
    batch(Some(&netns), &SYSCTL, &there)?;
    let up = |link: &str| format!("link set {link} up\n");
    let (mut outside, mut inside) = (up(&node), up("lo") + &up(&pod));
    let mut ips = Vec::new();
    for ip in given["ips"].as_array().into_iter().flatten() {
        let address = ip["address"].as_str().and_then(|text| text.split('/').next());
        let address = address.ok_or("host-local gave no address")?;
        let [in_pod, on_node] = calico_routes(address, &node, &pod);
        inside += &in_pod;
        outside += &on_node;
        ips.push(calico_ip(address, &config["cniVersion"]));
    }
    batch(None, &IP, &outside)?;
    batch(Some(&netns), &IP, &inside)?;
    masquerade()?;
    let version = &config["cniVersion"];
    Ok(json!({ "cniVersion": version, "interfaces": [{ "name": node }], "ips": ips, "dns": {} }))
}

/// As the result has it: nothing says on which interface it is, and there is no next hop.
fn calico_ip(address: &str, version: &Value) -> Value {
    let (family, length) = if address.contains(':') { ("6", 128) } else { ("4", 32) };
    let address = format!("{address}/{length}");
    match version.as_str() {
        Some("0.3.1" | "0.4.0") => json!({ "version": family, "address": address }),
        _ => json!({ "address": address }),
    }
}

fn calico_del(config: &Value) -> Result<Value, String> {
    Program::new("ip").args(["link", "del", &calico_link()]).run();
    delegate("host-local", &addresses(config)).map(|_| Value::Null)
}

/// The bridge, called with what Flannel makes of its own section and of the node's networks.
fn flannel(config: &Value, command: &str) -> Result<Value, String> {
    let mut bridge = json!({
        "type": "bridge", "ipMasq": false, "isGateway": true, "mtu": 1450,
        "ipam": config["addresses"]
    });
    bridge["ipam"]["routes"] = json!([{ "dst": "10.244.0.0/16" }]);
    for key in ["cniVersion", "name", "prevResult"] {
        if !config[key].is_null() {
            bridge[key] = config[key].clone();
        }
    }
    for (key, value) in config["delegate"].as_object().into_iter().flatten() {
        bridge[key] = value.clone();
    }
    if command == "ADD" {
        masquerade()?;
    }
    delegate("bridge", &bridge)
}
