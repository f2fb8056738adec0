//! A route of a result or of an IPAM configuration.

use std::net::IpAddr;

use egret_types::{LinkAddress, Prefix};
use serde::{Deserialize, Deserializer, Serialize};

use crate::Layout;

/// One entry of `routes`. Everything behind `gw` appears in results of the layout of 1.0.0 only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// Where to.
    #[serde(deserialize_with = "network")]
    pub dst: Prefix,
    /// The next hop; absent: the gateway of the address.
    #[serde(
        default,
        deserialize_with = "optional_address",
        skip_serializing_if = "Option::is_none"
    )]
    pub gw: Option<IpAddr>,
    /// Maximum transmission unit in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// Maximum segment size to advertise, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advmss: Option<u32>,
    /// Metric; lower wins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<u32>,
    /// Routing table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<u32>,
    /// 0 global, 253 link, 254 host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<u32>,
}

impl Route {
    /// A route without attributes.
    pub fn new(dst: Prefix, gw: Option<IpAddr>) -> Self {
        Self { dst, gw, mtu: None, advmss: None, priority: None, table: None, scope: None }
    }

    /// As far as a result of this layout can say it.
    pub(crate) fn in_layout(&self, layout: Layout) -> Self {
        match layout {
            Layout::Legacy => Self::new(self.dst, self.gw),
            Layout::One => self.clone(),
        }
    }
}

/// Go masks host bits away where we would refuse them; what other plugins accept must not fail.
fn network<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Prefix, D::Error> {
    LinkAddress::deserialize(deserializer).map(LinkAddress::network)
}

/// An empty address is an absent one to Go's `net.IP`.
pub(crate) fn optional_address<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<IpAddr>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?.filter(|text| !text.is_empty());
    let invalid = |text| {
        serde::de::Error::custom(egret_types::Invalid::new(text, "an address without a length"))
    };
    text.map(|text| text.parse().map_err(|_| invalid(text))).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_of_another_plugin_is_read_leniently() {
        let route: Route = serde_json::from_str(r#"{"dst":"10.1.2.3/8","gw":""}"#).unwrap();
        assert_eq!(route, Route::new("10.0.0.0/8".parse().unwrap(), None));
        for bad in [r#"{"dst":"10.0.0.0"}"#, r#"{"dst":"::/0","gw":"fe80::1/64"}"#, "{}"] {
            assert!(serde_json::from_str::<Route>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn item_21_the_legacy_layout_has_no_attributes() {
        let text = r#"{"dst":"0.0.0.0/0","gw":"10.0.0.1","mtu":1400,"priority":5,"table":7}"#;
        let route: Route = serde_json::from_str(text).unwrap();
        let json = |layout| serde_json::to_string(&route.in_layout(layout)).unwrap();
        assert_eq!(json(Layout::One), text);
        assert_eq!(json(Layout::Legacy), r#"{"dst":"0.0.0.0/0","gw":"10.0.0.1"}"#);
    }
}
