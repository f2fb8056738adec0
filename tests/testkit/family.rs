//! The family modes that every test on the wire runs in.

use egret_types::Family;

/// Which families a laboratory has; the other one is disabled in all of its namespaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Families {
    /// IPv4 only.
    V4,
    /// IPv6 only.
    V6,
    /// Both.
    Dual,
}

impl Families {
    /// The three modes.
    pub const ALL: [Families; 3] = [Families::V4, Families::V6, Families::Dual];

    /// The families of this mode, v4 first.
    pub fn list(self) -> &'static [Family] {
        match self {
            Families::V4 => &[Family::V4],
            Families::V6 => &[Family::V6],
            Families::Dual => &Family::BOTH,
        }
    }

    /// Whether the mode has this family.
    pub fn has(self, family: Family) -> bool {
        self.list().contains(&family)
    }
}
