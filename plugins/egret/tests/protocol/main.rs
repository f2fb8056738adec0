//! The program `egret` as a runtime executes it, as far as it decides without a pod. What needs a
//! namespace is in `tests/netns`.

#[cfg(test)]
mod call;
#[cfg(test)]
mod items;
