//! What names a guest by its number beside the guest itself, and what becomes of it when the guest goes.

use crate::sim::api::cluster::{backup, ha, replication};
use crate::sim::request::Refusal;
use crate::sim::world::{GuestType, World};

/// `vm:100`, `ct:200`.
pub fn sid(guest_type: GuestType, vmid: u32) -> String {
    match guest_type {
        GuestType::Qemu => format!("vm:{vmid}"),
        GuestType::Lxc => format!("ct:{vmid}"),
    }
}

/// Refuses to remove a guest that HA or replication still names, if nobody asks for a purge.
pub fn none_left(world: &World, guest_type: GuestType, vmid: u32) -> Result<(), Refusal> {
    if ha::is_configured(world, &sid(guest_type, vmid)) {
        let what = if guest_type == GuestType::Lxc { "CT" } else { "VM" };
        return Err(Refusal::died(format!(
            "unable to remove {what} {vmid} - used in HA resources and purge parameter not set."
        )));
    }
    match replication::job_of(world, vmid) {
        Some(job) => Err(Refusal::died(format!(
            "There is a replication job '{job}' for guest '{vmid}' - Please remove that first."
        ))),
        None => Ok(()),
    }
}

/// Takes a guest out of what always goes with it: pools, rights, firewall.
pub fn forget(world: &mut World, vmid: u32) {
    world.guests.remove(&vmid);
    for pool in world.pools.values_mut() {
        pool.guests.remove(&vmid);
    }
    let path = format!("/vms/{vmid}");
    world.acl.retain(|e| e.path != path);
    world.table("firewall").remove(&format!("guest/{vmid}"));
}

/// Takes a guest out of what only a purge touches: replication and backup jobs, HA.
pub fn purge(world: &mut World, guest_type: GuestType, vmid: u32, lines: &mut Vec<String>) {
    let what = if guest_type == GuestType::Lxc { "CT" } else { "VM" };
    lines.push(format!("purging {what} {vmid} from related configurations.."));
    replication::forget(world, vmid);
    backup::forget(world, vmid);
    if ha::remove(world, &sid(guest_type, vmid), true) {
        lines.push(format!("NOTE: removed {what} {vmid} from HA resource configuration."));
    }
}

#[cfg(test)]
mod tests {
    use crate::sim::api::testing::{ended, refused, root};
    use crate::sim::baseline::{Baseline, build};
    use serde_json::json;

    #[test]
    fn a_purge_takes_a_guest_out_of_jobs_and_ha() {
        let world = &mut build(Baseline::Homelab);
        world.guests.get_mut(&8200).expect("there").power = crate::sim::world::Power::Stopped;
        let job = json!({ "id": "nightly", "schedule": "daily", "vmid": "8000,8200", "storage": "nfs" });
        root(world, "POST /cluster/backup", &job).expect("a job");
        root(world, "POST /cluster/ha/resources", &json!({ "sid": "ct:8200", "state": "stopped" })).expect("managed");
        let rule = json!({ "rule": "r1", "type": "node-affinity", "resources": "ct:8200", "nodes": "pve3" });
        root(world, "POST /cluster/ha/rules", &rule).expect("a rule");
        let held = refused(root(world, "DELETE /nodes/pve3/lxc/8200", &json!({})));
        assert_eq!(held, "unable to remove CT 8200 - used in HA resources and purge parameter not set.");
        assert_eq!(ended(world, "DELETE /nodes/pve3/lxc/8200", &json!({ "purge": 1 })), "OK");
        let job = root(world, "GET /cluster/backup/nightly", &json!({})).expect("the job");
        assert_eq!(job["vmid"], "8000");
        assert_eq!(root(world, "GET /cluster/ha/resources", &json!({})).expect("list"), json!([]));
        assert_eq!(root(world, "GET /cluster/ha/rules", &json!({})).expect("list"), json!([]));
    }

    #[test]
    fn a_firewall_goes_with_its_machine() {
        let world = &mut build(Baseline::Homelab);
        let rule = json!({ "type": "in", "action": "ACCEPT" });
        root(world, "POST /nodes/pve1/qemu/8000/firewall/rules", &rule).expect("a rule");
        assert_eq!(ended(world, "DELETE /nodes/pve1/qemu/8000", &json!({})), "OK");
        assert!(!world.tables["firewall"].contains_key("guest/8000"));
    }
}
