//! Many managed guests, made without a thousand applies: the plan that would take them over is written by hand.

use crate::world::{Lab, bound, plain};
use pvectl::plan::assemble::Settings;
use pvectl::plan::desired::DesiredSet;
use pvectl::sim::baseline::{Baseline, build};

/// A cluster of so many guests that are all ours, and the manifests that say so.
pub(crate) fn fleet(nodes: u32, guests: u32) -> (Lab, DesiredSet) {
    let lab = Lab::of(build(Baseline::Scale { nodes, guests }));
    let (loaded, set) = bound(&manifests(guests, nodes), "fleet");
    assert!(loaded.diagnostics.is_empty(), "the fleet's manifests are wrong: {:?}", loaded.diagnostics.first());
    let plan = lab.preview(&set, &Settings { adopt: set.resources.keys().cloned().collect(), ..plain() });
    lab.sim.with_world(|world| {
        for step in plan.deltas.iter().flat_map(|d| &d.steps) {
            let vmid = step.call.path.split('/').nth(4).and_then(|v| v.parse().ok()).expect("a guest's path");
            for (key, value) in step.call.params.iter().filter(|(k, _)| k != "digest") {
                world.edit_guest(vmid, key, Some(value));
            }
        }
    });
    (lab, set)
}

/// The manifests of the set `fleet`.
pub(crate) fn manifests(guests: u32, nodes: u32) -> String {
    (0..guests).map(|i| document(i, nodes)).collect::<Vec<_>>().join("---\n")
}

fn document(i: u32, nodes: u32) -> String {
    let power = if i.is_multiple_of(3) { "Stopped" } else { "Running" };
    format!(
        "apiVersion: pvectl/v1alpha1\nkind: VirtualMachine\nmetadata: {{name: scale-{i}}}\nspec:\n  vmid: {}\n  node: pve{}\n  power: {power}\n  hardware: {{cores: 2, memory: 2Gi, scsiController: virtio-scsi-single}}\n  disks: [{{slot: scsi0, storage: local-lvm, size: 8Gi}}]\n  networks: [{{slot: net0, bridge: vmbr0}}]\n",
        1000 + i,
        i % nodes + 1
    )
}
