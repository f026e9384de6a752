//! Network cards of virtual machines.

use crate::sim::params::iface;
use crate::sim::verify::{Kind, Param, between, format, opt, req};

const MAC: Kind = format(mac);
const MODEL: Kind = Kind::Alias("model", "macaddr");

/// Emulated network cards.
pub const MODELS: &[&str] = &[
    "e1000",
    "e1000-82540em",
    "e1000-82544gc",
    "e1000-82545em",
    "e1000e",
    "i82551",
    "i82557b",
    "i82559er",
    "ne2k_isa",
    "ne2k_pci",
    "pcnet",
    "rtl8139",
    "virtio",
    "vmxnet3",
];

/// A network card's property string.
pub const NET: &[Param] = &[
    req("model", Kind::Enum(MODELS)),
    opt("macaddr", MAC),
    opt("bridge", format(iface)),
    opt("firewall", Kind::Bool),
    opt("link_down", Kind::Bool),
    opt("mtu", between(1, 65520)),
    opt("queues", between(0, 64)),
    opt("rate", Kind::Num(Some(0.0), None)),
    opt("tag", between(1, 4094)),
    opt("trunks", Kind::Str),
    opt("e1000", MODEL),
    opt("e1000-82540em", MODEL),
    opt("e1000-82544gc", MODEL),
    opt("e1000-82545em", MODEL),
    opt("e1000e", MODEL),
    opt("i82551", MODEL),
    opt("i82557b", MODEL),
    opt("i82559er", MODEL),
    opt("ne2k_isa", MODEL),
    opt("ne2k_pci", MODEL),
    opt("pcnet", MODEL),
    opt("rtl8139", MODEL),
    opt("virtio", MODEL),
    opt("vmxnet3", MODEL),
];

/// `mac-addr`.
pub fn mac(text: &str) -> Result<(), String> {
    let octets: Vec<&str> = text.split(':').collect();
    let hex = |o: &&str| o.len() == 2 && o.bytes().all(|b| b.is_ascii_hexdigit());
    let unicast = octets.first().and_then(|o| u8::from_str_radix(o, 16).ok()).is_some_and(|o| o & 1 == 0);
    match octets.len() == 6 && octets.iter().all(hex) && unicast {
        true => Ok(()),
        false => Err("value does not look like a valid unicast MAC address\n".to_owned()),
    }
}
