//! The packages of a distribution, and what its repository brings on which day. Day 0 is the one on which simulated time begins.

use crate::sim::baseline::EPOCH_MS;
use std::collections::BTreeMap;

/// A kind of system, by its package manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distribution {
    /// Debian 12.
    Debian,
    /// Alpine.
    Alpine,
    /// Fedora and its like.
    Fedora,
    /// openSUSE.
    Suse,
    /// Arch Linux.
    Arch,
    /// Windows.
    Windows,
    /// A Proxmox VE node.
    Proxmox,
}

/// What an update asks for besides being installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// Nothing.
    Nothing,
    /// A boot of the kernel: in a container nothing.
    Boot,
    /// Everything that runs uses it: in a container a restart.
    Restart,
}

/// A version that comes on a day.
struct Release {
    day: i64,
    version: &'static str,
    cve: Option<&'static str>,
}

/// A package and its history. After its last release come others in so many days each, if any.
struct Package {
    name: &'static str,
    base: &'static str,
    releases: &'static [Release],
    every_days: i64,
    after: After,
    machines_only: bool,
}

/// An update: from the installed version to the one that the index has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    /// The package's name.
    pub name: String,
    /// What is installed; `-`: nothing.
    pub from: String,
    /// What could be.
    pub to: String,
    /// Any version between is a security update.
    pub security: bool,
    /// The vulnerabilities that go away.
    pub cves: Vec<String>,
    /// What it asks for.
    pub after: After,
}

const fn other(day: i64, version: &'static str) -> Release {
    Release { day, version, cve: None }
}

const fn secure(day: i64, version: &'static str, cve: &'static str) -> Release {
    Release { day, version, cve: Some(cve) }
}

const fn package(name: &'static str, base: &'static str, releases: &'static [Release]) -> Package {
    Package { name, base, releases, every_days: 0, after: After::Nothing, machines_only: false }
}

const fn machine(name: &'static str, base: &'static str, releases: &'static [Release], after: After) -> Package {
    Package { name, base, releases, every_days: 0, after, machines_only: true }
}

const fn often(package: Package, every_days: i64) -> Package {
    Package { every_days, ..package }
}

const fn restarts(package: Package) -> Package {
    Package { after: After::Restart, ..package }
}

const DEBIAN: &[Package] = &[
    package("curl", "7.88.1-10+deb12u12", &[other(-20, "7.88.1-10+deb12u14")]),
    restarts(package("libc6", "2.36-9+deb12u10", &[secure(-1, "2.36-9+deb12u13", "CVE-2026-30011")])),
    often(package("libssl3", "3.0.15-1~deb12u1", &[secure(-6, "3.0.17-1~deb12u2", "CVE-2026-31001")]), 14),
    often(package("openssl", "3.0.15-1~deb12u1", &[secure(-6, "3.0.17-1~deb12u2", "CVE-2026-31001")]), 14),
    package("openssh-server", "1:9.2p1-2+deb12u5", &[secure(2, "1:9.2p1-2+deb12u7", "CVE-2026-32020")]),
    package("systemd", "252.36-1~deb12u1", &[other(4, "252.39-1~deb12u1")]),
    package("tzdata", "2026a-0+deb12u1", &[other(-15, "2026b-0+deb12u1")]),
    machine("linux-image-amd64", "6.1.140-1", &[secure(-4, "6.1.153-1", "CVE-2026-33007")], After::Boot),
    machine("qemu-guest-agent", "1:7.2+dfsg-7+deb12u12", &[other(-9, "1:7.2+dfsg-7+deb12u16")], After::Nothing),
];

const ALPINE: &[Package] = &[
    package("apk-tools", "2.14.9-r2", &[other(5, "2.14.10-r0")]),
    package("busybox", "1.37.0-r18", &[other(-2, "1.37.0-r19")]),
    often(package("libcrypto3", "3.5.1-r0", &[other(-6, "3.5.4-r0")]), 14),
    often(package("libssl3", "3.5.1-r0", &[other(-6, "3.5.4-r0")]), 14),
    restarts(package("musl", "1.2.5-r10", &[other(3, "1.2.5-r11")])),
    machine("linux-virt", "6.12.40-r0", &[other(-4, "6.12.50-r0")], After::Boot),
    machine("qemu-guest-agent", "10.0.0-r1", &[other(-9, "10.0.2-r0")], After::Nothing),
];

const FEDORA: &[Package] = &[
    often(package("openssl-libs", "1:3.2.4-3.fc42", &[secure(-6, "1:3.2.6-2.fc42", "CVE-2026-31001")]), 14),
    restarts(package("glibc", "2.41-5.fc42", &[secure(-1, "2.41-11.fc42", "CVE-2026-30011")])),
    package("tzdata", "2026a-1.fc42", &[other(-15, "2026b-1.fc42")]),
    machine("kernel-core", "6.15.9-201.fc42", &[secure(-4, "6.16.10-200.fc42", "CVE-2026-33007")], After::Boot),
    machine("qemu-guest-agent", "2:9.2.4-1.fc42", &[other(-9, "2:9.2.4-2.fc42")], After::Nothing),
];

const SUSE: &[Package] = &[
    often(package("libopenssl3", "3.1.4-150600.5.30.1", &[secure(-6, "3.1.4-150600.5.36.4", "CVE-2026-31001")]), 14),
    restarts(package("glibc", "2.38-150600.14.32.1", &[secure(-1, "2.38-150600.14.37.1", "CVE-2026-30011")])),
    package("timezone", "2026a-150600.91.1", &[other(-15, "2026b-150600.91.6.2")]),
    machine(
        "kernel-default",
        "6.4.0-150600.23.60.5",
        &[secure(-4, "6.4.0-150600.23.70.1", "CVE-2026-33007")],
        After::Boot,
    ),
];

const ARCH: &[Package] = &[
    often(package("openssl", "3.5.2-1", &[other(-6, "3.6.0-1")]), 7),
    restarts(package("glibc", "2.42-1", &[other(-1, "2.42-2")])),
    package("tzdata", "2026a-1", &[other(-15, "2026b-1")]),
];

const WINDOWS: &[Package] = &[
    Package { after: After::Boot, ..package("KB5068861", "-", &[secure(-7, "200", "CVE-2026-34001")]) },
    package("KB890830", "-", &[other(-7, "204")]),
    package("KB2267602", "-", &[other(1, "201")]),
];

const PROXMOX: &[Package] = &[
    package("libssl3t64", "3.5.1-1", &[secure(-6, "3.5.4-1~deb13u1", "CVE-2026-31001")]),
    often(package("pve-manager", "9.1.7", &[other(-3, "9.1.8")]), 21),
    package("qemu-server", "9.1.6", &[other(-3, "9.1.7")]),
    Package { after: After::Boot, ..package("proxmox-kernel-6.17", "6.17.2-1", &[other(-5, "6.17.4-1")]) },
    package("proxmox-kernel-6.17.4-1-pve-signed", "-", &[other(-5, "6.17.4-1")]),
];

/// The kernel that a node has before any update, and the one after.
pub const KERNEL: &str = "6.17.2-1-pve";

const DAY_MS: i64 = 86_400_000;

/// A version that comes of itself after the last one of the list.
fn later(version: &str, n: i64) -> String {
    match version.rsplit_once("-r") {
        Some((head, digits)) if digits.parse::<i64>().is_ok() => {
            format!("{head}-r{}", digits.parse::<i64>().unwrap_or(0) + n)
        }
        _ => format!("{version}+{n}"),
    }
}

impl Package {
    /// Every version up to a day, the image's first, each with its vulnerability.
    fn versions(&self, day: i64) -> Vec<(String, Option<String>)> {
        let mut all = vec![(self.base.to_owned(), None)];
        let listed = self.releases.iter().filter(|r| r.day <= day);
        all.extend(listed.map(|r| (r.version.to_owned(), r.cve.map(str::to_owned))));
        if let Some(last) = self.releases.last().filter(|_| self.every_days > 0) {
            let more = (day - last.day.max(0)).max(0) / self.every_days;
            all.extend((1..=more).map(|n| {
                let cve = last.cve.map(|_| format!("CVE-2027-{}", 20_000 + n));
                (later(last.version, n), cve)
            }));
        }
        all
    }
}

impl Distribution {
    /// `ID`, `VERSION_ID` and the package manager.
    pub fn names(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Distribution::Debian => ("debian", "12", "apt"),
            Distribution::Alpine => ("alpine", "3.22", "apk"),
            Distribution::Fedora => ("fedora", "42", "dnf"),
            Distribution::Suse => ("opensuse-leap", "15.6", "zypper"),
            Distribution::Arch => ("arch", "rolling", "pacman"),
            Distribution::Windows => ("windows", "10.0.26100.0", "windows-update"),
            Distribution::Proxmox => ("debian", "13", "apt"),
        }
    }

    fn packages(self) -> &'static [Package] {
        match self {
            Distribution::Debian => DEBIAN,
            Distribution::Alpine => ALPINE,
            Distribution::Fedora => FEDORA,
            Distribution::Suse => SUSE,
            Distribution::Arch => ARCH,
            Distribution::Windows => WINDOWS,
            Distribution::Proxmox => PROXMOX,
        }
    }

    /// What an index of a moment has that is newer than what is installed.
    pub fn updates(self, container: bool, installed: &BTreeMap<String, String>, index_ms: u64) -> Vec<Update> {
        let day = (i64::try_from(index_ms).unwrap_or(i64::MAX) - EPOCH_MS as i64).div_euclid(DAY_MS);
        let mine = self.packages().iter().filter(|p| !(container && p.machines_only));
        mine.filter_map(|package| {
            let versions = package.versions(day);
            let from = installed.get(package.name).map_or(package.base, String::as_str);
            let at = versions.iter().position(|(v, _)| v == from).unwrap_or(0);
            let newer = &versions[at + 1..];
            let (to, _) = newer.last()?;
            let cves: Vec<String> = newer.iter().filter_map(|(_, cve)| cve.clone()).collect();
            Some(Update {
                name: package.name.to_owned(),
                from: from.to_owned(),
                to: to.clone(),
                security: !cves.is_empty(),
                cves,
                after: package.after,
            })
        })
        .collect()
    }

    /// What is installed of a package; `None` where it is not known.
    pub fn installed<'a>(self, name: &str, others: &'a BTreeMap<String, String>) -> Option<&'a str>
    where
        'static: 'a,
    {
        let base = || self.packages().iter().find(|p| p.name == name).map(|p| p.base);
        others.get(name).map(String::as_str).or_else(base).filter(|version| *version != "-")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_brings_new_versions() {
        let none = BTreeMap::new();
        let at = |days: u64| Distribution::Debian.updates(true, &none, EPOCH_MS + days * 86_400_000);
        let openssl = |days: u64| at(days).into_iter().find(|u| u.name == "openssl").expect("it has updates");
        assert_eq!(openssl(0).to, "3.0.17-1~deb12u2");
        assert_eq!((openssl(28).to.as_str(), openssl(28).cves.len()), ("3.0.17-1~deb12u2+2", 3));
        assert!(at(0).iter().all(|u| u.name != "openssh-server" && u.name != "linux-image-amd64"));
        assert!(at(2).iter().any(|u| u.name == "openssh-server"));
        let done = at(0).into_iter().map(|u| (u.name, u.to)).collect();
        assert_eq!(Distribution::Debian.updates(true, &done, EPOCH_MS), []);
        assert_eq!(later("3.5.4-r0", 2), "3.5.4-r2");
    }
}
