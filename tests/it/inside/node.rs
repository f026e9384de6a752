//! The program for nodes.

use super::*;

fn node() -> Guest {
    let guest = Guest::new(System::Node);
    super::apt::with_apt(&guest);
    fs::create_dir_all(guest.path("root/run/systemd/system")).expect("made");
    guest.tool(
        "systemctl",
        "case $* in *is-active*) ! grep -Fxq \"$3\" \"$T/down\" 2>/dev/null ;; *list-units*) cat \"$T/failed\" 2>/dev/null ;; *is-system-running*) echo running ;; esac",
    );
    guest.tool("systemd-run", "shift 3; setsid \"$@\" </dev/null >/dev/null 2>&1 &");
    guest.write("kernel", "6.17.2-1-pve\n");
    guest
}

#[test]
fn a_node_is_upgraded_whole_and_says_which_kernel_waits() {
    let guest = node();
    for kernel in ["6.17.2-1-pve", "6.17.10-1-pve", "6.17.4-1-pve"] {
        guest.write(&format!("root/boot/vmlinuz-{kernel}"), "");
    }
    let done = guest.done("upgrade", &Deed::Upgrade { attempt: 1 });
    assert_eq!(done.exit, Some(0), "{}", guest.log("upgrade"));
    assert_eq!(changed(&done).len(), 3, "new packages too: {done:?}");
    assert_eq!(done.reboot.as_deref(), Some("kernel 6.17.10-1-pve is installed, 6.17.2-1-pve runs"));
    let calls = guest.called("apt-get <-y>");
    assert!(
        calls.last().is_some_and(|call| call.ends_with("<--force-confold> <dist-upgrade>")
            || call.ends_with("<Dpkg::Options::=--force-confold> <dist-upgrade>")),
        "{calls:#?}"
    );
    assert!(guest.called("apt-get").iter().all(|call| !call.contains("<upgrade>")), "never plain upgrade");
    guest.write("root/etc/kernel/proxmox-boot-pin", "6.17.2-1-pve\n");
    let again = guest.done("upgrade2", &Deed::Upgrade { attempt: 2 });
    assert_eq!(again.reboot, None, "the pinned kernel runs");
}

#[test]
fn a_node_is_well_when_its_services_are_active() {
    let guest = node();
    guest.write("failed", "old.service loaded failed failed Old\n");
    guest.done("upgrade", &Deed::Upgrade { attempt: 1 });
    let health = |attempt| Deed::Health { attempt, tcp: Vec::new(), units: true, command: Vec::new(), timeout: 1 };
    let well = guest.done("health", &health(1));
    assert_eq!(well.exit, Some(0), "{well:?}");
    assert_eq!(
        well.checks.iter().find(|c| c.what == "services").map(|c| c.said.as_str()),
        Some("active: pve-cluster pvedaemon pveproxy pvestatd")
    );
    guest.write("root/etc/pve/corosync.conf", "totem {}\n");
    guest.write("down", "corosync\n");
    let ill = guest.done("health2", &health(2));
    assert_eq!(ill.checks.iter().find(|c| c.what == "services").map(|c| c.said.as_str()), Some("not active: corosync"));
    assert_eq!(ill.exit, Some(1));
}

#[test]
fn a_node_takes_no_work_of_guests() {
    let guest = node();
    let job = Job { window: token("sunday"), slot: token("20261122T010000Z"), deed: assess() };
    let input = program::begin(System::Node, &job).expect("plain");
    let input = input.replace("ROOT=''\n", &format!("ROOT='{}'\n", guest.path("root").display()));
    let mut command = Command::new(guest.path("bin/sh"));
    let command = command
        .args(["-s", "--"])
        .args(job.args().iter().map(Token::as_str))
        .env_clear()
        .env("PATH", guest.path("bin"));
    let mut child = command.stdin(Stdio::piped()).stderr(Stdio::null()).spawn().expect("started");
    child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("read");
    assert_eq!(child.wait().expect("ended").code(), Some(64));
}
