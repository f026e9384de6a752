//! What has nothing to do with packages: notes, reading, old jobs, half a program, and how a job is detached.

use super::*;

fn note(lines: &[(&str, &str)]) -> Deed {
    Deed::Note { about: token("drain"), lines: lines.iter().map(|(k, v)| (token(k), token(v))).collect() }
}

#[test]
fn notes_are_written_once_in_every_shell() {
    for (name, shell) in shells() {
        let guest = Guest::with_shell(System::Linux, &shell);
        assert_eq!(guest.state().jobs, [], "{name}: nothing is there yet");
        guest.begin(&note(&[("101", "pve1"), ("102", "pve1")]));
        guest.begin(&note(&[("101", "pve9"), ("103", "pve3")]));
        let found = guest.job("drain");
        assert_eq!((found.phase, found.exit), (Phase::Done, Some(0)), "{name}");
        let notes: Vec<(&str, &str)> = found.notes.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(notes, [("101", "pve1"), ("102", "pve1"), ("103", "pve3")], "{name}");
        assert_eq!(guest.state(), guest.file(), "{name}");
    }
}

#[test]
fn half_a_program_does_nothing() {
    let guest = super::apt::debian(None);
    let job = Job { window: token("sunday"), slot: token("20261122T010000Z"), deed: assess() };
    let whole = program::begin(System::Linux, &job).expect("plain");
    for part in [1, 2, 5, 9] {
        let half = &whole[..whole.len() * part / 10];
        let mut child = Command::new(guest.path("bin/sh"));
        let mut child =
            child.args(["-s", "--", "assess", "sunday", "x-assess"]).env_clear().env("PATH", guest.path("bin"));
        child = child.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = child.spawn().expect("started");
        let half = half.replace("ROOT=''\n", &format!("ROOT='{}'\n", guest.path("root").display()));
        let _ = child.stdin.take().expect("piped").write_all(half.as_bytes());
        assert!(!child.wait().expect("ended").success(), "{part}");
        assert!(!guest.path("root/var").join("lib/pvectl").exists(), "{part}");
    }
    assert_eq!(guest.calls(), Vec::<String>::new());
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    let guest = Guest::new(System::Linux);
    for (window, name) in [("../x", "a-b"), ("w", "../x"), (".", "a"), ("-w", "a")] {
        let input = program::look(System::Linux, &token("w"))
            .replace("ROOT=''\n", &format!("ROOT='{}'\n", guest.path("root").display()))
            .replace("/bin/sh", &guest.path("bin/sh").display().to_string());
        let mut command = Command::new(guest.path("bin/sh"));
        let command =
            command.args(["-s", "--", "assess", window, name, "1"]).env_clear().env("PATH", guest.path("bin"));
        let mut child = command.stdin(Stdio::piped()).stderr(Stdio::null()).spawn().expect("started");
        child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("read");
        assert_eq!(child.wait().expect("ended").code(), Some(64), "{window} {name}");
    }
    assert!(!guest.path("root/var").exists());
}

#[test]
fn old_jobs_go_and_those_of_the_slot_stay() {
    let guest = super::apt::debian(None);
    for n in 10..30 {
        let folder = format!("root/var/lib/pvectl/patch/sunday/202601{n}T010000Z-assess");
        guest.write(&format!("{folder}/started"), &format!("{}\n", 1_700_000_000 + n));
        guest.write(
            &format!("{folder}/section"),
            &format!("[202601{n}T010000Z-assess]\nstate=done\nstarted={}\n", 1_700_000_000 + n),
        );
    }
    guest.begin(&note(&[("a", "b")]));
    guest.done("assess", &assess());
    let jobs: Vec<String> = guest.file().jobs.into_iter().map(|job| job.name).collect();
    assert_eq!(jobs.len(), 10, "eight old ones: {jobs:?}");
    assert_eq!(jobs[0], "20260122T010000Z-assess", "the oldest of them come first");
    assert!(jobs.contains(&"20261122T010000Z-drain".to_owned()));
}

#[test]
fn a_claim_without_work_is_dead_and_a_young_one_gets_time() {
    let guest = super::apt::debian(None);
    let folder = "root/var/lib/pvectl/patch/sunday/20261122T010000Z-patch";
    fs::create_dir_all(guest.path(folder)).expect("made");
    assert_eq!(guest.begin(&patch(1, &[("curl", "7.89")])), "there already\n");
    assert_eq!(guest.job("patch").phase, Phase::Died, "whoever claimed it never began");
    assert_eq!(guest.called("apt-get"), Vec::<String>::new());
    let young = "root/var/lib/pvectl/patch/sunday/20261122T010000Z-assess";
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs();
    for (file, text) in [
        ("started", format!("{now}\n")),
        ("boot", "0c9e5f6a-boot".to_owned()),
        ("section", format!("[20261122T010000Z-assess]\nstate=running\nstarted={now}\n")),
    ] {
        guest.write(&format!("{young}/{file}"), &text);
    }
    let revive = Deed::Revive { job: token("20261122T010000Z-assess") };
    guest.begin(&revive);
    assert!(fs::read_to_string(guest.path(young).join("section")).expect("there").contains("state=running"));
    guest.write(&format!("{young}/boot"), "another");
    guest.begin(&revive);
    assert_eq!(guest.job("assess").phase, Phase::Died, "that was another boot");
}

#[test]
fn where_systemd_runs_it_starts_the_worker() {
    let guest = super::apt::debian(None);
    fs::create_dir_all(guest.path("root/run/systemd/system")).expect("made");
    guest.tool(
        "systemctl",
        "case $* in *list-units*) cat \"$T/failed\" 2>/dev/null ;; *is-system-running*) echo running ;; esac",
    );
    guest.tool("systemd-run", "shift 3; setsid \"$@\" </dev/null >/dev/null 2>&1 &");
    let found = guest.done("assess", &assess());
    assert_eq!(found.exit, Some(0));
    let calls = guest.called("systemd-run");
    assert!(
        calls.len() == 1
            && calls[0]
                .starts_with("systemd-run <--quiet> <--collect> <--unit=pvectl-sunday-20261122T010000Z-assess> "),
        "{calls:?}"
    );
    guest.tool("systemd-run", "echo 'Failed to start transient service unit' >&2; exit 1");
    let done = guest.done("patch", &patch(1, &[("curl", "7.89")]));
    assert_eq!(changed(&done), [("curl", "7.88", "7.89")], "then without it");
}
