//! As whom a runner runs. Only root can start it as somebody else; where the tests run as another, that is all there is to see.

use super::*;

fn root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|said| said.stdout == b"0\n")
}

fn give_to_nobody(machine: &Machine) {
    let status = Command::new("chown").args(["-R", "nobody"]).arg(machine.path("runner")).status();
    assert!(status.expect("chown is here").success());
}

#[test]
fn the_owner_of_the_folder_runs_it_whatever_tool_there_is() {
    if !root() {
        crate::apidoc::say("skipped: only root can start a runner as somebody else");
        return;
    }
    for tool in ["runuser", "setpriv", "su"] {
        let machine = Machine::new();
        give_to_nobody(&machine);
        let Some(there) = find(tool) else { continue };
        symlink(there, machine.path("bin").join(tool)).expect("linked");
        let hook = format!("id -un >'{}'", machine.path("hook").display());
        machine.begin(&Start { before: Some(hook), ..machine.start() });
        machine.listens();
        machine.keeps_the_secret(tool);
        let ran = machine.read("runner/ran");
        assert!(ran.contains("user=nobody ") && ran.contains("name=nobody nobody\n"), "{tool}: {ran}");
        assert!(ran.contains("as_root=\n") && ran.contains(&format!("jit={}\n", hash(SECRET))), "{tool}: {ran}");
        assert_eq!(machine.read("hook"), "root\n", "{tool}");
        assert_eq!(machine.read("runner/asked"), "nobody\n", "{tool}: its version is asked as its user");
        assert_eq!(machine.go(3).exit, Some(3), "{tool}");
    }
}

#[test]
fn a_user_can_be_named_and_root_is_told_that_this_is_meant() {
    let machine = Machine::new();
    if !root() {
        let state = {
            machine.begin(&Start { user: Some("root".into()), ..machine.start() });
            machine.ended()
        };
        assert!(state.why.is_some_and(|why| why.contains("only root can run it as root")));
        return;
    }
    symlink(find("setpriv").expect("util-linux is here"), machine.path("bin/setpriv")).expect("linked");
    give_to_nobody(&machine);
    machine.begin(&Start { user: Some("root".into()), ..machine.start() });
    machine.listens();
    let ran = machine.read("runner/ran");
    assert!(ran.contains("user=root home=/root ") && ran.contains("as_root=1\n"), "{ran}");
    machine.go(3);
}
