//! Jobs in machines and on nodes, maintenance, and a world that was saved in the middle.

use super::{Place, Trouble, jobs};
use crate::base::id::VmId;
use crate::host::job::{ConfigFiles, Deed, Job, Package, System};
use crate::host::operation::Operation;
use crate::host::program;
use crate::host::state::{JobState, State};
use crate::host::token::Token;
use crate::sim::api::testing::{ended, refused, root};
use crate::sim::baseline::{Baseline, build};
use crate::sim::world::{Power, World};
use serde_json::{Value, json};

const AGENT: &str = "/nodes/pve1/qemu/101/agent";

fn token(text: &str) -> Token {
    Token::new(text).expect("plain")
}

fn job(deed: Deed) -> Job {
    Job { window: token("sunday"), slot: token("20261122T010000Z"), deed }
}

fn pass(world: &mut World, seconds: u64) {
    let to = world.clock_ms + seconds * 1000;
    world.advance_to(to);
}

/// A machine that runs, from the homelab's template.
fn machine() -> World {
    let mut world = build(Baseline::Homelab);
    let clone = json!({ "newid": 101, "name": "web" });
    assert_eq!(ended(&mut world, "POST /nodes/pve1/qemu/8000/clone", &clone), "OK");
    assert_eq!(ended(&mut world, "POST /nodes/pve1/qemu/101/status/start", &json!({})), "OK");
    pass(&mut world, 30);
    world
}

fn exec(world: &mut World, system: System, deed: Deed) -> Result<Value, Value> {
    let job = job(deed);
    let args = if system == System::Windows { Vec::new() } else { job.args() };
    let command = program::words(system, &args);
    let input = program::begin(system, &job).expect("it can be written down");
    let answer = root(world, &format!("POST {AGENT}/exec"), &json!({ "command": command, "input-data": input }))?;
    Ok(answer["pid"].clone())
}

fn read(world: &mut World, file: &str) -> Result<String, Value> {
    let answer = root(world, &format!("GET {AGENT}/file-read"), &json!({ "file": file }))?;
    Ok(answer["content"].as_str().unwrap_or_default().to_owned())
}

fn section(world: &mut World, word: &str) -> JobState {
    let text = read(world, "/var/lib/pvectl/patch/sunday/state").expect("there");
    State::read(&text).job(&format!("20261122T010000Z-{word}")).expect("begun").clone()
}

fn all(of: &JobState) -> Deed {
    let packages = of.pending.iter().map(|p| Package { name: token(&p.name), version: token(&p.to) }).collect();
    Deed::Patch { attempt: 1, packages, config: ConfigFiles::Keep }
}

#[test]
fn a_machine_is_patched_through_its_agent_and_loses_the_agents_child() {
    let world = &mut machine();
    let absent = refused(root(
        world,
        &format!("GET {AGENT}/file-read"),
        &json!({ "file": "/var/lib/pvectl/patch/sunday/state" }),
    ));
    assert!(absent.contains("No such file or directory"), "{absent}");
    let pid = exec(world, System::Linux, Deed::Assess { attempt: 1, refresh: true }).expect("begun");
    let said = root(world, &format!("GET {AGENT}/exec-status"), &json!({ "pid": pid })).expect("known");
    assert_eq!(said["out-data"], "begun\n");
    pass(world, 30);
    let found = section(world, "assess");
    assert!(found.pending.iter().any(|p| p.name == "linux-image-amd64"));
    let pid = exec(world, System::Linux, all(&found)).expect("begun");
    pass(world, 300);
    let lost = refused(root(world, &format!("GET {AGENT}/exec-status"), &json!({ "pid": pid })));
    assert_eq!(lost, "Agent error: Invalid parameter 'pid'", "the agent that started it was replaced");
    let done = section(world, "patch");
    assert_eq!((done.exit, done.reboot.as_deref()), (Some(0), Some("linux-image-amd64")));
    let before = read(world, "/proc/sys/kernel/random/boot_id").expect("there");
    assert_eq!(before.trim(), done.boot);
    assert_eq!(ended(world, "POST /nodes/pve1/qemu/101/status/reboot", &json!({})), "OK");
    pass(world, 30);
    assert_ne!(read(world, "/proc/sys/kernel/random/boot_id").expect("there"), before);
    let clone = json!({ "newid": 102, "name": "copy", "full": 1 });
    assert_eq!(ended(world, "POST /nodes/pve1/qemu/101/clone", &clone), "OK");
    assert_eq!(world.guests[&102].disk.packages, world.guests[&101].disk.packages);
}

#[test]
fn a_system_of_another_kind_does_not_know_the_program() {
    let world = &mut machine();
    let why = refused(exec(world, System::Windows, Deed::Assess { attempt: 1, refresh: true }));
    assert!(why.contains("powershell.exe"), "{why}");
    world.edit_guest(101, "ostype", Some("win11"));
    for file in [r"C:\ProgramData\pvectl\patch\sunday\state", "/proc/sys/kernel/random/boot_id"] {
        let absent = refused(root(world, &format!("GET {AGENT}/file-read"), &json!({ "file": file })));
        let words = format!("Agent error: failed to open file '{file}': The system cannot find the path specified.");
        assert_eq!(absent, words);
        assert_eq!(crate::pve::error::Refusal::classify(500, &absent), crate::pve::error::Refusal::Absent);
    }
    exec(world, System::Windows, Deed::Assess { attempt: 1, refresh: true }).expect("begun");
    pass(world, 30);
    let text = read(world, r"C:\ProgramData\pvectl\patch\sunday\state").expect("there");
    let found = State::read(&text).jobs.remove(0);
    assert_eq!(found.manager, "windows-update");
    assert!(found.pending.iter().any(|p| p.name == "KB5068861" && p.security), "{found:?}");
    exec(world, System::Windows, all(&found)).expect("begun");
    pass(world, 300);
    let text = read(world, r"C:\ProgramData\pvectl\patch\sunday\state").expect("there");
    let done = &State::read(&text).jobs[1];
    assert_eq!((done.exit, done.changed.len()), (Some(0), found.pending.len()), "{done:?}");
}

fn on_node(world: &mut World, deed: Deed) -> Result<Value, Value> {
    let call = Operation::NodeJob { job: job(deed) }.call("pve2").expect("a write");
    let params: serde_json::Map<String, Value> = call.params.into_iter().map(|(k, v)| (k, v.into())).collect();
    root(world, &format!("POST {}", call.path), &params.into())
}

fn of_node(world: &mut World, word: &str) -> JobState {
    let text = root(world, "GET /link/pve2/jobs", &json!({ "window": "sunday" })).expect("it answers");
    State::read(text.as_str().expect("a text")).job(&format!("20261122T010000Z-{word}")).expect("begun").clone()
}

#[test]
fn a_node_is_upgraded_and_boots_its_new_kernel() {
    let world = &mut build(Baseline::Homelab);
    assert_eq!(ended(world, "POST /nodes/pve2/apt/update", &json!({})), "OK");
    let pending = root(world, "GET /nodes/pve2/apt/update", &json!({})).expect("a list");
    let count = pending.as_array().map_or(0, Vec::len);
    assert!(count > 3, "{pending}");
    assert!(refused(on_node(world, Deed::Assess { attempt: 1, refresh: true })).starts_with("exit status 64"));
    on_node(world, Deed::Upgrade { attempt: 1 }).expect("begun");
    pass(world, 600);
    let done = of_node(world, "upgrade");
    assert_eq!((done.exit, done.changed.len()), (Some(0), count));
    assert!(done.reboot.is_some_and(|why| why.contains("6.17.4-1-pve")));
    assert_eq!(root(world, "GET /nodes/pve2/apt/update", &json!({})).expect("a list"), json!([]));
    let kernel = |world: &mut World| {
        root(world, "GET /nodes/pve2/status", &json!({})).map(|s| s["current-kernel"]["release"].clone())
    };
    assert_eq!(kernel(world), Ok("6.17.2-1-pve".into()));
    root(world, "POST /nodes/pve2/status", &json!({ "command": "reboot" })).expect("it goes down");
    pass(world, 30);
    assert_eq!(refused(kernel(world)), "No route to host");
    assert_eq!(world.guests[&8100].power, Power::Stopped);
    pass(world, 120);
    assert_eq!(kernel(world), Ok("6.17.4-1-pve".into()));
    assert_eq!(world.guests[&8100].power, Power::Running, "it boots with its node");
    on_node(world, Deed::Health { attempt: 1, tcp: vec![8006], units: true, command: Vec::new(), timeout: 120 })
        .expect("begun");
    pass(world, 60);
    assert_eq!(of_node(world, "health").exit, Some(0));
}

#[test]
fn a_node_that_is_killed_in_the_middle_repairs_on_the_next_visit() {
    let world = &mut build(Baseline::Homelab);
    world.trouble(&Place::Node("pve2".to_owned()), Trouble::Killed);
    on_node(world, Deed::Upgrade { attempt: 1 }).expect("begun");
    pass(world, 600);
    on_node(world, Deed::Revive { job: token("20261122T010000Z-upgrade") }).expect("looked");
    assert_eq!(of_node(world, "upgrade").phase, crate::host::state::Phase::Died);
    on_node(world, Deed::Upgrade { attempt: 2 }).expect("begun");
    pass(world, 600);
    let second = of_node(world, "upgrade2");
    assert!(second.exit == Some(0) && second.log.iter().any(|line| line.contains("--configure -a")), "{second:?}");
}

#[test]
fn maintenance_takes_managed_guests_away_and_brings_them_back() {
    let world = &mut build(Baseline::Homelab);
    world.guests.get_mut(&8100).expect("there").power = Power::Running;
    root(world, "POST /cluster/ha/resources", &json!({ "sid": "vm:8100", "state": "started" })).expect("managed");
    root(world, "PUT /link/pve2/maintenance", &json!({ "enable": "1" })).expect("written down");
    assert_eq!(world.guests[&8100].node, "pve2", "it is asked for, and not done yet");
    pass(world, 30);
    assert_ne!(world.guests[&8100].node, "pve2");
    let rows = root(world, "GET /cluster/ha/status/current", &json!({})).expect("a list");
    let lrm = rows.as_array().and_then(|rows| rows.iter().find(|r| r["id"] == "lrm:pve2")).expect("a row");
    assert!(lrm["status"].as_str().is_some_and(|s| s.starts_with("pve2 (maintenance mode, ")), "{lrm}");
    let manager = root(world, "GET /cluster/ha/status/manager_status", &json!({})).expect("an object");
    assert_eq!(manager["manager_status"]["node_status"]["pve2"], "maintenance");
    assert_eq!(world.guests[&8100].power, Power::Running);
    root(world, "PUT /link/pve2/maintenance", &json!({ "enable": "0" })).expect("written down");
    pass(world, 30);
    assert_eq!(world.guests[&8100].node, "pve2");
}

#[test]
fn a_saved_world_goes_on_with_its_jobs() {
    let world = &mut machine();
    exec(world, System::Linux, Deed::Assess { attempt: 1, refresh: true }).expect("begun");
    let text = serde_json::to_string(world).expect("it can be saved");
    let again: &mut World = &mut serde_json::from_str(&text).expect("it can be read");
    pass(again, 30);
    assert_eq!(section(again, "assess").exit, Some(0));
    let vmid = VmId::new(101).expect("a number");
    assert!(jobs::state(again, &Place::Guest(vmid.get()), "monday").is_none());
}
