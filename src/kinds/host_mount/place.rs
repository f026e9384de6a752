//! Where a disk may be mounted: anywhere but over what the node, Proxmox VE or its guests live in.

use crate::host::token::Token;
use crate::resource::step::Problem;

/// Nothing is mounted here, nor anywhere below.
const WHOLE: [&str; 27] = [
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/proc",
    "/root",
    "/run",
    "/sbin",
    "/sys",
    "/tmp",
    "/usr",
    "/var/lib/apt",
    "/var/lib/ceph",
    "/var/lib/corosync",
    "/var/lib/dpkg",
    "/var/lib/lxc",
    "/var/lib/pve-cluster",
    "/var/lib/pve-firewall",
    "/var/lib/pve-manager",
    "/var/lib/pvectl",
    "/var/lib/qemu-server",
    "/var/lib/rrdcached",
    "/var/lib/systemd",
];
/// Nothing is mounted here; what lies below is free.
const ITSELF: [&str; 14] = [
    "/",
    "/home",
    "/media",
    "/mnt",
    "/mnt/pve",
    "/opt",
    "/srv",
    "/var",
    "/var/backups",
    "/var/cache",
    "/var/lib",
    "/var/lib/vz",
    "/var/log",
    "/var/spool",
];

/// What is wrong with a path, whatever the node is like.
pub fn check(path: &str) -> Option<Problem> {
    let normal =
        path == "/" || path.starts_with('/') && path[1..].split('/').all(|part| !["", ".", ".."].contains(&part));
    if !normal {
        return Some(
            Problem::new("path", format!("`{path}` is no path in its plain form"))
                .help("from the root, without `.`, `..`, double and last slashes: /mnt/usb-backup"),
        );
    }
    if Token::argument(path).is_none() || path.contains(',') {
        return Some(
            Problem::new("path", format!("`{path}` holds characters that are not plain"))
                .help("letters, digits and `-_.:@+` are"),
        );
    }
    let below =
        |folder: &&&str| path == **folder || path.strip_prefix(**folder).is_some_and(|rest| rest.starts_with('/'));
    let over = WHOLE.iter().find(below).or_else(|| ITSELF.iter().find(|folder| **folder == path))?;
    let what = if path == *over { "is" } else { "lies in" };
    let named = if path == *over { String::new() } else { format!(", `{over}`") };
    Some(Problem::new("path", format!("`{path}` {what} a folder of the system{named}")).help(
        "a disk that is mounted there hides what the node or its guests live in: take a folder of its own, such as /mnt/NAME",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_lives_in_is_refused_and_the_rest_is_not() {
        for bad in [
            "/",
            "/etc",
            "/etc/pve",
            "/var",
            "/usr/local/x",
            "/boot/efi",
            "/var/lib/vz",
            "/mnt",
            "/mnt/pve",
            "mnt/usb",
            "/mnt/usb/",
            "/mnt//usb",
            "/mnt/../etc",
            "/mnt/a b",
            "/mnt/a,b",
            "/mnt/$x",
            "/var/lib/lxc/100",
        ] {
            assert!(check(bad).is_some(), "{bad}");
        }
        for good in ["/mnt/usb-backup", "/mnt/pve/usb", "/var/lib/vz/dump", "/srv/media", "/data", "/etcetera", "/run2"]
        {
            assert_eq!(check(good), None, "{good}");
        }
    }
}
