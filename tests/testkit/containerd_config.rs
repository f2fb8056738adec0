//! The configuration of a containerd of a laboratory, in the form of its version.

use std::path::Path;

use crate::ContainerdVersion;
use crate::pause_image::IMAGE;

/// For a daemon that has everything below a directory, but for the network configuration.
pub(crate) fn text(version: ContainerdVersion, root: &Path, conf: &Path) -> String {
    let (root, conf) = (root.display(), conf.display());
    let sections = match version {
        ContainerdVersion::One => format!(
            r#"
            [plugins."io.containerd.grpc.v1.cri"]
            sandbox_image = "{IMAGE}"
            netns_mounts_under_state_dir = true
            restrict_oom_score_adj = true
            [plugins."io.containerd.grpc.v1.cri".containerd]
            snapshotter = "native"
            [plugins."io.containerd.grpc.v1.cri".cni]
            bin_dir = "{root}/bin"
            conf_dir = "{conf}"
            "#
        ),
        ContainerdVersion::Two => format!(
            r#"
            [plugins."io.containerd.cri.v1.images"]
            snapshotter = "native"
            [plugins."io.containerd.cri.v1.images".pinned_images]
            sandbox = "{IMAGE}"
            [plugins."io.containerd.cri.v1.runtime"]
            netns_mounts_under_state_dir = true
            restrict_oom_score_adj = true
            [plugins."io.containerd.cri.v1.runtime".cni]
            bin_dirs = ["{root}/bin"]
            conf_dir = "{conf}"
            [[plugins."io.containerd.transfer.v1.local".unpack_config]]
            platform = "linux"
            snapshotter = "native"
            "#
        ),
    };
    let form = match version {
        ContainerdVersion::One => 2,
        ContainerdVersion::Two => 3,
    };
    format!(
        r#"
        version = {form}
        root = "{root}/root"
        state = "{root}/state"
        disabled_plugins = [
            "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
            "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.overlayfs",
            "io.containerd.snapshotter.v1.zfs"
        ]
        [grpc]
        address = "{root}/containerd.sock"
        [plugins."io.containerd.internal.v1.opt"]
        path = "{root}/opt"
        {sections}"#
    )
}
