//! The gate as the forced command of a key: what it lets pass, and what it refuses.

use crate::link::rig::Rig;
use crate::link::{jobs, unsent, vmid};
use pvectl::host::link::Link;
use pvectl::host::local::own_name;
use pvectl::host::operation::Operation;
use pvectl::host::runner::{Handed, Start};
use pvectl::host::ssh::Ssh;
use pvectl::host::token::Token;

const PROGRAM: &str = env!("CARGO_BIN_EXE_pvectl");

/// A node that is called what this machine is, with the gate before our key.
fn gated() -> Option<(Rig, String)> {
    let node = own_name().expect("this machine has a name").to_string();
    Some((Rig::with("", &format!("command=\"{PROGRAM} host gate\",restrict"))?, node))
}

fn ssh(rig: &Rig, node: &str) -> Ssh {
    let mut settings = rig.settings();
    let place = settings.nodes.remove("pve1").expect("it is there");
    settings.nodes.insert(node.to_owned(), place);
    Ssh::new(settings)
}

#[tokio::test]
async fn operations_pass_the_gate() {
    let Some((rig, node)) = gated() else { return };
    let ssh = ssh(&rig, &node);
    let said = ssh.run(&node, &jobs(200), None).await.expect("it runs");
    assert_eq!((said.code, said.out.as_str()), (0, "said\n"));
    assert_eq!(rig.heard("pct"), jobs(200).command(&Token::own("x")).expect("a command").input);
    let said = ssh.run(&node, &jobs(202), None).await.expect("it runs");
    assert_eq!((said.code, said.err.as_str()), (7, "seven\n"));
    assert_eq!(ssh.run(&node, &jobs(201), None).await.expect("it runs").code, 255);
    let said = ssh.run(&node, &jobs(203), None).await.expect("it runs");
    assert!(said.truncated && said.code == 0, "what was cut off by the gate is known to be");
    let operation = Operation::Maintenance { enable: false };
    assert_eq!(ssh.run(&node, &operation, None).await.expect("it runs").code, 0);
    assert_eq!(rig.told("ha-manager"), [format!("crm-command node-maintenance disable {node}")]);
    let options = vec![
        (Token::own("features"), "nesting=1,keyctl=1".to_owned()),
        (Token::own("description"), "a'b\n".to_owned()),
    ];
    let operation = Operation::ContainerCreate { vmid: vmid(300), template: "local:vztmpl/x.tar.zst".into(), options };
    let said = ssh.run(&node, &operation, None).await.expect("it runs");
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    let told = std::fs::read_to_string(rig.path("created")).expect("pct was called");
    assert_eq!(
        told,
        "create\x00300\x00local:vztmpl/x.tar.zst\x00--features=nesting=1,keyctl=1\x00--description=a'b\n\x00"
    );
}

#[tokio::test]
async fn a_runner_in_a_container_passes_and_its_secret_is_in_no_log() {
    let Some((rig, node)) = gated() else { return };
    let secret = "eyJzZWNyZXQiOiJ2ZXJ5IHNlY3JldCBpbmRlZWQifQ==";
    let runner =
        Operation::ContainerRunner { vmid: vmid(200), start: super::words::runner(), secret: Handed::new(secret) };
    let ssh = ssh(&rig, &node);
    assert_eq!(ssh.run(&node, &runner, None).await.expect("it runs").code, 0);
    assert_eq!(rig.told("pct"), ["exec 200 -- /bin/sh -s -- runner"]);
    assert_eq!(Start::of_script(&rig.heard("pct")), Some((super::words::runner(), secret.to_owned())));
    assert!(!rig.log().contains(secret));
    let command = runner.command(&Token::own("x")).expect("a command");
    for input in [
        command.input.replace("umask 077", "id; umask 077"),
        command.input.replace("set -- ", "set -- $(id) "),
        command.input.replace(&format!("secret='{secret}'"), "secret=$(id)"),
        format!("{}id\n", command.input),
    ] {
        let said = rig.by_hand("pct exec 200 -- /bin/sh -s -- runner", &input);
        assert_eq!((said.code, said.out.as_str()), (126, ""), "{}", said.err);
        assert!(!said.err.contains(secret), "{}", said.err);
    }
    assert_eq!(rig.told("pct").len(), 1);
}

#[test]
fn nothing_else_passes_the_gate() {
    let Some((rig, node)) = gated() else { return };
    let look = jobs(200).command(&Token::own("x")).expect("a command");
    let create = Operation::ContainerCreate { vmid: vmid(300), template: "t".into(), options: Vec::new() };
    let create = create.command(&Token::own("x")).expect("a command");
    let words = "pct exec 200 -- /bin/sh -s -- read sunday";
    let other = "ha-manager crm-command node-maintenance enable another";
    for (asked, input) in [
        ("rm -rf /nothing", ""),
        ("bash", "id\n"),
        ("bash -c id", ""),
        ("", "id\n"),
        ("id", ""),
        ("/bin/sh", "id\n"),
        ("/bin/sh -s", "id\n"),
        ("/bin/sh -s --", "id\n"),
        ("/bin/sh -s -- read sunday", "id\n"),
        ("/bin/sh -s -- create 300", "id\n"),
        ("/bin/sh -s -- create 300; id", create.input.as_str()),
        ("/bin/sh -s -- create 300", create.input.replace("pct create", "id; pct create").as_str()),
        (words, "id\n"),
        (words, ""),
        (words, format!("{}id\n", look.input).as_str()),
        (words, format!("id\n{}", look.input).as_str()),
        (words, look.input.replacen('\n', "\nid\n", 3).as_str()),
        ("pct exec 200 -- bash", ""),
        ("pct exec 200 -- /bin/sh -s -- read sunday;id", look.input.as_str()),
        ("pct exec 200 -- /bin/sh -s -- read $(id)", look.input.as_str()),
        ("pct exec -200 -- /bin/sh -s -- read sunday", look.input.as_str()),
        ("pct enter 200", ""),
        ("pct destroy 200", ""),
        (other, ""),
        ("ha-manager crm-command stop vm:100", ""),
        ("scp -t /root", ""),
        ("internal-sftp", ""),
    ] {
        let said = rig.by_hand(asked, input);
        assert_eq!((said.code, said.out.as_str()), (126, ""), "`{asked}` passed: {}", said.err);
        assert!(said.err.starts_with("error: "), "{}", said.err);
    }
    for told in ["pct", "ha-manager"] {
        assert_eq!(rig.told(told).len(), 0, "nothing was run");
    }
    let said = rig.by_hand(&format!("ha-manager crm-command node-maintenance enable {node}"), "");
    assert_eq!(said.code, 0, "{}", said.err);
    assert_eq!(rig.told("ha-manager").len(), 1, "by hand, too");
}

#[tokio::test]
async fn a_gate_that_does_not_answer_as_ours_is_told() {
    let Some(rig) = Rig::with("pve1", "command=\"echo no\"") else { return };
    let (cause, hint) = unsent(rig.ssh().run("pve1", &jobs(200), None).await);
    assert!(cause.contains("does not say what it is"), "{cause}");
    assert!(hint.contains("host gate"), "{hint}");
}
