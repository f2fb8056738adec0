//! How much of the connection tracking table one identity may fill: half of it, so that a pod which
//! opens flows without end leaves the other half to all others.

use crate::nft::{Capacity, Content, Count, DataType, FlowLimit, Removal, Set, ValueType};

/// Flows are counted in so many buckets. A list of all flows of an identity would be walked for
/// each new one: with 4096 buckets and a table of 262 144 entries a list has at most 32.
const BUCKETS: u32 = 4096;

/// The share of one identity in a table of flows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Share {
    table: u32,
    buckets: u32,
    limit: u32,
}

impl Share {
    /// Of a table with so many entries (`net.netfilter.nf_conntrack_max`): never more than half.
    pub(super) fn of(table: u32) -> Self {
        let half = (table / 2).max(1);
        // A power of two, so that a bucket is some bits of the flow's number.
        let buckets = BUCKETS.min(1 << half.ilog2());
        Self { table, buckets, limit: half / buckets }
    }

    /// What a rule must say to count a new flow.
    pub(super) fn limit(self) -> FlowLimit {
        FlowLimit { set: self.set_name(), mask: self.buckets - 1, limit: self.limit }
    }

    /// The kernel does not resize a set, so its name tells its size: for another table there is
    /// another set.
    fn set_name(self) -> String {
        format!("share-{}", self.table)
    }

    /// As large as the table: no bucket may be missing for want of room, it would not be counted.
    pub(super) fn set(self) -> Set {
        Set {
            name: self.set_name(),
            key: vec![DataType::Mark, DataType::Mark],
            value: ValueType::None,
            content: Content::Dynamic(Capacity { size: self.table.max(1), seconds: None }),
            count: Count::Nothing,
            removal: Removal::Delete,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_may_hold_about_half_of_the_table_and_never_more() {
        let tables = (2..20_000).chain([65_536, 100_000, 262_144, 1 << 20, 3_000_000, u32::MAX]);
        for table in tables {
            let Share { buckets, limit, .. } = Share::of(table);
            let most = u64::from(buckets) * u64::from(limit);
            assert!(most <= u64::from(table / 2), "{table}: {most}");
            assert!(most > u64::from(table / 4) || table < 4, "{table}: {most}");
            assert!(buckets.is_power_of_two() && buckets <= BUCKETS && limit >= 1, "{table}");
        }
    }

    #[test]
    fn a_usual_table_has_4096_buckets_of_a_8192nd_each() {
        let limit = Share::of(262_144).limit();
        assert_eq!((limit.mask, limit.limit), (0xfff, 32));
        assert_eq!(limit.set, Share::of(262_144).set().name);
    }

    #[test]
    fn a_table_without_room_still_has_a_limit() {
        for table in [0, 1] {
            let limit = Share::of(table).limit();
            assert_eq!((limit.mask, limit.limit), (0, 1));
        }
    }
}
