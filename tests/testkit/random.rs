//! Pseudo-random numbers that can be had again: what a generator of bad input made is known by its
//! seed.

use std::time::{SystemTime, UNIX_EPOCH};

/// The splitmix64 generator.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The sequence of a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below a limit, which is not 0.
    pub fn below(&mut self, limit: usize) -> usize {
        let limit = u64::try_from(limit).unwrap_or(u64::MAX);
        usize::try_from(self.number() % limit).unwrap_or_default()
    }

    /// Whether something that happens once in so many times happens.
    pub fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    /// A byte.
    pub fn byte(&mut self) -> u8 {
        self.number().to_be_bytes()[0]
    }

    /// Two bytes.
    pub fn short(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    /// So many bytes.
    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.byte()).collect()
    }

    /// Fewer bytes than a limit.
    pub fn some_bytes(&mut self, limit: usize) -> Vec<u8> {
        let length = self.below(limit);
        self.bytes(length)
    }

    /// One of several; the list is not empty.
    pub fn pick<T: Clone>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())].clone()
    }
}

/// The seeds of a test: one that is always the same, and one that no run had before, unless
/// `EGRET_TEST_SEED` gives back that of a run that failed.
pub fn seeds() -> [u64; 2] {
    #[expect(clippy::disallowed_methods, reason = "a test's own input, no configuration")]
    let given = std::env::var("EGRET_TEST_SEED").ok();
    let given = given.map(|text| {
        text.parse().unwrap_or_else(|e| panic!("EGRET_TEST_SEED is no number: {text:?}: {e}"))
    });
    let clock = || {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        now.as_secs() << 20 | u64::from(now.subsec_micros())
    };
    [0x0e67_e700, given.unwrap_or_else(clock)]
}
