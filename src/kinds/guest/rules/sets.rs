//! The rule sets that pvectl knows. Each rule says why it is there: a rule that nobody can explain is only noise.

use crate::base::id::GuestType;
use crate::kinds::guest::rules::inside::Probe;
use crate::kinds::guest::rules::rule::{Look, Rule};
use crate::kinds::guest::rules::want::Want;

/// A rule set by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RuleSet {
    /// Any virtual machine.
    Guest,
    /// A virtual machine that runs Windows builds.
    WindowsRunner,
    /// A virtual machine that runs Linux builds.
    LinuxRunner,
    /// A container that keeps to itself.
    ContainerSecurity,
}

/// The tag of guests that others depend on.
pub const CRITICAL: &str = "critical";

/// All of them.
pub const ALL: [RuleSet; 4] =
    [RuleSet::Guest, RuleSet::WindowsRunner, RuleSet::LinuxRunner, RuleSet::ContainerSecurity];

impl RuleSet {
    /// Its name in manifests.
    pub fn name(self) -> &'static str {
        match self {
            RuleSet::Guest => "Guest",
            RuleSet::WindowsRunner => "WindowsRunner",
            RuleSet::LinuxRunner => "LinuxRunner",
            RuleSet::ContainerSecurity => "ContainerSecurity",
        }
    }

    /// By its name.
    pub fn find(name: &str) -> Option<RuleSet> {
        ALL.into_iter().find(|set| set.name() == name)
    }

    /// What it speaks of.
    pub fn guest(self) -> GuestType {
        match self {
            RuleSet::Guest | RuleSet::WindowsRunner | RuleSet::LinuxRunner => GuestType::Qemu,
            RuleSet::ContainerSecurity => GuestType::Lxc,
        }
    }

    /// The set for a guest of which nothing else is said.
    pub fn usual(guest: GuestType) -> RuleSet {
        match guest {
            GuestType::Qemu => RuleSet::Guest,
            GuestType::Lxc => RuleSet::ContainerSecurity,
        }
    }

    /// Its rules.
    pub fn rules(self) -> Vec<Rule> {
        let rules = match self {
            RuleSet::Guest => guest(),
            RuleSet::WindowsRunner => windows_runner(),
            RuleSet::LinuxRunner => linux_runner(),
            RuleSet::ContainerSecurity => container_security(),
        };
        rules.into_iter().map(|rule| Rule { set: Some(self.name()), ..rule }).collect()
    }
}

fn on() -> Want {
    Want::equals("1")
}

fn off() -> Want {
    Want::equals("0")
}

fn agent_on() -> Rule {
    Rule::new(
        "guest-agent",
        "hardware.guestAgent",
        on(),
        "the agent shuts the guest down in order, tells its addresses and quiets its file systems for backups",
    )
}

fn agent_answers() -> Rule {
    Rule::new(
        "agent-answers",
        "",
        Want::equals("answers"),
        "an agent that is switched on and not installed helps nobody",
    )
    .looking(Look::Agent, "install qemu-guest-agent (Windows: the virtio-win guest tools) inside, and start it")
}

fn on_boot_if_critical() -> Rule {
    Rule::new("starts-with-node", "startup.onBoot", on(), "a critical guest comes back after its node was restarted")
        .tagged(CRITICAL)
}

fn guest() -> Vec<Rule> {
    vec![
        agent_on().advice(),
        Rule::new(
            "cache-safe",
            "disks.*.cache",
            Want::one_of(&["none", "writeback", "writethrough", "directsync"]),
            "`unsafe` does not flush: a power failure may cost the whole file system",
        ),
        Rule::new(
            "backed-up",
            "disks.*.backup",
            on(),
            "a disk with `backup: false` is in no backup, and restoring one takes it out of its slot",
        )
        .advice()
        .unless_asked(),
        on_boot_if_critical(),
        Rule::new("protected", "protection", on(), "nobody removes a critical guest or a disk of it by mistake")
            .tagged(CRITICAL),
    ]
}

fn processors(count: &str) -> Rule {
    Rule::new("processors", "hardware.cores", Want::AtLeast(count.to_owned()), "builds are parallel")
        .looking(Look::Processors, &format!("hardware.cores: {count}"))
}

fn virtio_net() -> Rule {
    Rule::new(
        "virtio-net",
        "networks.*.model",
        Want::equals("virtio"),
        "emulated cards cost a processor for each gigabit",
    )
    .needed()
}

fn windows_runner() -> Vec<Rule> {
    let disk = "the disk of a runner is written all day, and thrown away";
    vec![
        Rule::new(
            "cpu-host",
            "hardware.cpu",
            Want::equals("host"),
            "compilers and nested virtualization use what the processor has",
        ),
        Rule::new(
            "machine-q35",
            "hardware.machine",
            Want::Has("q35".into()),
            "PCI Express, and what Windows 11 expects",
        ),
        Rule::new("ovmf", "hardware.bios", Want::equals("ovmf"), "Windows 11 starts by UEFI with Secure Boot only"),
        Rule::new(
            "efi-disk",
            "disks.efidisk0.storage",
            Want::Present(true),
            "without it the boot entries and Secure Boot keys are lost at each start",
        )
        .remedy("disks: [{slot: efidisk0, storage: …, efiType: 4m, preEnrolledKeys: true}]"),
        Rule::new("tpm-2", "disks.tpmstate0.version", Want::equals("v2.0"), "Windows 11 requires a TPM 2.0")
            .remedy("disks: [{slot: tpmstate0, storage: …, version: v2.0}]"),
        Rule::new(
            "os-type",
            "hardware.osType",
            Want::equals("win11"),
            "PVE then sets the Hyper-V enlightenments and the clock of Windows 11 and 2022",
        ),
        Rule::new(
            "scsi-single",
            "hardware.scsiController",
            Want::equals("virtio-scsi-single"),
            "one controller a disk: only then has an I/O thread work",
        ),
        virtio_net(),
        agent_on(),
        Rule::new(
            "balloon-off",
            "hardware.balloon",
            off(),
            "Windows gives memory back slowly, and a build that waits for it times out",
        ),
        Rule::new("scsi0-writeback", "disks.scsi0.cache", Want::equals("writeback"), disk),
        Rule::new("scsi0-io-thread", "disks.scsi0.ioThread", on(), disk),
        Rule::new("scsi0-discard", "disks.scsi0.discard", on(), "thin storage gets back what builds delete"),
        Rule::new("scsi0-ssd", "disks.scsi0.ssd", on(), "Windows then trims it instead of defragmenting it"),
        processors("4"),
        Rule::new("memory", "hardware.memory", Want::AtLeast("8Gi".into()), "Visual Studio's tools swap below it"),
        agent_answers(),
        Rule::new(
            "open-ssh",
            "",
            Want::equals("yes"),
            "the runner is set up and looked at over SSH where the agent is not enough",
        )
        .looking(Look::Inside(Probe::WindowsSsh), "inside: Add-WindowsCapability -Online -Name OpenSSH.Server"),
        Rule::new(
            "runner-directory",
            "",
            Want::equals("yes"),
            "a runner that must be downloaded first starts minutes later",
        )
        .looking(Look::Inside(Probe::WindowsRunner), r"inside: unpack actions-runner-win-x64 into C:\actions-runner"),
    ]
}

fn linux_runner() -> Vec<Rule> {
    vec![
        Rule::new("os-type", "hardware.osType", Want::equals("l26"), "PVE chooses clock and paravirtual devices by it"),
        Rule::new(
            "scsi-single",
            "hardware.scsiController",
            Want::equals("virtio-scsi-single"),
            "one controller a disk: only then has an I/O thread work",
        )
        .advice(),
        virtio_net(),
        agent_on(),
        Rule::new("scsi0-discard", "disks.scsi0.discard", on(), "thin storage gets back what builds delete").advice(),
        processors("2"),
        Rule::new(
            "memory",
            "hardware.memory",
            Want::AtLeast("4Gi".into()),
            "linkers and test suites are killed below it",
        ),
        agent_answers(),
        Rule::new(
            "open-ssh",
            "",
            Want::equals("yes"),
            "the runner is set up and looked at over SSH where the agent is not enough",
        )
        .looking(Look::Inside(Probe::LinuxSsh), "inside: install openssh-server"),
        Rule::new(
            "runner-directory",
            "",
            Want::equals("yes"),
            "a runner that must be downloaded first starts minutes later",
        )
        .looking(Look::Inside(Probe::LinuxRunner), "inside: unpack actions-runner-linux-x64 into /opt/actions-runner"),
    ]
}

fn container_security() -> Vec<Rule> {
    let host = [
        "/",
        "/boot",
        "/dev",
        "/etc",
        "/proc",
        "/root",
        "/run",
        "/sys",
        "/usr",
        "/var/lib/lxc",
        "/var/lib/pve-cluster",
    ];
    vec![
        Rule::new(
            "unprivileged",
            "unprivileged",
            on(),
            "root inside is root on the node where a container is privileged",
        )
        .remedy("unprivileged: true; it is decided at creation: back it up, and restore it as unprivileged"),
        Rule::new("nesting", "features.nesting", off(), "nesting shows the node's /proc and /sys to the container")
            .unless_asked(),
        Rule::new("keyctl", "features.keyctl", off(), "keyctl opens the kernel's keyrings, which containers share")
            .unless_asked(),
        Rule::new("mknod", "features.mknod", off(), "mknod lets a container make device nodes").unless_asked(),
        Rule::new(
            "host-paths",
            "mounts.*.hostPath",
            Want::Outside(host.map(str::to_owned).to_vec()),
            "who writes there owns the node",
        )
        .remedy("mount a folder of its own, such as /srv/NAME, or a volume"),
        on_boot_if_critical(),
        Rule::new(
            "processor-limit",
            "hardware.cores",
            Want::Present(true),
            "without a limit it takes all processors of its node",
        )
        .looking(Look::ProcessorLimit, "hardware.cores, or hardware.cpuLimit"),
        Rule::new("memory-limit", "hardware.memory", Want::AtLeast("16Mi".into()), "0 of memory is no limit"),
        Rule::new("interface-firewall", "networks.*.firewall", on(), "an interface without it is filtered by nobody"),
        Rule::new(
            "firewall",
            "",
            Want::equals("on"),
            "an interface's flag filters nothing while the container's firewall is off",
        )
        .looking(Look::Firewall, "firewall: {enabled: true}"),
    ]
}
