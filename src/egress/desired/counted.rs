//! Where the gateway side counts: sets with a counter in each element, and chains that name why a
//! packet was dropped. For those who read them.

/// netdev: frames of each node, by its MAC.
pub const NODES: &str = "nodes";
/// inet, a set of each family (`pair4`, `pair6`): what left, by connection mark and egress address.
pub const PAIR: &str = "pair";
/// inet: what came back, by connection mark.
pub const RECEIVED: &str = "received";
/// inet: first packets that were over the share of their identity, by mark.
pub const OVER: &str = "over";
/// inet: an identity that this gateway does not serve, or not in this family.
pub const UNKNOWN: &str = "unknown";
/// inet: a packet of another identity than that of its flow.
pub const FOREIGN_FLOW: &str = "foreign-flow";
/// inet: number and mark of flows that met a packet of another identity within the last hour. Such a flow
/// keeps out its own pod's successor as long as that one goes on trying.
pub const BLOCKED: &str = "blocked";
/// inet: nothing that belongs to a flow, a wrong checksum for instance.
pub const INVALID: &str = "invalid";
/// inet: a new flow of an identity that has filled its share of the connection tracking table.
pub const OVER_SHARE: &str = "over-share";
