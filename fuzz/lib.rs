//! What holds for any input: one function for each thing that reads what others write. A function
//! panics where that does not hold, and so does the code it calls where that has a bug. The fuzzer
//! (`ci/fuzz`) looks for such inputs; `cargo test` tries the seeds and what was found before.

#![expect(
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "a panic is how the fuzzer is told what does not hold"
)]

mod args;
mod config;
mod document;
mod leases;
mod prev_result;
mod records;
mod request;
mod resources;

pub use args::args;
pub use config::config;
pub use leases::leases;
pub use prev_result::prev_result;
pub use records::records;
pub use request::request;
pub use resources::resources;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

    /// Its name, what it tries, and where seeds of it are, beside its own: as in ci/fuzz.
    type Target = (&'static str, fn(&[u8]), &'static [&'static str]);

    const TARGETS: [Target; 7] = [
        ("request", crate::request, &[]),
        ("config", crate::config, &["conf"]),
        ("prev_result", crate::prev_result, &[]),
        ("args", crate::args, &[]),
        ("resources", crate::resources, &["testdata/resources", "conf/resources", "conf/examples"]),
        ("records", crate::records, &[]),
        ("leases", crate::leases, &[]),
    ];

    fn try_all(directory: &Path, target: fn(&[u8])) -> usize {
        let files = fs::read_dir(directory).into_iter().flatten().flatten();
        let files = files.map(|entry| entry.path()).filter(|path| path.is_file());
        files.map(|path| target(&fs::read(path).unwrap())).count()
    }

    #[test]
    fn every_seed_is_read_as_promised() {
        for (name, target, others) in TARGETS {
            let own = Path::new(ROOT).join("fuzz/seeds").join(name);
            let all = others.iter().map(|other| Path::new(ROOT).join(other)).chain([own]);
            let tried: usize = all.map(|directory| try_all(&directory, target)).sum();
            assert!(tried > 0, "{name} has no seed");
        }
    }
}
