//! `pvectl run` as people run it: the real program, its configuration, signals and HTTP, against simulated clusters that are
//! processes of their own.

use crate::process::{Home, PATIENCE, Process, kept};
use crate::remote::Server;
use serde_json::Value;
use std::collections::BTreeSet;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::Duration;
use tempfile::TempDir;

const WEB: &str = "apiVersion: pvectl/v1alpha1\nkind: VirtualMachine\nmetadata: {name: web}\nspec: {vmid: 500, node: pve1, hardware: {cores: 2, memory: 1Gi}, power: Stopped}\n";
const POOL: &str = "apiVersion: pvectl/v1alpha1\nkind: Pool\nmetadata: {name: team}\nspec: {comment: ours}\n";
const FOLDER: &str = "run -f manifests --mode Enforce --listen 127.0.0.1:0";

/// A cluster, and somebody's machine that knows it as `home`.
fn place(speed: &str) -> (TempDir, PathBuf, Server, Home) {
    let folder = TempDir::new().expect("a folder of its own");
    let state = folder.path().join("cluster.json");
    let server = Server::start(&state, speed);
    let home = Home::new(&[("home", &server)]);
    home.write("manifests/web.yaml", WEB);
    (folder, state, server, home)
}

/// An option of the machine, as the cluster has it.
fn option(home: &Home, key: &str) -> String {
    let config = home.run("api GET /nodes/pve1/qemu/500/config").code(0).out;
    let config: Value = serde_json::from_str(&config).expect("JSON");
    config[key].to_string()
}

/// Another person, with a login of her own.
fn by_hand(home: &Home, words: &str) {
    let env = [("PVECTL_USERNAME", "root@pam"), ("PVECTL_PASSWORD", "rootpw123")];
    home.run_with(&format!("api {words}"), &env).code(0);
}

#[test]
fn once_ends_as_diff_does() {
    let (_folder, _state, server, home) = place("300");
    let once = |mode: &str| home.run(&format!("run -f manifests --once --mode {mode}"));
    once("Observe").code(1).says("VirtualMachine/web: ").says("0 of 1 object as declared");
    once("Propose").code(1).says("may only propose; do it with pvectl apply");
    home.run("diff -f manifests").code(1);
    once("Enforce").code(0).says("1 of 1 object as declared");
    once("Observe").code(0);
    // With a configuration, too; a broken one, and broken manifests, are 2.
    home.write("daemon.yaml", "sources: [{name: lab, folder: manifests, mode: Observe}]\n");
    home.run("run daemon.yaml --once").code(0);
    home.write("manifests/web.yaml", &WEB.replace("cores: 2", "cores: 3"));
    home.run("run daemon.yaml --once").code(1).says("VirtualMachine/web: ");
    home.write("broken.yaml", "sources: [{name: lab, folder: manifests, mod: Observe}]\n");
    home.run("run broken.yaml --once").code(2).says("broken.yaml:1").says("mod");
    home.run("run absent.yaml --once").code(2).says("absent.yaml");
    home.write("manifests/web.yaml", &WEB.replace("cores: 2", "cores: many"));
    once("Enforce").code(2).says("error: source default: ").says("web.yaml:4");
    home.write("manifests/web.yaml", WEB);
    server.stop();
    once("Enforce").code(3).says("refused the connection");
}

#[test]
fn a_folder_is_followed_and_what_somebody_changes_is_set_right() {
    let (_folder, _state, _server, home) = place("1");
    let daemon = home.start(&format!("{FOLDER} --store history.db"));
    daemon.until("the machine is made", |d| d.is_ready("default", 1));
    home.write("manifests/web.yaml", &WEB.replace("cores: 2", "cores: 4"));
    home.write("manifests/pool.yaml", POOL);
    daemon.until("what was saved is applied", |d| d.is_ready("default", 2));
    assert_eq!(option(&home, "cores"), "4");
    // Somebody changes it; it is told who, and set right. What comes right after a change of ours may be ours.
    std::thread::sleep(Duration::from_secs(7));
    by_hand(&home, "PUT /nodes/pve1/qemu/500/config cores=8");
    daemon.hears("DriftSeen", "hardware.cores is 8, declared 4; by root@pam (update VM 500: -cores 8");
    daemon.hears("DriftHealed", "set right by pvectl");
    assert_eq!(option(&home, "cores"), "4");
    home.ask(&daemon, "history").code(0).says("root@pam").says("pvectl");
    home.ask(&daemon, "drift").code(0);
    // A revision that is broken is not in force; the last good one is, and heals.
    home.write("manifests/pool.yaml", "kind: Pool\n");
    daemon.hears("SourceBroken", "the last good revision stays in force");
    home.ask(&daemon, "status").code(0).says("Degraded").says("pool.yaml:1");
    by_hand(&home, "PUT /nodes/pve1/qemu/500/config cores=7");
    daemon.hears("DriftSeen", "hardware.cores is 7");
    daemon.until("the last good revision heals", |_| option(&home, "cores") == "4");
    home.write("manifests/pool.yaml", POOL);
    daemon.hears("SourceMended", "well again");
    home.ask(&daemon, "status").code(0).says("Ready");
    daemon.until("all is well", |d| d.is_ready("default", 2));
    // Whoever watches the watcher.
    assert_eq!(daemon.get("/healthz"), (200, "ok\n".to_owned()));
    let (status, metrics) = daemon.get("/metrics");
    assert_eq!(status, 200);
    for line in
        ["pvectl_drift_healed_total{source=\"default\",by=\"pvectl\"} 2", "pvectl_memory_entries{sort=\"keys\"}"]
    {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
    let (status, page) = daemon.get("/");
    assert!(status == 200 && page.contains("<!doctype html>") && page.contains("default"), "{page}");
    let (code, took) = daemon.terminate();
    assert!(code == 0 && took < Duration::from_secs(10), "{code} after {took:?}");
}

#[test]
fn the_history_outlasts_the_daemon_and_is_all_that_goes_with_its_file() {
    let (_folder, _state, _server, home) = place("300");
    let words = format!("{FOLDER} --store history.db");
    let daemon = home.start(&words);
    daemon.until("the machine is made", |d| d.is_ready("default", 1));
    assert_eq!(daemon.terminate().0, 0);
    let rows = |table: &str| {
        let book = rusqlite::Connection::open(home.path("history.db")).expect("a database");
        book.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get::<_, i64>(0)).expect("a table")
    };
    assert!(rows("events") >= 2 && rows("runs") == 1 && rows("run_objects") == 1, "{} events", rows("events"));
    let daemon = home.start(&words);
    daemon.until("it has looked", |d| d.is_ready("default", 1));
    home.ask(&daemon, "history").code(0).says("converged");
    home.ask(&daemon, "events").code(0).says("Applied");
    daemon.terminate();
    for file in ["history.db", "history.db-wal", "history.db-shm"] {
        let _ = std::fs::remove_file(home.path(file));
    }
    let daemon = home.start(&words);
    daemon.until("it has looked", |d| d.is_ready("default", 1));
    let told = home.ask(&daemon, "history").code(0);
    assert!(!told.out.contains("converged"), "{}", told.out);
    home.write("manifests/web.yaml", &WEB.replace("cores: 2", "cores: 4"));
    daemon.hears("Applied", "configure qemu 500");
    daemon.terminate();
    assert_eq!(rows("runs"), 1);
}

#[test]
fn two_clusters_one_daemon_and_a_configuration_that_moves() {
    let folder = TempDir::new().expect("a folder of its own");
    let states = ["one", "two"].map(|name| folder.path().join(name));
    let [one, two] = states.each_ref().map(|state| Server::start(state, "300"));
    let home = Home::new(&[("one", &one), ("two", &two)]);
    home.write("a/web.yaml", WEB);
    home.write("b/pool.yaml", POOL);
    // The same through all its lives.
    let port = crate::remote::dead_port();
    let config = |more: &str| {
        format!(
            "sources:\n  - {{name: a, folder: a, context: one, mode: Enforce{more}}}\n  - {{name: b, folder: b, context: two, mode: Enforce}}\nstateFolder: state\nstore: history.db\nreports: reports\nhttp: {{listen: 127.0.0.1:{port}}}\n"
        )
    };
    home.write("daemon.yaml", &config(""));
    let daemon = home.start("run daemon.yaml");
    daemon.until("both are made", |d| d.is_ready("a", 1) && d.is_ready("b", 1));
    home.ask(&daemon, "status").code(0).says("one").says("two");
    // Suspended is suspended, also by the next life, until somebody resumes it.
    home.ask(&daemon, "suspend b --why works").code(0).says("source b is suspended");
    assert_eq!(daemon.terminate().0, 0);
    let daemon = home.start("run daemon.yaml");
    daemon.until("it has looked", |d| d.is_ready("a", 1) && d.is_ready("b", 1));
    home.write("b/pool.yaml", &POOL.replace("ours", "another"));
    home.ask(&daemon, "status").code(0).says("b is suspended: by anna: works");
    daemon.until("the change is seen", |d| !d.is_ready("b", 1));
    let comment = || {
        let found = home.run("api GET /pools/team --context two").code(0).out;
        found.contains("another")
    };
    assert!(!comment(), "it is left alone");
    home.ask(&daemon, "resume b").code(0);
    daemon.until("it goes on", |_| comment());
    daemon.until("the report is written", |_| {
        std::fs::read_to_string(home.path("reports/drift.txt")).is_ok_and(|text| text.contains("2 compared"))
    });
    // Another configuration is taken at once; one that is broken is not.
    home.write("daemon.yaml", &config(", suspend: true"));
    daemon.signal("HUP");
    daemon.until("the new configuration holds", |d| {
        d.items("sources").iter().any(|s| s["name"] == "a" && s["suspended"] == "by the configuration")
    });
    home.write("daemon.yaml", "sources: nothing\n");
    daemon.signal("HUP");
    daemon.until("the broken one is refused", |d| d.log().contains("the configuration stays as it was"));
    home.write("b/pool.yaml", POOL);
    daemon.until("the old one goes on", |_| !comment());
    home.write("daemon.yaml", &config(""));
    daemon.signal("HUP");
    daemon.until("the mended one holds", |d| d.items("sources").iter().all(|s| s["suspended"].is_null()));
    daemon.until("all is well", |d| d.is_ready("a", 1) && d.is_ready("b", 1));
    assert_eq!(daemon.terminate().0, 0);
    one.stop();
    two.stop();
    let [one, two] = states.map(|state| kept(&state));
    assert!(one.guests.contains_key(&500) && !one.pools.contains_key("team"), "each on its own cluster");
    assert!(two.pools.contains_key("team") && !two.guests.contains_key(&500), "each on its own cluster");
}

#[test]
fn a_proposal_is_carried_out_when_somebody_approves_it() {
    let (_folder, _state, _server, home) = place("300");
    let daemon = home.start("run -f manifests --listen 127.0.0.1:0");
    let waits = |d: &Process| d.items("proposals").iter().find(|p| p["verdict"] == "Waiting").cloned();
    daemon.until("it proposes", |d| waits(d).is_some());
    let id = waits(&daemon).expect("it waits")["id"].as_str().expect("an id").to_owned();
    home.ask(&daemon, "proposals").code(0).says(&id).says("Waiting");
    home.ask(&daemon, &format!("proposals {id}")).code(0).says("VirtualMachine/web");
    home.run("api GET /nodes/pve1/qemu/500/config").code(1);
    home.ask(&daemon, &format!("approve {id}")).code(0).says("is approved");
    daemon.until("it is done", |d| d.is_ready("default", 1));
    home.ask(&daemon, &format!("approve {id}")).code(3).says("cannot be changed");
    home.ask(&daemon, "proposals").code(0).says("Done").says("anna");
    assert_eq!(daemon.terminate().0, 0);
}

#[test]
fn one_that_is_asked_to_end_ends_what_it_began() {
    let (_folder, state, server, home) = place("3");
    let copy = "apiVersion: pvectl/v1alpha1\nkind: VirtualMachine\nmetadata: {name: copy}\nspec: {vmid: 501, node: pve1, from: {clone: {vmid: 8000, mode: Full}}, power: Stopped}\n";
    home.write("manifests/copy.yaml", copy);
    let daemon = home.start(&format!("{FOLDER} -v"));
    daemon.until("the copy is being made", |d| d.log().contains("VirtualMachine/copy: clone"));
    let (code, took) = daemon.terminate();
    assert!(code == 0 && took < PATIENCE, "{code} after {took:?}");
    server.stop();
    let world = kept(&state);
    assert!(world.guests.get(&501).is_some_and(|g| !g.config.contains_key("lock")), "the copy was finished");
    let server = Server::start(&state, "300");
    let home = Home::new(&[("home", &server)]);
    home.write("manifests/web.yaml", WEB);
    home.write("manifests/copy.yaml", copy);
    let daemon = home.start(FOLDER);
    daemon.until("the next one goes on", |d| d.is_ready("default", 2));
}

#[test]
fn the_supervisor_hears_that_it_lives() {
    let (_folder, _state, _server, home) = place("300");
    let socket = home.path("notify");
    let ear = UnixDatagram::bind(&socket).expect("a socket");
    ear.set_read_timeout(Some(PATIENCE)).expect("a time");
    let home = home.with("NOTIFY_SOCKET", socket.to_str().expect("a path"));
    let daemon = home.start(FOLDER);
    let mut said = BTreeSet::new();
    let mut hear = |word: &str| {
        let mut bytes = [0; 4_096];
        while !said.contains(word) {
            let size = ear.recv(&mut bytes).unwrap_or_else(|e| panic!("`{word}` is not heard but {said:?}: {e}"));
            let text = String::from_utf8_lossy(&bytes[..size]).into_owned();
            said.extend(text.lines().map(str::to_owned));
        }
    };
    hear("READY=1");
    hear("WATCHDOG=1");
    hear("STATUS=1 of 1 objects ready, 0 drifted");
    daemon.signal("TERM");
    hear("STOPPING=1");
    assert_eq!(daemon.ends().0, 0);
}
