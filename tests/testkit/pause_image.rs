//! The image of every pod that a runtime starts: one static program, packed here, so that no
//! registry is asked.

use std::path::{Path, PathBuf};

use serde_json::json;
use sha2::{Digest, Sha256};

use crate::{Program, location};

/// Its name.
pub(crate) const IMAGE: &str = "egret.test/pause:1";

/// Packs it, as `docker save` would, below this directory.
pub(crate) fn write(directory: &Path) -> PathBuf {
    let image = directory.join("image");
    let failed = |e: std::io::Error| -> ! { panic!("{}: {e}", image.display()) };
    std::fs::create_dir_all(&image).unwrap_or_else(|e| failed(e));
    std::fs::copy(location::tool("cri-pause"), image.join("pause")).unwrap_or_else(|e| failed(e));
    tar(&image, "layer.tar", &["pause"]);
    let layer = std::fs::read(image.join("layer.tar")).unwrap_or_else(|e| failed(e));
    let digest = Sha256::digest(&layer);
    let digest =
        digest.iter().fold("sha256:".to_owned(), |text, byte| text + &format!("{byte:02x}"));
    let config = json!({
        "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
        "os": "linux",
        "config": { "Entrypoint": ["/pause"] },
        "rootfs": { "type": "layers", "diff_ids": [digest] }
    });
    let manifest =
        json!([{ "Config": "config.json", "RepoTags": [IMAGE], "Layers": ["layer.tar"] }]);
    for (name, value) in [("config.json", config), ("manifest.json", manifest)] {
        #[expect(clippy::disallowed_methods, reason = "input of a test, no state of the product")]
        std::fs::write(image.join(name), value.to_string()).unwrap_or_else(|e| failed(e));
    }
    tar(&image, "image.tar", &["manifest.json", "config.json", "layer.tar"]);
    image.join("image.tar")
}

/// What a container needs of the machine, at the same paths, to run the testkit's programs.
pub(crate) fn host_directories() -> Vec<PathBuf> {
    let probe = location::own("egret-probe");
    let beside = probe.parent().unwrap_or(&probe).to_owned();
    ["/usr", "/lib", "/lib64"].map(PathBuf::from).into_iter().chain([beside]).collect()
}

fn tar(directory: &Path, archive: &str, files: &[&str]) {
    Program::new("tar")
        .args([Path::new("-C"), directory, Path::new("-cf"), &directory.join(archive)])
        .args(files)
        .run()
        .success();
}
