//! What a look at many guests costs: one request a guest, and a handful.

use crate::fleet::fleet;
use crate::world::{differences, plain, run};
use pvectl::engine::observe::observe;
use pvectl::engine::reconcile::Cluster;
use pvectl::kinds::list::KINDS;
use pvectl::plan::assemble::plan;
use pvectl::secret_files::Folder;

const NODES: u32 = 4;
/// The index, and a few reads a node (its guests as they are, its bridges).
const CONSTANT: u64 = 6 + 2 * NODES as u64;

#[expect(clippy::print_stderr, reason = "a test says what it measured")]
fn say(text: &str) {
    eprintln!("{text}");
}

#[track_caller]
fn a_look_costs_one_request_a_guest(guests: u32) {
    let (lab, set) = fleet(NODES, guests);
    let before = lab.sim.requests();
    let plan = lab.preview(&set, &plain());
    let requests = lab.sim.requests() - before;
    say(&format!("{guests} guests on {NODES} nodes: {requests} requests"));
    assert!(plan.is_empty() && plan.deltas.len() == guests as usize, "{}", differences(&plan));
    assert!(requests <= u64::from(guests) + CONSTANT, "{requests} requests for {guests} guests");
    assert!(requests >= u64::from(guests), "only {requests} requests: was everything looked at?");
}

#[test]
fn a_thousand_guests() {
    a_look_costs_one_request_a_guest(1000);
}

#[test]
fn ten_thousand_guests() {
    a_look_costs_one_request_a_guest(10_000);
}

#[test]
fn planning_is_pure() {
    let (lab, set) = fleet(NODES, 500);
    lab.sim.with_world(|world| (1000..1100).for_each(|vmid| world.edit_guest(vmid, "cores", Some("7"))));
    let (api, clock, names) = (lab.sim.api(), lab.sim.clock(), lab.sim.names());
    let cluster = Cluster { api: &api, clock: &clock, kinds: &KINDS, names: &names, files: &Folder::new("") };
    let seen = run(observe(&cluster, &set, &plain())).expect("the cluster can be read");
    let requests = lab.sim.requests();
    let first = plan(&set, &seen, &KINDS, &plain());
    assert_eq!(first.deltas.iter().filter(|d| !d.steps.is_empty()).count(), 100, "{}", differences(&first));
    assert_eq!(first, plan(&set, &seen, &KINDS, &plain()));
    assert_eq!(lab.sim.requests(), requests, "a plan asks nothing");
}
