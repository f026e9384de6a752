//! Containers with what PVE leaves to root@pam: made by `pct create` through the host link, and by the API from then on.

use crate::faults::{Cut, crash};
use crate::world::{Lab, desired, differences, normal, nothing, orphans, prune};
use pvectl::base::links::Links;
use pvectl::kinds::list::KINDS;
use pvectl::plan::assemble::{Plan, Settings};
use pvectl::resource::step::Expect;
use pvectl::sim::faults::{Fault, FaultKind};
use std::collections::BTreeSet;

/// A token, which is never root@pam, and a link to every node.
fn token(links: Links) -> Settings {
    Settings { root_ticket: false, links, ..prune() }
}

fn docker(features: &str, more: &str) -> String {
    format!(
        "{{apiVersion: pvectl/v1alpha1, kind: Container, metadata: {{name: docker}}, spec: {{vmid: 310, node: pve1, \
         from: {{osTemplate: 'local:vztmpl/alpine-3.22-default_20260401_amd64.tar.gz'}}, rootfs: {{storage: local-lvm, size: 1Gi}}, \
         features: {{{features}}}, power: Running{more}}}}}"
    )
}

fn problems(plan: &Plan) -> String {
    let of = |p: &pvectl::resource::step::Problem| format!("{} | {}", p.message, p.help.clone().unwrap_or_default());
    plan.deltas.iter().flat_map(|d| d.problems.iter().map(of)).collect::<Vec<_>>().join("\n")
}

#[test]
fn what_only_root_may_set_is_made_through_the_link_and_lives_by_the_api() {
    let lab = Lab::homelab();
    let api = lab.sim.api_as("root@pam!test");
    let yaml = docker(
        "nesting: true, keyctl: true",
        ", description: 'it''s <here> $HOME', mounts: [{slot: mp0, hostPath: /srv, path: /srv}]",
    );
    let set = desired(&yaml);
    let every = token(Links::Every);
    let plan = lab.preview_through(&api, &set, &every);
    let step = &plan.deltas[0].steps[0];
    assert_eq!((step.call.path.as_str(), step.expect), ("/link/pve1/pct", Expect::Value), "{}", differences(&plan));
    let report = lab.try_apply(&api, &KINDS, &set, &every).expect("it runs");
    assert!(report.converged(), "{}", crate::world::open(&report));
    let config = lab.world().guests[&310].config.clone();
    assert_eq!(config["features"], "keyctl=1,nesting=1", "{config:?}");
    assert!(config["description"].starts_with("it's <here> $HOME") && config["description"].contains("<!-- pvectl "));
    assert!(config["mp0"].starts_with("/srv"), "{config:?}");

    // From now on the API does, as long as root is not asked for.
    let log = lab.sim.request_log().len();
    let more = desired(
        &yaml
            .replace("power: Running", "power: Running, hardware: {cores: 2}")
            .replace("nesting: true", "nesting: false"),
    );
    let report = lab.try_apply(&api, &KINDS, &more, &every).expect("it runs");
    assert!(report.converged(), "{}", crate::world::open(&report));
    let writes = lab.writes_since(log);
    assert!(!writes.is_empty() && writes.iter().all(|w| !w.contains("/link/")), "{writes:?}");
    let said = problems(&lab.preview_through(
        &api,
        &desired(&yaml.replace("keyctl: true", "keyctl: true, fuse: true")),
        &every,
    ));
    assert!(said.contains("pct set 310 --features 'keyctl=1,") && said.contains("fuse=1"), "{said}");
    let report = lab.try_apply(&api, &KINDS, &nothing(), &every).expect("it runs");
    assert!(report.converged() && !lab.world().guests.contains_key(&310), "{}", crate::world::open(&report));
}

#[test]
fn without_a_link_the_way_out_is_said() {
    let lab = Lab::homelab();
    let api = lab.sim.api_as("root@pam!test");
    let set = desired(&docker("nesting: true, keyctl: true", ""));
    let others = Links::These(BTreeSet::from(["pve2".to_owned()]));
    for links in [Links::None, others] {
        let plan = lab.preview_through(&api, &set, &token(links));
        let said = problems(&plan);
        assert!(said.contains("PVE lets only root@pam's own login set `features`"), "{said}");
        assert!(
            said.contains("give the context a host link to pve1") && said.contains("pct create makes it there"),
            "{said}"
        );
        assert!(plan.deltas.iter().all(|d| d.steps.is_empty()));
    }
    // What a token may do goes by the API, link or not; so does a root's own login.
    let plain = lab.preview_through(&api, &desired(&docker("nesting: true", "")), &token(Links::Every));
    assert_eq!(plain.deltas[0].steps[0].call.path, "/nodes/pve1/lxc");
    let root = lab.preview(&set, &prune());
    assert_eq!(root.deltas[0].steps[0].call.path, "/nodes/pve1/lxc");
    // What pct does not take is still refused.
    let raw = docker("keyctl: true", ", options: {lxc.apparmor.profile: unconfined}");
    let said = problems(&lab.preview_through(&api, &desired(&raw), &token(Links::Every)));
    assert!(said.contains("lxc.apparmor.profile"), "{said}");
}

#[test]
fn whatever_happens_to_pct_there_is_one_container_and_no_orphan() {
    let set = desired(&docker("nesting: true, keyctl: true", ""));
    let settings = token(Links::Every);
    let lab = Lab::homelab();
    let before = lab.sim.request_log().len();
    let done = lab.try_apply(&lab.sim.api(), &KINDS, &set, &settings).expect("it runs");
    assert!(done.converged(), "{}", crate::world::open(&done));
    let wanted = normal(&lab.world());
    let requests = lab.sim.request_log().len() - before;
    let again = |lab: &Lab, what: &str| {
        lab.sim.clear_faults();
        lab.sim.finish_tasks();
        let report = lab.try_apply(&lab.sim.api(), &KINDS, &set, &settings).expect(what);
        assert!(report.converged(), "{what}: {}", crate::world::open(&report));
        lab.sim.finish_tasks();
        assert_eq!(crate::world::delta(&wanted, &normal(&lab.world())), "", "{what}");
        assert!(orphans(&lab.world()).is_empty(), "{what}");
    };
    for n in 0..requests {
        for cut in [Cut::Before, Cut::After] {
            let lab = Lab::homelab();
            crash(&lab, &KINDS, &set, &settings, n, cut, false);
            again(&lab, &format!("killed {cut:?} request {n}"));
        }
        for kind in [
            FaultKind::Unsent,
            FaultKind::DropBefore,
            FaultKind::DropAfter,
            FaultKind::NodeOffline,
            FaultKind::Status(500, "exit status 255: unable to create CT 310".into()),
            FaultKind::TaskFails("command 'lvcreate' failed: exit code 5".into()),
            FaultKind::Slow(90_000),
        ] {
            let lab = Lab::homelab();
            lab.sim.inject(Fault::at(n as u64, kind.clone()));
            let _ = lab.try_apply(&lab.sim.api(), &KINDS, &set, &settings);
            again(&lab, &format!("{kind:?} at request {n}"));
        }
    }
}
