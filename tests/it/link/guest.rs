//! Runners in guests by SSH: against the same server, which plays a guest and runs nothing but what the test says.

use crate::link::rig::{Rig, free_port, user};
use pvectl::host::guest::ssh::Guests;
use pvectl::host::guest::{HostKeys, Login, Operation};
use pvectl::host::job::System;
use pvectl::host::link::{LinkError, Output};
use pvectl::host::runner::{Handed, Registration, Start, look};
use pvectl::host::ssh::options::Spot;
use pvectl::host::token::Token;
use std::collections::BTreeSet;
use std::path::PathBuf;

const SECRET: &str = "eyJzZWNyZXQiOiJ2ZXJ5IHNlY3JldCBpbmRlZWQifQ==";

/// Whatever is asked for, it is written down, and what the file `does` says is done.
const FORCED: &str = "command=\"cat >$rig/heard.guest; printenv SSH_ORIGINAL_COMMAND >>$rig/told.guest; . $rig/does\"";

fn guest(does: &str) -> Option<Rig> {
    let rig = Rig::with("", FORCED)?;
    std::fs::write(rig.path("does"), does).expect("a file");
    Some(rig)
}

fn login(rig: &Rig, host_keys: HostKeys) -> Login {
    Login {
        name: Token::own("ci-50000-ab12t3w0q1"),
        address: "127.0.0.1".parse().expect("an address"),
        port: rig.port,
        user: Token::new(user()).expect("a plain name"),
        private_key: Spot::new(&rig.path("client")).expect("a plain name"),
        host_keys,
    }
}

fn pinned(rig: &Rig, name: &str) -> HostKeys {
    HostKeys::pinned(&rig.public_key(name)).expect("a key")
}

fn runner() -> Operation {
    let start = Start {
        system: System::Linux,
        name: "ci-50000-ab12t3w0q1".into(),
        directory: "/opt/actions-runner".into(),
        user: None,
        host_name: true,
        version: None,
        before: Some("echo \"it's\"; id".into()),
        after: None,
        registration: Registration::JustInTime,
    };
    Operation::Runner { start: Box::new(start), secret: Handed::new(SECRET) }
}

const STATE: Operation = Operation::RunnerState { system: System::Linux, lines: 5 };

fn unsent(answer: Result<Output, LinkError>) -> (String, String) {
    match answer {
        Err(LinkError::Unsent { cause, hint }) => (cause, hint.unwrap_or_default()),
        other => panic!("it was sent: {other:?}"),
    }
}

#[tokio::test]
async fn a_runner_is_begun_and_looked_at() {
    let Some(rig) = guest("echo begun") else { return };
    let (guests, login) = (Guests::default(), login(&rig, pinned(&rig, "host")));
    let said = guests.run(&login, &runner()).await.expect("it runs");
    assert_eq!((said.code, said.out.as_str()), (0, "begun\n"));
    let by = if user() == "root" { "" } else { "sudo -n " };
    assert_eq!(rig.told("guest"), [format!("{by}/bin/sh -s -- runner")], "the secret is in no word");
    let heard = Start::of_script(&rig.heard("guest")).expect("it arrives whole");
    let Operation::Runner { start, .. } = runner() else { panic!("it is one") };
    assert_eq!(heard, (*start, SECRET.to_owned()));
    assert!(!rig.log().contains(SECRET));
    std::fs::write(rig.path("does"), "printf 'phase=ended\\nexit=7\\n[log]\\nlast\\n'").expect("a file");
    let said = guests.run(&login, &STATE).await.expect("it runs");
    let look = look::Look::read(&said.out);
    assert_eq!((look.state.exit, look.log.as_str()), (Some(7), "last\n"));
    assert_eq!(rig.told("guest").last(), Some(&format!("{by}/bin/sh -s -- runner-state 5")));
}

#[tokio::test]
async fn a_windows_guest_is_told_by_its_own_shell() {
    let Some(rig) = guest("echo begun") else { return };
    let Operation::Runner { start, secret } = runner() else { panic!("it is one") };
    let start = Start { system: System::Windows, directory: r"C:\actions-runner".into(), ..*start };
    let operation = Operation::Runner { start: Box::new(start.clone()), secret };
    Guests::default().run(&login(&rig, pinned(&rig, "host")), &operation).await.expect("it runs");
    assert!(rig.told("guest")[0].starts_with("powershell.exe -NoProfile -NonInteractive -EncodedCommand "));
    assert_eq!(Start::of_script(&rig.heard("guest")), Some((start, SECRET.to_owned())));
}

#[tokio::test]
async fn how_it_ended_is_told_apart_from_how_ssh_did() {
    let Some(rig) = guest("echo 'sudo: a password is required' >&2; exit 1") else { return };
    let (guests, login) = (Guests::default(), login(&rig, pinned(&rig, "host")));
    let said = guests.run(&login, &STATE).await.expect("it runs");
    assert_eq!((said.code, said.err.trim()), (1, "sudo: a password is required"));
    std::fs::write(rig.path("does"), "exit 255").expect("a file");
    assert_eq!(guests.run(&login, &STATE).await.expect("it is the guest's own").code, 255);
    std::fs::write(rig.path("does"), "kill -9 $PPID; sleep 3").expect("a file");
    let answer = guests.run(&login, &runner()).await;
    assert!(matches!(answer, Err(LinkError::Lost { .. })), "{answer:?}");
    assert_eq!(rig.told("guest").len(), 3, "it was begun once");
}

#[tokio::test]
async fn a_host_key_is_believed_as_somebody_chose() {
    let Some(rig) = guest("echo said") else { return };
    let guests = Guests::default();
    let file = |text: String| {
        std::fs::write(rig.path("hosts"), text).expect("a file");
        HostKeys::File(Spot::new(&rig.path("hosts")).expect("a plain name"))
    };
    let any = file(format!("[127.0.0.*]:{} {}\n", rig.port, rig.public_key("host")));
    assert_eq!(guests.run(&login(&rig, any), &STATE).await.expect("all clones have it").code, 0);
    let (cause, hint) = unsent(guests.run(&login(&rig, file(String::new())), &STATE).await);
    assert!(cause.contains("no host key that ci-50000-ab12t3w0q1 at 127.0.0.1 shows is in"), "{cause}");
    assert!(hint.contains("ssh_host_ed25519_key.pub"), "{hint}");
    let (cause, _) = unsent(guests.run(&login(&rig, pinned(&rig, "other")), &STATE).await);
    assert!(cause.contains("another host key than the pinned one"), "{cause}");
    let accept = login(&rig, HostKeys::AcceptNew);
    assert_eq!(guests.run(&accept, &STATE).await.expect("it is the first time").code, 0);
    assert_eq!(guests.run(&accept, &STATE).await.expect("it is the same").code, 0);
    // Another guest, to which the same address was given, is another one.
    let Some(next) = guest("echo said") else { return };
    let same = Login { port: next.port, ..accept.clone() };
    let (cause, _) = unsent(guests.run(&same, &STATE).await);
    assert!(cause.contains("another host key than the first time"), "{cause}");
    next.admit(&format!("{FORCED} {}", rig.public_key("client")));
    let other = Login { name: Token::own("ci-50001-ab12t3w0q2"), ..same };
    assert_eq!(guests.run(&other, &STATE).await.expect("it is a new one").code, 0);
    assert_eq!((rig.told("guest").len(), next.told("guest").len()), (3, 1));
}

#[tokio::test]
async fn who_does_not_get_in_is_told_why() {
    let Some(rig) = guest("echo said") else { return };
    let guests = Guests::default();
    let known = login(&rig, pinned(&rig, "host"));
    let other = Login { private_key: Spot::new(&rig.path("other")).expect("a plain name"), ..known.clone() };
    let (cause, hint) = unsent(guests.run(&other, &runner()).await);
    assert!(cause.contains("does not let") && hint.contains("authorized_keys"), "{cause}: {hint}");
    let nobody = Login { port: free_port(), ..known };
    let (cause, hint) = unsent(guests.run(&nobody, &runner()).await);
    assert!(cause.contains("refuses the connection") && hint.contains("sshd"), "{cause}: {hint}");
    assert_eq!(rig.told("guest").len(), 0, "nothing was run");
}

#[tokio::test]
async fn nothing_is_left_of_it() {
    let Some(rig) = guest("echo said") else { return };
    let files = |folder: PathBuf| std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let own = |path: &PathBuf| {
        path.file_name().is_some_and(|n| n.to_string_lossy().starts_with(&format!("pvectl-{}-", std::process::id())))
    };
    let told = |path: &PathBuf| std::fs::read_to_string(path).is_ok_and(|text| text.contains(&rig.public_key("host")));
    let folders = || {
        let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        let all: BTreeSet<PathBuf> = runtime.into_iter().chain([std::env::temp_dir(), "/tmp".into()]).collect();
        all.into_iter().flat_map(files).filter(own).flat_map(files).filter(told).count()
    };
    let guests = Guests::default();
    guests.run(&login(&rig, HostKeys::AcceptNew), &STATE).await.expect("it runs");
    assert_eq!(folders(), 1, "the key that was accepted");
    drop(guests);
    assert_eq!(folders(), 0);
}
