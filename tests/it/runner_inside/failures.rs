//! What fails before a runner begins, what is killed, and what the state file says then.

use super::*;

/// It ends without a runner, and the guest stays on.
fn fails(machine: &Machine, start: &Start, why: &str) -> RunnerState {
    machine.begin(start);
    let state = machine.ended();
    let said = state.why.clone().unwrap_or_default();
    assert!(said.contains(why), "{said}");
    assert!(machine.log().contains(why), "{}", machine.log());
    assert_eq!(machine.read("runner/ran"), "", "nothing ran");
    assert_eq!(machine.calls("systemctl"), Vec::<String>::new(), "it stays for a look");
    machine.keeps_the_secret(why);
    state
}

#[test]
fn a_hook_that_fails_ends_it() {
    for (name, shell) in shells() {
        let machine = Machine::with_shell(&shell);
        let start =
            Start { before: Some("echo mounting; exit 9".into()), after: Some("echo after".into()), ..machine.start() };
        let state = fails(&machine, &start, "the hook before the runner ended with 9");
        assert_eq!(state.exit, Some(9), "{name}");
        assert!(machine.log().contains("mounting\n") && !machine.log().contains("after"), "{name}");
    }
}

#[test]
fn a_hook_that_does_not_end_is_ended() {
    let machine = Machine::new();
    let start = Start { before: Some("sleep 100".into()), ..machine.start() };
    let state = fails(&machine, &start, "the hook before the runner ended with 124");
    assert_eq!(state.exit, Some(124));
    let machine = Machine::new();
    fs::remove_file(machine.path("bin/timeout")).expect("it was there");
    let state = fails(
        &machine,
        &Start { directory: machine.start().directory, ..start },
        "the hook before the runner ended with",
    );
    assert_ne!(state.exit, Some(0), "and without timeout(1), too");
}

#[test]
fn a_hook_after_it_changes_nothing_of_how_it_ended() {
    let machine = Machine::new();
    machine.begin(&Start { after: Some("exit 4".into()), ..machine.start() });
    machine.listens();
    let state = machine.go(0);
    assert_eq!((state.exit, state.why), (Some(0), None));
    assert!(machine.log().contains("the hook after the runner ended with 4"), "{}", machine.log());
}

#[test]
fn another_version_is_not_run() {
    let machine = Machine::new();
    let start = Start { version: Some("2.331.0".into()), ..machine.start() };
    let state = fails(&machine, &start, "is of version 2.330.0, and 2.331.0 is asked for");
    assert_eq!(state.version.as_deref(), Some("2.330.0"));
    let machine = Machine::new();
    machine.begin(&Start { version: Some("2.330.0".into()), ..machine.start() });
    machine.listens();
    machine.go(3);
    let machine = Machine::new();
    fs::remove_file(machine.path("runner/bin/Runner.Listener")).expect("it was there");
    fails(&machine, &Start { version: Some("2.330.0".into()), ..machine.start() }, "is of version unknown");
}

#[test]
fn what_is_not_in_the_guest_is_told() {
    let machine = Machine::new();
    fails(&machine, &Start { directory: "/no/such".into(), ..machine.start() }, "there is no folder /no/such");
    let machine = Machine::new();
    fs::remove_file(machine.path("runner/run.sh")).expect("it was there");
    fails(&machine, &machine.start(), "no run.sh");
    let machine = Machine::new();
    fails(&machine, &Start { user: Some("nobody-here".into()), ..machine.start() }, "there is no user nobody-here");
    let machine = Machine::new();
    machine.tool("hostname", "exit 1");
    machine.tool("hostnamectl", "exit 1");
    fails(&machine, &Start { host_name: true, ..machine.start() }, "the host name could not be set");
}

#[test]
fn a_configuration_that_fails_ends_it() {
    let machine = Machine::new();
    fs::write(machine.path("runner/config-exit"), "5").expect("written");
    let registration = Registration::Token {
        url: "https://github.com/acme".into(),
        labels: vec!["linux".into()],
        group: String::new(),
        folder: "_work".into(),
    };
    let state = fails(&machine, &Start { registration, ..machine.start() }, "config.sh ended with 5");
    assert_eq!(state.exit, Some(5));
    assert!(!machine.read("runner/configured").contains("runnergroup"));
}

#[test]
fn without_a_secret_nothing_is_begun() {
    for (name, shell) in shells() {
        let machine = Machine::with_shell(&shell);
        let output = machine.spawn(&machine.start(), "").wait_with_output().expect("ended");
        assert_eq!(output.status.code(), Some(64), "{name}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("no secret came"), "{name}");
        assert!(!machine.path("root/var").exists(), "{name}");
        // A second one that brings it begins it.
        assert_eq!(machine.begin(&machine.start()), "begun\n", "{name}");
        machine.listens();
        machine.go(3);
    }
}

#[test]
fn a_worker_that_does_not_start_is_told() {
    let machine = Machine::new();
    fs::create_dir_all(machine.path("root/run/systemd/system")).expect("made");
    machine.tool("systemd-run", "");
    assert_eq!(machine.begin(&machine.start()), "");
    assert_eq!(machine.state().why.as_deref(), Some("the worker did not start"));
    machine.keeps_the_secret("nobody took it");
}

#[test]
fn a_worker_that_gets_no_secret_ends() {
    for (name, shell) in shells() {
        let machine = Machine::with_shell(&shell);
        fs::create_dir_all(machine.path("root/run/systemd/system")).expect("made");
        // Who begins it is killed, once it was started.
        let tool = "while :; do case $1 in --*) shift ;; *) break ;; esac; done\nsetsid \"$@\" </dev/null >/dev/null 2>&1 &\n\
                    kill -9 \"$PPID\"";
        machine.tool("systemd-run", tool);
        machine.spawn(&machine.start(), SECRET).wait().expect("it was killed");
        let state = machine.ended();
        assert!(state.why.as_deref().is_some_and(|why| why.contains("the secret did not come")), "{name}: {state:?}");
        assert_eq!(machine.read("runner/ran"), "", "{name}");
        assert_eq!(machine.begin(&machine.start()), "there already\n", "{name}: it is over");
    }
}

#[test]
fn what_is_killed_in_the_middle_is_not_begun_again() {
    let machine = Machine::new();
    machine.begin(&machine.start());
    machine.listens();
    let worker = machine.path("root/var/lib/pvectl/runner/worker").display().to_string();
    let told = |entry: &fs::DirEntry| fs::read(entry.path().join("cmdline")).unwrap_or_default();
    let found: Vec<String> = fs::read_dir("/proc")
        .expect("a system with /proc")
        .flatten()
        .filter(|entry| contains(&told(entry), worker.as_bytes()))
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    assert!(!found.is_empty(), "the worker runs");
    assert!(Command::new("kill").arg("-9").args(&found).status().expect("kill is here").success());
    assert_eq!(machine.begin(&machine.start()), "there already\n");
    assert_eq!(machine.state().phase, Phase::Running, "nobody was left to write anything else");
    assert_eq!(machine.read("runner/ran").matches("args=").count(), 1);
    machine.keeps_the_secret("after the kill");
}
