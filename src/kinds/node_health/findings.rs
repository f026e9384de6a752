//! What of a node's health needs a person. Every bound is a constant with its reason.

use crate::base::quantity::Bytes;
use crate::host::health::{Measure, Sensor, Smart};
use crate::kinds::node_health::{Ceph, Disk, NodeHealth, Pool};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// To know.
    Info,
    /// To be looked after.
    Warning,
    /// To be looked after now.
    Critical,
}

impl Severity {
    /// The word that people read.
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Critical => "critical",
        }
    }
}

/// Something that needs a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// On which node; empty: the cluster.
    pub node: String,
    /// What it is about: `disk /dev/sda`.
    pub about: String,
    /// What was seen.
    pub evidence: String,
    /// What to do.
    pub remedy: String,
}

/// From so much of its promised life on, an SSD should be replaced at the next occasion; at the whole, soon.
const WORN: [u64; 2] = [80, 100];
/// Most disks are rated up to 60 degrees or little more. NVMe disks run hotter, and slow down at about 80.
const HOT: [i64; 2] = [60, 70];
const HOT_NVME: [i64; 2] = [70, 80];
/// A root file system that is full stops PVE; ZFS pools grow slow from four fifths on.
const ROOT_FULL: [u64; 2] = [85, 95];
const POOL_FULL: [u64; 2] = [80, 90];
/// Beyond this the kernel begins to kill.
const MEMORY_FULL: [u64; 2] = [90, 97];
/// A load of so many times the threads over fifteen minutes is more than a moment's work.
const LOAD_OF_THREADS: f64 = 2.0;
/// Debian scrubs pools once a month; one that was missed twice does not run.
const SCRUB_DAYS_MAX: i64 = 70;
const DAY: i64 = 86_400;

fn percent((used, total): (u64, u64)) -> u64 {
    (used.saturating_mul(100)).checked_div(total).unwrap_or_default()
}

fn grade<T: PartialOrd>(value: T, [warning, critical]: [T; 2]) -> Option<Severity> {
    match (value >= critical, value >= warning) {
        (true, _) => Some(Severity::Critical),
        (false, true) => Some(Severity::Warning),
        (false, false) => None,
    }
}

/// What needs a person on a node; `now` in seconds since 1970.
pub fn of_node(health: &NodeHealth, now: i64) -> Vec<Finding> {
    let mut out = Vec::new();
    let mut say = |severity: Severity, about: &str, evidence: String, remedy: String| {
        out.push(Finding { severity, node: health.node.clone(), about: about.to_owned(), evidence, remedy });
    };
    if let Some(why) = &health.away {
        let remedy = "look at its console and its network; pvecm status on another node shows the votes".to_owned();
        say(Severity::Critical, "node", format!("it does not answer: {why}"), remedy);
        return out;
    }
    for why in &health.unread {
        say(
            Severity::Warning,
            "node",
            format!("could not be read: {why}"),
            "pvectl auth check says which privileges are missing".into(),
        );
    }
    let filled = |used: (u64, u64)| format!("{}% of {} in use", percent(used), Bytes(used.1));
    if let Some(severity) = grade(percent(health.root), ROOT_FULL) {
        let remedy = "du -xh --max-depth=2 / finds what fills it: old ISOs and backups in /var/lib/vz, logs, kernels (apt autoremove)";
        say(severity, "root file system", filled(health.root), remedy.into());
    }
    if let Some(severity) = grade(percent(health.memory), MEMORY_FULL) {
        let remedy = "move a guest away, or bound ZFS's cache (zfs_arc_max), before the kernel kills one";
        say(severity, "memory", filled(health.memory), remedy.into());
    }
    #[expect(clippy::cast_precision_loss, reason = "a node has few threads")]
    let threads = health.cpus as f64;
    if health.cpus > 0 && health.load[2] > threads * LOAD_OF_THREADS {
        let evidence = format!("{:.1} over 15 minutes on {} threads", health.load[2], health.cpus);
        say(
            Severity::Warning,
            "load",
            evidence,
            "top on the node shows who it is; waiting for disks counts too".into(),
        );
    }
    for name in &health.missing {
        let evidence = format!("{name} is not installed, so what it tells is not known");
        say(Severity::Info, "node", evidence, format!("apt install {}", package(name)));
    }
    health.disks.iter().for_each(|d| disk(d, &mut say));
    health.pools.iter().for_each(|p| pool(p, now, &mut say));
    health.sensors.iter().for_each(|s| sensor(s, &mut say));
    out.sort_by(|a, b| b.severity.cmp(&a.severity).then_with(|| a.about.cmp(&b.about)));
    out
}

fn package(program: &str) -> &str {
    if program == "smartctl" { "smartmontools" } else { program }
}

type Say<'a> = dyn FnMut(Severity, &str, String, String) + 'a;

fn disk(disk: &Disk, say: &mut Say<'_>) {
    let Smart { device, model, passed, celsius, worn_percent, reallocated, pending, uncorrectable, spare, .. } =
        &disk.smart;
    let about = format!("disk {device}");
    let named = if model.is_empty() { String::new() } else { format!("{model}: ") };
    let replace = "back up what is on it now, and replace it";
    if *passed == Some(false) {
        say(Severity::Critical, &about, format!("{named}SMART says that it fails"), replace.into());
    }
    if let Some(severity) = worn_percent.and_then(|worn| grade(worn, WORN)) {
        let evidence = format!("{named}{}% of its promised life is used up", worn_percent.unwrap_or_default());
        say(severity, &about, evidence, "order a new one; the wear of a mirror's halves is alike".into());
    }
    if let Some((left, least)) = spare.filter(|(left, least)| left <= least) {
        say(
            Severity::Critical,
            &about,
            format!("{named}{left}% of its spare blocks are left, {least}% are the least"),
            replace.into(),
        );
    }
    if let Some(count) = pending.filter(|count| *count > 0) {
        let remedy =
            "a scrub or a long self-test (smartctl -t long) shows whether they can be read; replace it if they grow";
        say(Severity::Critical, &about, format!("{named}{count} sectors cannot be read"), remedy.into());
    }
    if let Some(count) = uncorrectable.filter(|count| *count > 0) {
        say(Severity::Critical, &about, format!("{named}{count} errors could not be corrected"), replace.into());
    }
    if let Some(count) = reallocated.filter(|count| *count > 0) {
        let remedy = "watch whether it grows (pvectl_node_disk_reallocated_sectors); replace it if it does";
        say(Severity::Warning, &about, format!("{named}{count} sectors were replaced by spare ones"), remedy.into());
    }
    if let Some(severity) = celsius.and_then(|c| grade(c, if device.starts_with("/dev/nvme") { HOT_NVME } else { HOT }))
    {
        let evidence = format!("{named}{} °C", celsius.unwrap_or_default());
        say(severity, &about, evidence, "let more air to it: fans, dust, a gap to the next disk".into());
    }
}

fn pool(pool: &Pool, now: i64, say: &mut Say<'_>) {
    let Pool { name, state, filled, errors, scan, parts } = pool;
    let about = format!("pool {name}");
    if !matches!(state.as_str(), "" | "ONLINE") {
        let severity = if state == "DEGRADED" { Severity::Warning } else { Severity::Critical };
        let remedy =
            format!("zpool status {name} names the part: zpool replace {name} OLD NEW; no second node down meanwhile");
        say(severity, &about, format!("it is {state}"), remedy);
    }
    for (part, state, [read, write, checksum]) in parts {
        let evidence = format!("{part} is {state}: {read} read, {write} write, {checksum} checksum errors");
        say(
            Severity::Warning,
            &about,
            evidence,
            format!("look at its cable and SMART; then zpool clear {name} {part}, or replace it"),
        );
    }
    if !errors.is_empty() && !errors.starts_with("No known data errors") {
        let remedy = format!("zpool status -v {name} lists the files: restore them from a backup");
        say(Severity::Critical, &about, format!("data are damaged: {errors}"), remedy);
    }
    if let Some(severity) = grade(percent(*filled), POOL_FULL) {
        let evidence = format!("{}% of {} in use", percent(*filled), Bytes(filled.1));
        say(
            severity,
            &about,
            evidence,
            "a full pool cannot even delete: move volumes away, prune snapshots, add disks".into(),
        );
    }
    let scrub =
        format!("zpool scrub {name}; Debian does it on the second Sunday of a month (/etc/cron.d/zfsutils-linux)");
    match scrubbed(scan) {
        Some(at) if now - at > SCRUB_DAYS_MAX * DAY => {
            say(Severity::Warning, &about, format!("its last scrub was {} days ago", (now - at) / DAY), scrub);
        }
        None if scan.is_empty() || scan.contains("none requested") => {
            say(Severity::Info, &about, "it was never scrubbed".into(), scrub);
        }
        Some(_) | None => {}
    }
}

/// When a scrub ended, by what `zpool status` says: `scrub repaired 0B in 00:01:23 with 0 errors on Sun Nov  9 00:25:24 2026`. The
/// zone is the node's, which is a matter of hours where days are asked for.
pub fn scrubbed(scan: &str) -> Option<i64> {
    let (_, at) = scan.lines().next()?.split_once(" errors on ")?;
    let words: Vec<&str> = at.split_whitespace().collect();
    let [_, month, day, time, year] = words.as_slice() else { return None };
    let text = format!("{day} {month} {year} {time}");
    let at = jiff::civil::DateTime::strptime("%d %b %Y %H:%M:%S", text).ok()?;
    Some(at.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_second())
}

fn sensor(sensor: &Sensor, say: &mut Say<'_>) {
    let Sensor { chip, label, measure, value, critical } = sensor;
    let about = format!("sensor {chip} {label}");
    match (measure, critical) {
        // Some chips say nonsense where nothing is connected.
        (Measure::Temperature, Some(critical)) if *critical > 0 && value >= critical => {
            let evidence = format!("{} °C, and {} °C is critical", value / 1000, critical / 1000);
            say(
                Severity::Critical,
                &about,
                evidence,
                "look at fans and dust now: the machine slows down, then stops".into(),
            );
        }
        (Measure::Temperature, _) | (Measure::Fan, _) => {}
    }
}

/// What needs a person in the cluster as a whole.
pub fn of_cluster(quorate: Option<bool>, ceph: Option<&Result<Ceph, String>>) -> Vec<Finding> {
    let mut out = Vec::new();
    let mut say = |severity, about: &str, evidence: String, remedy: &str| {
        out.push(Finding { severity, node: String::new(), about: about.into(), evidence, remedy: remedy.into() });
    };
    if quorate == Some(false) {
        let remedy = "bring nodes back; pvecm status shows the votes; nothing can be changed until then";
        say(Severity::Critical, "quorum", "the cluster has lost its quorum and is read-only".into(), remedy);
    }
    match ceph {
        Some(Ok(Ceph { status, checks })) if status != "HEALTH_OK" => {
            let severity = if status == "HEALTH_ERR" { Severity::Critical } else { Severity::Warning };
            let said = checks.iter().map(|(name, _, text)| format!("{name}: {text}")).collect::<Vec<_>>().join("; ");
            say(
                severity,
                "ceph",
                format!("{status} {said}").trim().to_owned(),
                "ceph health detail says more; no node goes down meanwhile",
            );
        }
        Some(Err(why)) => say(
            Severity::Warning,
            "ceph",
            format!("its health could not be read: {why}"),
            "ceph -s on a monitor's node",
        ),
        Some(Ok(_)) | None => {}
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_age_of_a_scrub_is_read_off_what_zpool_says() {
        let scan = "scrub repaired 0B in 00:01:23 with 0 errors on Sun Nov  9 00:25:24 2026";
        assert_eq!(scrubbed(scan), Some(1_794_183_924));
        assert_eq!(scrubbed("scrub in progress since Sun Nov  9 00:24:01 2026"), None);
        assert_eq!(scrubbed(""), None);
    }
}
