//! Every kind of object against the real kernel, in namespaces of each test's own, with `ip` and
//! `bridge` as the second opinion. Needs root, and fails without it.

#[cfg(test)]
mod addresses;
#[cfg(test)]
mod conntrack;
#[cfg(test)]
mod lab;
#[cfg(test)]
mod macvlans;
#[cfg(test)]
mod namespaces;
#[cfg(test)]
mod neighbours;
#[cfg(test)]
mod nftables;
#[cfg(test)]
mod parameters;
#[cfg(test)]
mod privileges;
#[cfg(test)]
mod readings;
#[cfg(test)]
mod routes;
#[cfg(test)]
mod rules;
#[cfg(test)]
mod tunnels;
#[cfg(test)]
mod veths;
