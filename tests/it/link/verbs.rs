//! The host link through the real program: a cluster of the simulator, whose first node is played by an OpenSSH server.

use crate::link::rig::{Rig, user};
use crate::process::Home;
use crate::remote::Server;
use serde_json::Value;
use std::process::Command;
use tempfile::TempDir;

/// The cluster, and where its state is.
fn server() -> (Server, TempDir) {
    let folder = TempDir::new().expect("a folder");
    (Server::start(&folder.path().join("state.json"), "1"), folder)
}

/// A home whose context reaches pve1 by our server.
fn home(server: &Server, rig: &Rig, link: &str) -> Home {
    let home = Home::new(&[("home", server)]);
    let file = ".config/pvectl/config.yaml";
    let text = std::fs::read_to_string(home.path(file)).expect("a file");
    let known = rig.path("known_hosts").display().to_string();
    let user = user();
    let ssh = format!(
        "    link:\n      ssh:\n        user: {user}\n        knownHosts: {known}\n        connectTimeout: 2s\n        nodes: {{pve1: {{host: 127.0.0.1, port: {}}}}}\n{link}",
        rig.port
    );
    home.write(file, &(text + &ssh));
    home
}

#[test]
fn check_says_how_each_node_is_reached() {
    let Some(rig) = Rig::start() else { return };
    let (server, _state) = server();
    let key = format!("        privateKey: {}\n", rig.path("client").display());
    let home = home(&server, &rig, &key);
    let said = home.run("host check pve1").code(1);
    assert!(said.out.contains(&format!("ssh {}@127.0.0.1 port {}", user(), rig.port)), "{}", said.out);
    assert!(said.out.contains("incomplete") && said.out.contains("pve-manager/9.1.1"), "{}", said.out);
    assert!(said.out.contains("apt install smartmontools") || said.out.contains("apt install pve-"), "{}", said.out);
    // No stand-in is missing now.
    for tool in pvectl::host::tools::TOOLS {
        if !["pct", "ha-manager"].contains(&tool.name) {
            rig.stand_in(tool.name, "");
        }
    }
    if user() == "root" {
        assert!(home.run("host check pve1").code(0).out.contains("ready"));
    }
    let said = home.run("host check -o json").code(1);
    let value: Value = serde_json::from_str(&said.out).expect("JSON");
    let items = value["items"].as_array().expect("a list");
    assert!(items.len() > 1, "all nodes are tried");
    let other = items.iter().find(|item| item["node"] == "pve2").expect("the second node");
    assert_eq!((other["state"].as_str(), other["error"].is_string()), (Some("not reached"), true), "{other}");
    let said = home.run("api put /link/pve1/maintenance enable=1").code(0);
    assert_eq!(said.out, "\"\"\n");
    assert_eq!(rig.told("ha-manager"), ["crm-command node-maintenance enable pve1"]);
    let said = home.run("api get /link/pve1/pct/201/jobs window=w").code(1);
    assert!(said.err.contains("exit status 255: CT 201 not running"), "{}", said.err);
    let said = home.run("api post /link/pve1/rm").code(1);
    assert!(said.err.contains("no operation of the host link"), "{}", said.err);
}

#[test]
fn a_key_in_the_agent_is_enough() {
    let Some(rig) = Rig::start() else { return };
    let (server, _state) = server();
    let socket = rig.path("agent");
    let mut agent = Command::new("ssh-agent")
        .args(["-D", "-a"])
        .arg(&socket)
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("an agent");
    rig.until("the agent listens", |_| socket.exists());
    let at = socket.display().to_string();
    let added = Command::new("ssh-add").arg("-q").arg(rig.path("client")).env("SSH_AUTH_SOCK", &at).status();
    assert!(added.expect("ssh-add runs").success());
    let home = home(&server, &rig, "").with("SSH_AUTH_SOCK", &at);
    let said = home.run("api put /link/pve1/maintenance enable=0");
    agent.kill().expect("it is ours");
    agent.wait().expect("it was ours");
    assert_eq!(said.code, 0, "{}", said.err);
    let said = home.run("api put /link/pve1/maintenance enable=0").code(1);
    assert!(said.err.contains("Permission denied"), "{}", said.err);
    assert_eq!(rig.told("ha-manager"), ["crm-command node-maintenance disable pve1"]);
}

#[test]
fn a_cluster_without_a_link_says_what_to_write() {
    let (server, _state) = server();
    let home = Home::new(&[("home", &server)]);
    let said = home.run("host check pve1").code(1);
    assert!(said.out.contains("no link") && said.out.contains("link: {ssh: {}}"), "{}", said.out);
    let said = home.run("api put /link/pve1/maintenance enable=1").code(1);
    assert!(said.err.contains("501 no host link to node pve1 is configured"), "{}", said.err);
    // What the context's link says is for the context's own cluster.
    let file = ".config/pvectl/config.yaml";
    let text = std::fs::read_to_string(home.path(file)).expect("a file");
    home.write(file, &format!("{text}    link: {{ssh: {{}}}}\n"));
    let said = home.run("host check pve1 --endpoint https://127.0.0.1:1").code(1);
    assert!(said.out.contains("no link") && said.err.contains("does not count"), "{}{}", said.out, said.err);
}

#[test]
fn the_closed_list_is_shown() {
    let (server, _state) = server();
    let home = Home::new(&[("home", &server)]);
    let said = home.run("host operations").code(0);
    for words in [
        "ContainerCreate (changes)",
        "ha-manager crm-command node-maintenance",
        "why:  the API cannot look into a container",
    ] {
        assert!(said.out.contains(words), "{words} is missing in\n{}", said.out);
    }
    let value: Value = serde_json::from_str(&home.run("host operations -o json").code(0).out).expect("JSON");
    assert_eq!(value["items"].as_array().map(Vec::len), Some(pvectl::host::list::ENTRIES.len()));
}
