//! Software defined networks: one lock and one application a run, what is taken back, what is somebody's, and what nodes say.

use crate::faults::{Cut, Mortal, crash};
use crate::objects::{TAKE_OVER, annotated, by_hand, one, read, refused};
use crate::world::{ALL, Lab, by_manifest, desired, differences, open, plain, run};
use futures::future::BoxFuture;
use pvectl::engine::reconcile::{Cluster, reconcile};
use pvectl::kinds::list::KINDS;
use pvectl::plan::assemble::Settings;
use pvectl::pve::api::Api;
use pvectl::pve::error::PveError;
use pvectl::pve::networks_lock::{Remembering, Shelf};
use pvectl::pve::request::{Call, Method, Query};
use pvectl::report::event::Nobody;
use pvectl::sim::SimApi;
use pvectl::sim::faults::{Fault, FaultKind};
use serde_json::{Value, json};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};

fn nets() -> String {
    [
        one("SdnVnet", "vlab", "zone: lab"),
        one("SdnZone", "lab", "type: simple"),
        one("SdnZone", "wide", "type: vxlan, peers: [10.0.0.1, 10.0.0.2]"),
        one("SdnVnet", "far", "zone: wide, tag: 7"),
    ]
    .join("\n---\n")
}

/// Applies a set that does not come to its end, and says why.
#[track_caller]
fn fails(lab: &Lab, yaml: &str) -> String {
    let report = lab.try_apply(&lab.sim.api(), &KINDS, &desired(yaml), &plain()).expect("nothing stands against it");
    assert!(!report.converged(), "it says that all is done");
    format!("{}\n{:?}", open(&report), report.hints)
}

#[test]
fn one_lock_holds_all_and_one_request_applies_it() {
    let lab = Lab::homelab();
    let plan = lab.preview(&desired(&nets()), &plain());
    let text = format!("{:?}", plan.deltas.iter().flat_map(|d| &d.notes).collect::<Vec<_>>());
    assert_eq!(text.matches("it is done together with SdnVnet/vlab").count(), 3, "{text}");
    let log = lab.sim.request_log().len();
    lab.apply(&desired(&nets()), &plain());
    assert_eq!(
        lab.writes_since(log),
        [
            "POST /cluster/sdn/lock",
            "POST /cluster/sdn/zones",
            "POST /cluster/sdn/zones",
            "POST /cluster/sdn/vnets",
            "POST /cluster/sdn/vnets",
            "PUT /cluster/sdn",
        ]
    );
    assert_eq!(read(&lab, "/nodes/pve3/sdn/zones")[0], json!({"zone": "lab", "status": "available"}));
}

#[test]
fn what_fails_on_the_way_is_taken_back() {
    let lab = Lab::homelab();
    lab.sim.inject(Fault::on("POST", "/cluster/sdn/vnets", FaultKind::Status(500, "out of luck today".into())));
    let log = lab.sim.request_log().len();
    let why = fails(&lab, &nets());
    assert!(why.contains("out of luck today"), "{why}");
    assert_eq!(lab.writes_since(log).last().map(String::as_str), Some("POST /cluster/sdn/rollback"));
    assert_eq!(read(&lab, "/cluster/sdn/zones"), json!([]));
    lab.sim.clear_faults();
    lab.apply(&desired(&nets()), &plain());
}

#[test]
fn what_waits_and_is_somebodys_is_refused_by_name() {
    let lab = Lab::homelab();
    by_hand(&lab, Method::Post, "/cluster/sdn/zones", &[("zone", "mine"), ("type", "simple")]);
    let why = refused(&lab, &nets());
    for words in ["changes of others wait", "zone `mine` (new)", "rollback"] {
        assert!(why.contains(words), "{why}");
    }
    let lab = Lab::homelab();
    lab.apply(&desired(&nets()), &plain());
    let subnet = [("subnet", "10.9.0.0/24"), ("type", "subnet")];
    by_hand(&lab, Method::Post, "/cluster/sdn/vnets/far/subnets", &subnet);
    let why = refused(&lab, &one("SdnSubnet", "s", "vnet: vlab, cidr: 10.8.0.0/24"));
    assert!(why.contains("subnet `far 10.9.0.0/24` (new)"), "{why}");
    by_hand(&lab, Method::Post, "/cluster/sdn/rollback", &[]);
    by_hand(&lab, Method::Put, "/cluster/sdn/zones/lab", &[("mtu", "1300")]);
    let zone = annotated("SdnZone", "lab", TAKE_OVER, "type: simple");
    assert!(refused(&lab, &zone).contains("a change of zone `lab` (changed) waits to be applied, and is not what"));
    // As the manifest says: it is applied, and nothing else is sent.
    let zone = annotated("SdnZone", "lab", TAKE_OVER, "type: simple, mtu: 1300");
    let log = lab.sim.request_log().len();
    lab.apply(&desired(&zone), &plain());
    assert_eq!(lab.writes_since(log), ["POST /cluster/sdn/lock", "PUT /cluster/sdn"]);
}

#[test]
fn a_lock_that_somebody_holds_is_told_with_the_way_out() {
    let lab = Lab::homelab();
    by_hand(&lab, Method::Post, "/cluster/sdn/lock", &[]);
    let why = fails(&lab, &nets());
    assert!(
        why.contains("invalid lock token provided") && why.contains("pvesh delete /cluster/sdn/lock --force 1"),
        "{why}"
    );
    assert_eq!(read(&lab, "/cluster/sdn/zones"), json!([]));
}

#[test]
fn a_node_that_does_not_take_it_is_named_and_not_asked_for_ever() {
    let lab = Lab::homelab();
    // Debian's own ifupdown2: PVE's task ends well all the same (recorded).
    lab.sim.with_world(|world| {
        world.table("nodes/packages").insert("pve2".to_owned(), json!({ "ifupdown2": "3.0.0-1.3" }));
    });
    let log = lab.sim.request_log().len();
    let why = fails(&lab, &nets());
    assert!(why.contains("pve2 runs its networks as they were before"), "{why}");
    let applied = lab.writes_since(log).iter().filter(|w| *w == "PUT /cluster/sdn").count();
    assert_eq!(applied, 2);
}

/// A cluster of PVE 8, which knows no lock.
struct Older(SimApi);

impl Api for Older {
    fn get<'a>(&'a self, query: &'a Query) -> BoxFuture<'a, Result<Value, PveError>> {
        if query.path == "/version" {
            return Box::pin(async { Ok(json!({"version": "8.4.1", "release": "8.4", "repoid": "0"})) });
        }
        self.0.get(query)
    }

    fn send<'a>(&'a self, call: &'a Call) -> BoxFuture<'a, Result<Value, PveError>> {
        let newer = call.path.ends_with("/lock") || call.path.ends_with("/rollback");
        assert!(!newer && call.params.iter().all(|(key, _)| !key.contains("lock")), "PVE 8 has no {call}");
        self.0.send(call)
    }
}

#[test]
fn pve_8_is_written_to_without_a_lock() {
    let lab = Lab::homelab();
    let older = Older(lab.sim.api());
    let report = lab.try_apply(&older, &KINDS, &desired(&nets()), &plain()).expect("nothing stands against it");
    assert!(report.converged(), "{}", differences(&report.last));
}

#[test]
fn a_guest_waits_for_the_network_that_the_same_manifests_make() {
    let lab = Lab::homelab();
    let guest = one("VirtualMachine", "on", "vmid: 140, node: pve1, networks: [{slot: net0, bridge: vlab}]");
    let set = desired(&format!("{}\n---\n{guest}", nets()));
    let log = lab.sim.request_log().len();
    lab.apply(&set, &plain());
    let writes = lab.writes_since(log);
    let at = |what: &str| writes.iter().position(|w| w == what).unwrap_or_else(|| panic!("no {what} in {writes:?}"));
    assert!(at("PUT /cluster/sdn") < at("POST /nodes/pve1/qemu"), "{writes:?}");
}

#[test]
fn a_deletion_that_was_killed_is_finished_by_the_next() {
    let yaml = format!("{}\n---\n{}", nets(), one("SdnSubnet", "s", "vnet: vlab, cidr: 10.8.0.0/24"));
    let set = desired(&yaml);
    let settings = by_manifest(&set).expect("networks carry no mark");
    let through = Lab::homelab();
    through.apply(&set, &plain());
    let start = through.world();
    let mut killed = 0;
    for n in 0..20 {
        let lab = Lab::of(start.clone());
        if crash(&lab, &KINDS, &set, &settings, n, Cut::After, true).is_none() {
            break;
        }
        killed += 1;
        lab.sim.finish_tasks();
        let again = || lab.try_apply(&lab.sim.api(), &KINDS, &set, &settings).expect("nothing stands against it");
        let report = again();
        let report = if lab.obeys(&open(&report)) { again() } else { report };
        assert!(report.converged(), "killed after write {n}: {}", open(&report));
        for list in ["/cluster/sdn/zones", "/cluster/sdn/vnets"] {
            let waiting = run(lab.sim.api().get(&Query::new(list).with("pending", "1"))).expect("it can be read");
            assert_eq!(waiting, json!([]), "killed after write {n}");
        }
    }
    assert_eq!(killed, 7, "lock, five deletions, and the application");
}

#[test]
fn ranges_of_dhcp_are_written_as_a_list_and_their_order_is_no_difference() {
    let lab = Lab::homelab();
    let subnet = |ranges: &str| {
        let spec = format!("vnet: vlab, cidr: 10.8.0.0/24, dhcpRanges: [{ranges}]");
        format!("{}\n---\n{}", nets(), annotated("SdnSubnet", "s", TAKE_OVER, &spec))
    };
    let (low, high) =
        ("{startAddress: 10.8.0.20, endAddress: 10.8.0.40}", "{startAddress: 10.8.0.60, endAddress: 10.8.0.80}");
    // The zone hands out nothing: it is made, and said.
    let report = lab.apply(&desired(&subnet(&format!("{high}, {low}"))), &plain());
    let notes = format!("{:?}", report.last.deltas.iter().flat_map(|d| &d.notes).collect::<Vec<_>>());
    assert!(notes.contains("give zone `lab` `dhcp: dnsmasq`"), "{notes}");
    let ranges = || read(&lab, "/cluster/sdn/vnets/vlab/subnets")[0]["dhcp-range"].clone();
    assert_eq!(
        ranges(),
        json!([
            {"start-address": "10.8.0.20", "end-address": "10.8.0.40"},
            {"start-address": "10.8.0.60", "end-address": "10.8.0.80"},
        ])
    );
    let plan = lab.preview(&desired(&subnet(&format!("{low}, {high}"))), &plain());
    assert!(plan.is_empty(), "{}", differences(&plan));
    lab.apply(&desired(&subnet(low)), &plain());
    assert_eq!(ranges(), json!([{"start-address": "10.8.0.20", "end-address": "10.8.0.40"}]));
    lab.apply(&desired(&subnet("")), &plain());
    assert_eq!(ranges(), json!([]));
    let zone = annotated("SdnZone", "lab", TAKE_OVER, "type: simple, ipam: pve, dhcp: dnsmasq");
    let served = subnet(low).replace(&one("SdnZone", "lab", "type: simple"), &zone);
    let report = lab.apply(&desired(&served), &plain());
    assert!(report.last.deltas.iter().all(|d| d.notes.is_empty()), "{}", open(&report));
}

// ---- a lock that a killed run left -----------------------------------------------------------------------------------

/// A place that outlives the runs of a test.
#[derive(Default)]
struct Memory(Mutex<Option<String>>);

impl Shelf for Memory {
    fn keep(&self, token: &str) {
        *self.0.lock().expect("no panic") = Some(token.to_owned());
    }

    fn left(&self) -> Option<String> {
        self.0.lock().expect("no panic").clone()
    }

    fn forget(&self) {
        *self.0.lock().expect("no panic") = None;
    }
}

/// Runs until the n-th request and dies there; whether it came so far.
fn killed(lab: &Lab, set: &pvectl::plan::desired::DesiredSet, shelf: &Arc<Memory>, (n, cut): (usize, Cut)) -> bool {
    let door = Remembering { api: Mortal::at(lab.sim.api(), n, cut), shelf: Arc::clone(shelf) };
    let (clock, names) = (lab.sim.clock(), lab.sim.names());
    let cluster = Cluster { api: &door, clock: &clock, kinds: &KINDS, names: &names, files: &lab.files };
    let settings = plain();
    let mut future = pin!(reconcile(&cluster, set, &settings, ALL, &Nobody, &|_| true));
    let mut cx = Context::from_waker(Waker::noop());
    for _ in 0..1_000_000 {
        if future.as_mut().poll(&mut cx).is_ready() {
            return false;
        }
        if door.api.is_dead() {
            return true;
        }
    }
    panic!("it neither ends nor dies");
}

/// How many kills are mended by the next run alone, and how many take a person.
fn mended(remember: bool) -> (usize, usize) {
    let set = desired(&nets());
    let (mut alone, mut told) = (0, 0);
    for cut in [Cut::Before, Cut::After] {
        for n in 0..200 {
            let (lab, shelf) = (Lab::homelab(), Arc::new(Memory::default()));
            if !killed(&lab, &set, &shelf, (n, cut)) {
                break;
            }
            lab.sim.finish_tasks();
            let settings = Settings { left_lock: shelf.left().filter(|_| remember), ..plain() };
            let door = Remembering { api: lab.sim.api(), shelf: Arc::clone(&shelf) };
            let again = || lab.try_apply(&door, &KINDS, &set, &settings).expect("nothing stands against it");
            let report = again();
            if report.converged() {
                alone += 1;
            } else {
                assert!(lab.obeys(&format!("{}{:?}", open(&report), report.hints)), "{}", open(&report));
                told += 1;
                let report = again();
                assert!(report.converged(), "{cut:?} {n}: {}", open(&report));
            }
            // Nobody holds it now.
            by_hand(&lab, Method::Post, "/cluster/sdn/lock", &[]);
        }
    }
    (alone, told)
}

#[test]
fn a_lock_that_a_killed_run_left_is_released_by_its_token() {
    let (alone, told) = mended(true);
    // Only the run that dies between PVE's answer and our reading of it leaves nothing to go by.
    assert!(alone > 20 && told == 1, "{alone} mended, {told} told");
    let (_, told) = mended(false);
    assert!(told > 5, "the measure sees it: without the token {told} are told");
}

#[test]
fn a_token_of_ours_opens_nobody_elses_lock() {
    let lab = Lab::homelab();
    by_hand(&lab, Method::Post, "/cluster/sdn/lock", &[]);
    let shelf = Arc::new(Memory::default());
    shelf.keep("019aa0f0-0000-7000-8000-000000000000");
    let settings = Settings { left_lock: shelf.left(), ..plain() };
    let door = Remembering { api: lab.sim.api(), shelf: Arc::clone(&shelf) };
    let report = lab.try_apply(&door, &KINDS, &desired(&nets()), &settings).expect("nothing stands against it");
    let why = format!("{}{:?}", open(&report), report.hints);
    assert!(!report.converged() && why.contains("pvectl api DELETE /cluster/sdn/lock force=1"), "{why}");
    assert_eq!((read(&lab, "/cluster/sdn/zones"), shelf.left()), (json!([]), None));
    // With no lock at all it changes nothing, and the run goes on.
    let lab = Lab::homelab();
    let log = lab.sim.request_log().len();
    lab.apply(&desired(&nets()), &settings);
    assert_eq!(lab.writes_since(log)[..2], ["DELETE /cluster/sdn/lock", "POST /cluster/sdn/lock"]);
}
