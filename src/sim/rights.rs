//! Privileges and built-in roles of PVE 9, and who has what where.

use crate::sim::world::World;
use std::collections::BTreeSet;

/// Every privilege of PVE 9 (`VM.Monitor` is gone).
pub const PRIVILEGES: &[&str] = &[
    "Datastore.Allocate",
    "Datastore.AllocateSpace",
    "Datastore.AllocateTemplate",
    "Datastore.Audit",
    "Group.Allocate",
    "Mapping.Audit",
    "Mapping.Modify",
    "Mapping.Use",
    "Permissions.Modify",
    "Pool.Allocate",
    "Pool.Audit",
    "Realm.Allocate",
    "Realm.AllocateUser",
    "SDN.Allocate",
    "SDN.Audit",
    "SDN.Use",
    "Sys.AccessNetwork",
    "Sys.Audit",
    "Sys.Console",
    "Sys.Incoming",
    "Sys.Modify",
    "Sys.PowerMgmt",
    "Sys.Syslog",
    "User.Modify",
    "VM.Allocate",
    "VM.Audit",
    "VM.Backup",
    "VM.Clone",
    "VM.Config.CDROM",
    "VM.Config.CPU",
    "VM.Config.Cloudinit",
    "VM.Config.Disk",
    "VM.Config.HWType",
    "VM.Config.Memory",
    "VM.Config.Network",
    "VM.Config.Options",
    "VM.Console",
    "VM.GuestAgent.Audit",
    "VM.GuestAgent.FileRead",
    "VM.GuestAgent.FileSystemMgmt",
    "VM.GuestAgent.FileWrite",
    "VM.GuestAgent.Unrestricted",
    "VM.Migrate",
    "VM.PowerMgmt",
    "VM.Replicate",
    "VM.Snapshot",
    "VM.Snapshot.Rollback",
];

/// The built-in roles.
pub const BUILT_IN_ROLES: &[&str] = &[
    "Administrator",
    "NoAccess",
    "PVEAdmin",
    "PVEAuditor",
    "PVEDatastoreAdmin",
    "PVEDatastoreUser",
    "PVEMappingAdmin",
    "PVEMappingUser",
    "PVEPoolAdmin",
    "PVEPoolUser",
    "PVESDNAdmin",
    "PVESDNUser",
    "PVESysAdmin",
    "PVETemplateUser",
    "PVEUserAdmin",
    "PVEVMAdmin",
    "PVEVMUser",
];

/// The privileges of a role, built in or custom; `None` if there is no such role.
pub fn role_privileges(world: &World, role: &str) -> Option<BTreeSet<String>> {
    if let Some(custom) = world.roles.get(role) {
        return Some(custom.clone());
    }
    let set = |test: &dyn Fn(&str) -> bool| PRIVILEGES.iter().filter(|p| test(p)).map(|p| (*p).to_owned()).collect();
    let named = |names: &[&str]| names.iter().map(|p| (*p).to_owned()).collect();
    Some(match role {
        "Administrator" => set(&|_| true),
        "NoAccess" => BTreeSet::new(),
        "PVEAdmin" => set(&|p| {
            !matches!(p, "Permissions.Modify" | "Sys.PowerMgmt" | "Sys.Modify" | "Sys.Incoming" | "Sys.AccessNetwork")
                && p != "Realm.Allocate"
                && p != "Mapping.Modify"
        }),
        "PVEAuditor" => set(&|p| p.ends_with(".Audit")),
        "PVEDatastoreAdmin" => set(&|p| p.starts_with("Datastore.")),
        "PVEDatastoreUser" => named(&["Datastore.AllocateSpace", "Datastore.Audit"]),
        "PVEMappingAdmin" => set(&|p| p.starts_with("Mapping.")),
        "PVEMappingUser" => named(&["Mapping.Audit", "Mapping.Use"]),
        "PVEPoolAdmin" => set(&|p| p.starts_with("Pool.")),
        "PVEPoolUser" => named(&["Pool.Audit"]),
        "PVESDNAdmin" => set(&|p| p.starts_with("SDN.")),
        "PVESDNUser" => named(&["SDN.Audit", "SDN.Use"]),
        "PVESysAdmin" => named(&["Sys.Audit", "Sys.Console", "Sys.Syslog"]),
        "PVETemplateUser" => named(&["VM.Audit", "VM.Clone"]),
        "PVEUserAdmin" => named(&["Group.Allocate", "Realm.AllocateUser", "User.Modify"]),
        "PVEVMAdmin" => set(&|p| p.starts_with("VM.")),
        "PVEVMUser" => set(&|p| {
            matches!(
                p,
                "VM.Audit" | "VM.Backup" | "VM.Config.CDROM" | "VM.Config.Cloudinit" | "VM.Console" | "VM.PowerMgmt"
            ) || p.starts_with("VM.GuestAgent.")
        }),
        _ => return None,
    })
}

/// What a user or token may do at a path.
pub fn privileges_at(world: &World, who: &str, path: &str) -> BTreeSet<String> {
    let everything = || PRIVILEGES.iter().map(|p| (*p).to_owned()).collect();
    let (user, token) = match who.split_once('!') {
        Some((user, token)) => (user, Some(token)),
        None => (who, None),
    };
    let separate = token.is_some_and(|t| world.users.get(user).and_then(|u| u.tokens.get(t)).is_none_or(|t| t.privsep));
    let of_user = if user == "root@pam" { everything() } else { merged(world, user, path) };
    match separate {
        true => merged(world, who, path).intersection(&of_user).cloned().collect(),
        false => of_user,
    }
}

/// The entries' privileges at a path, those of a guest's pool included.
fn merged(world: &World, subject: &str, path: &str) -> BTreeSet<String> {
    let mut all = by_path(world, subject, path);
    let vmid = path.strip_prefix("/vms/").and_then(|v| v.parse().ok());
    if let Some(pool) = vmid.and_then(|v| world.pool_of(v)) {
        all.extend(by_path(world, subject, &format!("/pool/{pool}")));
    }
    if let Some(storage) = path.strip_prefix("/storage/") {
        for (id, _) in world.pools.iter().filter(|(_, p)| p.storages.contains(storage)) {
            all.extend(by_path(world, subject, &format!("/pool/{id}")));
        }
    }
    all
}

fn by_path(world: &World, subject: &str, path: &str) -> BTreeSet<String> {
    let groups = world.users.get(subject).map(|u| u.groups.clone()).unwrap_or_default();
    let segments: Vec<&str> = path.split('/').filter(|s| !s.is_empty()).collect();
    let mut roles: Vec<&str> = Vec::new();
    for depth in 0..=segments.len() {
        let here = format!("/{}", segments[..depth].join("/"));
        let counts = |e: &&crate::sim::world::AclEntry| e.path == here && (e.propagate || depth == segments.len());
        let own: Vec<&str> = world
            .acl
            .iter()
            .filter(counts)
            .filter(|e| e.subject_type != "group" && e.subject == subject)
            .map(|e| e.role.as_str())
            .collect();
        let by_group: Vec<&str> = world
            .acl
            .iter()
            .filter(counts)
            .filter(|e| e.subject_type == "group" && groups.contains(&e.subject))
            .map(|e| e.role.as_str())
            .collect();
        // A user's own entry at a level hides those of groups; a deeper level hides the higher ones.
        if !own.is_empty() {
            roles = own;
        } else if !by_group.is_empty() {
            roles = by_group;
        }
    }
    if roles.contains(&"NoAccess") {
        return BTreeSet::new();
    }
    roles.iter().filter_map(|r| role_privileges(world, r)).flatten().collect()
}

/// Whether somebody has all (or, with `any`, one) of the privileges on a path.
pub fn allowed(world: &World, who: &str, path: &str, privileges: &[&str], any: bool) -> bool {
    if who == "root@pam" {
        return true;
    }
    let has = privileges_at(world, who, path);
    if any { privileges.iter().any(|p| has.contains(*p)) } else { privileges.iter().all(|p| has.contains(*p)) }
}
