//! Tests that need network namespaces: one program, one module a subject. All of them run as root.

#[cfg(test)]
mod again;
#[cfg(test)]
mod attacks;
#[cfg(test)]
mod bad_input;
#[cfg(test)]
mod by_hand;
#[cfg(test)]
mod chains;
#[cfg(test)]
mod check;
#[cfg(test)]
mod containerd;
#[cfg(test)]
mod datapath;
#[cfg(test)]
mod egress;
#[cfg(test)]
mod errors;
#[cfg(test)]
mod failover;
#[cfg(test)]
mod fairness;
#[cfg(test)]
mod fence;
#[cfg(test)]
mod forgery;
#[cfg(test)]
mod gateway_role;
#[cfg(test)]
mod gateway_status;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod hygiene;
#[cfg(test)]
mod inbound;
#[cfg(test)]
mod interference;
#[cfg(test)]
mod interrupted;
#[cfg(test)]
mod ipam_plugin;
#[cfg(test)]
mod leases;
#[cfg(test)]
mod lifecycle;
#[cfg(test)]
mod locks;
#[cfg(test)]
mod main_plugins;
#[cfg(test)]
mod malformed;
#[cfg(test)]
mod nameless;
#[cfg(test)]
mod open;
#[cfg(test)]
mod panics;
#[cfg(test)]
mod parallel;
#[cfg(test)]
mod pod_addresses;
#[cfg(test)]
mod pod_guard;
#[cfg(test)]
mod protocol;
#[cfg(test)]
mod reload;
#[cfg(test)]
mod repair;
#[cfg(test)]
mod repeated;
#[cfg(test)]
mod reuse;
#[cfg(test)]
mod ride;
#[cfg(test)]
mod roles;
#[cfg(test)]
mod segment;
#[cfg(test)]
mod sharing;
#[cfg(test)]
mod testkit_observes;
#[cfg(test)]
mod torture;
#[cfg(test)]
mod tunnel_guard;
#[cfg(test)]
mod tunnel_link;
#[cfg(test)]
mod worker_status;
#[cfg(test)]
mod world;
