//! Debian and Ubuntu.

use super::*;

pub(super) fn debian(shell: Option<&Path>) -> Guest {
    let guest = shell.map_or_else(|| Guest::new(System::Linux), |shell| Guest::with_shell(System::Linux, shell));
    with_apt(&guest);
    guest
}

pub(super) fn with_apt(guest: &Guest) {
    guest.write("root/etc/os-release", "ID=debian\nVERSION_ID=\"12\"\n");
    guest.write("root/var/lib/dpkg/status", "Package: curl\n");
    guest.write("db", "curl 7.88\nlibc6 2.36\nopenssl 3.0.15-1~deb12u1\nnginx 1.22\n");
    guest.write(
        "repo",
        "curl 7.89 Debian:12/stable\nopenssl 3.0.17-1~deb12u2 Debian:12/oldstable, Debian-Security:12/stable-security\nlibnew 1.0 Debian:12/stable\n",
    );
    guest.tool("apt-get", include_str!("tools/apt-get.sh"));
    guest.tool("apt-cache", include_str!("tools/apt-cache.sh"));
    guest.tool("dpkg", include_str!("tools/dpkg.sh"));
    guest.tool("dpkg-query", "awk '{ print \"ii \", $1, \"amd64\", $2 }' \"$T/db\"; echo 'rc  gone amd64 1.0'");
    guest.tool(
        "apt-mark",
        "case $1 in showhold) cat \"$T/held\" 2>/dev/null ;; showauto) cat \"$T/auto\" 2>/dev/null ;; esac; true",
    );
}

#[test]
fn debian_is_assessed_and_gets_exactly_what_was_named() {
    // busybox has a dpkg of its own, which it takes before that of PATH; no Debian has it as its shell.
    for (name, shell) in shells().into_iter().filter(|(name, _)| *name != "busybox") {
        let guest = debian(Some(&shell));
        guest.write("held", "nginx\n");
        let found = guest.done("assess", &assess());
        assert_eq!((found.exit, found.manager.as_str()), (Some(0), "apt"), "{name}: {}", guest.log("assess"));
        assert_eq!((found.os.as_str(), found.release.as_str(), found.boot.as_str()), ("debian", "12", "0c9e5f6a-boot"));
        assert_eq!(
            pending(&found),
            [
                ("curl", "7.88", "7.89", false),
                ("libnew", "-", "1.0", false),
                ("openssl", "3.0.15-1~deb12u1", "3.0.17-1~deb12u2", true)
            ],
            "{name}"
        );
        assert!(found.pending.iter().all(|p| p.since >= found.started), "{name}: {found:?}");
        assert_eq!(found.held, ["nginx"]);
        let done = guest.done("patch", &patch(1, &[("openssl", "3.0.17-1~deb12u2"), ("libnew", "1.0")]));
        assert_eq!(done.exit, Some(0), "{name}: {}", guest.log("patch"));
        assert_eq!(changed(&done), [("openssl", "3.0.15-1~deb12u1", "3.0.17-1~deb12u2")], "{name}");
        assert_eq!(
            guest
                .called("apt-get <-y> <-q> <-o> <DPkg::Lock::Timeout=8> <-o> <APT::Get::AutomaticRemove=false>")
                .last()
                .expect("called"),
            "apt-get <-y> <-q> <-o> <DPkg::Lock::Timeout=8> <-o> <APT::Get::AutomaticRemove=false> \
             <-o> <APT::Get::Remove=false> <-o> <Dpkg::Options::=--force-confdef> <-o> <Dpkg::Options::=--force-confold> <--only-upgrade> <install> <openssl=3.0.17-1~deb12u2>",
            "{name}: what is not there is not named"
        );
        let order: Vec<String> = guest
            .calls()
            .into_iter()
            .filter(|c| c.starts_with("dpkg <--force") || c.contains("<-f> <install>") || c.contains("only-upgrade"))
            .collect();
        assert!(order.len() == 3 && order[0].starts_with("dpkg ") && order[1].contains("<-f> <install>"), "{order:#?}");
        assert!(done.log.iter().any(|line| line.contains("Setting up openssl")), "{done:?}");
        assert_eq!(guest.state().jobs, guest.file().jobs, "{name}: what is read is what stands there");
    }
}

#[test]
fn none_runs_twice() {
    let guest = debian(None);
    let deed = patch(1, &[("curl", "7.89")]);
    guest.done("patch", &deed);
    let before = guest.calls().len();
    assert_eq!(guest.begin(&deed), "there already\n");
    assert_eq!(guest.begin(&deed), "there already\n");
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(guest.calls().len(), before);
    assert_eq!(guest.file().jobs.len(), 1);
}

#[test]
fn what_is_killed_is_found_dead_and_repaired_by_the_next() {
    let guest = debian(None);
    guest.write("slow", "");
    let all = [("curl", "7.89"), ("openssl", "3.0.17-1~deb12u2")];
    assert_eq!(guest.begin(&patch(1, &all)), "begun\n");
    let begun = Instant::now();
    while !guest.log("patch").contains("Setting up") {
        assert!(begun.elapsed() < Duration::from_secs(20), "{}", guest.log("patch"));
        std::thread::sleep(Duration::from_millis(50));
    }
    let revive = Deed::Revive { job: token("20261122T010000Z-patch") };
    guest.begin(&revive);
    assert_eq!(guest.job("patch").phase, Phase::Running, "it lives");
    let beats = guest.job("patch").beat;
    std::thread::sleep(Duration::from_millis(2500));
    assert!(guest.job("patch").beat > beats, "it gives signs of life");
    guest.kill("patch");
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(guest.job("patch").phase, Phase::Running, "nobody could say otherwise");
    fs::remove_file(guest.path("slow")).expect("removed");
    guest.write("db", "curl 7.89\nlibc6 2.36\nopenssl 3.0.15-1~deb12u1\nnginx 1.22\n");
    guest.begin(&revive);
    let dead = guest.job("patch");
    assert_eq!((dead.phase, dead.exit), (Phase::Died, None));
    assert_eq!(changed(&dead), [("curl", "7.88", "7.89")], "what it got done is known");
    guest.write("calls", "");
    let second = guest.done("patch2", &patch(2, &all));
    assert_eq!((second.exit, changed(&second)), (Some(0), vec![("openssl", "3.0.15-1~deb12u1", "3.0.17-1~deb12u2")]));
    let first = guest.calls().into_iter().find(|c| c.starts_with("dpkg <--force") || c.contains("install"));
    assert_eq!(first.as_deref(), Some("dpkg <--force-confdef> <--force-confold> <--configure> <-a>"));
}

#[test]
fn what_fails_says_so() {
    let guest = debian(None);
    guest.write("offline", "");
    let found = guest.done("assess", &assess());
    assert_eq!((found.exit, found.pending.len()), (Some(100), 0), "a source that is not reached is an error");
    guest.write("exit", "100");
    let half = guest.done("patch", &patch(1, &[("curl", "7.89")]));
    assert_eq!(
        (half.exit, changed(&half)),
        (Some(100), vec![("curl", "7.88", "7.89")]),
        "it changed something nevertheless"
    );
}

#[test]
fn a_version_that_is_gone_is_left_out_and_the_others_come() {
    // busybox has a dpkg of its own, which it takes before that of PATH; no Debian has it as its shell.
    for (name, shell) in shells().into_iter().filter(|(name, _)| *name != "busybox") {
        let guest = debian(Some(&shell));
        let done =
            guest.done("patch", &patch(1, &[("curl", "7.99"), ("openssl", "3.0.17-1~deb12u2"), ("absent", "1")]));
        let changes = vec![("openssl", "3.0.15-1~deb12u1", "3.0.17-1~deb12u2")];
        assert_eq!((done.exit, changed(&done)), (Some(0), changes), "{name}: {}", guest.log("patch"));
        let left: Vec<&String> = done.log.iter().filter(|line| line.starts_with("left ")).collect();
        assert_eq!(left, ["left curl 7.99: no longer offered"], "{name}");
        let none = guest.done("patch2", &patch(2, &[("curl", "7.99")]));
        assert_eq!((none.exit, changed(&none)), (Some(0), Vec::new()), "{name}: {}", guest.log("patch2"));
        assert!(none.log.iter().any(|line| line == "nothing of the list is to be installed"), "{name}: {none:?}");
    }
    let guest = debian(None);
    guest.tool("apt-cache", "exit 100");
    let tried = guest.done("patch", &patch(1, &[("curl", "7.99")]));
    assert_eq!((tried.exit, changed(&tried)), (Some(100), Vec::new()), "what cannot be told is tried");
    assert!(tried.log.iter().any(|line| line.contains("was not found")), "{tried:?}");
}

#[test]
fn nothing_is_removed_from_a_guest() {
    let guest = debian(None);
    guest.write("removes", "nginx\n");
    let done = guest.done("patch", &patch(1, &[("curl", "7.89")]));
    assert_eq!((done.exit, changed(&done)), (Some(100), Vec::new()), "{}", guest.log("patch"));
    assert!(done.log.iter().any(|line| line.contains("remove is disabled")), "{done:?}");
    let repair = guest.called("apt-get").into_iter().find(|call| call.contains("<-f> <install>")).expect("called");
    assert!(repair.contains("<APT::Get::Remove=false>"), "{repair}");
}

#[test]
fn what_an_earlier_kill_left_is_mended_by_the_next_look() {
    // busybox has a dpkg of its own, which it takes before that of PATH; no Debian has it as its shell.
    for (name, shell) in shells().into_iter().filter(|(name, _)| *name != "busybox") {
        let guest = debian(Some(&shell));
        guest.write("repo", "");
        assert_eq!(guest.done("assess", &assess()).exit, Some(0));
        let touched = |guest: &Guest| guest.calls().iter().any(|c| c.contains("--configure") || c.contains("<-f>"));
        assert!(!touched(&guest), "{name}: what is whole is only looked at: {:?}", guest.calls());
        guest.write("half", "curl\n");
        let found = guest.done("assess2", &Deed::Assess { attempt: 2, refresh: true });
        assert_eq!((found.exit, changed(&found)), (Some(0), Vec::new()), "{name}: {}", guest.log("assess2"));
        assert!(touched(&guest) && !guest.path("half").exists(), "{name}: {:?}", guest.calls());
        guest.write("broken", "libc6 2.37\n");
        let found = guest.done("assess3", &Deed::Assess { attempt: 3, refresh: false });
        assert_eq!((found.exit, changed(&found)), (Some(0), vec![("libc6", "2.36", "2.37")]), "{name}");
        assert_eq!(found.pending.len(), 0, "{name}: {found:?}");
        guest.write("half", "curl\n");
        guest.write("offline", "");
        let found = guest.done("assess4", &Deed::Assess { attempt: 4, refresh: true });
        assert_eq!(found.exit, Some(100), "{name}: the index is not fetched");
        assert!(!guest.path("half").exists(), "{name}: but it is mended");
    }
}

#[test]
fn a_lock_is_waited_for() {
    let guest = debian(None);
    guest.write("locked", "");
    let done = guest.done("patch", &patch(1, &[("curl", "7.89")]));
    assert_eq!((done.exit, changed(&done)), (Some(0), vec![("curl", "7.88", "7.89")]), "{}", guest.log("patch"));
}

#[test]
fn what_is_held_newer_or_hostile_is_left_alone() {
    let guest = debian(None);
    guest.write("held", "curl\n");
    guest.write("root/var/lib/dpkg/status", "Package: curl\n");
    guest.write("db", "curl 7.88\nopenssl 3.0.18-1~deb12u1\nlibc6 2.36\n");
    let done = guest.done("patch", &patch(1, &[("curl", "7.89"), ("openssl", "3.0.17-1~deb12u2")]));
    assert_eq!((done.exit, changed(&done)), (Some(0), Vec::new()));
    assert!(
        guest.called("apt-get").iter().all(|call| !call.contains('=') || !call.contains("only-upgrade")),
        "{:?}",
        guest.calls()
    );
    assert!(done.log.iter().any(|line| line == "curl is held: left as it is"), "{done:?}");
}

#[test]
fn a_list_is_never_a_command() {
    let guest = debian(None);
    let job = Job { window: token("sunday"), slot: token("20261122T010000Z"), deed: patch(1, &[("curl", "7.89")]) };
    let evil = "package $(touch$IFS$T/pwned) `touch pwned`\npackage -oDpkg::Pre-Invoke::=id 1\npackage a;id 1\npackage curl 7.89";
    let input = program::begin(System::Linux, &job).expect("plain").replace("package curl 7.89", evil);
    assert_eq!(guest.run(&job.args(), &input), "begun\n");
    let done = guest.ended("patch");
    assert_eq!((done.exit, changed(&done)), (Some(0), vec![("curl", "7.88", "7.89")]), "{}", guest.log("patch"));
    assert!(guest.calls().iter().all(|call| !call.contains("Pre-Invoke")), "{:?}", guest.calls());
    assert!(!guest.path("pwned").exists() && !guest.path("root/pwned").exists());
}

#[test]
fn a_flood_of_output_stays_small() {
    let guest = debian(None);
    guest.write("flood", "");
    guest.write("slow", "");
    guest.begin(&patch(1, &[("curl", "7.89")]));
    let begun = Instant::now();
    while guest.log("patch").len() > 400_000 || guest.log("patch").len() < 100_000 {
        assert!(begun.elapsed() < Duration::from_secs(20), "{}", guest.log("patch").len());
        std::thread::sleep(Duration::from_millis(100));
    }
    fs::remove_file(guest.path("slow")).expect("removed");
    let done = guest.ended("patch");
    assert_eq!(done.exit, Some(0));
    let text = guest.read("root/var/lib/pvectl/patch/sunday/state");
    assert!(
        text.len() < 20_000 && done.log.len() <= 40 && done.log.iter().all(|line| line.len() <= 300),
        "{}",
        text.len()
    );
}

#[test]
fn vulnerabilities_come_from_the_new_part_of_a_changelog() {
    let guest = debian(None);
    let log = "openssl (3.0.17-1~deb12u2) bookworm-security; urgency=medium\n\n  * CVE-2026-1111 and CVE-2026-22222\n\n -- D <d@example.org>\n\n\
               openssl (3.0.15-1~deb12u1) bookworm; urgency=medium\n\n  * CVE-2025-9999\n";
    guest.write("root/usr/share/doc/openssl/changelog.Debian", log);
    let gzip = Command::new("gzip").arg(guest.path("root/usr/share/doc/openssl/changelog.Debian")).status();
    assert!(gzip.is_ok_and(|s| s.success()));
    let done = guest.done("patch", &patch(1, &[("openssl", "3.0.17-1~deb12u2")]));
    assert_eq!(done.cves, ["CVE-2026-1111", "CVE-2026-22222"], "{done:?}");
}

#[test]
fn a_reboot_is_asked_for_by_the_file_by_a_kernel_or_in_a_container_by_what_runs() {
    let guest = debian(None);
    guest.write("root/run/reboot-required", "");
    guest.write("root/run/reboot-required.pkgs", "linux-image-6.1.0-9-amd64\ndbus\n");
    assert_eq!(guest.done("assess", &assess()).reboot.as_deref(), Some("dbus linux-image-6.1.0-9-amd64"));
    let guest = debian(None);
    for kernel in ["6.1.0-1-amd64", "6.1.0-12-amd64", "6.1.0-14-cloud-amd64", "6.1.0-9-amd64"] {
        guest.write(&format!("root/boot/vmlinuz-{kernel}"), "");
    }
    let why = guest.done("assess", &assess()).reboot;
    assert_eq!(why.as_deref(), Some("kernel 6.1.0-12-amd64 is installed, 6.1.0-1-amd64 runs"));
    guest.write("kernel", "6.1.0-12-amd64\n");
    fs::remove_dir_all(guest.path("root/var")).expect("removed");
    assert_eq!(guest.done("assess", &assess()).reboot, None);
    let guest = debian(None);
    guest.write("root/proc/1/environ", "a=b\0container=lxc\0");
    guest.write("root/run/reboot-required", "");
    guest.write("root/proc/77/comm", "sshd\n");
    guest.write("root/proc/77/maps", "7f-80 r-xp 0 08:01 1   /usr/lib/x86_64-linux-gnu/libcrypto.so.3 (deleted)\n");
    guest.write("root/proc/78/comm", "fine\n");
    guest.write(
        "root/proc/78/maps",
        "7f-80 r-xp 0 08:01 1   /usr/lib/libc.so.6\n80-81 rw-s 0 00:01 9   /memfd:x (deleted)\n",
    );
    let found = guest.done("assess", &assess());
    assert_eq!(found.reboot.as_deref(), Some("replaced files are still in use by: sshd"));
    assert!(found.boot.starts_with("0c9e5f6a.") && found.boot.len() > 9, "{}", found.boot);
}

#[test]
fn what_was_first_seen_keeps_its_day() {
    let guest = debian(None);
    guest.write("root/var/lib/pvectl/patch/sunday/seen", "curl 7.89 1000\ncurl 7.80 500\n");
    let found = guest.done("assess", &assess());
    let since = |name: &str| found.pending.iter().find(|p| p.name == name).map(|p| p.since);
    assert_eq!(since("curl"), Some(1000));
    assert!(since("openssl").is_some_and(|s| s >= found.started));
    assert!(!guest.read("root/var/lib/pvectl/patch/sunday/seen").contains("7.80"), "what waits no more is forgotten");
}

/// The real apt-get and dpkg-query of a Debian, where this is one: nothing is changed, since only the simulation is asked.
#[test]
#[expect(clippy::print_stderr, reason = "a test says why it measured nothing")]
fn the_real_tools_of_debian_are_understood() {
    let real = ["apt-get", "apt-mark", "dpkg", "dpkg-query"].map(|tool| (tool, find(tool)));
    if real.iter().any(|(_, path)| path.is_none()) || !Path::new("/var/lib/dpkg/status").exists() {
        let required = std::env::var_os("PVECTL_TEST_REQUIRE_ALL").is_some_and(|v| v == "1");
        assert!(!required, "PVECTL_TEST_REQUIRE_ALL=1, but this is no Debian");
        eprintln!("skipped: this is no Debian");
        return;
    }
    let guest = Guest::new(System::Linux);
    guest.write("root/var/lib/dpkg/status", "Package: any\n");
    for (tool, path) in real {
        symlink(path.expect("found"), guest.path("bin").join(tool)).expect("linked");
    }
    let found = guest.done("assess", &Deed::Assess { attempt: 1, refresh: false });
    assert_eq!(found.exit, Some(0), "{}", guest.log("assess"));
    let said = Command::new("apt-get")
        .args(["-s", "-q", "-o", "Debug::NoLocking=true", "dist-upgrade"])
        .env("LC_ALL", "C")
        .output();
    let said = String::from_utf8_lossy(&said.expect("run").stdout).into_owned();
    let names: std::collections::BTreeSet<&str> =
        said.lines().filter_map(|line| line.strip_prefix("Inst ")?.split(' ').next()).collect();
    assert_eq!(found.pending.iter().map(|p| p.name.as_str()).collect::<std::collections::BTreeSet<_>>(), names);
    assert!(found.pending.iter().all(|p| !p.to.contains(['(', ')', '['])), "{found:?}");
}
