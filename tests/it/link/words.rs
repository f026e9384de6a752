//! What is in an operation arrives at the program as it is, whatever it is: by a real shell, as OpenSSH's server starts one.

use proptest::prelude::*;
use pvectl::base::id::{GuestType, VmId};
use pvectl::host::job::{ConfigFiles, Deed, Job, Package, System};
use pvectl::host::journal::Ask;
use pvectl::host::list::ENTRIES;
use pvectl::host::mounts::Wish;
use pvectl::host::operation::Operation;
use pvectl::host::runner::{Handed, Registration, Start};
use pvectl::host::token::Token;
use std::collections::BTreeSet;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use tempfile::TempDir;

const CASES: u32 = 48;

fn token(text: &str) -> Token {
    Token::new(text).expect("plain")
}

pub(super) fn runner() -> Start {
    Start {
        system: System::Linux,
        name: "ci-50000-ab12t3w0q1".into(),
        directory: "/opt/actions-runner".into(),
        user: None,
        host_name: true,
        version: None,
        before: Some("echo \"it's $(id)\"; ' '\ntrue".into()),
        after: None,
        registration: Registration::JustInTime,
    }
}

/// One of each.
fn samples() -> Vec<Operation> {
    let vmid = VmId::new(200).expect("a number of a guest");
    let window = token("sunday");
    let job = |deed| Job { window: token("sunday"), slot: token("20261122T010000Z"), deed };
    let package = Package { name: token("libc6:amd64"), version: token("2.36-9+deb12u14") };
    let patch = Deed::Patch { attempt: 2, packages: vec![package], config: ConfigFiles::Replace };
    vec![
        Operation::ContainerJobs { vmid, window: window.clone() },
        Operation::ContainerJob { vmid, job: job(patch) },
        Operation::NodeJobs { window },
        Operation::NodeJob { job: job(Deed::Upgrade { attempt: 1 }) },
        Operation::Maintenance { enable: true },
        Operation::Unlock { guest: GuestType::Lxc, vmid, lock: token("rollback") },
        Operation::ContainerCreate {
            vmid,
            template: "local:vztmpl/debian-12.tar.zst".into(),
            options: vec![(token("features"), "nesting=1,keyctl=1".into()), (token("description"), "a 'b'\n".into())],
        },
        Operation::ContainerJournal { vmid, ask: Ask { lines: 10, since: Some(5), after: Some("s=1;i=2".into()) } },
        Operation::ContainerRunnerState { vmid, lines: 20 },
        Operation::ContainerRunner { vmid, start: runner(), secret: Handed::new("c2VjcmV0") },
        Operation::Mounts,
        Operation::Folder { path: token("/mnt/usb") },
        Operation::Mount {
            wish: Wish {
                uuid: token("1b2c"),
                path: token("/mnt/usb"),
                file_system: token("ext4"),
                options: vec![token("nofail"), token("noatime")],
                required: false,
                any: false,
                marker: "<!-- pvectl {} -->".into(),
            },
        },
        Operation::Unmount { path: token("/mnt/usb") },
        Operation::Health,
        Operation::Tools,
    ]
}

#[test]
fn the_commands_of_all_operations() {
    let samples = samples();
    let named: BTreeSet<&str> = samples.iter().map(|operation| operation.entry().name).collect();
    assert_eq!(named, ENTRIES.iter().map(|entry| entry.name).collect(), "each is here");
    let node = token("pve1");
    let mut text = String::new();
    for operation in &samples {
        let command = operation.command(&node).expect("it has a command");
        let words: Vec<&str> = command.words.iter().map(Token::as_str).collect();
        assert_eq!(Operation::of_command(&words, &command.input, &node).as_ref(), Some(operation), "the gate knows it");
        assert_eq!(operation.query("pve1").is_none(), operation.entry().writes, "{operation:?}");
        let (seconds, bytes) = (command.timeout.as_secs(), command.output_bytes_max);
        text += &format!("{}\n  {}\n  {seconds} s, {bytes} bytes\n", operation.entry().name, words.join(" "));
        let list = command.input.split_once("<<'PVECTL_END'\n").and_then(|(_, rest)| rest.split_once("PVECTL_END"));
        for line in list.map(|(list, _)| list.lines()).into_iter().flatten() {
            text += &format!("  | {line}\n");
        }
    }
    insta::assert_snapshot!("commands", text);
}

/// A folder with a program that writes what it is told into a file, a NUL after each.
fn recorder(name: &str) -> (TempDir, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join(name);
    let text = format!(
        "#!/bin/sh\nfor each in \"$@\"; do printf '%s\\0' \"$each\"; done >'{}/told'\n",
        folder.path().display()
    );
    std::fs::write(&path, text).expect("a file");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("it is ours");
    let place = folder.path().display().to_string();
    (folder, place)
}

fn told(folder: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(folder.join("told")).expect("it was called");
    text.split_terminator('\0').map(str::to_owned).collect()
}

/// An operation of texts of others, as a request would bring it; most of them are none.
fn wild() -> impl Strategy<Value = Option<Operation>> {
    let text = || prop_oneof!["\\PC{0,12}", "[a-z0-9;|&$`'\"\\\\<>() *?~#!{}=-]{1,12}", "[A-Za-z0-9._:/@=,+-]{1,16}"];
    (text(), text(), text(), 0_usize..7).prop_map(|(a, b, c, which)| {
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let job = format!("patch {a} {b}-patch keep");
        let (method, path, params) = match which {
            0 => ("GET", "/link/pve1/pct/200/jobs", vec![pair("window", &a)]),
            1 => {
                ("POST", "/link/pve1/pct/200/jobs", vec![pair("job", &job), pair("list", &format!("package {b} {c}"))])
            }
            2 => ("GET", "/link/pve1/jobs", vec![pair("window", &a)]),
            3 => ("GET", "/link/pve1/folder", vec![pair("path", &a)]),
            4 => ("DELETE", "/link/pve1/mounts", vec![pair("path", &a)]),
            5 => ("PUT", "/link/pve1/maintenance", vec![pair("enable", "1")]),
            _ => ("POST", "/link/pve1/jobs", vec![pair("job", &format!("upgrade {a} {b}-upgrade"))]),
        };
        let params: Vec<(String, String)> = params;
        Operation::read(method, path, &params).map(|(_, operation)| operation)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: CASES, ..ProptestConfig::default() })]

    #[test]
    fn a_shell_changes_no_word(operation in wild()) {
        let node = token("pve1");
        let Some(command) = operation.and_then(|operation| operation.command(&node)) else { return Ok(()) };
        let words: Vec<&str> = command.words.iter().map(Token::as_str).collect();
        let (folder, place) = recorder("record");
        let line = format!("{place}/record {}", words.join(" "));
        let status = Command::new("/bin/sh").arg("-c").arg(line).status().expect("a shell runs");
        prop_assert!(status.success());
        prop_assert_eq!(told(folder.path()), words);
    }

    #[test]
    fn options_of_a_new_container_arrive_as_they_are(
        template in "[a-z]\\PC{0,20}",
        options in proptest::collection::btree_map("[a-z][a-z0-9-]{0,10}", "(?s)[^\0]{0,40}", 0..5),
    ) {
        let options: Vec<(Token, String)> = options
            .into_iter()
            .filter(|(key, _)| key != "template" && key != "ssh-public-keys")
            .map(|(key, value)| (token(&key), value))
            .collect();
        let operation = Operation::ContainerCreate {
            vmid: VmId::new(300).expect("a number of a guest"),
            template: template.clone(),
            options: options.clone(),
        };
        let node = token("pve1");
        let command = operation.command(&node).expect("it has a command");
        let words: Vec<&str> = command.words.iter().map(Token::as_str).collect();
        prop_assert_eq!(Operation::of_command(&words, &command.input, &node), Some(operation));
        let (folder, place) = recorder("pct");
        let said = run(&words, &command.input, &place);
        prop_assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
        let mut wanted = vec!["create".to_owned(), "300".to_owned(), template];
        wanted.extend(options.iter().map(|(key, value)| format!("--{key}={value}")));
        prop_assert_eq!(told(folder.path()), wanted);
    }
}

fn run(words: &[&str], input: &str, place: &str) -> std::process::Output {
    let path = format!("{place}:{}", std::env::var("PATH").expect("there is one"));
    let mut shell = Command::new(words[0]);
    shell.args(&words[1..]).env("PATH", path).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = shell.spawn().expect("a shell runs");
    child.stdin.take().expect("it is ours").write_all(input.as_bytes()).expect("it reads");
    child.wait_with_output().expect("it ends")
}

#[test]
fn pct_gets_a_file_of_keys_and_its_failure_is_told() {
    let (folder, place) = recorder("pct");
    let pct = "#!/bin/sh\nfor each in \"$@\"; do case $each in --ssh-public-keys=*) cat \"${each#*=}\" >\"${0%/*}/keys\";; esac; done\n\
               echo creating; echo 'CT 300 already exists' >&2; exit 255\n";
    std::fs::write(folder.path().join("pct"), pct).expect("a file");
    let keys = "ssh-ed25519 AAAA me@here\nssh-rsa BBBB";
    let operation = |options| Operation::ContainerCreate {
        vmid: VmId::new(300).expect("a number of a guest"),
        template: "local:vztmpl/x".into(),
        options,
    };
    let create = operation(vec![(token("ssh-public-keys"), keys.to_owned())]);
    let command = create.command(&token("pve1")).expect("it has a command");
    let words: Vec<&str> = command.words.iter().map(Token::as_str).collect();
    let said = run(&words, &command.input, &place);
    assert_eq!(said.status.code(), Some(255));
    assert!(String::from_utf8_lossy(&said.stderr).ends_with("CT 300 already exists\n"));
    assert_eq!(std::fs::read_to_string(folder.path().join("keys")).expect("a file"), format!("{keys}\n"));
    let node = token("pve1");
    let twice = operation(vec![(token("tags"), "a".into()), (token("tags"), "b".into())]);
    assert_eq!(twice.command(&node), None);
    assert_eq!(operation(vec![(token("description"), "a\0b".into())]).command(&node), None);
    let option = Operation::ContainerCreate {
        vmid: VmId::new(300).expect("a number"),
        template: "--force".into(),
        options: vec![],
    };
    assert_eq!(option.command(&node), None);
}
