//! Golden texts: what people see of plans, drift, refusals and runs. After a change on purpose: `INSTA_UPDATE=always
//! cargo test --test it goldens`, and read the difference.

use crate::objects::by_hand;
use crate::world::{Lab, bound, desired, nothing, plain, prune};
use pvectl::base::diagnostic::render;
use pvectl::lockout::way::Way;
use pvectl::manifest::load::{Input, load};
use pvectl::plan::assemble::{Plan, Settings};
use pvectl::pve::request::Method;
use pvectl::report::{json, text};
use pvectl::resource::reference::ResourceRef;
use std::collections::BTreeSet;
use std::path::Path;

const MACHINE: &str = "
apiVersion: pvectl/v1alpha1
kind: VirtualMachine
metadata: {name: bare}
spec:
  vmid: 120
  node: pve2
  power: Running
  protection: false
  tags: [a]
  description: |
    first line
    second line
    third line
  hardware: {cores: 2, memory: 1Gi}
  disks: [{slot: scsi0, storage: local-lvm, size: 4Gi}]
  networks: [{slot: net0, bridge: vmbr0}]
";

fn shown(plan: &Plan) -> String {
    text::plan(plan, false)
}

#[test]
fn the_homelab_from_nothing() {
    let kinds = pvectl::kinds::list::names();
    let tree = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests/homelab");
    let mut loaded = load(&[Input::Path(tree)], false, &kinds);
    let set = pvectl::bind::documents::bind(&mut loaded, None);
    insta::assert_snapshot!(shown(&Lab::homelab().preview(&set, &plain())));
}

#[test]
fn every_way_to_differ() {
    let lab = Lab::homelab();
    lab.apply(&desired(MACHINE), &plain());
    // Somebody's hand: a field of ours, a field that the manifest is about to change too, and a field that is nobody's.
    lab.sim.with_world(|world| {
        let config = &mut world.guests.get_mut(&120).expect("was made").config;
        config.insert("tags".into(), "b;pvectl".into());
        config.insert("memory".into(), "4096".into());
        config.insert("balloon".into(), "0".into());
    });
    let moved = MACHINE
        .replace("memory: 1Gi", "memory: 2Gi")
        .replace("cores: 2, ", "")
        .replace("second line", "another line")
        .replace("size: 4Gi", "size: 6Gi");
    let plan = lab.preview(&desired(&moved), &plain());
    insta::assert_snapshot!("every_way_to_differ", shown(&plan));
    insta::assert_snapshot!("every_way_to_differ_json", format!("{:#}", json::plan(&plan)));
    let coloured = text::plan(&plan, true);
    assert!(coloured.contains("\u{1b}[31m") && coloured.contains("\u{1b}[32m"), "{coloured:?}");
}

#[test]
fn what_goes_with_a_deletion() {
    let lab = Lab::homelab();
    lab.apply(&desired(MACHINE), &plain());
    insta::assert_snapshot!("an_orphan", shown(&lab.preview(&nothing(), &plain())));
    insta::assert_snapshot!("pruned", shown(&lab.preview(&nothing(), &prune())));
}

#[test]
fn a_locked_guest_waits() {
    let lab = Lab::homelab();
    lab.apply(&desired(MACHINE), &plain());
    lab.sim.with_world(|world| {
        world.guests.get_mut(&120).expect("was made").config.insert("lock".into(), "backup".into());
    });
    insta::assert_snapshot!(shown(&lab.preview(&desired(&MACHINE.replace("tags: [a]", "tags: [b]")), &plain())));
}

#[test]
fn escape_sequences_in_notes_are_shown_not_sent() {
    let lab = Lab::homelab();
    lab.apply(&desired(MACHINE), &plain());
    lab.sim.with_world(|world| {
        let config = &mut world.guests.get_mut(&120).expect("was made").config;
        config.insert("name".into(), "\u{1b}[2Jgone".into());
    });
    let text = shown(&lab.preview(&desired(MACHINE), &plain()));
    assert!(text.contains("name: \\u{1b}[2Jgone → bare"), "{text:?}");
}

#[test]
fn all_that_stands_against_a_plan_at_once() {
    let (loaded, set) = bound(
        "
apiVersion: pvectl/v1alpha1
kind: VirtualMachine
metadata: {name: thief}
spec: {vmid: 8100}
---
apiVersion: pvectl/v1alpha1
kind: VirtualMachine
metadata: {name: nowhere}
spec: {vmid: 130, node: pve9}
---
apiVersion: pvectl/v1alpha1
kind: VirtualMachine
metadata: {name: homeless}
spec:
  vmid: 131
  node: pve1
  disks: [{slot: scsi0, storage: tank, size: 1Gi}]
  networks: [{slot: net0, bridge: vmbr7}]
",
        "lab",
    );
    assert!(loaded.diagnostics.is_empty());
    let plan = Lab::homelab().preview(&set, &Settings::default());
    let list = pvectl::cli::problems::diagnostics(&plan, Some(&loaded), &[]);
    let text: Vec<String> = list.iter().map(|d| render(d, &loaded.sources, false)).collect();
    insta::assert_snapshot!(text.join("\n\n"));
}

#[test]
fn a_plan_that_would_shut_pvectl_out() {
    let lab = Lab::homelab();
    by_hand(&lab, Method::Put, "/cluster/firewall/options", &[("enable", "1"), ("policy_in", "ACCEPT")]);
    let (loaded, set) = bound(
        "
apiVersion: pvectl/v1alpha1
kind: FirewallOptions
metadata: {name: datacenter, annotations: {pvectl/take-over: 'true'}}
spec: {cluster: true, policyIn: DROP}
",
        "lab",
    );
    assert!(loaded.diagnostics.is_empty());
    let way = Way { from: "10.0.20.9".parse().expect("one"), to: "192.168.1.11:8006".parse().expect("one") };
    let plan = lab.preview(&set, &Settings { ways: vec![way], ..plain() });
    let list = pvectl::cli::problems::diagnostics(&plan, Some(&loaded), &[]);
    let text: Vec<String> = list.iter().map(|d| render(d, &loaded.sources, false)).collect();
    insta::assert_snapshot!(text.join("\n\n"));
}

// ---- objects of the datacenter ---------------------------------------------------------------------------------------

const WALL: &str = "
apiVersion: pvectl/v1alpha1
kind: IpSet
metadata: {name: admins}
spec:
  comment: who may come in
  members:
    - {cidr: 10.1.0.0/24, comment: desks}
    - {cidr: 10.1.0.9, nomatch: true}
---
apiVersion: pvectl/v1alpha1
kind: SecurityGroup
metadata: {name: web}
spec:
  comment: front ends
  rules:
    - {type: in, action: ACCEPT, macro: HTTP}
    - {type: in, action: ACCEPT, proto: tcp, dport: '22', source: +admins, comment: shell}
    - {type: in, action: DROP, log: info}
";

const VAULT: &str = "
apiVersion: pvectl/v1alpha1
kind: Storage
metadata: {name: vault, annotations: {pvectl/take-over: 'true'}}
spec: {type: nfs, server: 10.0.0.2, export: /vault, content: [backup, iso], nodes: [pve1, pve2], retention: {keepDaily: 7}}
";

const NETS: &str = "
apiVersion: pvectl/v1alpha1
kind: SdnZone
metadata: {name: far, annotations: {pvectl/take-over: 'true'}}
spec: {type: vxlan, peers: [10.0.0.1, 10.0.0.2], mtu: 1400}
---
apiVersion: pvectl/v1alpha1
kind: SdnVnet
metadata: {name: farnet, annotations: {pvectl/take-over: 'true'}}
spec: {zone: far, tag: 400, alias: far away}
---
apiVersion: pvectl/v1alpha1
kind: SdnSubnet
metadata: {name: farnet-v4, annotations: {pvectl/take-over: 'true'}}
spec: {vnet: farnet, cidr: 10.40.0.0/16, gateway: 10.40.0.1}
";

const TOKEN: &str = "
apiVersion: pvectl/v1alpha1
kind: ApiToken
metadata: {name: ci}
spec: {user: root@pam, comment: builds, expire: '2027-01-01T00:00:00Z', secret: {file: ci.token}}
";

/// The plans of a life: it is made, it changes, it goes.
fn life(begin: &str, then: &str) -> String {
    let lab = Lab::homelab();
    let (first, second) = (desired(begin), desired(then));
    let created = shown(&lab.preview(&first, &plain()));
    lab.apply(&first, &plain());
    let updated = shown(&lab.preview(&second, &plain()));
    lab.apply(&second, &plain());
    let doomed: BTreeSet<ResourceRef> = second.resources.keys().cloned().collect();
    let settings = Settings { delete: doomed.clone(), only: Some(doomed), ..plain() };
    let deleted = shown(&lab.preview(&second, &settings));
    format!("# create\n{created}\n# update\n{updated}\n# delete\n{deleted}")
}

#[test]
fn a_firewall_from_its_beginning_to_its_end() {
    let moved = WALL
        .replace("    - {cidr: 10.1.0.9, nomatch: true}\n", "    - {cidr: 10.2.0.0/16}\n")
        .replace("comment: desks", "comment: rooms")
        .replace("comment: front ends", "comment: front doors")
        .replace("macro: HTTP}", "macro: HTTPS}")
        .replace("    - {type: in, action: DROP, log: info}\n", "");
    insta::assert_snapshot!(life(WALL, &moved));
}

#[test]
fn a_storage_from_its_beginning_to_its_end() {
    let moved = VAULT.replace("keepDaily: 7", "keepWeekly: 4").replace("[backup, iso]", "[backup]");
    insta::assert_snapshot!(life(VAULT, &moved));
}

#[test]
fn networks_from_their_beginning_to_their_end() {
    let moved =
        NETS.replace("10.0.0.2]", "10.0.0.3]").replace("tag: 400", "tag: 401").replace("10.40.0.1}", "10.40.0.254}");
    insta::assert_snapshot!(life(NETS, &moved));
}

#[test]
fn a_token_from_its_beginning_to_its_end() {
    let moved = TOKEN.replace("comment: builds, expire: '2027-01-01T00:00:00Z'", "privsep: false");
    insta::assert_snapshot!(life(TOKEN, &moved));
}

#[test]
fn a_mount_from_its_beginning_to_its_end() {
    let lab = Lab::homelab();
    let mount = |more: &str| {
        desired(&format!(
            "{{apiVersion: pvectl/v1alpha1, kind: HostMount, metadata: {{name: usb-backup}}, spec: {{node: pve1, uuid: 3f1c2a9e-7d54-4b1e-9c58-2f6b8a0d4e11, path: /mnt/usb-backup, fsType: ext4{more}}}}}"
        ))
    };
    let first = mount(", options: [noatime], storage: {id: usb, content: [backup]}");
    let mut out = shown(&lab.preview(&first, &plain()));
    lab.apply(&first, &plain());
    out +=
        &shown(&lab.preview(
            &mount(", options: [nodev], required: true, storage: {id: usb, content: [backup, iso]}"),
            &plain(),
        ));
    out += &shown(&lab.preview(&mount(""), &plain()));
    out += &shown(&lab.preview(&nothing(), &prune()));
    out += &shown(&Lab::homelab().preview(&mount(", storage: {id: nfs}"), &plain()));
    insta::assert_snapshot!(out);
}
