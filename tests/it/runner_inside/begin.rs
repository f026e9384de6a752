//! How a runner is begun and ends, where all goes well.

use super::*;

#[test]
fn a_runner_is_begun_once_in_every_shell_and_its_secret_stays_nowhere() {
    for (name, shell) in shells() {
        let machine = Machine::with_shell(&shell);
        let start = Start { before: Some("echo \"it's $RUNNER_NAME\" '\\' \\\"; env".into()), ..machine.start() };
        assert_eq!(machine.look(10), Look::default(), "{name}: nothing is there yet");
        assert_eq!(machine.begin(&start), "begun\n", "{name}");
        machine.listens();
        machine.keeps_the_secret(name);
        assert_eq!(machine.begin(&start), "there already\n", "{name}");
        let state = machine.look(0).state;
        assert_eq!((state.phase, state.name.as_str()), (Phase::Running, "ci-50000-ab12t3w0q1"), "{name}");
        assert_eq!((state.version.as_deref(), state.exit, state.ended), (Some("2.330.0"), None, None), "{name}");
        let state = machine.go(3);
        assert_eq!((state.exit, state.why), (Some(3), None), "{name}");
        assert!(
            state.started.is_some_and(|at| at > 1_700_000_000 && state.ended.is_some_and(|end| end >= at)),
            "{name}"
        );
        let me = String::from_utf8_lossy(&Command::new("id").arg("-un").output().expect("id").stdout).trim().to_owned();
        let ran = machine.read("runner/ran");
        for line in ["args=0", &format!("jit={}", hash(SECRET)), &format!("token={}", hash("")), "deprecated=1"] {
            assert!(ran.lines().any(|have| have == line), "{name}: no {line} in {ran}");
        }
        assert!(ran.contains(&format!("user={me} ")) && ran.contains(&format!("name={me} {me}\n")), "{name}: {ran}");
        assert!(ran.contains("umask=0022 locale=none"), "{name}: {ran}");
        assert_eq!(ran.matches("args=").count(), 1, "{name}: it ran once");
        assert_eq!(machine.calls("systemctl"), Vec::<String>::new(), "{name}: what did not end well stays for a look");
        let look = machine.look(3);
        assert!(look.log.ends_with("Exiting runner...\n") && look.log.lines().count() <= 3, "{name}: {look:?}");
        assert!(machine.log().contains("it's ci-50000-ab12t3w0q1 \\ \"\n"), "{name}: {}", machine.log());
        let left = fs::read_dir(machine.path("root/var/lib/pvectl/runner")).expect("a folder");
        let mut left: Vec<String> = left.flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect();
        left.sort();
        assert_eq!(left, ["began", "log", "state"], "{name}");
        machine.keeps_the_secret(name);
    }
}

#[test]
fn a_host_link_begins_the_same_in_every_shell() {
    for (name, shell) in shells() {
        let machine = Machine::with_shell(&shell);
        let start = Start { after: Some("echo \"after: $RUNNER_EXIT '  '\"\ntrue".into()), ..machine.start() };
        let script = start.script(SECRET).expect("plain");
        assert_eq!(machine.begin_by_script(&script), "begun\n", "{name}");
        machine.listens();
        machine.keeps_the_secret(name);
        assert_eq!(machine.begin_by_script(&script), "there already\n", "{name}");
        assert_eq!(machine.go(7).exit, Some(7), "{name}: too old for GitHub");
        assert!(machine.read("runner/ran").contains(&format!("jit={}\n", hash(SECRET))), "{name}");
        assert!(machine.log().contains("after: 7 '  '\n"), "{name}: {}", machine.log());
        machine.keeps_the_secret(name);
    }
}

#[test]
fn half_a_script_does_nothing() {
    let machine = Machine::new();
    let whole = machine.here(&machine.start().script(SECRET).expect("plain"));
    for part in [1, 3, 5, 8, 9] {
        let mut child = machine.shell().args(["-s", "--", "runner"]).spawn().expect("started");
        let _ = child.stdin.take().expect("piped").write_all(&whole.as_bytes()[..whole.len() * part / 10]);
        child.wait().expect("ended");
        assert!(!machine.path("root/var").exists(), "{part}");
    }
}

#[test]
fn what_ended_well_powers_the_guest_off_when_all_is_written_down() {
    let machine = Machine::new();
    machine.tool("systemctl", "cp=$(cat \"$T/root/var/lib/pvectl/runner/state\"); echo \"$cp\" >\"$T/at-the-end\"");
    let start = Start { after: Some(format!("ls -A '{}'", machine.path("runner").display())), ..machine.start() };
    machine.script(
        "runner/run.sh",
        "#!/bin/sh\n: >.credentials\n: >.credentials_rsaparams\n: >.runner\necho 'Listening for Jobs'\n",
    );
    machine.begin(&start);
    assert_eq!(machine.ended().exit, Some(0));
    machine.until("it is powered off", |machine| !machine.read("at-the-end").is_empty());
    assert_eq!(machine.calls("systemctl"), ["systemctl <poweroff> <--no-block>"]);
    assert!(machine.read("at-the-end").contains("phase=ended\n"), "{}", machine.read("at-the-end"));
    assert!(!machine.log().contains(".credentials"), "what it registered with is gone: {}", machine.log());
}

#[test]
fn where_there_is_no_systemd_it_is_powered_off_all_the_same() {
    let machine = Machine::new();
    fs::remove_file(machine.path("bin/systemctl")).expect("it was there");
    machine.tool("poweroff", "");
    machine.begin(&machine.start());
    machine.listens();
    machine.go(0);
    machine.until("it is powered off", |machine| !machine.calls("poweroff").is_empty());
}

#[test]
fn two_who_begin_at_once_begin_one() {
    let machine = Machine::new();
    let start = machine.start();
    let all: Vec<Child> = (0..6).map(|_| machine.spawn(&start, SECRET)).collect();
    let said: Vec<String> = all.into_iter().map(ended).collect();
    assert_eq!(said.iter().filter(|said| *said == "begun\n").count(), 1, "{said:?}");
    machine.listens();
    assert_eq!(machine.go(3).exit, Some(3));
    assert_eq!(machine.read("runner/ran").matches("args=").count(), 1);
}

#[test]
fn systemd_runs_it_where_it_is() {
    let machine = Machine::new();
    fs::create_dir_all(machine.path("root/run/systemd/system")).expect("made");
    machine.tool(
        "systemd-run",
        "while :; do case $1 in --*) shift ;; *) break ;; esac; done\nsetsid \"$@\" </dev/null >/dev/null 2>&1 &",
    );
    machine.begin(&machine.start());
    machine.listens();
    let calls = machine.calls("systemd-run");
    assert_eq!(calls.len(), 1);
    assert!(
        calls[0].starts_with("systemd-run <--quiet> <--collect> <--unit=pvectl-runner> <--property=TasksMax=infinity>"),
        "{calls:?}"
    );
    machine.go(3);
}

#[test]
fn a_systemd_that_fails_is_done_without_and_nothing_runs_twice() {
    // The first knows no such property; one that starts it and then fails all the same makes no second runner.
    for (script, calls) in [
        ("echo 'Unknown assignment' >&2; exit 1", 2),
        (
            "while :; do case $1 in --*) shift ;; *) break ;; esac; done\nsetsid \"$@\" </dev/null >/dev/null 2>&1 &\nsleep 0.3; exit 1",
            2,
        ),
    ] {
        let machine = Machine::new();
        fs::create_dir_all(machine.path("root/run/systemd/system")).expect("made");
        machine.tool("systemd-run", script);
        assert_eq!(machine.begin(&machine.start()), "begun\n");
        machine.listens();
        assert_eq!(machine.calls("systemd-run").len(), calls);
        machine.go(3);
        assert_eq!(machine.read("runner/ran").matches("args=").count(), 1, "{script}");
    }
}

#[test]
fn a_token_configures_it_first() {
    for (name, shell) in shells() {
        let machine = Machine::with_shell(&shell);
        let registration = Registration::Token {
            url: "https://github.com/acme".into(),
            labels: vec!["self-hosted".into(), "it's big".into()],
            group: "my group".into(),
            folder: "_work".into(),
        };
        machine.begin(&Start { registration, ..machine.start() });
        machine.listens();
        machine.keeps_the_secret(name);
        let configured = machine.read("runner/configured");
        let wanted = "<--unattended>\n<--ephemeral>\n<--url>\n<https://github.com/acme>\n<--name>\n<ci-50000-ab12t3w0q1>\n\
                      <--labels>\n<self-hosted,it's big>\n<--work>\n<_work>\n<--runnergroup>\n<my group>\n";
        assert!(configured.starts_with(wanted), "{name}: {configured}");
        assert!(configured.contains(&format!("token={} ", hash(SECRET))), "{name}: {configured}");
        let ran = machine.read("runner/ran");
        assert!(
            ran.contains(&format!("token={}\n", hash(""))) && ran.contains(&format!("jit={}\n", hash(""))),
            "{name}: {ran}"
        );
        assert_eq!(machine.go(0).exit, Some(0), "{name}");
        assert!(!machine.path("runner/.credentials").exists(), "{name}");
    }
}

#[test]
fn the_guest_gets_the_runners_name() {
    let machine = Machine::new();
    let start = Start { host_name: true, ..machine.start() };
    machine.begin(&start);
    machine.listens();
    assert_eq!(machine.calls("hostname"), ["hostnamectl <set-hostname> <ci-50000-ab12t3w0q1>"]);
    assert_eq!(machine.read("root/etc/hosts"), "127.0.1.1 ci-50000-ab12t3w0q1\n");
    machine.go(3);
    let machine = Machine::new();
    machine.tool("hostnamectl", "exit 1");
    machine.begin(&start_in(&machine));
    machine.listens();
    assert_eq!(machine.read("root/etc/hostname"), "ci-50000-ab12t3w0q1\n");
    assert_eq!(machine.calls("hostname ").len(), 1);
    machine.go(3);
}

fn start_in(machine: &Machine) -> Start {
    Start { host_name: true, ..machine.start() }
}
