//! The three things that are done with a list of objects: make them so, take them away, compare.
//! Loops without a choice in them; what to do is in the list.

use crate::kernel::{Failure, Kernel};
use crate::object::Placed;

/// Makes every object what it should be, in order; stops at the first failure.
pub fn ensure_all(kernel: &mut dyn Kernel, objects: &[Placed]) -> Result<(), Failure> {
    objects.iter().try_for_each(|placed| kernel.ensure(placed.place, &placed.object))
}

/// Removes every object, the last one first, and goes on after a failure: one object that resists
/// must not keep the others alive. Returns the failures.
pub fn remove_all(kernel: &mut dyn Kernel, objects: &[Placed]) -> Vec<Failure> {
    let remove = |placed: &Placed| kernel.remove(placed.place, &placed.object).err();
    objects.iter().rev().filter_map(remove).collect()
}

/// What differs between the objects and what the kernel holds, one sentence each. Where a whole
/// namespace is gone, so is every object in it.
pub fn differences(kernel: &mut dyn Kernel, objects: &[Placed]) -> Result<Vec<String>, Failure> {
    let mut all = Vec::new();
    for Placed { place, object } in objects {
        match kernel.differences(*place, object) {
            Err(Failure::NoNamespace { place }) => all.push(format!("{object}: {place} is gone")),
            found => all.extend(found?),
        }
    }
    Ok(all)
}
