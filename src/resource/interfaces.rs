//! What guests say of their own network cards. It is their word: whoever is root in a guest may let it say anything. Only cards
//! that the guest's configuration has are listened to, so that bridges and tunnels inside never count.

use crate::base::id::GuestType;
use crate::pve::request::Query;
use crate::resource::index::{GuestRow, text};
use serde_json::Value;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// The read that asks a guest for its addresses: a container's node tells them, of a VM its guest agent.
pub fn query(row: &GuestRow) -> Query {
    let rest = match row.guest {
        GuestType::Qemu => "agent/network-get-interfaces",
        GuestType::Lxc => "interfaces",
    };
    Query::new(format!("/nodes/{}/{}/{}/{rest}", row.node, row.guest, row.vmid))
}

/// A card as a guest tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Card {
    /// Its name in the guest.
    pub name: String,
    /// Its MAC address, in capitals.
    pub mac: String,
    /// Its addresses in the guest's order, but for those of the machine itself and of the wire alone.
    pub addresses: Vec<IpAddr>,
}

/// The cards in an answer to [`query`].
pub fn cards(answer: &Value) -> Vec<Card> {
    let list = if answer["result"].is_array() { &answer["result"] } else { answer };
    let one = |card: &Value| {
        let members = card["ip-addresses"].as_array().into_iter().flatten().filter_map(|a| text(&a["ip-address"]));
        // PVE 8 tells of containers the first address of each family only.
        let first = [&card["inet"], &card["inet6"]].into_iter().filter_map(text);
        let mut addresses = Vec::new();
        for word in members.chain(first) {
            let address = word.split('/').next().and_then(|word| word.parse::<IpAddr>().ok());
            let address = address.map(|a| a.to_canonical()).filter(|a| leads_somewhere(*a));
            addresses.extend(address.filter(|a| !addresses.contains(a)));
        }
        let mac = text(&card["hardware-address"]).or_else(|| text(&card["hwaddr"]));
        Card {
            name: text(&card["name"]).unwrap_or_default(),
            mac: mac.unwrap_or_default().to_ascii_uppercase(),
            addresses,
        }
    };
    list.as_array().into_iter().flatten().map(one).collect()
}

/// Whether others can reach somebody at it.
fn leads_somewhere(address: IpAddr) -> bool {
    let near = match address {
        IpAddr::V4(four) => four.octets()[0] == 0 || four.is_link_local() || four.is_broadcast(),
        IpAddr::V6(six) => six.is_unicast_link_local(),
    };
    !(near || address.is_loopback() || address.is_unspecified() || address.is_multicast())
}

/// The addresses of the cards that a guest's configuration has, `pending` being the answer that tells it.
pub fn own(answer: &Value, pending: &Value) -> BTreeSet<IpAddr> {
    let macs = macs(pending);
    cards(answer).into_iter().filter(|card| macs.contains(&card.mac)).flat_map(|card| card.addresses).collect()
}

/// The MAC addresses in force, in capitals: `virtio=BC:24:11:…` of a VM, `hwaddr=BC:24:11:…` of a container.
fn macs(pending: &Value) -> BTreeSet<String> {
    let is_card =
        |key: &str| key.strip_prefix("net").is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
    let entries = pending.as_array().into_iter().flatten().filter(|entry| entry["key"].as_str().is_some_and(is_card));
    let texts: Vec<String> = entries.filter_map(|entry| text(&entry["value"])).collect();
    let values = texts.iter().flat_map(|text| text.split(',')).filter_map(|part| part.split_once('='));
    values.filter(|(_, value)| is_mac(value)).map(|(_, value)| value.to_ascii_uppercase()).collect()
}

fn is_mac(text: &str) -> bool {
    text.len() == 17
        && text.split(':').count() == 6
        && text.split(':').all(|b| b.len() == 2 && u8::from_str_radix(b, 16).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn shown(addresses: &BTreeSet<IpAddr>) -> Vec<String> {
        addresses.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn only_cards_of_the_guest_and_addresses_that_lead_somewhere() {
        let pending = json!([
            {"key": "net0", "value": "virtio=BC:24:11:00:00:01,bridge=vmbr0,tag=20"},
            {"key": "net1", "value": "virtio=BC:24:11:00:00:02,bridge=vmbr0", "pending": "virtio=BC:24:11:00:00:09,bridge=vmbr0"},
            {"key": "network", "value": "virtio=BC:24:11:00:00:08"}, {"key": "netx", "value": "virtio=BC:24:11:00:00:08"},
        ]);
        let card = |mac: &str, all: &[&str]| {
            let all: Vec<Value> = all.iter().map(|a| json!({"ip-address": a, "prefix": 24})).collect();
            json!({"name": "eth0", "hardware-address": mac, "ip-addresses": all})
        };
        let near = [
            "127.0.0.1",
            "169.254.1.1",
            "224.0.0.1",
            "255.255.255.255",
            "0.0.0.0",
            "0.1.2.3",
            "::1",
            "::",
            "fe80::1",
            "ff02::1",
            "fe80::1%eth0",
            "::ffff:127.0.0.1",
            "nonsense",
            "",
        ];
        let answer = json!({"result": [
            card("bc:24:11:00:00:01", &[&["10.0.0.5", "fd00::5", "2001:db8::5", "::ffff:10.0.0.6"], &near[..]].concat()),
            card("bc:24:11:00:00:02", &["10.0.1.5"]),
            card("02:42:ac:11:00:01", &["172.17.0.1"]), card("bc:24:11:00:00:08", &["10.9.9.8"]), card("bc:24:11:00:00:09", &["10.9.9.9"]), card("", &["10.9.9.7"]),
            {"name": "tun0", "ip-addresses": [{"ip-address": "10.8.0.1"}]}, {"name": "docker0"},
        ]});
        assert_eq!(shown(&own(&answer, &pending)), ["10.0.0.5", "10.0.0.6", "10.0.1.5", "2001:db8::5", "fd00::5"]);
        assert!(own(&answer, &Value::Null).is_empty() && own(&Value::Null, &pending).is_empty());
    }

    #[test]
    fn containers_of_pve_8_tell_one_of_each_family() {
        let pending =
            json!([{"key": "net0", "value": "name=eth0,bridge=vmbr0,hwaddr=BC:24:11:00:00:01,ip=dhcp,type=veth"}]);
        let old = json!([{"name": "lo", "inet": "127.0.0.1/8", "hwaddr": "00:00:00:00:00:00"}, {"name": "eth0", "hwaddr": "bc:24:11:00:00:01", "inet": "10.0.0.6/24", "inet6": "fe80::2/64"}]);
        assert_eq!(shown(&own(&old, &pending)), ["10.0.0.6"]);
    }
}
