//! The network configuration lists on this node, for what they tell about the cluster's networks.

use std::{fs, io, path::Path};

use serde_json::Value;

/// Every readable list of a directory (`*.conflist`, `*.conf`, `*.json`), with its path, sorted by
/// it. A file that is no JSON is no list; a missing directory has none.
pub fn network_lists(dir: &Path) -> io::Result<Vec<(String, Value)>> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let extension = path.extension().and_then(|e| e.to_str());
        if matches!(extension, Some("conflist" | "conf" | "json")) {
            paths.push(path);
        }
    }
    paths.sort();
    let read = |path: std::path::PathBuf| {
        let list = serde_json::from_slice(&fs::read(&path).ok()?).ok()?;
        Some((path.display().to_string(), list))
    };
    Ok(paths.into_iter().filter_map(read).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "the test writes what a runtime would read")]
    fn lists_are_read_in_order_and_what_is_none_is_left_out() {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("20-b.conflist", "{\"name\":\"b\"}"),
            ("10-a.conf", "{\"name\":\"a\"}"),
            ("30.conflist", "{"),
            ("x.txt", "{}"),
        ] {
            fs::write(dir.path().join(name), text).unwrap();
        }
        let names: Vec<_> = network_lists(dir.path())
            .unwrap()
            .into_iter()
            .map(|(_, l)| l["name"].clone())
            .collect();
        assert_eq!(names, ["a", "b"]);
        assert!(network_lists(&dir.path().join("absent")).unwrap().is_empty());
    }
}
