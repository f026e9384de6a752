//! What is covered: the README's table of fields is the program's own, and what an older Proxmox VE does not know is refused
//! in the plan.

use crate::world::{Lab, desired, plain};
use futures::future::BoxFuture;
use pvectl::base::id::GuestType;
use pvectl::kinds::guest::table::{find, rows};
use pvectl::kinds::guest::versions::{OPTIONS_SINCE_9, SINCE_9};
use pvectl::pve::api::Api;
use pvectl::pve::error::PveError;
use pvectl::pve::request::{Call, Query};
use pvectl::sim::SimApi;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;

const BEGIN: &str = "<!-- covered: written by a test, UPDATE=1 cargo test --test it covered -->\n";
const END: &str = "<!-- /covered -->";

/// The fields of a type of guest by their group, in the table's order; those that PVE 8 does not know are marked.
fn groups(guest: GuestType) -> Vec<(&'static str, String)> {
    let mut out: Vec<(&str, Vec<String>)> = Vec::new();
    for row in rows(guest) {
        let (group, field) = match row.path.split_once('.') {
            Some((group, rest)) => (group, rest.trim_start_matches("*.")),
            None => ("", row.path),
        };
        let mark = if SINCE_9.contains(&(guest, row.path)) { "⁹" } else { "" };
        let field = format!("{field}{mark}");
        match out.iter_mut().find(|(name, _)| *name == group) {
            Some((_, fields)) => fields.push(field),
            None => out.push((group, vec![field])),
        }
    }
    out.into_iter().map(|(group, fields)| (group, fields.join(", "))).collect()
}

fn table() -> String {
    let mut out = String::from("| | `VirtualMachine` | `Container` |\n|---|---|---|\n");
    let vm = groups(GuestType::Qemu);
    let ct: BTreeMap<&str, String> = groups(GuestType::Lxc).into_iter().collect();
    let of_vm: Vec<&str> = vm.iter().map(|(name, _)| *name).collect();
    let alone = groups(GuestType::Lxc).into_iter().filter(|(name, _)| !of_vm.contains(name));
    for (name, fields) in &vm {
        let head = if name.is_empty() { "of the guest".to_owned() } else { format!("`{name}`") };
        out += &format!("| {head} | {fields} | {} |\n", ct.get(name).map_or("–", String::as_str));
    }
    for (name, fields) in alone {
        out += &format!("| `{name}` | – | {fields} |\n");
    }
    out
}

#[test]
fn the_readme_says_which_fields_are_covered() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let text = std::fs::read_to_string(&path).expect("there is a README");
    let (before, rest) = text.split_once(BEGIN).expect("the table has its place");
    let (held, after) = rest.split_once(END).expect("the table has its end");
    if std::env::var_os("UPDATE").is_some_and(|v| v == "1") {
        std::fs::write(&path, format!("{before}{BEGIN}{}{END}{after}", table())).expect("the README can be written");
        return;
    }
    assert!(held == table(), "the README's table is old: UPDATE=1 cargo test --test it covered");
    assert!(held.matches('⁹').count() == SINCE_9.len(), "a field that PVE 8 does not know is no row of the table");
}

/// A cluster that says it is another version.
struct Version(SimApi, &'static str);

impl Api for Version {
    fn get<'a>(&'a self, query: &'a Query) -> BoxFuture<'a, Result<Value, PveError>> {
        if query.path == "/version" {
            return Box::pin(async { Ok(json!({"version": self.1, "release": "8.4", "repoid": "x"})) });
        }
        self.0.get(query)
    }
    fn send<'a>(&'a self, call: &'a Call) -> BoxFuture<'a, Result<Value, PveError>> {
        self.0.send(call)
    }
}

fn problems(version: &'static str, yaml: &str) -> Vec<String> {
    let lab = Lab::homelab();
    let plan = lab.preview_through(&Version(lab.sim.api(), version), &desired(yaml), &plain());
    plan.deltas.iter().flat_map(|d| d.problems.iter().map(|p| p.message.clone())).collect()
}

#[test]
fn what_pve_8_does_not_know_is_refused_by_its_name() {
    let vm = |spec: &str| {
        format!(
            "{{apiVersion: pvectl/v1alpha1, kind: VirtualMachine, metadata: {{name: one}}, spec: {{vmid: 300, node: pve1, {spec}}}}}"
        )
    };
    let ct = |spec: &str| {
        format!(
            "{{apiVersion: pvectl/v1alpha1, kind: Container, metadata: {{name: ct}}, spec: {{vmid: 310, node: pve1, from: {{osTemplate: 'local:vztmpl/alpine-3.22-default_20260401_amd64.tar.gz'}}, rootfs: {{storage: local-lvm, size: 1Gi}}, {spec}}}}}"
        )
    };
    let all = [
        (
            vm(
                "hardware: {allowKsm: false, cpu: {type: host, guestPhysBits: 40}, guestAgent: {enabled: true, freezeFs: false}, machine: {type: q35, viommu: intel, awBits: 39}}, options: {intel-tdx: 'type=tdx'}",
            ),
            vec![
                "hardware.allowKsm",
                "hardware.cpu.guestPhysBits",
                "hardware.guestAgent.freezeFs",
                "hardware.machine.awBits",
                "options.intel-tdx",
            ],
        ),
        (
            ct(
                "entryPoint: /bin/app, env: [A=b], mounts: [{slot: mp0, storage: local-lvm, size: 1Gi, path: /data, keepAttrs: true}], networks: [{slot: net0, name: eth0, bridge: vmbr0, hostManaged: true}]",
            ),
            vec!["entryPoint", "env", "mounts.mp0.keepAttrs", "networks.net0.hostManaged"],
        ),
    ];
    let mut named = 0;
    for (yaml, fields) in &all {
        let found = problems("8.4.14", yaml);
        for field in fields {
            let words = format!("Proxmox VE 8.4.14 does not know `{field}`");
            assert!(found.iter().any(|p| p.contains(&words)), "{field}: {found:?}");
        }
        named += fields.len();
        for version in ["9.0.3", "9.1.7", "10.0.1", ""] {
            let found = problems(version, yaml);
            assert!(!found.iter().any(|p| p.contains("does not know")), "{version}: {found:?}");
        }
        // Everything else goes through.
        assert!(problems("8.4.14", &vm("hardware: {cores: 2, machine: q35}")).is_empty());
    }
    assert_eq!(named, SINCE_9.len() + OPTIONS_SINCE_9.len(), "a newer field without a case");
    assert!(SINCE_9.iter().all(|(guest, path)| find(*guest, path).is_some_and(|(row, _)| row.path == *path)));
}
