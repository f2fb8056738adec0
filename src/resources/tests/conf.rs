//! What `conf/` ships is right, and shows every key that is honoured.

#[cfg(test)]
mod tests {
    use std::{
        fs,
        path::{Path, PathBuf},
    };

    use egret_resources::{Guard, LocalConfig, Resources, SourceFile, explicit_pairs, parse};

    fn conf() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../conf")
    }

    fn sources(dir: &str) -> Vec<SourceFile> {
        let mut files: Vec<SourceFile> = fs::read_dir(conf().join(dir))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .map(|path| SourceFile {
                name: path.display().to_string(),
                text: fs::read_to_string(path).unwrap(),
            })
            .collect();
        files.sort_by(|a, b| a.name.cmp(&b.name));
        files
    }

    fn parsed(files: &[SourceFile]) -> Resources {
        parse(files).unwrap_or_else(|problems| {
            let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
            panic!("{}", lines.join("\n"))
        })
    }

    #[test]
    fn the_resources_of_conf_are_one_whole() {
        let resources = parsed(&sources("resources"));
        assert_eq!(resources.cluster.guard, Guard::Required);
        assert_eq!(resources.nodes.len(), 2);
        let gateway = &resources.gateways[0];
        let member = resources.node(&gateway.members[0]).unwrap();
        assert_eq!(gateway.uplink_on(member).unwrap().interface.as_str(), "ext0");
        assert_eq!(resources.pools_of(&gateway.name).count(), 1);
        assert_eq!(resources.policies.len(), 2);
    }

    #[test]
    fn the_resources_of_conf_show_every_honoured_key() {
        let text: String = sources("resources").into_iter().map(|file| file.text).collect();
        let keys = [
            "clusterCIDRs",
            "serviceCIDRs",
            "nodeCIDRs",
            "autoDetect",
            "tunnel",
            "vni",
            "port",
            "mtu",
            "guard",
            "vtep",
            "id",
            "podCIDRs",
            "uplink",
            "interface",
            "mode",
            "addresses",
            "nextHops",
            "gateway",
            "ipv4",
            "ipv6",
            "exclude",
            "draining",
            "quotaPerNamespace",
            "retain",
            "quarantine",
            "node",
            "members",
            "selector",
            "namespaces",
            "names",
            "destinations",
            "except",
            "action",
            "pool",
            "egressIP",
            "scope",
        ];
        for key in keys {
            let shown = text.lines().any(|line| line.trim_start().starts_with(&format!("{key}:")));
            assert!(shown, "{key} is in no file of conf/resources");
        }
    }

    #[test]
    fn the_network_configuration_list_of_conf_ends_with_a_plain_egret() {
        let text = fs::read_to_string(conf().join("10-egret.conflist")).unwrap();
        let list: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(list["cniVersion"], "1.0.0", "1.1.0 fails on containerd 1.6 and 1.7");
        let types: Vec<_> =
            list["plugins"].as_array().unwrap().iter().map(|p| &p["type"]).collect();
        assert_eq!(types, ["bridge", "egret"]);
        let egret = &list["plugins"][1];
        assert_eq!(egret["ipam"]["type"], "egret-ipam");
        let own: LocalConfig = serde_json::from_value(egret.clone()).unwrap();
        assert_eq!(own, LocalConfig::default());
    }

    #[test]
    fn the_pool_of_pod_addresses_is_the_one_that_its_list_names() {
        let read =
            |name: &str| fs::read_to_string(conf().join("pod-addresses").join(name)).unwrap();
        let text = read("pool.yaml");
        let resources = parsed(&[SourceFile { name: "pool.yaml".to_owned(), text: text.clone() }]);
        let list: serde_json::Value = serde_json::from_str(&read("20-podnet.conflist")).unwrap();
        let ipam = &list["plugins"][0]["ipam"];
        assert_eq!(ipam["type"], "egret-ipam");
        assert_eq!(ipam["pools"], serde_json::json!([resources.pools[0].name.as_str()]));
        assert_eq!(resources.pools[0].gateway(), None);
        for key in ["id", "ipv4", "ipv6", "exclude", "gatewayAddresses", "quarantine"] {
            assert!(text.lines().any(|line| line.trim_start().starts_with(&format!("{key}:"))));
        }
    }

    #[test]
    fn every_example_stands_alone() {
        let examples = sources("examples");
        assert!(examples.len() >= 2);
        for example in examples {
            let resources = parsed(&[example]);
            let pool = &resources.pools[0];
            assert!(resources.outer_family().is_ok());
            assert!(pool.node.is_some() || explicit_pairs(&resources, &pool.name).count() > 0);
        }
    }
}
