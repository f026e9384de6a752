//! The firewall's evaluator against a kernel: rules are written down once for `src/firewall`, and once for nftables; then
//! real packets go between two network namespaces, and both must say the same of every one of them.

use pvectl::firewall::address::{Member, Names};
use pvectl::firewall::evaluate::evaluate;
use pvectl::firewall::rule::{Deed, Direction, Rule, Verdict};
use pvectl::firewall::scene::{Cluster, Guest, Interface, Options, Packet};
use pvectl::firewall::traffic::{Ported, Traffic};
use pvectl::kinds::network_profile::compile::compile;
use pvectl::kinds::network_profile::parse;
use serde_json::json;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::IpAddr;
use std::process::{Command, Stdio};

/// Where the guest is, and who is outside; the latter are all addresses of one machine.
const GUEST: [&str; 2] = ["10.1.0.1", "fd00:1::1"];
const WORLD: [&str; 6] = ["10.1.0.2", "10.2.0.7", "192.0.2.1", "198.51.100.9", "fd00:1::2", "fd00:2::7"];
const PORTS: [u16; 5] = [22, 80, 443, 445, 5432];

/// Numbers from a seed, always the same.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).expect("small") % sides
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.roll(all.len())]
    }
}

fn verdict(dice: &mut Dice) -> Verdict {
    dice.of(&[Verdict::Accept, Verdict::Accept, Verdict::Drop, Verdict::Reject])
}

const ADDRESSES: [&str; 13] = [
    "",
    "",
    "10.2.0.0/16",
    "192.0.2.1",
    "10.1.0.0/24,198.51.100.0/24",
    "192.0.2.0-198.51.100.20",
    "fd00:2::/64",
    "+dc/web",
    "+web",
    "+empty",
    "+nope",
    "db",
    "dc/db",
];

fn rule(dice: &mut Dice) -> Rule {
    let direction = dice.of(&[Direction::In, Direction::Out]);
    let mut rule = Rule::new(Deed::Decide(direction, verdict(dice)));
    rule.enabled = dice.roll(6) > 0;
    let peer = dice.of(&ADDRESSES).to_owned();
    match direction {
        Direction::In => rule.source = peer,
        Direction::Out => rule.dest = peer,
    }
    match dice.roll(5) {
        0 => {}
        1 => rule.macro_name = dice.of(&["SSH", "Web", "PostgreSQL"]).to_owned(),
        _ => {
            rule.proto = "tcp".to_owned();
            rule.dest_ports = dice.of(&["", "22", "80,443", "400:5500", "https", "1:65535"]).to_owned();
        }
    }
    rule
}

fn scene(seed: u64) -> (Cluster, Guest) {
    let mut dice = Dice(seed);
    let member = |cidr: &str| Member { cidr: cidr.to_owned(), nomatch: false };
    let sets = BTreeMap::from([
        ("web".to_owned(), vec![member("10.2.0.0/16"), member("fd00:2::7"), member("db")]),
        ("empty".to_owned(), Vec::new()),
    ]);
    let aliases = BTreeMap::from([("db".to_owned(), "198.51.100.9".to_owned())]);
    let mut cluster = Cluster { enabled: true, names: Names { sets, aliases }, groups: BTreeMap::new() };
    for name in ["one", "two"] {
        let rules = (0..dice.roll(4)).map(|_| rule(&mut dice)).collect();
        cluster.groups.insert(name.to_owned(), rules);
    }
    let mut rules = Vec::new();
    for _ in 0..2 + dice.roll(5) {
        let mut one = match dice.roll(3) {
            0 => Rule::new(Deed::Group(dice.of(&["one", "two", "gone"]).to_owned())),
            _ => rule(&mut dice),
        };
        one.interface = dice.of(&["", "", "net0", "net1"]).to_owned();
        rules.push(one);
    }
    let options = Options {
        enabled: true,
        policy_in: verdict(&mut dice),
        policy_out: verdict(&mut dice),
        ..Options::decode(&json!({}))
    };
    (cluster, Guest { options, rules, names: Names::default() })
}

/// A profile as it is compiled, on a guest that names it: with names as DNS would tell them.
fn profile() -> (Cluster, Guest) {
    let spec = json!({
        "egress": {"default": "Deny", "allow": [
            {"to": "api.example.com:443"},
            {"to": "10.2.0.0/16", "ports": ["tcp/5432", "tcp/20-30"]},
            {"to": "fd00:2::/64", "ports": ["tcp/80"]},
        ], "deny": [{"to": "198.51.100.9"}]},
        "ingress": {"default": "Reject", "allow": [{"from": "192.0.2.0/24", "ports": ["tcp/22"]}], "deny": [{"from": "any"}]},
    });
    let compiled = compile("api-access", &parse(&spec).expect("a spec")).expect("it compiles");
    let mut cluster = Cluster { enabled: true, names: Names::default(), groups: BTreeMap::new() };
    for set in &compiled.sets {
        let told = set.names.iter().flat_map(|_| ["192.0.2.1", "fd00:1::2"]).map(str::to_owned);
        let all = set.nets.iter().cloned().chain(told).map(|cidr| Member { cidr, nomatch: false });
        cluster.names.sets.insert(set.name.clone(), all.collect());
    }
    let rules = compiled.rules.into_iter().map(|made| made.rule).collect();
    // nft's names of chains take no `-`.
    cluster.groups.insert("profile".to_owned(), rules);
    let mut asks = Rule::new(Deed::Group("profile".to_owned()));
    asks.interface = "net0".to_owned();
    let options =
        Options { enabled: true, policy_in: Verdict::Reject, policy_out: Verdict::Drop, ..Options::decode(&json!({})) };
    (cluster, Guest { options, rules: vec![asks], names: Names::default() })
}

// ---- the other writing -----------------------------------------------------------------------------------------------

/// What a rule asks of addresses, for each family; `None`: PVE leaves the rule out.
fn nft_addresses(cluster: &Cluster, spec: &str, side: &str) -> Option<Vec<String>> {
    let expand =
        |text: &str| cluster.names.aliases.get(text.trim_start_matches("dc/")).cloned().unwrap_or(text.to_owned());
    if spec.is_empty() {
        return Some(vec![String::new()]);
    }
    let all: Vec<String> = match spec.strip_prefix('+') {
        Some(name) => {
            let members = cluster.names.sets.get(name.trim_start_matches("dc/"))?;
            members.iter().map(|m| expand(&m.cidr)).collect()
        }
        None => spec.split(',').map(expand).collect(),
    };
    let (six, four): (Vec<String>, Vec<String>) = all.into_iter().partition(|a| a.contains(':'));
    let of = |family: &str, list: &[String]| format!("{family} {side} {{ {} }}", list.join(", "));
    let mut out = Vec::new();
    if !four.is_empty() {
        out.push(of("ip", &four));
    }
    if !six.is_empty() {
        out.push(of("ip6", &six));
    }
    Some(out)
}

fn nft_verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Accept => "accept",
        Verdict::Drop => "drop",
        Verdict::Reject => "reject with tcp reset",
    }
}

fn nft_rule(cluster: &Cluster, rule: &Rule, direction: Direction, out: &mut String) {
    let Deed::Decide(way, verdict) = &rule.deed else { return };
    let spec = if direction == Direction::In { &rule.source } else { &rule.dest };
    let side = if direction == Direction::In { "saddr" } else { "daddr" };
    let Some(addresses) = nft_addresses(cluster, spec, side).filter(|_| *way == direction && rule.enabled) else {
        return;
    };
    let ports = match rule.macro_name.as_str() {
        "SSH" => "22".to_owned(),
        "Web" => "80, 443".to_owned(),
        "PostgreSQL" => "5432".to_owned(),
        _ => rule.dest_ports.replace(':', "-").replace("https", "443").replace(',', ", "),
    };
    let tcp = match (ports.as_str(), rule.proto.as_str()) {
        ("", "") => String::new(),
        ("", _) => "meta l4proto tcp".to_owned(),
        (ports, _) => format!("tcp dport {{ {ports} }}"),
    };
    for address in addresses {
        writeln!(out, "    {address} {tcp} {}", nft_verdict(*verdict)).expect("text");
    }
}

fn nft(cluster: &Cluster, guest: &Guest, packets: &[Packet]) -> String {
    let mut out = String::from("flush ruleset\ntable inet t {\n");
    for direction in [Direction::In, Direction::Out] {
        let word = direction.as_str();
        for (name, rules) in &cluster.groups {
            writeln!(out, "  chain {name}_{word} {{").expect("text");
            rules.iter().for_each(|rule| nft_rule(cluster, rule, direction, &mut out));
            out += "  }\n";
        }
        let hook = if direction == Direction::In { "input" } else { "output" };
        writeln!(out, "  chain {word} {{\n    type filter hook {hook} priority 0; policy accept;").expect("text");
        out += "    meta oif lo accept\n    ct state established,related accept\n    meta l4proto ipv6-icmp accept\n";
        for rule in guest.rules.iter().filter(|r| r.enabled && (r.interface.is_empty() || r.interface == "net0")) {
            match &rule.deed {
                Deed::Group(name) if cluster.groups.contains_key(name) => {
                    writeln!(out, "    jump {name}_{word}").expect("text");
                }
                Deed::Group(_) => {}
                Deed::Decide(..) => nft_rule(cluster, rule, direction, &mut out),
            }
        }
        let policy = if direction == Direction::In { guest.options.policy_in } else { guest.options.policy_out };
        writeln!(out, "    meta l4proto tcp {}\n  }}", nft_verdict(policy)).expect("text");
    }
    out += "  chain arrived {\n    type filter hook input priority 10; policy accept;\n";
    for (number, packet) in packets.iter().enumerate().filter(|(_, p)| p.direction == Direction::In) {
        writeln!(out, "    {} counter comment \"c{number}\"", nft_packet(packet)).expect("text");
    }
    out + "  }\n}\n"
}

fn nft_packet(packet: &Packet) -> String {
    let family = if packet.v6() { "ip6" } else { "ip" };
    let Traffic::Ports { to, .. } = packet.traffic else { unreachable!("only TCP is sent") };
    format!(
        "{family} saddr {} {family} daddr {} tcp dport {to} tcp flags & (syn|ack) == syn",
        packet.source, packet.dest
    )
}

fn packets() -> Vec<Packet> {
    let mut all = Vec::new();
    for world in WORLD {
        let dest: IpAddr = world.parse().expect("an address");
        let guest: IpAddr = GUEST[usize::from(dest.is_ipv6())].parse().expect("an address");
        for to in PORTS {
            let traffic = Traffic::Ports { proto: Ported::Tcp, from: 40_000, to };
            all.push(Packet { direction: Direction::Out, source: guest, dest, traffic });
            all.push(Packet { direction: Direction::In, source: dest, dest: guest, traffic });
        }
    }
    all
}

/// What the kernel does with them: by number, whether it arrived, and the exit status of the sender.
fn script(scenes: &[(Cluster, Guest)], packets: &[Packet]) -> String {
    let mut out = String::from("set -e\nunshare -n sleep 300 & w=$!\nsleep 0.3\n");
    out += "ip link add name veth0 type veth peer name veth1\nip link set veth1 netns $w\nip link set lo up\n";
    out += "world() { nsenter -t $w -n \"$@\"; }\nip link set veth0 up\nworld ip link set lo up\nworld ip link set veth1 up\n";
    writeln!(out, "ip addr add {}/16 dev veth0\nip addr add {}/64 dev veth0 nodad", GUEST[0], GUEST[1]).expect("text");
    for address in WORLD {
        let (prefix, dad) = if address.contains(':') { (64, "nodad") } else { (16, "") };
        let near = address.starts_with("10.1.") || address.starts_with("fd00:1:");
        let prefix = if near {
            prefix
        } else if dad.is_empty() {
            32
        } else {
            128
        };
        writeln!(out, "world ip addr add {address}/{prefix} dev veth1 {dad}").expect("text");
    }
    writeln!(out, "ip route add default via {}\nip -6 route add default via {}", WORLD[0], WORLD[4]).expect("text");
    let mut counted =
        String::from("table inet w {\n  chain p {\n    type filter hook prerouting priority 0; policy accept;\n");
    for (number, packet) in packets.iter().enumerate().filter(|(_, p)| p.direction == Direction::Out) {
        writeln!(counted, "    {} counter comment \"c{number}\"", nft_packet(packet)).expect("text");
    }
    counted += "  }\n}\n";
    out += "set +e\n";
    for (index, (cluster, guest)) in scenes.iter().enumerate() {
        writeln!(out, "world nft -f - <<'X'\nflush ruleset\n{counted}X").expect("text");
        writeln!(out, "nft -f - <<'X' || echo bad rules {index}\n{}X", nft(cluster, guest, packets)).expect("text");
        for (number, packet) in packets.iter().enumerate() {
            let Traffic::Ports { to, .. } = packet.traffic else { continue };
            if packet.direction == Direction::Out {
                let connect = format!("timeout 1 bash -c '</dev/tcp/{}/{to}'", packet.dest);
                writeln!(out, "({connect} 2>/dev/null; echo sent {index} {number} $?) &").expect("text");
            }
        }
        out += "wait $(jobs -p | grep -v \"^$w$\")\n";
        for source in WORLD {
            let family = if source.contains(':') { "-6 " } else { "" };
            let guest = GUEST[usize::from(source.contains(':'))];
            let width = if source.contains(':') { 128 } else { 32 };
            writeln!(out, "world ip {family}route replace {guest}/{width} dev veth1 src {source}").expect("text");
            for (number, packet) in packets.iter().enumerate() {
                let Traffic::Ports { to, .. } = packet.traffic else { continue };
                if packet.direction == Direction::In && packet.source.to_string() == source {
                    let connect = format!("timeout 1 nsenter -t $w -n bash -c '</dev/tcp/{guest}/{to}'");
                    writeln!(out, "({connect} 2>/dev/null; echo sent {index} {number} $?) &").expect("text");
                }
            }
            out += "wait $(jobs -p | grep -v \"^$w$\")\n";
        }
        let list = r#"awk '/counter packets [1-9]/ { gsub(/"/, ""); print $NF }'"#;
        writeln!(
            out,
            "for c in $(nft list ruleset | {list}; world nft list ruleset | {list}); do echo arrived {index} $c; done"
        )
        .expect("text");
    }
    out + "kill $w\n"
}

/// Whether namespaces and nftables are to be had; a skip is a failure where everything is required.
fn able() -> bool {
    let tried = Command::new("unshare").args(["-rn", "nft", "list", "ruleset"]).stderr(Stdio::null()).status();
    let able = tried.is_ok_and(|status| status.success());
    if !able {
        let required = std::env::var_os("PVECTL_TEST_REQUIRE_ALL").is_some_and(|v| v == "1");
        assert!(!required, "PVECTL_TEST_REQUIRE_ALL=1, but network namespaces or nft are not to be had");
        crate::apidoc::say("skipped: no network namespaces, or no nft (package nftables)");
    }
    able
}

#[test]
fn the_kernel_and_the_evaluator_say_the_same() {
    if !able() {
        return;
    }
    let scenes: Vec<(Cluster, Guest)> = (1..=8).map(scene).chain([profile()]).collect();
    let packets = packets();
    let mut shell = Command::new("unshare");
    shell.args(["-rn", "bash", "-s"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = shell.spawn().expect("bash runs");
    let text = script(&scenes, &packets);
    child.stdin.take().expect("a pipe").write_all(text.as_bytes()).expect("the script is read");
    let ended = child.wait_with_output().expect("it ends");
    let (said, complaints) = (String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
    let mut kernel: BTreeMap<(usize, usize), (bool, String)> = BTreeMap::new();
    for line in said.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |n: usize| words[n].trim_start_matches('c').parse::<usize>().expect("a number");
        match words[0] {
            "sent" => kernel.entry((number(1), number(2))).or_default().1 = words[3].to_owned(),
            "arrived" => kernel.entry((number(1), number(2))).or_default().0 = true,
            _ => panic!("{line}\n{complaints}"),
        }
    }
    assert_eq!(kernel.len(), scenes.len() * packets.len(), "{complaints}");
    let mac = "BC:24:11:12:34:56".to_owned();
    let net0 = Interface { slot: "net0".into(), firewall: true, mac, addresses: Vec::new() };
    let mut wrong = Vec::new();
    let mut seen = BTreeMap::new();
    for ((index, number), (arrived, status)) in &kernel {
        let (cluster, guest) = &scenes[*index];
        let ours = evaluate(cluster, guest, &net0, &packets[*number]).expect("everything is known here");
        let theirs = match (arrived, status.as_str()) {
            (true, _) => Verdict::Accept,
            (false, "124") => Verdict::Drop,
            (false, _) => Verdict::Reject,
        };
        *seen.entry(theirs).or_insert(0) += 1;
        if ours.verdict != theirs {
            wrong.push(format!(
                "scene {index}, {:?}: we say {ours:?}, the kernel {theirs:?}\n{guest:#?}\n{cluster:#?}",
                packets[*number]
            ));
        }
    }
    assert!(wrong.is_empty(), "{} wrong, such as {}", wrong.len(), wrong[0]);
    assert!(seen.len() == 3 && seen.values().all(|n| *n > 30), "each verdict is to be seen: {seen:?}");
    crate::apidoc::say(&format!("{} packets: {seen:?}", kernel.len()));
}
