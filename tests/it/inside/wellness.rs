//! Whether a guest is well.

use super::*;

fn health(attempt: u8, tcp: &[u16], units: bool, command: &[&str], timeout: u32) -> Deed {
    let command = command.iter().map(|word| (*word).to_owned()).collect();
    Deed::Health { attempt, tcp: tcp.to_vec(), units, command, timeout }
}

fn said(job: &JobState) -> Vec<(&str, bool)> {
    job.checks.iter().map(|check| (check.what.as_str(), check.ok)).collect()
}

const LISTENING: &str = "  sl  local_address rem_address   st\n   0: 00000000:0016 00000000:0000 0A 0\n   1: 0100007F:1F90 0100007F:9999 01 0\n";

#[test]
fn ports_and_a_command_without_a_shell() {
    for (name, shell) in shells() {
        let guest = Guest::with_shell(System::Linux, &shell);
        guest.write("root/proc/net/tcp", LISTENING);
        guest.write("root/proc/net/tcp6", "  sl\n   0: 00000000000000000000000000000000:01BB 0:0 0A 0\n");
        guest.tool("probe", "exit \"$(cat \"$T/exit\" 2>/dev/null || echo 0)\"");
        let well =
            guest.done("health", &health(1, &[22, 443], true, &["probe", "$HOME", "a  b; id", "-x", "it's"], 20));
        assert_eq!(
            (well.exit, said(&well)),
            (Some(0), vec![("tcp:22", true), ("tcp:443", true), ("command", true)]),
            "{name}: {}",
            guest.log("health")
        );
        assert_eq!(guest.called("probe"), ["probe <$HOME> <a  b; id> <-x> <it's>"], "{name}");
        guest.write("exit", "3\n");
        let ill = guest.done("health2", &health(2, &[8080], false, &["probe"], 1));
        assert_eq!((ill.exit, said(&ill)), (Some(1), vec![("tcp:8080", false), ("command", false)]), "{name}");
        assert!(ill.checks[1].said.starts_with("exit status 3"), "{ill:?}");
    }
}

#[test]
fn a_command_that_hangs_is_ended() {
    let guest = Guest::new(System::Linux);
    guest.tool("probe", "sleep 300");
    let begun = Instant::now();
    let ill = guest.done("health", &health(1, &[], false, &["probe"], 2));
    assert!(begun.elapsed() < Duration::from_secs(20));
    assert_eq!((ill.exit, said(&ill)), (Some(1), vec![("command", false)]));
    assert!(ill.checks[0].said.contains("124"), "{ill:?}");
    fs::remove_file(guest.path("bin/timeout")).expect("removed");
    let ill = guest.done("health2", &health(2, &[], false, &["probe"], 2));
    assert!(ill.checks[0].said.contains("124"), "without timeout too: {ill:?}");
}

#[test]
fn it_is_waited_for_and_then_well() {
    let guest = Guest::new(System::Linux);
    assert_eq!(guest.begin(&health(1, &[22], false, &[], 30)), "begun\n");
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(guest.job("health").phase, Phase::Running);
    guest.write("root/proc/net/tcp", LISTENING);
    assert_eq!(guest.ended("health").exit, Some(0));
}

#[test]
fn only_units_that_were_well_before_count() {
    let guest = super::apt::debian(None);
    fs::create_dir_all(guest.path("root/run/systemd/system")).expect("made");
    guest.write("failed", "old.service loaded failed failed Old\n");
    guest.tool("systemctl", "case $* in *list-units*) cat \"$T/failed\" ;; *is-system-running*) cat \"$T/running\" 2>/dev/null || echo degraded ;; esac");
    guest.tool("systemd-run", "shift 3; setsid \"$@\" </dev/null >/dev/null 2>&1 &");
    assert_eq!(guest.done("assess", &assess()).failed_units, ["old.service"]);
    assert_eq!(guest.done("health", &health(1, &[], true, &[], 1)).exit, Some(0));
    guest.write("failed", "old.service loaded failed failed Old\nnginx.service loaded failed failed N\n");
    guest.done("assess2", &Deed::Assess { attempt: 2, refresh: false });
    let ill = guest.done("health2", &health(2, &[], true, &[], 1));
    assert_eq!((ill.exit, ill.checks[0].said.trim()), (Some(1), "nginx.service"));
    guest.write("failed", "");
    guest.write("running", "starting\n");
    assert_eq!(guest.done("health3", &health(3, &[], true, &[], 1)).exit, Some(1), "it still starts");
}
