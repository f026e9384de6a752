//! kill -9: the daemon's process dies again and again, at moments that nobody chose, while its manifests move. What is left
//! after each death is all that the next life knows; at the end everything is as the manifests say, once, and nothing else
//! was touched.

use crate::process::{Home, kept};
use crate::remote::Server;
use crate::world::{Lab, delta, desired, normal, orphans, plain, strangers};
use pvectl::pve::api::Api;
use pvectl::pve::request::{Call, Method};
use pvectl::sim::world::World;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::time::{Duration, Instant};

/// Deaths where `PVECTL_KILLS` does not say how many.
const KILLS: u64 = 200;
/// After so many, the daemon may live until all is as it should be.
const ROUND: u64 = 50;
/// The longest life between two deaths.
const LIFE_MS: u64 = 500;
/// A clone takes a tenth of a second, a start less.
const SPEED: &str = "100";

const CONFIG: &str = "sources:
  - {name: lab, folder: manifests, set: lab, mode: Enforce, prune: true, maxDeletes: 100, allowDataLoss: true}
store: history.db
stateFolder: state
watch: {every: 1s, requestsPerSecond: 50}
http: {listen: 127.0.0.1:0}
";

/// Chance that can be had again: xorshift64*.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % sides
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.roll(n) == 0
    }
}

// ---- what is declared ------------------------------------------------------------------------------------------------

/// A machine with a disk of its own, or one that hangs on the template.
#[derive(Clone, Debug)]
struct Machine {
    name: &'static str,
    vmid: Option<u32>,
    clone: bool,
    here: bool,
    cores: u64,
    pool: Option<u64>,
    profile: bool,
    running: bool,
}

/// What the manifests say, in short.
#[derive(Clone, Debug)]
struct Wanted {
    machines: Vec<Machine>,
    container: bool,
    template: bool,
    group: bool,
    pools: [bool; 3],
    port: u64,
}

impl Wanted {
    fn first() -> Wanted {
        let machine = |name, vmid, clone| Machine {
            name,
            vmid,
            clone,
            here: true,
            cores: 1,
            pool: None,
            profile: false,
            running: false,
        };
        let mut machines = vec![machine("free", None, false)];
        machines.extend(
            [("w0", 600), ("w1", 601), ("w2", 602), ("w3", 603)].map(|(name, vmid)| machine(name, Some(vmid), false)),
        );
        machines.extend([("c0", 610), ("c1", 611), ("c2", 612)].map(|(name, vmid)| machine(name, Some(vmid), true)));
        Wanted { machines, container: true, template: true, group: true, pools: [true; 3], port: 443 }
    }

    /// One thing becomes another, and what it needs with it.
    fn move_on(&mut self, dice: &mut Dice) {
        let at = usize::try_from(dice.roll(self.machines.len() as u64)).expect("a few");
        let machine = &mut self.machines[at];
        match dice.roll(8) {
            0 | 1 => machine.here = !machine.here,
            2 => machine.cores = 1 + dice.roll(4),
            3 => machine.pool = Some(dice.roll(3)).filter(|p| *p < 2),
            4 => machine.profile = !machine.profile,
            5 => machine.running = machine.clone && !machine.running,
            6 => self.container = !self.container,
            _ => (self.template, self.group, self.port) = (dice.one_in(2), dice.one_in(2), 1 + dice.roll(9_000)),
        }
        self.pools[2] = dice.one_in(2);
        let here = || self.machines.iter().filter(|m| m.here);
        self.template |= here().any(|m| m.clone);
        for pool in 0..2 {
            self.pools[pool] = here().any(|m| m.pool == Some(pool as u64)) || dice.one_in(2);
        }
        self.group |= here().any(|m| m.profile);
    }

    fn yaml(&self) -> String {
        let mut out = format!(
            "{}spec: {{vmid: 690, node: pve3, hardware: {{cores: 1, memory: 512Mi}}, disks: [{{slot: scsi0, storage: local-lvm, size: 1Gi}}]}}\n",
            head("VirtualMachine", "stays")
        );
        for pool in (0..3).filter(|p| self.pools[*p]) {
            let _ = write!(out, "---\n{}spec: {{comment: pool {pool}}}\n", head("Pool", &format!("p{pool}")));
        }
        if self.template {
            let _ = write!(
                out,
                "---\n{}spec:\n  type: VirtualMachine\n  node: pve1\n  vmid: 9000\n  source: {{clone: {{vmid: 8000, mode: Full, storage: local-lvm}}}}\n  hardware: {{cores: 1, memory: 512Mi}}\n",
                head("GuestTemplate", "base")
            );
        }
        if self.group {
            let _ = write!(
                out,
                "---\n{}spec: {{bridge: vmbr0, egress: {{default: Deny, allow: [{{to: 10.0.0.0/24, ports: [tcp/{}]}}]}}, ingress: {{default: Deny}}}}\n",
                head("NetworkProfile", "shut"),
                self.port
            );
        }
        if self.container {
            let _ = write!(
                out,
                "---\n{}spec:\n  vmid: 620\n  node: pve3\n  from: {{osTemplate: 'local:vztmpl/alpine-3.22-default_20260401_amd64.tar.gz'}}\n  power: Stopped\n  unprivileged: true\n  hardware: {{cores: 1, memory: 256Mi, swap: 0Mi}}\n  rootfs: {{storage: local-lvm, size: 1Gi}}\n",
                head("Container", "ct")
            );
        }
        for machine in self.machines.iter().filter(|m| m.here) {
            out += "---\n";
            out += &machine.yaml();
        }
        out
    }

    fn names(&self) -> BTreeSet<String> {
        let machines = self.machines.iter().filter(|m| m.here).map(|m| m.name.to_owned());
        let more = [("stays", true), ("ct", self.container), ("base", self.template)];
        machines.chain(more.into_iter().filter(|(_, here)| *here).map(|(name, _)| name.to_owned())).collect()
    }
}

fn head(kind: &str, name: &str) -> String {
    format!("apiVersion: pvectl/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}}}\n")
}

impl Machine {
    fn yaml(&self) -> String {
        let Machine { name, vmid, clone, here: _, cores, pool, profile, running } = self;
        let mut out = head("VirtualMachine", name) + "spec:\n  node: pve1\n";
        if let Some(vmid) = vmid {
            let _ = writeln!(out, "  vmid: {vmid}");
        }
        if *clone {
            out += "  from: {template: base, mode: Linked}\n";
        } else {
            out += "  disks: [{slot: scsi0, storage: local-lvm, size: 1Gi}]\n";
        }
        if let Some(pool) = pool {
            let _ = writeln!(out, "  pool: p{pool}");
        }
        let net = if *profile { "profile: shut" } else { "bridge: vmbr0" };
        let power = if *running { "Running" } else { "Stopped" };
        let _ = write!(
            out,
            "  hardware: {{cores: {cores}, memory: 512Mi}}\n  networks: [{{slot: net0, {net}}}]\n  power: {power}\n  update: {{reboot: IfRequired}}\n"
        );
        out
    }
}

// ---- the end ---------------------------------------------------------------------------------------------------------

/// The state without what differs between two clusters of the same history: the machine whose number was allotted has
/// another.
fn comparable(world: &World) -> Value {
    let mut value = normal(world);
    let top = value.as_object_mut().expect("a world is an object");
    top.remove("messages");
    top.remove("certificate");
    for guest in top["guests"].as_object_mut().into_iter().flat_map(serde_json::Map::values_mut) {
        // Whether it ever ran.
        guest["boot_seconds"] = Value::Null;
    }
    // A profile that leaves a machine leaves its firewall shut, as a person wants it: where one is not declared, it may be
    // there or not. The firewall of a machine that is gone may not.
    let shut = |g: &pvectl::sim::world::Guest| g.config.get("net0").is_some_and(|net| net.contains("firewall=1"));
    if let Some(firewalls) = top["tables"]["firewall"].as_object_mut() {
        let open = world.guests.iter().filter(|(_, g)| !shut(g)).map(|(id, _)| format!("guest/{id}"));
        open.for_each(|scope| drop(firewalls.remove(&scope)));
    }
    let free = world.guests.iter().find(|(_, g)| g.config.get("name").is_some_and(|n| n == "free"));
    let Some((vmid, _)) = free else { return value };
    let number = regex_lite::Regex::new(&format!(r"\b{vmid}\b")).expect("a pattern");
    serde_json::from_str(&number.replace_all(&value.to_string(), "424242")).expect("it is still JSON")
}

/// The cluster as it was in the beginning, with its firewall on.
fn homelab() -> Lab {
    let lab = Lab::homelab();
    let call = Call::new(Method::Put, "/cluster/firewall/options").with("enable", 1);
    crate::world::run(lab.sim.api().send(&call)).expect("the firewall is on");
    lab
}

fn check(world: &World, wanted: &Wanted) {
    let name = |g: &pvectl::sim::world::Guest| g.config.get("name").or(g.config.get("hostname")).cloned();
    let all = world.guests.iter().filter(|(id, _)| **id < 8000 || **id >= 9000);
    let found: Vec<String> = all.filter_map(|(_, g)| name(g)).collect();
    let once: BTreeSet<String> = found.iter().cloned().collect();
    assert_eq!((once.len(), &once), (found.len(), &wanted.names()), "each guest, once, and no other");
    assert_eq!(orphans(world), Vec::<String>::new(), "no volume is left lying about");
    let lab = homelab();
    let mut before = lab.world();
    (before.messages, before.certificate) = (world.messages.clone(), world.certificate.clone());
    let (before, after) = (strangers(&before), strangers(world));
    assert_eq!(before, after, "what is not ours was touched:\n{}", delta(&before, &after));
    lab.apply(&desired(&wanted.yaml()), &plain());
    let (straight, here) = (comparable(&lab.world()), comparable(world));
    assert_eq!(straight, here, "not as if it had lived (straight | here):\n{}", delta(&straight, &here));
}

#[test]
#[expect(clippy::print_stderr, reason = "a seed is worth nothing if nobody knows it")]
fn killed_at_any_moment_it_goes_on_from_what_is_there() {
    let own = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    let seed = own("PVECTL_KILLS_SEED").unwrap_or(now.as_nanos() as u64 | 1);
    let kills = own("PVECTL_KILLS").unwrap_or(KILLS);
    eprintln!("{kills} deaths; again with PVECTL_KILLS_SEED={seed}");
    let mut dice = Dice(seed);
    let place = tempfile::tempdir().expect("a folder");
    let state = place.path().join("cluster.json");
    let server = Server::start(&state, SPEED);
    let home = Home::new(&[("home", &server)]);
    let mut wanted = Wanted::first();
    home.write("daemon.yaml", CONFIG);
    home.write("manifests/all.yaml", &wanted.yaml());
    let settle = |wanted: &Wanted| {
        let daemon = home.start("run daemon.yaml -v");
        let began = Instant::now();
        let objects = wanted.yaml().matches("kind: ").count();
        daemon.until("all is as it should be", |d| d.is_ready("lab", objects));
        assert_eq!(daemon.terminate().0, 0);
        eprintln!("settled after {:?}", began.elapsed());
        home.run("diff -f manifests --set lab --prune").code(0);
        let config = home.run("api GET /nodes/pve3/qemu/690/config").code(0).out;
        let found: Value = serde_json::from_str(&config).expect("JSON");
        found["smbios1"].as_str().expect("a machine has a number of its own").to_owned()
    };
    // Without it a profile shuts nothing, which is told, and is not Ready.
    home.run("api PUT /cluster/firewall/options enable=1").code(0);
    let stays = settle(&wanted);
    let (mut busy, began) = (0, Instant::now());
    for n in 1..=kills {
        let log = home.path("daemon.log");
        std::fs::write(&log, "").expect("a new log");
        let mut move_on = |dice: &mut Dice| {
            (0..=dice.roll(4)).for_each(|_| wanted.move_on(dice));
            home.write("manifests/all.yaml", &wanted.yaml());
        };
        if dice.one_in(2) {
            move_on(&mut dice);
        }
        let broken = dice.one_in(12);
        if broken {
            home.write("manifests/broken.yaml", "kind: Nonsense\n");
        }
        let daemon = home.start_deaf("run daemon.yaml -v --listen none");
        std::thread::sleep(Duration::from_millis(dice.roll(LIFE_MS)));
        if dice.one_in(3) {
            move_on(&mut dice);
            std::thread::sleep(Duration::from_millis(dice.roll(LIFE_MS)));
        }
        busy += u64::from(daemon.log().contains("run="));
        daemon.kill();
        if broken {
            std::fs::remove_file(home.path("manifests/broken.yaml")).expect("it is mended");
        }
        if n.is_multiple_of(ROUND) {
            assert_eq!(settle(&wanted), stays, "the machine that nobody spoke of is another one");
        }
    }
    assert_eq!(settle(&wanted), stays, "the machine that nobody spoke of is another one");
    eprintln!("{kills} deaths in {:?}, {busy} of them in the middle of something", began.elapsed());
    assert!(busy * 5 > kills, "only {busy} of {kills} lives got to do anything");
    server.stop();
    check(&kept(&state), &wanted);
}
