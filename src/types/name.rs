//! Names of resources. All follow the rule of Kubernetes object names (RFC 1123 subdomain).

use crate::text_type;

fn is_object_name(text: &str) -> bool {
    (1..=253).contains(&text.len())
        && text.split('.').all(|label| {
            let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
            !label.is_empty()
                && label.bytes().all(inner)
                && !label.starts_with('-')
                && !label.ends_with('-')
        })
}

/// A node may be named by the host name, which is not always in lower case.
fn is_node_name(text: &str) -> bool {
    is_object_name(&text.to_ascii_lowercase())
}

text_type! {
    /// The name of an `EgressPool`.
    PoolName, is_object_name, "a name (lower-case letters, digits, '-', '.', at most 253)"
}
text_type! {
    /// The name of an `EgressGateway`.
    GatewayName, is_object_name, "a name (lower-case letters, digits, '-', '.', at most 253)"
}
text_type! {
    /// A Kubernetes namespace.
    Namespace, is_object_name, "a namespace name (lower-case letters, digits, '-', at most 63)"
}
text_type! {
    /// The name of an `EgressNode`, by default the host name.
    NodeName, is_node_name, "a node name (letters, digits, '-', '.', at most 253)"
}

/// The name of a policy: `namespace/name`, or `/name` for a cluster policy.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "camelCase")]
pub struct PolicyName {
    /// Absent for a `ClusterEgressPolicy`.
    pub namespace: Option<Namespace>,
    /// The name inside the namespace or the cluster.
    pub name: String,
}

impl std::fmt::Display for PolicyName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let namespace = self.namespace.as_ref().map_or("", Namespace::as_str);
        write!(f, "{namespace}/{}", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn object_names_follow_rfc_1123() {
        assert!("gw-1.example".parse::<PoolName>().is_ok());
        for bad in ["", "Shop", "-a", "a-", "a..b", "a_b", &"a".repeat(254)] {
            assert!(bad.parse::<PoolName>().is_err(), "{bad}");
        }
        assert!("Worker-1".parse::<NodeName>().is_ok());
    }
}
