//! The registry of kinds.

use crate::kinds::{
    container::ContainerKind, guest_template::GuestTemplateKind, pool::PoolKind, virtual_machine::VirtualMachineKind,
};
use crate::resource::kind::{AnyKind, Entry};
use std::marker::PhantomData;

/// All kinds, in the order in which `explain` and the schemas list them.
pub static KINDS: [&dyn AnyKind; 4] = [
    &Entry::<PoolKind>(PhantomData),
    &Entry::<GuestTemplateKind>(PhantomData),
    &Entry::<VirtualMachineKind>(PhantomData),
    &Entry::<ContainerKind>(PhantomData),
];

/// A kind by its name, case and plural aside (`virtualmachines`, `vm`, `ct` work too, for fingers).
pub fn find(name: &str) -> Option<&'static dyn AnyKind> {
    let name = name.to_lowercase();
    let name = match name.as_str() {
        "vm" | "vms" => "virtualmachine",
        "ct" | "cts" => "container",
        "template" | "templates" => "guesttemplate",
        other => other,
    };
    KINDS.iter().copied().find(|k| {
        let kind = k.name().to_lowercase();
        kind == name || name.strip_suffix('s') == Some(kind.as_str())
    })
}
