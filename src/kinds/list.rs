//! The registry of kinds.

use crate::kinds::backup_policy::kind::BackupPolicyKind;
use crate::kinds::host_mount::kind::HostMountKind;
use crate::kinds::objects::object::Object;
use crate::kinds::objects::table::{
    AclEntry, ApiToken, BackupJob, FirewallAlias, FirewallOptions, Group, IpSet, Role, SdnSubnet, SdnVnet, SdnZone,
    SecurityGroup, Storage, User,
};
use crate::kinds::patch_window::PatchWindowKind;
use crate::kinds::runner_pool::RunnerPoolKind;
use crate::kinds::snapshot_policy::SnapshotPolicyKind;
use crate::kinds::{
    container::ContainerKind, guest_template::GuestTemplateKind, pool::PoolKind, virtual_machine::VirtualMachineKind,
};
use crate::kinds::{guest_set, network_profile};
use crate::resource::kind::{AnyKind, Entry};
use serde_json::Value;
use std::marker::PhantomData;

/// All kinds, in the order in which `explain` and the schemas list them, and in which objects are made: what is deleted goes
/// in the opposite order.
pub static KINDS: [&dyn AnyKind; 23] = [
    &Entry::<PoolKind>(PhantomData),
    &Entry::<Object<Role>>(PhantomData),
    &Entry::<Object<Group>>(PhantomData),
    &Entry::<Object<User>>(PhantomData),
    &Entry::<Object<ApiToken>>(PhantomData),
    &Entry::<Object<AclEntry>>(PhantomData),
    &Entry::<HostMountKind>(PhantomData),
    &Entry::<Object<Storage>>(PhantomData),
    &Entry::<Object<SdnZone>>(PhantomData),
    &Entry::<Object<SdnVnet>>(PhantomData),
    &Entry::<Object<SdnSubnet>>(PhantomData),
    &Entry::<Object<FirewallAlias>>(PhantomData),
    &Entry::<Object<IpSet>>(PhantomData),
    &Entry::<Object<SecurityGroup>>(PhantomData),
    &Entry::<GuestTemplateKind>(PhantomData),
    &Entry::<VirtualMachineKind>(PhantomData),
    &Entry::<ContainerKind>(PhantomData),
    &Entry::<Object<BackupJob>>(PhantomData),
    &Entry::<BackupPolicyKind>(PhantomData),
    &Entry::<Object<FirewallOptions>>(PhantomData),
    &Entry::<SnapshotPolicyKind>(PhantomData),
    &Entry::<PatchWindowKind>(PhantomData),
    &Entry::<RunnerPoolKind>(PhantomData),
];

/// The names of everything that a manifest may be, sets of guests included.
pub fn names() -> Vec<&'static str> {
    KINDS.iter().map(|k| k.name()).chain([guest_set::NAME, network_profile::spec::NAME]).collect()
}

/// The name and the spec's JSON Schema of a kind or a set, as [`find`] finds it.
pub fn schema(name: &str) -> Option<(&'static str, Value)> {
    if is_set(name) {
        return Some((guest_set::NAME, guest_set::schema()));
    }
    if is_profile(name) {
        return Some((network_profile::spec::NAME, network_profile::schema()));
    }
    find(name).map(|k| (k.name(), k.schema()))
}

/// Whether a name means sets of guests (`gset` works too).
pub fn is_set(name: &str) -> bool {
    let plain = name.to_lowercase();
    let set = guest_set::NAME.to_lowercase();
    plain == "gset" || plain == "gsets" || plain == set || plain.strip_suffix('s') == Some(set.as_str())
}

/// Whether a name means network profiles (`netprofile` works too).
pub fn is_profile(name: &str) -> bool {
    let plain = name.to_lowercase();
    let profile = network_profile::spec::NAME.to_lowercase();
    let one = plain.strip_suffix('s').unwrap_or(&plain);
    one == "netprofile" || one == profile
}

/// A kind by its name, case and plural aside (`virtualmachines`, `vm`, `ct`, `lxc`, `gt` work too, for fingers).
pub fn find(name: &str) -> Option<&'static dyn AnyKind> {
    let name = name.to_lowercase();
    let name = match name.as_str() {
        "vm" | "vms" => "virtualmachine",
        "ct" | "cts" | "lxc" => "container",
        "token" | "tokens" => "apitoken",
        "gt" | "template" | "templates" => "guesttemplate",
        other => other,
    };
    let singular = name.strip_suffix("ies").map(|stem| format!("{stem}y"));
    KINDS.iter().copied().find(|k| {
        let kind = k.name().to_lowercase();
        let plural = name.strip_suffix('s') == Some(kind.as_str()) || name.strip_suffix("es") == Some(kind.as_str());
        kind == name || plural || singular.as_deref() == Some(kind.as_str())
    })
}
