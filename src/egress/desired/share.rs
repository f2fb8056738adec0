//! How much of the connection tracking table one identity may fill: half of it, so that a pod which
//! opens flows without end leaves the other half to all others.
//!
//! Flows that live are counted. Closed TCP connections are not: the kernel leaves `TIME_WAIT` and
//! `CLOSE` out of `ct count`, though they stay in the table. So they stay for one second only, and
//! what an identity can begin in a second is limited as well: 7/16 of the table may live, and what
//! began in one second, with a burst of another, is 1/16.

use crate::nft::{Capacity, Content, Count, DataType, Expr, FlowLimit, Removal, Set, ValueType};

/// Flows are counted in so many buckets. A list of all flows of an identity would be walked for
/// each new one: with 4096 buckets and a table of 262 144 entries a list has at most 28.
const BUCKETS: u32 = 4096;
/// The set that limits the rate: identities that began a flow within a minute.
const RATE: &str = "rate";
const RATE_CAPACITY: Capacity = Capacity { size: 65_536, seconds: Some(60) };

/// How long a closed connection stays in the table.
pub(super) const CLOSED_SECONDS: &str = "1";

/// The share of one identity in a table of flows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Share {
    table: u32,
    buckets: u32,
    limit: u32,
    per_second: u32,
}

impl Share {
    /// Of a table with so many entries (`net.netfilter.nf_conntrack_max`): never more than half.
    pub(super) fn of(table: u32) -> Self {
        let live = (table / 16 * 7).max(1);
        // A power of two, so that a bucket is some bits of the flow's number.
        let buckets = BUCKETS.min(1 << live.ilog2());
        Self { table, buckets, limit: live / buckets, per_second: (table / 32).max(1) }
    }

    /// What a new flow must pass.
    pub(super) fn limits(self) -> [Expr; 2] {
        let flows = FlowLimit { set: self.set_name(), mask: self.buckets - 1, limit: self.limit };
        let rate = Expr::RateWithin { set: RATE.into(), per_second: self.per_second };
        [Expr::FlowsWithin(flows), rate]
    }

    /// The kernel does not resize a set, so its name tells its size: for another table there is
    /// another set.
    fn set_name(self) -> String {
        format!("share-{}", self.table)
    }

    /// The sets that count. That of the flows is as large as the table; what finds no room in one is
    /// refused.
    pub(super) fn sets(self) -> [Set; 2] {
        let flows = Capacity { size: self.table.max(1), seconds: None };
        [
            dynamic(&self.set_name(), vec![DataType::Mark, DataType::Mark], flows),
            dynamic(RATE, vec![DataType::Mark], RATE_CAPACITY),
        ]
    }
}

/// A set that packets fill.
pub(super) fn dynamic(name: &str, key: Vec<DataType>, capacity: Capacity) -> Set {
    Set {
        name: name.into(),
        key,
        value: ValueType::None,
        content: Content::Dynamic(capacity),
        count: Count::Nothing,
        removal: Removal::Delete,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_may_hold_about_half_of_the_table_and_never_more() {
        let tables = (64..20_000).chain([65_536, 100_000, 262_144, 1 << 20, 3_000_000, u32::MAX]);
        for table in tables {
            let Share { buckets, limit, per_second, .. } = Share::of(table);
            let live = u64::from(buckets) * u64::from(limit);
            // Begun in the last second, and the burst before it.
            let most = live + 2 * u64::from(per_second);
            assert!(most <= u64::from(table / 2), "{table}: {most}");
            assert!(live > u64::from(table / 5), "{table}: {live}");
            assert!(buckets.is_power_of_two() && buckets <= BUCKETS && limit >= 1, "{table}");
        }
    }

    #[test]
    fn a_usual_table_has_4096_buckets_of_28_flows() {
        let Share { buckets, limit, per_second, .. } = Share::of(262_144);
        assert_eq!((buckets, limit, per_second), (4096, 28, 8192));
        let [Expr::FlowsWithin(flows), _] = Share::of(262_144).limits() else { panic!("a limit") };
        assert_eq!((flows.mask, flows.set), (0xfff, "share-262144".to_owned()));
    }

    #[test]
    fn a_table_without_room_still_has_limits() {
        for table in [0, 1, 15] {
            let Share { buckets, limit, per_second, .. } = Share::of(table);
            assert_eq!((buckets, limit, per_second), (1, 1, 1), "{table}");
        }
    }
}
