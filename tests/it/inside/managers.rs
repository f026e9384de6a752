//! Alpine, Fedora, SUSE and Arch.

use super::*;

fn alpine(shell: Option<&Path>) -> Guest {
    let guest = shell.map_or_else(|| Guest::new(System::Linux), |shell| Guest::with_shell(System::Linux, shell));
    guest.write("root/etc/os-release", "ID=alpine\nVERSION_ID=3.22.1\n");
    guest.write("root/etc/apk/world", "alpine-base\nnginx=1.28.0-r3\nopenssl>3\n");
    guest.write("db", "busybox 1.37.0-r18\nopenssl 3.5.1-r0\nnginx 1.28.0-r3\nlibcrypto3 3.5.1-r0\n");
    guest.write("repo", "busybox 1.37.0-r19\nopenssl 3.5.4-r0\nlibcrypto3 3.5.4-r0\nnginx 1.28.0-r4\n");
    guest.tool("apk", include_str!("tools/apk.sh"));
    guest
}

#[test]
fn alpine_is_patched_and_nothing_stays_pinned() {
    for (name, shell) in shells() {
        let guest = alpine(Some(&shell));
        let found = guest.done("assess", &assess());
        assert_eq!((found.exit, found.manager.as_str(), found.release.as_str()), (Some(0), "apk", "3.22.1"), "{name}");
        assert_eq!(found.pending.len(), 4, "{name}: {found:?}");
        assert_eq!(pending(&found)[0], ("busybox", "1.37.0-r18", "1.37.0-r19", false));
        assert_eq!(found.held, ["nginx"]);
        let wanted = [("openssl", "3.5.4-r0"), ("libcrypto3", "3.5.4-r0"), ("nginx", "1.28.0-r4"), ("absent", "1-r0")];
        let done = guest.done("patch", &patch(1, &wanted));
        assert_eq!(done.exit, Some(0), "{name}: {}", guest.log("patch"));
        assert_eq!(changed(&done), [("libcrypto3", "3.5.1-r0", "3.5.4-r0"), ("openssl", "3.5.1-r0", "3.5.4-r0")]);
        assert_eq!(guest.called("apk <add>"), ["apk <add> <--upgrade> <openssl=3.5.4-r0> <libcrypto3=3.5.4-r0>"]);
        assert_eq!(guest.read("root/etc/apk/world"), "alpine-base\nnginx=1.28.0-r3\nopenssl>3\n", "{name}");
    }
}

#[test]
fn pins_of_a_killed_job_go_with_the_next_look() {
    let guest = alpine(None);
    guest.write("slow", "");
    assert_eq!(guest.begin(&patch(1, &[("openssl", "3.5.4-r0")])), "begun\n");
    let begun = Instant::now();
    while !guest.read("root/etc/apk/world").contains("openssl=3.5.4-r0") {
        assert!(begun.elapsed() < Duration::from_secs(20), "{}", guest.log("patch"));
        std::thread::sleep(Duration::from_millis(50));
    }
    guest.kill("patch");
    fs::remove_file(guest.path("slow")).expect("removed");
    let world = guest.read("root/etc/apk/world");
    guest.write("root/etc/apk/world", &format!("{world}htop\n"));
    guest.begin(&Deed::Revive { job: token("20261122T010000Z-patch") });
    assert_eq!(guest.job("patch").phase, Phase::Died);
    let lines: std::collections::BTreeSet<String> =
        guest.read("root/etc/apk/world").lines().map(str::to_owned).collect();
    let wanted = ["alpine-base", "htop", "nginx=1.28.0-r3", "openssl>3"].map(str::to_owned);
    assert_eq!(lines, wanted.into(), "what somebody wrote since stays");
    let done = guest.done("patch2", &patch(2, &[("openssl", "3.5.4-r0")]));
    assert_eq!((done.exit, changed(&done)), (Some(0), vec![("openssl", "3.5.1-r0", "3.5.4-r0")]));
    assert!(guest.calls().iter().any(|call| call == "apk <fix>"));
}

#[test]
fn a_repository_of_alpine_that_is_not_reached_is_an_error() {
    let guest = alpine(None);
    guest.write("offline", "");
    assert_eq!(guest.done("assess", &assess()).exit, Some(1));
}

/// What a job said it left out.
fn left(job: &JobState) -> Vec<&str> {
    job.log.iter().filter_map(|line| line.strip_prefix("left ")).collect()
}

#[test]
fn what_is_gone_from_the_repositories_is_left_out_and_the_others_come() {
    for (name, shell) in shells() {
        let guest = alpine(Some(&shell));
        let done = guest.done("patch", &patch(1, &[("openssl", "3.5.3-r0"), ("libcrypto3", "3.5.4-r0")]));
        let changes = vec![("libcrypto3", "3.5.1-r0", "3.5.4-r0")];
        assert_eq!((done.exit, changed(&done)), (Some(0), changes), "{name}: {}", guest.log("patch"));
        assert_eq!(left(&done), ["openssl 3.5.3-r0: no longer offered"], "{name}");
        let none = guest.done("patch2", &patch(2, &[("openssl", "3.5.3-r0")]));
        assert_eq!((none.exit, changed(&none), left(&none).len()), (Some(0), Vec::new(), 1), "{name}");
        assert_eq!(guest.read("root/etc/apk/world"), "alpine-base\nnginx=1.28.0-r3\nopenssl>3\n", "{name}");
    }
    for dnf in ["dnf", "dnf5"] {
        let guest = fedora(dnf);
        let wanted =
            [("openssl-libs", "1:3.2.6-2.fc42"), ("openssl-libs.i686", "1:3.2.5-9.fc42"), ("tzdata", "2026b-1.fc42")];
        let done = guest.done("patch", &patch(1, &wanted));
        let call = "<openssl-libs-1:3.2.6-2.fc42> <tzdata-2026b-1.fc42>";
        assert!(guest.calls().iter().any(|c| c.ends_with(call)), "{:#?}", guest.calls());
        assert_eq!((done.exit, left(&done)), (Some(0), vec!["openssl-libs.i686 1:3.2.5-9.fc42: no longer offered"]));
    }
    let guest = fedora("yum");
    let all = guest.read("bin/yum").replace("*repoquery*) ", "*repoquery*) exit 1; ");
    guest.write("bin/yum", &all);
    let tried = guest.done("patch", &patch(1, &[("tzdata", "2026z-1.fc42")]));
    assert_eq!(left(&tried), Vec::<&str>::new(), "what cannot be told is tried");
    assert!(guest.calls().iter().any(|c| c.ends_with("<tzdata-2026z-1.fc42>")), "{:#?}", guest.calls());
    let guest = suse();
    let done = guest.done("patch", &patch(1, &[("libopenssl3", "3.1.4-8.1"), ("zypper", "1.14.90-1.1")]));
    assert_eq!((done.exit, left(&done)), (Some(0), vec!["libopenssl3 3.1.4-8.1: no longer offered"]));
    assert!(guest.called("zypper <--non-interactive> <install>").iter().all(|c| c.ends_with(" <zypper=1.14.90-1.1>")));
}

#[test]
fn pins_that_a_kill_left_go_with_the_next_look() {
    let guest = alpine(None);
    guest.write("root/etc/apk/world", "alpine-base\nnginx=1.28.0-r3\nopenssl=3.5.4-r0\n");
    guest.write("root/var/lib/pvectl/patch/sunday/world.before", "alpine-base\nnginx=1.28.0-r3\nopenssl>3\n");
    guest.write("root/var/lib/pvectl/patch/sunday/world.pins", "openssl=3.5.4-r0\n");
    assert_eq!(guest.done("assess", &assess()).exit, Some(0), "{}", guest.log("assess"));
    assert_eq!(guest.read("root/etc/apk/world"), "alpine-base\nnginx=1.28.0-r3\nopenssl>3\n");
    assert_eq!(guest.called("apk <fix>").len(), 1);
    guest.done("assess2", &Deed::Assess { attempt: 2, refresh: true });
    assert_eq!(guest.called("apk <fix>").len(), 1, "what is whole is left alone");
}

/// `rpm` of a list: NAME ARCH EPOCH:VERSION.
const RPM: &str = r#"case $* in
*--changelog*) cat "$T/changelog" ;;
*) awk '{ print NR, $1, $2, $3 }' "$T/db" ;;
esac"#;

fn fedora(dnf: &str) -> Guest {
    let guest = Guest::new(System::Linux);
    guest.write("root/etc/os-release", "ID=fedora\nVERSION_ID=42\n");
    guest.write("db", "gpg-pubkey (none) 0:1-1\nopenssl-libs x86_64 1:3.2.4-3.fc42\nopenssl-libs i686 1:3.2.4-3.fc42\nkernel-core x86_64 0:6.15.1-1.fc42\nkernel-core x86_64 0:6.15.9-201.fc42\ntzdata noarch 0:2026a-1.fc42\n");
    guest.write("changelog", "* Tue Nov 10 2026 A <a@example.org> - 1:3.2.6-2\n- Fix CVE-2026-5555\n\n* Tue Oct 06 2026 A <a@example.org> - 1:3.2.4-3\n- Fix CVE-2025-1\n");
    guest.tool("rpm", RPM);
    guest.tool(
        dnf,
        r#"case $* in
*check-update*) printf '\nopenssl-libs.x86_64  1:3.2.6-2.fc42  updates\nopenssl-libs.i686 1:3.2.6-2.fc42 updates\ntzdata.noarch 2026b-1.fc42 updates\nkernel-core.x86_64 6.16.10-200.fc42 updates\nObsoleting Packages\nold.x86_64 1 updates\n'; exit "$(cat "$T/check" 2>/dev/null || echo 100)" ;;
*updateinfo*) printf 'FEDORA-2026-1 Important/Sec. openssl-libs-3.2.6-2.fc42.x86_64\nFEDORA-2026-1 Important/Sec. openssl-libs-3.2.6-2.fc42.i686\n' ;;
*repoquery*) printf 'openssl-libs-1:3.2.4-3.fc42.x86_64\nopenssl-libs-1:3.2.6-2.fc42.i686\nopenssl-libs-1:3.2.6-2.fc42.x86_64\ntzdata-0:2026b-1.fc42.noarch\n' ;;
*versionlock*) echo 'nginx-0:1.26.*' ;;
*upgrade*) sed -i 's/openssl-libs x86_64 1:3.2.4-3/openssl-libs x86_64 1:3.2.6-2/' "$T/db" ;;
esac"#,
    );
    guest.tool("needs-restarting", r#"echo 'Core libraries or services have been updated since boot-up:'; echo '  * openssl-libs'; echo; echo 'Reboot is required to fully utilize these updates.'; exit "$(cat "$T/needs" 2>/dev/null || echo 1)""#);
    guest
}

#[test]
fn fedora_tells_security_and_gets_exact_versions() {
    for dnf in ["dnf", "dnf5", "yum"] {
        let guest = fedora(dnf);
        let found = guest.done("assess", &assess());
        assert_eq!((found.exit, found.manager.as_str()), (Some(0), "dnf"), "{}", guest.log("assess"));
        assert_eq!(
            pending(&found),
            [
                ("kernel-core", "6.15.9-201.fc42", "6.16.10-200.fc42", false),
                ("openssl-libs", "1:3.2.4-3.fc42", "1:3.2.6-2.fc42", true),
                ("openssl-libs.i686", "1:3.2.4-3.fc42", "1:3.2.6-2.fc42", true),
                ("tzdata", "2026a-1.fc42", "2026b-1.fc42", false),
            ]
        );
        assert_eq!((found.held.len(), found.reboot.as_deref()), (1, Some("openssl-libs")));
        let wanted = [("openssl-libs", "1:3.2.6-2.fc42"), ("openssl-libs.i686", "1:3.2.6-2.fc42"), ("absent", "1-1")];
        let done = guest.done("patch", &patch(1, &wanted));
        let start = format!("{dnf} <-y> <--setopt=clean_requirements_on_remove=False> <upgrade>");
        let call = format!("{start} <openssl-libs-1:3.2.6-2.fc42> <openssl-libs-1:3.2.6-2.fc42.i686>");
        assert_eq!(guest.called(&start), [call]);
        assert_eq!(changed(&done), [("openssl-libs", "1:3.2.4-3.fc42", "1:3.2.6-2.fc42")]);
        assert_eq!(done.cves, ["CVE-2026-5555"], "{}", guest.log("patch"));
    }
}

#[test]
fn an_error_of_dnf_is_no_empty_list_and_no_reboot() {
    let guest = fedora("dnf");
    guest.write("check", "1\n");
    let found = guest.done("assess", &assess());
    assert_eq!((found.exit, found.pending.len()), (Some(1), 0));
    let guest = fedora("dnf");
    guest.write("check", "0\n");
    guest.tool("needs-restarting", "echo 'Error: cannot open Packages database'; exit 1");
    let found = guest.done("assess", &assess());
    assert_eq!((found.exit, found.pending.len(), found.reboot), (Some(0), 0, None));
}

fn suse() -> Guest {
    let guest = Guest::new(System::Linux);
    guest.write("root/etc/os-release", "ID=\"opensuse-leap\"\nVERSION_ID=\"15.6\"\n");
    guest.write("db", "libopenssl3 x86_64 0:3.1.4-1.1\nzypper x86_64 0:1.14.70-1.1\n");
    guest.tool("rpm", RPM);
    guest.tool(
        "zypper",
        r#"case $* in
*list-updates*) echo '<?xml version="1.0"?><stream><update-status><update-list><update kind="package" name="libopenssl3" edition="3.1.4-9.1" edition-old="3.1.4-1.1" arch="x86_64"><summary>x</summary></update>'; echo '<update name="zypper" kind="package" edition="1.14.90-1.1" edition-old="1.14.70-1.1" arch="x86_64"/>'; echo '<update kind="patch" name="p" edition="1"/></update-list></stream>' ;;
*--dry-run*) echo '<stream><install-summary><to-upgrade><solvable type="package" name="libopenssl3" edition="3.1.4-9.1" edition-old="3.1.4-1.1"/></to-upgrade></install-summary></stream>'; exit 0 ;;
*locks*) printf '# | Name | Type | Repository\n--+------+------+---\n1 | nginx | package | (any)\n' ;;
*search*) printf 'S  | Name        | Type    | Version     | Arch   | Repository\n---+-------------+---------+-------------+--------+-----------\nv  | libopenssl3 | package | 3.1.4-9.1   | x86_64 | Update\ni  | libopenssl3 | package | 3.1.4-8.1   | x86_64 | (System Packages)\nv  | zypper      | package | 1.14.90-1.1 | x86_64 | Update\n' ;;
*needs-rebooting*) exit "$(cat "$T/needs" 2>/dev/null || echo 0)" ;;
*install*) [ -f "$T/again" ] || { touch "$T/again"; exit 103; }; sed -i 's/3.1.4-1.1/3.1.4-9.1/;s/1.14.70/1.14.90/' "$T/db"; exit 102 ;;
esac"#,
    );
    guest
}

#[test]
fn suse_is_run_again_when_its_manager_was_updated() {
    let guest = suse();
    guest.write("needs", "102\n");
    let found = guest.done("assess", &assess());
    assert_eq!(
        pending(&found),
        [("libopenssl3", "3.1.4-1.1", "3.1.4-9.1", true), ("zypper", "1.14.70-1.1", "1.14.90-1.1", false)],
        "{}",
        guest.log("assess")
    );
    assert_eq!((found.held.clone(), found.reboot.as_deref()), (vec!["nginx".to_owned()], Some("zypper says so")));
    let done = guest.done("patch", &patch(1, &[("libopenssl3", "3.1.4-9.1"), ("zypper", "1.14.90-1.1")]));
    assert_eq!((done.exit, done.changed.len()), (Some(0), 2), "{}", guest.log("patch"));
    let call = "zypper <--non-interactive> <install> <--auto-agree-with-licenses> <--no-confirm> <--no-recommends> <--no-force-resolution> <libopenssl3=3.1.4-9.1> <zypper=1.14.90-1.1>";
    assert_eq!(guest.called("zypper <--non-interactive> <install>"), [call, call]);
}

fn arch() -> Guest {
    let guest = Guest::new(System::Linux);
    guest.write("root/etc/os-release", "ID=arch\nBUILD_ID=rolling\n");
    fs::create_dir_all(guest.path("root/var/cache")).expect("made");
    guest.write("db", "glibc 2.42-1\nopenssl 3.5.2-1\nlinux 6.16-1\n");
    guest.write("waits", "glibc 2.42-1 -> 2.42-2\nopenssl 3.5.2-1 -> 3.6.0-1\nlinux 6.16-1 -> 6.17-1 [ignored]\n");
    guest.tool(
        "pacman",
        r#"case $1 in
-Sy)
    # Another user fetches, who must get through each folder on the way.
    at=$4
    while [ "$at" != "$T/root" ]; do
        case $(ls -ld "$at") in d????????x*) ;; *) echo "error: could not open $at: Permission denied"; exit 1 ;; esac
        at=${at%/*}
    done
    echo db >"$4/sync/core.db" ;;
-Qu) cat "$T/waits" ;;
-Q) cat "$T/db" ;;
-Su) sed -i 's/openssl 3.5.2-1/openssl 3.6.0-1/' "$T/db" ;;
esac"#,
    );
    guest
}

#[test]
fn arch_gets_what_was_listed_or_nothing() {
    let guest = arch();
    let found = guest.done("assess", &assess());
    assert_eq!(found.exit, Some(0), "{}", guest.log("assess"));
    assert_eq!(pending(&found), [("glibc", "2.42-1", "2.42-2", false), ("openssl", "3.5.2-1", "3.6.0-1", false)]);
    assert_eq!((found.held.clone(), found.release.as_str()), (vec!["linux".to_owned()], "rolling"));
    guest.write("root/var/lib/pacman/db.lck", "");
    let done = guest.done("patch", &patch(1, &[("openssl", "3.6.0-1")]));
    assert_eq!(
        (done.exit, changed(&done)),
        (Some(0), vec![("openssl", "3.5.2-1", "3.6.0-1")]),
        "{}",
        guest.log("patch")
    );
    assert_eq!(guest.called("pacman <-Su>"), ["pacman <-Su> <--noconfirm> <--ignore> <glibc>"]);
    assert!(!guest.path("root/var/lib/pacman/db.lck").exists(), "nobody holds it");
    assert_eq!(guest.read("root/var/lib/pacman/sync/core.db"), "db\n");
    let guest = arch();
    let other = guest.done("patch", &patch(1, &[("openssl", "3.5.9-1")]));
    assert_eq!((other.exit, changed(&other)), (Some(75), Vec::new()));
    assert!(
        other.log.iter().any(|line| line.contains("openssl is listed as 3.5.9-1, the repositories have 3.6.0-1")),
        "{other:?}"
    );
    guest.write("root/var/lib/pacman/db.lck", "");
    guest.write("root/proc/900/comm", "pacman\n");
    guest.done("patch2", &patch(2, &[("openssl", "3.5.9-1")]));
    assert!(guest.path("root/var/lib/pacman/db.lck").exists(), "somebody holds it");
}

#[test]
fn a_system_without_a_manager_says_so() {
    let guest = Guest::new(System::Linux);
    let found = guest.done("assess", &assess());
    assert_eq!((found.exit, found.manager.as_str(), found.os.as_str()), (Some(0), "", "test"));
    let none = guest.done("patch", &patch(1, &[("a", "1")]));
    assert_eq!(none.exit, Some(69));
    assert!(!Path::new("/tmp/never").exists());
}
