//! `egretctl validate` and the form of the command line, as an operator sees them.

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::process::{Command, Output};

    const NODES: &str = r#"
apiVersion: egret.dev/v1alpha1
kind: EgressNode
metadata: { name: w1 }
spec: { vtep: ["172.18.0.11"] }
---
apiVersion: egret.dev/v1alpha1
kind: EgressNode
metadata: { name: w2 }
spec: { vtep: ["172.18.0.12"] }
---
apiVersion: egret.dev/v1alpha1
kind: EgressNode
metadata: { name: gw }
spec: { vtep: ["172.18.0.21"] }
---
apiVersion: egret.dev/v1alpha1
kind: EgressGateway
metadata: { name: edge }
spec: { members: [gw], uplink: { interface: ext0 } }
---
apiVersion: egret.dev/v1alpha1
kind: EgressPool
metadata: { name: tenants }
spec: { id: 1, gateway: edge, ipv4: ["203.0.113.50"] "#;

    #[expect(clippy::disallowed_methods, reason = "the program under test")]
    fn egretctl(arguments: &[&Path]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_egretctl")).args(arguments).output().unwrap()
    }

    /// Exit code and everything printed.
    #[expect(clippy::disallowed_methods, reason = "input of the test")]
    fn validate(text: &str) -> (i32, String) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("all.yaml"), text).unwrap();
        let output = egretctl(&[Path::new("validate"), dir.path()]);
        let printed = [output.stdout, output.stderr].concat();
        (output.status.code().unwrap(), String::from_utf8(printed).unwrap())
    }

    #[test]
    fn a_pool_that_one_worker_allocates_from_is_fine_and_an_open_one_is_named() {
        let (code, text) = validate(&format!("{NODES}, node: w1 }}\n"));
        assert_eq!(code, 0, "{text}");
        assert!(text.contains("3 nodes, 1 pools, 1 gateways, 0 policies, 0 problems"), "{text}");
        let (code, text) = validate(&format!("{NODES} }}\n"));
        assert_eq!(code, 1, "{text}");
        assert!(text.contains("pool tenants: several workers"), "{text}");
    }

    #[test]
    fn every_problem_is_told_with_its_line_and_a_missing_directory_is_no_answer() {
        let (code, text) = validate(&format!("{NODES}, quorum: 3, retain: 1h }}\n"));
        assert_eq!(code, 1, "{text}");
        let lines: Vec<&str> = text.lines().collect();
        assert!(
            lines.iter().any(|line| line.contains("all.yaml:25") && line.contains("quorum")),
            "{text}"
        );
        assert!(
            lines.iter().any(|line| line.contains("all.yaml:25") && line.contains("retain")),
            "{text}"
        );
        let output = egretctl(&["validate", "/nowhere/at/all"].map(Path::new));
        assert_eq!(output.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&output.stderr).contains("/nowhere/at/all"));
    }

    #[test]
    fn help_fits_one_screen() {
        let output = egretctl(&[Path::new("--help")]);
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && text.contains("gateway") && text.contains("gc"));
        assert!(text.lines().count() <= 24, "{text}");
    }
}
