//! What must be read before it can be said what becomes of a way. Asked only where manifests speak of the firewall.

use crate::pve::request::{Query, segment};
use crate::resource::index::{GuestRow, Index, text};
use serde_json::Value;

/// Where the datacenter's firewall is.
pub const CLUSTER: &str = "/cluster/firewall";

/// The lists whose entries are read in the second round.
pub fn lists() -> [Query; 3] {
    ["groups", "ipset", "aliases"].map(|list| Query::new(format!("{CLUSTER}/{list}")))
}

/// Whether a list is one of the datacenter's firewall.
pub fn is_firewall(query: &Query) -> bool {
    query.path.strip_prefix(CLUSTER).is_some_and(|rest| rest.starts_with('/'))
}

/// All that decides about packets to nodes, and about those of the guests that we may run in.
pub fn reads(index: &Index, guests: &[&GuestRow]) -> Vec<Query> {
    let mut all = vec![Query::new(format!("{CLUSTER}/options")), Query::new(format!("{CLUSTER}/rules"))];
    for (list, key) in [("groups", "group"), ("ipset", "name")] {
        all.extend(entries(index, list, key).map(|name| Query::new(format!("{CLUSTER}/{list}/{}", segment(&name)))));
    }
    for node in index.nodes.values().filter(|node| node.online) {
        let own = format!("/nodes/{}", segment(&node.name));
        all.extend(["firewall/options", "firewall/rules", "network"].map(|part| Query::new(format!("{own}/{part}"))));
    }
    for row in guests {
        let own = format!("/nodes/{}/{}/{}/firewall", row.node, row.guest, row.vmid);
        all.extend(["options", "rules", "ipset", "aliases"].map(|part| Query::new(format!("{own}/{part}"))));
    }
    all
}

fn entries<'a>(index: &'a Index, list: &str, key: &'a str) -> impl Iterator<Item = String> + use<'a> {
    let rows = index.lists.get(&Query::new(format!("{CLUSTER}/{list}"))).and_then(|rows| rows.as_ref().ok());
    rows.and_then(|rows| rows.as_array()).into_iter().flatten().filter_map(move |row: &Value| text(&row[key]))
}
