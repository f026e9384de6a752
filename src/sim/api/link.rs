//! The host link: operations on nodes that PVE's API does not have. They come in process only; on the wire these paths are
//! as unknown as in PVE.

use crate::base;
use crate::host::job::Job;
use crate::host::operation::Operation;
use crate::host::tools::{Found, TOOLS};
use crate::sim::api::cluster::{REPO_ID, VERSION, ha};
use crate::sim::inside::{Place, jobs, runner};
use crate::sim::request::{Auth, Refusal, WireRequest};
use crate::sim::world::{GuestType, Power, World};
use serde_json::Value;

/// Answers a request whose path is one of the link's: the operation's standard output.
pub fn answer(world: &mut World, request: &WireRequest) -> Result<Value, Refusal> {
    let unknown = || Refusal::new(501, format!("Method '{} {}' not implemented", request.method, request.path));
    let Auth::Trusted(_) = request.auth else { return Err(unknown()) };
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let params: Vec<(String, String)> = request.params.iter().map(|(k, v)| (k.clone(), text(v))).collect();
    let (node, operation) = Operation::read(&request.method, &request.path, &params).ok_or_else(unknown)?;
    match world.nodes.get(&node) {
        Some(found) if found.online => {}
        Some(_) => return Err(Refusal::new(595, "No route to host")),
        None => return Err(Refusal::new(501, format!("no host link to node {node} is configured"))),
    }
    run(world, &node, &operation).map(Value::String)
}

fn run(world: &mut World, node: &str, operation: &Operation) -> Result<String, Refusal> {
    let on_node = || Place::Node(node.to_owned());
    match operation {
        Operation::ContainerJobs { vmid, window } => {
            let place = container(world, node, vmid.get())?;
            let state = jobs::state(world, &place, window.as_str()).unwrap_or_default();
            Ok(format!("boot={}\n{state}", world.boot_mark(&place)))
        }
        Operation::ContainerJob { vmid, job } => {
            let place = container(world, node, vmid.get())?;
            Ok(jobs::begin(world, &place, job))
        }
        Operation::NodeJobs { window } => {
            let state = jobs::state(world, &on_node(), window.as_str()).unwrap_or_default();
            Ok(format!("boot={}\n{state}", world.boot_mark(&on_node())))
        }
        Operation::NodeJob { job } => node_job(world, &on_node(), job),
        Operation::ContainerRunner { vmid, start, secret } => {
            container(world, node, vmid.get())?;
            let said = runner::begin(world, vmid.get(), start, secret.expose().unwrap_or_default());
            match said.code {
                0 => Ok(said.out.to_owned()),
                code => Err(failed(code, said.err.trim_end())),
            }
        }
        Operation::ContainerRunnerState { vmid, lines } => {
            container(world, node, vmid.get())?;
            Ok(runner::look(world, vmid.get(), *lines))
        }
        Operation::Maintenance { enable } => {
            ha::maintenance::set(world, node, *enable);
            Ok(String::new())
        }
        Operation::Tools => {
            let found = Found {
                name: node.to_owned(),
                user: "root".to_owned(),
                version: Some(format!("pve-manager/{VERSION}/{REPO_ID}")),
                tools: TOOLS.iter().map(|tool| tool.name.to_owned()).collect(),
            };
            Ok(found.write())
        }
        Operation::Unlock { guest, vmid, lock } => unlock(world, *guest, vmid.get(), lock.as_str()),
        // These have routes of their own, or the simulated node has no such program.
        Operation::ContainerCreate { .. }
        | Operation::ContainerJournal { .. }
        | Operation::Mounts
        | Operation::Folder { .. }
        | Operation::Mount { .. }
        | Operation::Unmount { .. }
        | Operation::Health => Err(Refusal::new(501, "this simulated node has no such program")),
    }
}

/// `qm unlock`, `pct unlock`, where the lock is the one that is meant and no task works on the guest.
fn unlock(world: &mut World, guest: base::id::GuestType, vmid: u32, lock: &str) -> Result<String, Refusal> {
    let kind = if guest == base::id::GuestType::Qemu { GuestType::Qemu } else { GuestType::Lxc };
    let busy = world.tasks.iter().any(|task| task.end_ms.is_none() && task.id == vmid.to_string());
    let found = world.guests.get_mut(&vmid).filter(|g| g.guest_type == kind);
    let Some(found) = found else { return Err(failed(2, &format!("Configuration file of {vmid} does not exist"))) };
    match found.config.get("lock").map(String::as_str) {
        None => Ok("it is not locked\n".to_owned()),
        Some(now) if now != lock => Err(failed(3, &format!("its lock is `{now}` now, not `{lock}`: left alone"))),
        Some(_) if busy => Err(failed(3, "a task works on it: left alone")),
        Some(_) => {
            found.config.remove("lock");
            Ok(String::new())
        }
    }
}

fn node_job(world: &mut World, place: &Place, job: &Job) -> Result<String, Refusal> {
    use crate::host::job::Deed;
    match job.deed {
        Deed::Upgrade { .. } | Deed::Health { .. } | Deed::Note { .. } | Deed::Revive { .. } => {
            Ok(jobs::begin(world, place, job))
        }
        Deed::Assess { .. } | Deed::Patch { .. } => Err(failed(64, "no such work")),
    }
}

/// What a command that fails on a node is answered with.
fn failed(code: i32, last_line: &str) -> Refusal {
    Refusal::died(format!("exit status {code}: {last_line}"))
}

/// A container that `pct exec` can go into.
fn container(world: &World, node: &str, vmid: u32) -> Result<Place, Refusal> {
    let guest = world.guests.get(&vmid).filter(|g| g.guest_type == GuestType::Lxc && g.node == node);
    match guest {
        None => Err(failed(2, &format!("Configuration file 'nodes/{node}/lxc/{vmid}.conf' does not exist"))),
        Some(guest) if guest.power == Power::Stopped => Err(failed(255, &format!("container '{vmid}' not running!"))),
        Some(_) => Ok(Place::Guest(vmid)),
    }
}

#[cfg(test)]
mod tests {
    use crate::host::job::{ConfigFiles, Deed, Job, Package};
    use crate::host::operation::Operation;
    use crate::host::state::{JobState, Phase, State};
    use crate::host::token::Token;
    use crate::sim::api::testing::{ended, refused, root};
    use crate::sim::baseline::{Baseline, build};
    use crate::sim::inside::{Place, Trouble};
    use crate::sim::world::World;
    use serde_json::{Value, json};

    const CT: Place = Place::Guest(8200);

    fn token(text: &str) -> Token {
        Token::new(text).expect("plain")
    }

    fn ask(world: &mut World, method: &str, path: &str, params: &[(String, String)]) -> Result<Value, Value> {
        let params: serde_json::Map<String, Value> =
            params.iter().map(|(k, v)| (k.clone(), v.clone().into())).collect();
        root(world, &format!("{method} {path}"), &params.into())
    }

    fn begin(world: &mut World, deed: Deed) -> Result<Value, Value> {
        let job = Job { window: token("sunday"), slot: token("20261122T010000Z"), deed };
        let operation = Operation::ContainerJob { vmid: crate::base::id::VmId::new(8200).expect("a number"), job };
        let call = operation.call("pve3").expect("a write");
        ask(world, "POST", &call.path, &call.params)
    }

    fn look(world: &mut World) -> State {
        let vmid = crate::base::id::VmId::new(8200).expect("a number");
        let query = Operation::ContainerJobs { vmid, window: token("sunday") }.query("pve3").expect("a read");
        let text = ask(world, "GET", &query.path, &query.params).expect("it runs");
        State::read(text.as_str().expect("a text"))
    }

    fn job(world: &mut World, word: &str) -> JobState {
        look(world).job(&format!("20261122T010000Z-{word}")).expect("it was begun").clone()
    }

    fn pass(world: &mut World, seconds: u64) {
        let to = world.clock_ms + seconds * 1000;
        world.advance_to(to);
    }

    fn patch(attempt: u8, of: &JobState) -> Deed {
        let packages = of.pending.iter().map(|p| Package { name: token(&p.name), version: token(&p.to) }).collect();
        Deed::Patch { attempt, packages, config: ConfigFiles::Keep }
    }

    fn health(attempt: u8) -> Deed {
        Deed::Health { attempt, tcp: vec![53], units: true, command: vec!["true".into()], timeout: 30 }
    }

    fn assessed(world: &mut World) -> JobState {
        begin(world, Deed::Assess { attempt: 1, refresh: true }).expect("begun");
        pass(world, 30);
        job(world, "assess")
    }

    #[test]
    fn a_container_is_assessed_patched_and_well() {
        let world = &mut build(Baseline::Homelab);
        assert_eq!(begin(world, Deed::Assess { attempt: 1, refresh: true }), Ok("begun\n".into()));
        assert_eq!(
            begin(world, Deed::Assess { attempt: 1, refresh: true }),
            Ok("there already\n".into()),
            "none runs twice"
        );
        assert_eq!(job(world, "assess").phase, Phase::Running);
        pass(world, 30);
        let found = job(world, "assess");
        assert_eq!((found.phase, found.manager.as_str(), found.exit), (Phase::Done, "apt", Some(0)));
        assert!(found.pending.iter().any(|p| p.name == "openssl" && p.security && p.since > 0));
        assert!(found.pending.iter().any(|p| p.name == "tzdata" && !p.security));
        begin(world, patch(1, &found)).expect("begun");
        pass(world, 50);
        let beating = job(world, "patch");
        assert!(beating.phase == Phase::Running && beating.beat > beating.started, "{beating:?}");
        pass(world, 200);
        let done = job(world, "patch");
        assert_eq!((done.phase, done.exit, done.changed.len()), (Phase::Done, Some(0), found.pending.len()));
        assert!(done.cves.contains(&"CVE-2026-31001".to_owned()));
        assert!(done.reboot.is_some(), "libc6 is in use everywhere");
        begin(world, health(1)).expect("begun");
        pass(world, 10);
        assert_eq!(job(world, "health").exit, Some(0));
        assert_eq!(ended(world, "POST /nodes/pve3/lxc/8200/status/reboot", &json!({})), "OK");
        let later = Deed::Assess { attempt: 1, refresh: true };
        let other = Job { window: token("monday"), slot: token("20261123T010000Z"), deed: later };
        let vmid = crate::base::id::VmId::new(8200).expect("a number");
        let call = Operation::ContainerJob { vmid, job: other }.call("pve3").expect("a write");
        ask(world, "POST", &call.path, &call.params).expect("begun");
        pass(world, 30);
        let text = crate::sim::inside::jobs::state(world, &CT, "monday").expect("written");
        let again = State::read(&text).jobs.remove(0);
        assert_eq!((again.pending.len(), again.reboot), (0, None));
    }

    #[test]
    fn a_rollback_brings_back_packages_and_state() {
        let world = &mut build(Baseline::Homelab);
        let found = assessed(world);
        let snapshot = json!({ "snapname": "before" });
        assert_eq!(ended(world, "POST /nodes/pve3/lxc/8200/snapshot", &snapshot), "OK");
        world.trouble(&CT, Trouble::Breaks);
        begin(world, patch(1, &found)).expect("begun");
        pass(world, 300);
        begin(world, health(1)).expect("begun");
        pass(world, 60);
        let ill = job(world, "health");
        assert_eq!(ill.exit, Some(1));
        assert!(ill.checks.iter().all(|check| !check.ok), "{:?}", ill.checks);
        let back = "POST /nodes/pve3/lxc/8200/snapshot/before/rollback";
        assert_eq!(ended(world, back, &json!({ "start": 1 })), "OK");
        assert_eq!(look(world).jobs.len(), 1, "only the assessment was there then");
        begin(world, patch(1, &found)).expect("begun");
        pass(world, 300);
        begin(world, health(1)).expect("begun");
        pass(world, 60);
        assert_eq!((job(world, "patch").exit, job(world, "health").exit), (Some(0), Some(0)));
    }

    #[test]
    fn a_container_that_stops_in_the_middle_leaves_half() {
        let world = &mut build(Baseline::Homelab);
        let found = assessed(world);
        begin(world, patch(1, &found)).expect("begun");
        pass(world, 20);
        assert_eq!(ended(world, "POST /nodes/pve3/lxc/8200/status/stop", &json!({})), "OK");
        let stopped = refused(begin(world, Deed::Revive { job: token("20261122T010000Z-patch") }));
        assert_eq!(stopped, "exit status 255: container '8200' not running!");
        assert_eq!(ended(world, "POST /nodes/pve3/lxc/8200/status/start", &json!({})), "OK");
        pass(world, 300);
        assert_eq!(job(world, "patch").phase, Phase::Running, "nobody wrote another word");
        begin(world, Deed::Revive { job: token("20261122T010000Z-patch") }).expect("looked");
        assert_eq!(job(world, "patch").phase, Phase::Died);
        begin(world, patch(2, &found)).expect("begun");
        pass(world, 300);
        let second = job(world, "patch2");
        assert_eq!(second.exit, Some(0));
        assert!(second.log.iter().any(|line| line.contains("--configure -a")), "{:?}", second.log);
        assert!(!second.changed.is_empty() && second.changed.len() < found.pending.len());
    }

    #[test]
    fn troubles_come_once_each() {
        let world = &mut build(Baseline::Homelab);
        let found = assessed(world);
        for trouble in [Trouble::Exits(100), Trouble::Killed, Trouble::Hangs] {
            world.trouble(&CT, trouble);
        }
        begin(world, patch(1, &found)).expect("begun");
        pass(world, 300);
        assert_eq!((job(world, "patch").exit, job(world, "patch").changed.len()), (Some(100), 0));
        begin(world, patch(2, &found)).expect("begun");
        pass(world, 300);
        assert_eq!(job(world, "patch2").phase, Phase::Running);
        begin(world, Deed::Revive { job: token("20261122T010000Z-patch2") }).expect("looked");
        assert_eq!(job(world, "patch2").phase, Phase::Died);
        begin(world, patch(3, &found)).expect("begun");
        pass(world, 90_000);
        begin(world, Deed::Revive { job: token("20261122T010000Z-patch3") }).expect("looked");
        let hangs = job(world, "patch3");
        assert!(hangs.phase == Phase::Running && hangs.beat > hangs.started + 80_000, "it lives");
    }

    #[test]
    fn a_note_keeps_what_was_written_first() {
        let world = &mut build(Baseline::Homelab);
        let note = |value: &str, key: &str| Deed::Note {
            about: token("drain"),
            lines: vec![(token("101"), token(value)), (token(key), token("x"))],
        };
        begin(world, note("pve1", "a")).expect("written");
        begin(world, note("pve2", "b")).expect("written");
        let notes = job(world, "drain").notes;
        assert_eq!(
            notes.into_iter().collect::<Vec<_>>(),
            [("101", "pve1"), ("a", "x"), ("b", "x")].map(|(k, v)| (k.to_owned(), v.to_owned()))
        );
    }

    #[test]
    fn on_the_wire_and_on_strange_nodes_there_is_no_link() {
        use crate::sim::request::{Auth, WireRequest};
        let world = &mut build(Baseline::Homelab);
        let secret = world.users["root@pam"].tokens["test"].secret.clone();
        let auth = Auth::Header(format!("PVEAPIToken=root@pam!test={secret}"));
        let params = vec![("window".to_owned(), "sunday".into())];
        let wire = WireRequest { method: "GET".into(), path: "/link/pve1/jobs".into(), params, auth };
        assert_eq!(crate::sim::router::answer(world, &wire, None).status, 501);
        let strange = root(world, "GET /link/pve9/jobs", &json!({ "window": "sunday" }));
        assert_eq!(refused(strange), "no host link to node pve9 is configured");
        assert_eq!(
            root(world, "GET /link/pve1/jobs", &json!({ "window": "sunday" }))
                .expect("a node")
                .as_str()
                .map(|t| t.starts_with("boot=")),
            Some(true)
        );
        world.nodes.get_mut("pve1").expect("there").online = false;
        assert_eq!(refused(root(world, "GET /link/pve1/jobs", &json!({ "window": "sunday" }))), "No route to host");
    }
}
