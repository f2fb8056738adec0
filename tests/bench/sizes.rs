//! How large the programs are that a node reads from its disk for each pod.

use std::path::Path;

use egret_tests::{PluginSet, product};

use crate::report;

/// Sizes of static programs, and of the plugins that they stand beside.
pub(crate) fn run() {
    report::section("4. Sizes");
    let size = |path: &Path| std::fs::metadata(path).map_or(0, |file| file.len());
    for name in ["egret", "egret-ipam", "egretctl"] {
        report::line(&format!("  {name:20} {:>9} bytes", size(&product(name))));
    }
    for name in ["sbr", "tuning", "bridge", "host-local"] {
        let path = PluginSet::Debian.directory().join(name);
        report::line(&format!("  Debian's {name:11} {:>9} bytes", size(&path)));
    }
}
