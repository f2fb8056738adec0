//! Attachments by the thousand, up to a hundred at once, while `kill -9` comes at any moment to the
//! plugin, to what it runs, to both, to GC and to `egretctl gc`; namespaces go before DEL, DEL comes
//! twice, late or not at all, and machines start again. Nothing is left, nothing is leased twice, who
//! was not meant notices nothing, and the next ADD works.
//!
//! `ci/soak` runs the same with more.

#[cfg(test)]
mod oracle;
#[cfg(test)]
mod slot;
#[cfg(test)]
mod storm;

/// How many tenants share the ten pairs of the pool. All have a pair in the end, and lose it with the
/// leases when a node is made anew.
#[cfg(test)]
const TENANTS: usize = 8;

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use egret_tests::seeds;

    use super::storm::endure;

    /// ADD and DEL: what `ci/soak` says, else what `ci/test` has the time for.
    fn calls() -> usize {
        #[expect(clippy::disallowed_methods, reason = "a test's own input, no configuration")]
        let given = std::env::var("EGRET_TORTURE_CALLS").ok();
        given.map_or(2000, |text| {
            text.parse().unwrap_or_else(|e| panic!("EGRET_TORTURE_CALLS: {text:?}: {e}"))
        })
    }

    #[test]
    fn whatever_is_killed_whenever_nothing_is_left_and_the_next_add_works() {
        for seed in seeds() {
            let begin = Instant::now();
            eprintln!("seed {seed} (EGRET_TEST_SEED={seed} gives the second part again)");
            let tally = endure(seed, calls().div_ceil(2));
            eprintln!("{tally} in {} s", begin.elapsed().as_secs());
            // It would prove nothing if the kills had missed.
            assert!(tally.killed * 10 > tally.calls(), "{tally}");
        }
    }
}
