//! No address belongs to two places of all pools.

use egret_types::Family;

use crate::{AddressRange, EgressPool, cursor::Cursor, problem::Problems, resource::Draft};

/// A range and where it was written.
struct Written<'d, 'a> {
    range: AddressRange,
    index: usize,
    pool: &'d Draft<'a, EgressPool>,
}

/// Sorted by its first address, a range that meets any earlier one meets the earlier one that ends
/// last.
pub(crate) fn check(pools: &[Draft<'_, EgressPool>], problems: &mut Problems) {
    let mut all: Vec<Written<'_, '_>> = Vec::new();
    for pool in pools {
        for family in Family::BOTH {
            let ranges = pool.value.ranges(family).iter().enumerate();
            all.extend(ranges.map(|(index, range)| Written { range: *range, index, pool }));
        }
    }
    all.sort_by_key(|written| written.range);
    let mut longest: Option<&Written<'_, '_>> = None;
    for written in &all {
        if let Some(earlier) = longest.filter(|earlier| earlier.range.overlaps(written.range)) {
            problems.add(at(written).problem(format!(
                "{} of pool {} overlaps {} of pool {} ({})",
                written.range,
                written.pool.value.name,
                earlier.range,
                earlier.pool.value.name,
                at(earlier).whereabouts()
            )));
        }
        if longest.is_none_or(|longest| longest.range.last() <= written.range.last()) {
            longest = Some(written);
        }
    }
}

fn at<'a>(written: &Written<'_, 'a>) -> Cursor<'a> {
    let key = written.range.family().to_string();
    written.pool.document.item(&["spec", &key], written.index)
}
