//! The plugin as `egret` and a runtime call it: the built program, its directories, its answers.

#[cfg(test)]
mod node;
#[cfg(test)]
mod operations;
#[cfg(test)]
mod pods;
#[cfg(test)]
mod rules;
#[cfg(test)]
mod torture;
