//! The host link against a real OpenSSH server on loopback, with stand-ins for the programs of a node that write down what they
//! were told. Needs `sshd` and OpenSSH's client on this machine; where one is missing, the tests say so and are skipped.

mod gate;
mod guest;
mod rig;
mod verbs;
mod words;

use crate::link::rig::Rig;
use pvectl::base::id::VmId;
use pvectl::base::links::Links;
use pvectl::host::job::{ConfigFiles, Deed, Job, Package};
use pvectl::host::link::{Link, LinkError, Listener, Output};
use pvectl::host::operation::{Command, Operation};
use pvectl::host::ssh::Ssh;
use pvectl::host::ssh::options::{Jump, Place, Spot};
use pvectl::host::token::Token;
use std::time::{Duration, Instant};

fn vmid(number: u64) -> VmId {
    VmId::new(number).expect("a number of a guest")
}

/// A read in a container; what the stand-in of `pct` does differs from number to number.
fn jobs(number: u64) -> Operation {
    Operation::ContainerJobs { vmid: vmid(number), window: Token::own("sunday") }
}

fn unsent(answer: Result<Output, LinkError>) -> (String, String) {
    match answer {
        Err(LinkError::Unsent { cause, hint }) => (cause, hint.unwrap_or_default()),
        other => panic!("it was sent: {other:?}"),
    }
}

#[tokio::test]
async fn an_operation_runs_on_the_node_and_says_how_it_ended() {
    let Some(rig) = Rig::start() else { return };
    let ssh = rig.ssh();
    assert_eq!(ssh.links(), Links::Every);
    let said = ssh.run("pve1", &jobs(200), None).await.expect("it runs");
    assert_eq!((said.code, said.truncated), (0, false), "{said:?}");
    assert_eq!(rig.told("pct"), ["exec 200 -- /bin/sh -s -- read sunday"]);
    let sent = rig.heard("pct");
    assert_eq!(sent, jobs(200).command(&Token::own("pve1")).expect("a command").input, "the program arrives whole");
    let said = ssh.run("pve1", &jobs(202), None).await.expect("it runs");
    assert_eq!((said.code, said.err.trim()), (7, "seven"));
    // What in Perl dies ends with 255, and so does ssh for troubles of its own.
    let said = ssh.run("pve1", &jobs(201), None).await.expect("it is the node's own");
    assert_eq!((said.code, said.err.trim()), (255, "CT 201 not running"));
    let said = ssh.run("pve1", &Operation::Maintenance { enable: true }, None).await.expect("it runs");
    assert_eq!(said.code, 0);
    assert_eq!(rig.told("ha-manager"), ["crm-command node-maintenance enable pve1"]);
    assert_eq!(rig.logins(), 1, "one log-in for all of them");
}

#[tokio::test]
async fn a_job_goes_with_its_list() {
    let Some(rig) = Rig::start() else { return };
    let package = Package { name: Token::own("libc6:amd64"), version: Token::own("2.36-9+deb12u14") };
    let deed = Deed::Patch { attempt: 1, packages: vec![package], config: ConfigFiles::Keep };
    let job = Job { window: Token::own("sunday"), slot: Token::own("20261122T010000Z"), deed };
    let operation = Operation::ContainerJob { vmid: vmid(200), job };
    let said = rig.ssh().run("pve1", &operation, None).await.expect("it runs");
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(rig.told("pct"), ["exec 200 -- /bin/sh -s -- patch sunday 20261122T010000Z-patch keep"]);
    assert!(rig.heard("pct").contains("\npackage libc6:amd64 2.36-9+deb12u14\n"));
}

#[tokio::test]
async fn output_is_told_as_it_comes_and_bounded() {
    struct Heard(usize);
    impl Listener for Heard {
        fn out(&mut self, text: &str) {
            self.0 += text.len();
        }
    }
    let Some(rig) = Rig::start() else { return };
    let mut heard = Heard(0);
    let most = jobs(203).command(&Token::own("pve1")).expect("a command").output_bytes_max;
    let said = rig.ssh().run("pve1", &jobs(203), Some(&mut heard)).await.expect("it runs");
    assert_eq!((said.code, said.truncated, said.out.len(), heard.0), (0, true, most, most));
    assert!(most < 5_000_000, "the stand-in says five million");
}

#[tokio::test]
async fn a_host_key_is_never_believed_blindly() {
    let Some(rig) = Rig::start() else { return };
    std::fs::write(rig.path("known_hosts"), "").expect("a file");
    let (cause, hint) = unsent(rig.ssh().run("pve1", &jobs(200), None).await);
    assert!(cause.contains("no host key of 127.0.0.1 is in") && cause.contains("known_hosts"), "{cause}");
    assert!(hint.contains("ssh-keygen -lf") && hint.contains("hostKeyAlias"), "{hint}");
    let other = rig.public_key("other");
    std::fs::write(rig.path("known_hosts"), format!("[127.0.0.1]:{} {other}\n", rig.port)).expect("a file");
    let (cause, _) = unsent(rig.ssh().run("pve1", &jobs(200), None).await);
    assert!(cause.contains("is another than the one in"), "{cause}");
    assert_eq!((rig.told("pct").len(), rig.logins()), (0, 0), "nothing was run");
    // As in /etc/pve/nodes/pve1/ssh_known_hosts.
    std::fs::write(rig.path("known_hosts"), format!("pve1 {}\n", rig.public_key("host"))).expect("a file");
    let mut settings = rig.settings();
    settings.host_key_alias = true;
    assert_eq!(Ssh::new(settings).run("pve1", &jobs(200), None).await.expect("it runs").code, 0);
}

#[tokio::test]
async fn who_is_not_let_in_is_told_why() {
    let Some(rig) = Rig::start() else { return };
    let mut settings = rig.settings();
    settings.private_key = Spot::new(&rig.path("other"));
    let (cause, hint) = unsent(Ssh::new(settings).run("pve1", &jobs(200), None).await);
    assert!(cause.contains("does not let") && cause.contains("Permission denied"), "{cause}");
    assert!(hint.contains("authorized_keys"), "{hint}");
    let mut settings = rig.settings();
    settings.nodes.entry("pve1".to_owned()).or_default().port = Some(rig::free_port());
    let ssh = Ssh::new(settings);
    let (cause, _) = unsent(ssh.run("pve1", &jobs(200), None).await);
    assert!(cause.contains("127.0.0.1 refuses the connection"), "{cause}");
    let begun = Instant::now();
    for _ in 0..50 {
        unsent(ssh.run("pve1", &jobs(200), None).await);
    }
    assert!(begun.elapsed() < Duration::from_secs(1), "a node that was not reached is not tried again at once");
    let (cause, _) = unsent(rig.ssh_to("nobody-there.invalid").run("pve1", &jobs(200), None).await);
    assert!(cause.contains("nobody-there.invalid has no address"), "{cause}");
    assert_eq!(rig.told("pct").len(), 0);
}

#[tokio::test]
async fn another_node_than_the_one_that_is_meant_is_left_alone() {
    let Some(rig) = Rig::start() else { return };
    let mut settings = rig.settings();
    let place = settings.nodes.remove("pve1").expect("it is there");
    settings.nodes.insert("pve2".to_owned(), place);
    let (cause, hint) = unsent(Ssh::new(settings).run("pve2", &Operation::Maintenance { enable: true }, None).await);
    assert_eq!(cause, "127.0.0.1 calls itself pve1.example.com, and is not pve2");
    assert!(hint.contains("link.ssh.nodes.pve2.host"), "{hint}");
    assert_eq!(rig.told("ha-manager").len(), 0);
}

#[tokio::test]
async fn a_host_in_between_is_believed_no_more_than_a_node() {
    let (Some(rig), Some(bastion)) = (Rig::start(), Rig::start()) else { return };
    let mut settings = rig.settings();
    settings.jump = Jump::parse(&format!("{}@127.0.0.1:{}", rig::user(), bastion.port));
    let (cause, _) = unsent(Ssh::new(settings.clone()).run("pve1", &jobs(200), None).await);
    assert!(cause.contains("no host key of 127.0.0.1"), "{cause}");
    let both = format!("{}[127.0.0.1]:{} {}\n", rig.known_hosts(), bastion.port, bastion.public_key("host"));
    std::fs::write(rig.path("known_hosts"), both).expect("a file");
    let (cause, _) = unsent(Ssh::new(settings.clone()).run("pve1", &jobs(200), None).await);
    assert!(cause.contains("Permission denied"), "{cause}");
    bastion.admit(&rig.public_key("client"));
    let ssh = Ssh::new(settings);
    assert_eq!(ssh.run("pve1", &jobs(200), None).await.expect("it runs").code, 0);
    assert!(ssh.way("pve1").is_some_and(|way| way.ends_with("through 127.0.0.1")));
    assert_eq!((rig.logins(), bastion.logins(), bastion.told("pct").len()), (1, 1, 0));
}

#[tokio::test]
async fn what_takes_too_long_is_lost_and_ends() {
    let Some(rig) = Rig::start() else { return };
    let ssh = rig.ssh();
    let node = Token::own("pve1");
    let command = Command { timeout: Duration::from_secs(2), ..jobs(204).command(&node).expect("a command") };
    let begun = Instant::now();
    let answer = ssh.command(&node, &command, None).await;
    assert!(matches!(&answer, Err(LinkError::Lost { cause }) if cause.contains("no end in 2 s")), "{answer:?}");
    assert!(begun.elapsed() < Duration::from_secs(20));
    assert_eq!(rig.told("pct").len(), 1, "it was begun");
    assert_eq!(ssh.run("pve1", &jobs(200), None).await.expect("the way is still there").code, 0);
}

#[tokio::test]
async fn a_connection_that_breaks_leaves_it_unknown_and_nothing_runs_twice() {
    let Some(rig) = Rig::start() else { return };
    let ssh = rig.ssh();
    let answer = ssh.run("pve1", &jobs(205), None).await;
    assert!(matches!(answer, Err(LinkError::Lost { .. })), "{answer:?}");
    assert_eq!(rig.told("pct").len(), 1, "it was begun once");
    let said = ssh.run("pve1", &jobs(200), None).await.expect("the way is opened again");
    assert_eq!((said.code, rig.told("pct").len()), (0, 2));
}

#[tokio::test]
async fn a_hundred_reads_cost_one_log_in_and_leave_nothing_behind() {
    let Some(rig) = Rig::start() else { return };
    let ssh = rig.ssh();
    let (one, other) = (jobs(200), Operation::Tools);
    let reads = (0..40).map(|n| ssh.run("pve1", if n % 2 == 0 { &one } else { &other }, None));
    for said in futures::future::join_all(reads).await {
        assert_eq!(said.expect("it runs").code, 0);
    }
    assert_eq!((rig.logins(), rig.told("pct").len()), (1, 20));
    assert!(!rig.log().contains("disconnected by user"), "the connection is kept");
    drop(ssh);
    rig.until("the connection is closed with its owner", |rig| rig.log().contains("disconnected by user"));
}

#[tokio::test]
async fn addresses_come_from_the_cluster_unless_somebody_knows_better() {
    let Some(rig) = Rig::start() else { return };
    let mut settings = rig.settings();
    settings.nodes.clear();
    settings.port = Some(rig.port);
    let ssh = Ssh::new(settings.clone());
    assert_eq!(ssh.way("pve1"), Some(format!("ssh {}@pve1 port {}", rig::user(), rig.port)));
    ssh.learn(&[("pve1".to_owned(), "127.0.0.1".to_owned()), ("pve2".to_owned(), "$(id)".to_owned())].into());
    assert_eq!(ssh.way("pve1"), Some(format!("ssh {}@127.0.0.1 port {}", rig::user(), rig.port)));
    assert_eq!(ssh.way("pve2"), Some(format!("ssh {}@pve2 port {}", rig::user(), rig.port)), "that is no address");
    assert_eq!(ssh.run("pve1", &jobs(200), None).await.expect("it runs").code, 0);
    settings.nodes.insert("pve1".to_owned(), Place { host: Some(Token::own("10.0.0.1")), ..Place::default() });
    let ssh = Ssh::new(settings);
    ssh.learn(&[("pve1".to_owned(), "127.0.0.1".to_owned())].into());
    assert_eq!(ssh.way("pve1"), Some(format!("ssh {}@10.0.0.1 port {}", rig::user(), rig.port)));
}
