//! Mounts of a node: what is refused before anything is sent, what is taken over, what goes; and the program that does it, by a
//! real shell, with stand-ins for what it calls that check what they are told.

use crate::shell::{Stage, run_command};
use crate::world::{Lab, desired, differences, nothing, plain, prune};
use futures::future::BoxFuture;
use pvectl::base::links::Links;
use pvectl::host::mounts::{self, Folder, Mounts, Wish, unit_name};
use pvectl::host::operation::Operation;
use pvectl::host::token::Token;
use pvectl::kinds::list::KINDS;
use pvectl::plan::assemble::{Plan, Settings};
use pvectl::pve::api::Api;
use pvectl::pve::error::PveError;
use pvectl::pve::request::{Call, Query};
use pvectl::resource::reference::ResourceRef;
use pvectl::resource::step::Note;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

const UUID: &str = "3f1c2a9e-7d54-4b1e-9c58-2f6b8a0d4e11";

fn mount(more: &str) -> String {
    format!(
        "{{apiVersion: pvectl/v1alpha1, kind: HostMount, metadata: {{name: usb}}, spec: {{node: pve1, uuid: {UUID}, path: /mnt/usb, fsType: ext4{more}}}}}"
    )
}

fn problems(plan: &Plan) -> Vec<String> {
    let of = |p: &pvectl::resource::step::Problem| format!("{} | {}", p.message, p.help.clone().unwrap_or_default());
    plan.deltas.iter().flat_map(|d| d.problems.iter().map(of)).collect()
}

/// What is said against a manifest on a node that was made so; nothing is sent.
#[track_caller]
fn refused(yaml: &str, prepare: impl FnOnce(&Lab)) -> String {
    let lab = Lab::homelab();
    prepare(&lab);
    let log = lab.sim.request_log().len();
    let plan = lab.preview(&desired(yaml), &plain());
    assert!(plan.deltas.iter().all(|d| d.steps.is_empty()), "{}", differences(&plan));
    assert!(lab.writes_since(log).is_empty());
    let found = problems(&plan);
    assert_eq!(found.len(), 1, "{found:?}");
    found.concat()
}

fn table(lab: &Lab, table: &str, key: &str, value: Value) {
    lab.sim.with_world(|world| world.table(table).insert(key.to_owned(), value));
}

#[test]
fn what_stands_against_a_mount_is_said_before_anything_is_sent() {
    let other = mount("").replace(UUID, "0000-0000");
    let said = refused(&other, |_| {});
    assert!(said.contains("no file system with the UUID 0000-0000 on pve1"), "{said}");
    assert!(said.contains(&format!("ext4 {UUID} on /dev/sdb1 (backup, ")), "those that are there are named: {said}");
    let said = refused(&mount("").replace("ext4", "xfs"), |_| {});
    assert!(said.contains("is ext4, not xfs"), "{said}");
    let said = refused(&mount(""), |lab| table(lab, "nodes/folders", "pve1:/mnt/usb", json!(["photos", "x"])));
    assert!(said.contains("/mnt/usb on pve1 is not empty: photos, x"), "{said}");
    let said = refused(&mount(""), |lab| table(lab, "nodes/folders", "pve1:/mnt/usb", json!("file")));
    assert!(said.contains("is no folder"), "{said}");
    let said = refused(&mount(""), |lab| table(lab, "nodes/fstab", "pve1:/mnt/usb", json!("LABEL=x")));
    assert!(said.contains("/etc/fstab of pve1 has a line for it: LABEL=x at /mnt/usb"), "{said}");
    let nfs = json!({"source": "10.0.0.2:/x", "fstype": "nfs4", "options": "rw", "uuid": null});
    let said = refused(&mount(""), |lab| table(lab, "nodes/mounted", "pve1:/mnt/usb", nfs));
    assert!(said.contains("10.0.0.2:/x (nfs4) is mounted at /mnt/usb"), "{said}");
    let elsewhere = json!({"source": "/dev/sdb1", "fstype": "ext4", "options": "rw", "uuid": UUID});
    let said = refused(&mount(""), |lab| table(lab, "nodes/mounted", "pve1:/media/x", elsewhere));
    assert!(said.contains(&format!("{UUID} is mounted at /media/x already")), "{said}");
    let said = refused(&mount("").replace("pve1", "pve9"), |_| {});
    assert!(said.contains("there is no node `pve9`"), "{said}");
    let said = refused(&mount(", storage: {id: nfs, content: [backup]}"), |_| {});
    assert!(said.contains("there is a storage `nfs` already"), "{said}");
}

#[test]
fn what_no_manifest_may_say_is_refused_where_it_stands() {
    for (more, words) in [
        (", options: ['noatime,ro']", "is no mount option"),
        (", options: [noauto]", "has no effect"),
        (", options: [x-systemd.automount]", "has no effect"),
        (", options: [fail]", "is said by `required: true`"),
        (", required: true, options: [nofail]", "`nofail` says the contrary"),
        (", storage: {id: '1'}", "is no id for PVE"),
    ] {
        let (loaded, _) = crate::world::bound(&mount(more), "lab");
        let texts: Vec<&str> = loaded.diagnostics.iter().map(|d| d.message.as_str()).collect();
        assert!(texts.iter().any(|t| t.contains(words)), "{more}: {texts:?}");
    }
    let wrong = [
        ("/mnt/usb", "/etc/x", "a folder of the system"),
        ("ext4", "LVM2_member", "no file system that can be mounted"),
    ];
    for (from, to, words) in wrong {
        let (loaded, _) = crate::world::bound(&mount("").replace(from, to), "lab");
        assert!(loaded.diagnostics.iter().any(|d| d.message.contains(words)), "{to}: {:?}", loaded.diagnostics);
    }
}

/// A cluster without a host link.
struct Bare<A>(A);

impl<A: Api> Api for Bare<A> {
    fn get<'a>(&'a self, query: &'a Query) -> BoxFuture<'a, Result<Value, PveError>> {
        if Operation::is_link(&query.path) {
            let reason = "no host link to node pve1 is configured".to_owned();
            let refused =
                PveError::Refused { request: query.to_string(), status: 501, reason, errors: BTreeMap::new() };
            return Box::pin(async { Err(refused) });
        }
        self.0.get(query)
    }
    fn send<'a>(&'a self, call: &'a Call) -> BoxFuture<'a, Result<Value, PveError>> {
        assert!(!Operation::is_link(&call.path), "nothing is sent where there is no link");
        self.0.send(call)
    }
}

#[test]
fn without_a_link_it_is_said_and_a_node_that_is_away_ends_no_run() {
    let lab = Lab::homelab();
    let none = Settings { links: Links::None, ..prune() };
    let plan = lab.preview_through(&Bare(lab.sim.api()), &desired(&mount("")), &none);
    let found = problems(&plan);
    assert!(
        found.iter().any(|p| p.contains("takes the host link: no host link to node pve1 is configured")),
        "{found:?}"
    );
    let log = lab.sim.request_log().len();
    lab.preview_through(&Bare(lab.sim.api()), &nothing(), &none);
    let asked = lab.sim.request_log().split_off(log);
    assert!(!asked.iter().any(|(_, path)| Operation::is_link(path)), "without a link nobody is asked: {asked:?}");

    let pool = "{apiVersion: pvectl/v1alpha1, kind: Pool, metadata: {name: lab}, spec: {}}";
    let both = desired(&format!("{}\n---\n{pool}", mount("").replace("pve1", "pve3")));
    lab.sim.with_world(|world| world.nodes.get_mut("pve3").expect("there").online = false);
    let report = lab.try_apply(&lab.sim.api(), &KINDS, &both, &plain()).expect("it ends");
    assert!(report.failed.is_empty(), "{:?}", report.failed);
    let away = |d: &pvectl::resource::step::Delta| d.notes.contains(&Note::NodeOffline("pve3".into()));
    assert!(report.last.deltas.iter().any(away), "{}", differences(&report.last));
    assert!(lab.world().pools.contains_key("lab"));
}

#[test]
fn a_mount_is_made_kept_and_unmounted_with_its_storage() {
    let lab = Lab::homelab();
    let set = desired(&mount(", options: [noatime], storage: {id: usb, content: [backup]}"));
    lab.apply(&set, &prune());
    let world = lab.world();
    let unit = &world.tables["nodes/units"]["pve1:/mnt/usb"];
    let text = unit["text"].as_str().expect("a text");
    assert!(
        text.contains(&format!("What=/dev/disk/by-uuid/{UUID}\nWhere=/mnt/usb\nType=ext4\nOptions=nofail,noatime\n")),
        "{text}"
    );
    assert!(text.contains("WantedBy=multi-user.target") && text.contains("<!-- pvectl {"), "{text}");
    let storage = &world.storages["usb"].config;
    assert_eq!((storage["path"].as_str(), storage["nodes"].as_str()), ("/mnt/usb", "pve1"));
    assert_eq!((storage["is_mountpoint"].as_str(), storage["content"].as_str()), ("yes", "backup"));

    // Somebody unmounts it and switches it off: drift, and set right.
    lab.sim.with_world(|world| {
        let unit = world.table("nodes/units").get_mut("pve1:/mnt/usb").expect("there");
        (unit["active"], unit["enabled"]) = ("inactive".into(), "disabled".into());
    });
    let plan = lab.preview(&set, &plain());
    let paths: Vec<&str> = plan.deltas[0].changes.iter().map(|c| c.path.as_str()).collect();
    assert_eq!(paths, ["mounted", "enabled"], "{}", differences(&plan));
    lab.apply(&set, &plain());

    // The disk is unplugged: a warning, and no step that would fail.
    let devices = json!([{"path": "/dev/sda3", "uuid": "x", "fstype": "LVM2_member", "size": 1, "label": null}]);
    lab.sim.with_world(|world| {
        world.table("nodes/devices").insert("pve1".into(), devices);
        world.table("nodes/units").get_mut("pve1:/mnt/usb").expect("there")["active"] = "inactive".into();
    });
    let plan = lab.preview(&set, &plain());
    assert!(plan.is_empty(), "{}", differences(&plan));
    let warned = |n: &Note| matches!(n, Note::Warning(text) if text.contains("is not connected to pve1"));
    assert!(plan.deltas[0].notes.iter().any(warned), "{:?}", plan.deltas[0].notes);
    lab.sim.with_world(|world| world.table("nodes/devices").clear());
    lab.apply(&set, &plain());

    // The storage leaves the manifest, then the whole of it.
    let bare = desired(&mount(""));
    lab.apply(&bare, &plain());
    assert!(!lab.world().storages.contains_key("usb"));
    assert!(lab.world().tables["nodes/units"].contains_key("pve1:/mnt/usb"));
    lab.apply(&nothing(), &prune());
    assert!(lab.world().tables["nodes/units"].is_empty());
}

#[test]
fn guests_on_the_storage_and_busy_disks_keep_it_mounted() {
    let lab = Lab::homelab();
    let set = desired(&mount(", storage: {id: usb, content: [images, backup]}"));
    lab.apply(&set, &prune());
    lab.sim.with_world(|world| {
        let disk = pvectl::sim::world::Volume {
            volid: "usb:8100/vm-8100-disk-9.raw".into(),
            node: Some("pve1".into()),
            content: "images".into(),
            format: "raw".into(),
            vmid: Some(8100),
            ..Default::default()
        };
        world.volumes.push(disk);
    });
    lab.sim.advance(std::time::Duration::from_secs(20));
    let said = problems(&lab.preview(&nothing(), &prune()));
    assert!(said.concat().contains("storage `usb` on it holds volumes of guests: 8100"), "{said:?}");
    lab.sim.with_world(|world| world.volumes.retain(|v| v.vmid != Some(8100) || !v.volid.starts_with("usb:")));
    table(&lab, "nodes/busy", "pve1:/mnt/usb", json!(true));
    let report = lab.try_apply(&lab.sim.api(), &KINDS, &nothing(), &prune()).expect("it ends");
    let why = report.failed.values().next().expect("it failed");
    assert!(why.contains("exit status 44: /mnt/usb is still mounted: it is in use by the processes 4711"), "{why}");
    assert!(lab.world().tables["nodes/units"].contains_key("pve1:/mnt/usb"), "the unit stays, and says whose it is");
    lab.sim.with_world(|world| world.table("nodes/busy").clear());
    lab.apply(&nothing(), &prune());
}

#[test]
fn a_unit_by_hand_is_left_alone_until_it_is_adopted() {
    let lab = Lab::homelab();
    let wish = Wish {
        uuid: Token::own(UUID),
        path: Token::own("/mnt/usb"),
        file_system: Token::own("ext4"),
        options: vec![Token::own("noatime")],
        required: false,
        any: false,
        marker: "by hand".into(),
    };
    let unit = json!({
        "uuid": UUID, "type": "ext4", "options": "noatime", "text": wish.unit(), "enabled": "enabled", "active": "active",
    });
    table(&lab, "nodes/units", "pve1:/mnt/usb", unit);
    let set = desired(&mount(", options: [noatime]"));
    let said = problems(&lab.preview(&set, &plain())).concat();
    assert!(said.contains("the unit mnt-usb.mount mounts") && said.contains("pvectl adopt HostMount/usb"), "{said}");
    assert!(lab.preview(&nothing(), &prune()).is_empty(), "it is not ours to prune");
    let chosen = BTreeSet::from([ResourceRef::new("HostMount", "usb")]);
    lab.apply(&set, &Settings { adopt: chosen.clone(), only: Some(chosen), ..plain() });
    assert!(lab.preview(&set, &plain()).is_empty());
    lab.apply(&nothing(), &prune());
    assert!(lab.world().tables["nodes/units"].is_empty());
}

// ---- the program -----------------------------------------------------------------------------------------------------

const FINDMNT: &str = r#"
case "$*" in
"-J -l -o TARGET,SOURCE,FSTYPE,OPTIONS,UUID")
	echo '{"filesystems": ['
	sep=
	while read -r at uuid source; do
		printf '%s{"target":"%s","source":"%s","fstype":"ext4","options":"rw,relatime","uuid":"%s"}\n' "$sep" "$at" "$source" "$uuid"
		sep=,
	done <"$STAGE/mounted"
	echo ']}'
	exit 0 ;;
"--mountpoint "*) at=$2 column= ;;
"-n -o UUID --mountpoint "*) at=$5 column=2 ;;
"-n -o SOURCE --mountpoint "*) at=$5 column=3 ;;
*) echo "findmnt does not take: $*" >&2; exit 64 ;;
esac
line=$(grep "^$at " "$STAGE/mounted" | tail -n 1)
[ -n "$line" ] || exit 1
[ -z "$column" ] || echo "$line" | cut -d' ' -f"$column"
"#;
const LSBLK: &str = r#"
[ "$*" = "-J -b -o PATH,UUID,FSTYPE,SIZE,LABEL,TYPE" ] || { echo "lsblk does not take: $*" >&2; exit 64; }
echo '{"blockdevices": [{"path":"/dev/sda","uuid":null,"fstype":null,"size":9,"label":null,"type":"disk","children":[{"path":"/dev/sda1","uuid":"1234-ABCD","fstype":"ext4","size":"8","label":"b ackup","type":"part"}]}]}'
"#;
const SYSTEMCTL: &str = r#"
echo "systemctl $*" >>"$STAGE/log"
at=$(sed -n 's/^Where=//p' "$STAGE"/units/*.mount 2>/dev/null | head -n 1)
uuid=$(sed -n 's|^What=/dev/disk/by-uuid/||p' "$STAGE"/units/*.mount 2>/dev/null | head -n 1)
case "$*" in
"daemon-reload") ;;
"--quiet reenable -- mnt-usb\\x2dbackup.mount") : >"$STAGE/enabled" ;;
"--quiet disable -- mnt-usb\\x2dbackup.mount") rm -f "$STAGE/enabled" ;;
"start -- mnt-usb\\x2dbackup.mount")
	grep -q "^$at " "$STAGE/mounted" || echo "$at $uuid /dev/sda1" >>"$STAGE/mounted" ;;
"stop -- mnt-usb\\x2dbackup.mount")
	[ -e "$STAGE/busy" ] || sed -i "\\|^$at |d" "$STAGE/mounted" ;;
"is-enabled -- "*) if [ -e "$STAGE/enabled" ]; then echo enabled; else echo disabled; exit 1; fi ;;
"is-active -- "*) if grep -q "^$at " "$STAGE/mounted"; then echo active; else echo inactive; exit 3; fi ;;
*) echo "systemctl does not take: $*" >&2; exit 64 ;;
esac
"#;
const MOUNT: &str = r#"
echo "mount $*" >>"$STAGE/log"
[ ! -e "$STAGE/stubborn" ]
"#;
const ESCAPE: &str = r#"
[ "$1 $2" = "--path --suffix=mount" ] || exit 64
printf '%s\n' "$3" | sed -e 's|^/||' -e 's|-|\\x2d|g' -e 's|/|-|g' -e 's|$|.mount|'
"#;
const FUSER: &str = r#"
[ "$1" = -m ] || exit 64
printf ' 17  23\n'
"#;

fn stage() -> Stage {
    let stage = Stage::new(&[
        ("findmnt", FINDMNT),
        ("lsblk", LSBLK),
        ("systemctl", SYSTEMCTL),
        ("mount", MOUNT),
        ("systemd-escape", ESCAPE),
        ("fuser", FUSER),
    ]);
    for folder in ["units", "by-uuid"] {
        std::fs::create_dir(stage.path(folder)).expect("a folder");
    }
    for (file, text) in [
        ("mounted", "/ aaaa /dev/root\n"),
        ("fstab", "# a comment\nUUID=bbbb / ext4 defaults 0 1\n"),
        ("by-uuid/1234-ABCD", ""),
    ] {
        std::fs::write(stage.path(file), text).expect("a file");
    }
    stage
}

/// The program of a command with the stage's folders in the place of the node's.
fn on(stage: &Stage, command: &pvectl::host::operation::Command) -> (i32, String, String) {
    let input = command
        .input
        .replace("units=/etc/systemd/system", &format!("units={}", stage.path("units").display()))
        .replace("fstab=/etc/fstab", &format!("fstab={}", stage.path("fstab").display()))
        .replace("by_uuid=/dev/disk/by-uuid", &format!("by_uuid={}", stage.path("by-uuid").display()));
    run_command(stage, command, &input)
}

fn wish(path: &str) -> Wish {
    Wish {
        uuid: Token::own("1234-ABCD"),
        path: Token::new(path).expect("plain"),
        file_system: Token::own("ext4"),
        options: vec![Token::own("nofail"), Token::own("noatime")],
        required: false,
        any: false,
        marker: r#"<!-- pvectl {"kind":"HostMount","name":"x","set":"$(touch pwned) `id` '\"\\"} -->"#.into(),
    }
}

/// The folder below which the stand-ins mount: the name of its unit is fixed, so it is the program's words that are.
fn at(stage: &Stage, command: pvectl::host::operation::Command) -> (i32, String, String) {
    let folder = stage.path("root");
    let mut command = command;
    // What the program makes and looks into lies on the stage.
    command.input = command
        .input
        .replace("mkdir -p -- \"$path\"", &format!("mkdir -p -- \"{}$path\"", folder.display()))
        .replace("case $(folder \"$path\"", &format!("case $(folder \"{}$path\"", folder.display()));
    on(stage, &command)
}

#[test]
fn the_program_mounts_looks_and_unmounts_by_a_real_shell() {
    let stage = stage();
    let wish = wish("/mnt/usb-backup");
    let (code, out, err) = at(&stage, wish.command().expect("it can be said"));
    assert_eq!((code, out.as_str(), err.as_str()), (0, "", ""), "{out}{err}");
    let file = stage.path("units").join("mnt-usb\\x2dbackup.mount");
    let text = std::fs::read_to_string(&file).expect("the unit is there");
    assert_eq!(text, wish.unit(), "the shell writes what the simulator and the plan believe");
    assert!(stage.path("root/mnt/usb-backup").is_dir() && !stage.path("pwned").exists());
    assert_eq!(std::fs::read_dir(stage.path("units")).expect("a folder").count(), 1, "no new file is left beside it");

    let (code, out, err) = on(&stage, &mounts::look());
    assert_eq!(code, 0, "{err}");
    let seen = Mounts::read(&out).expect("it can be read");
    let unit = seen.unit("/mnt/usb-backup").expect("the unit is seen");
    assert_eq!(
        (unit.name.as_str(), unit.enabled.as_str(), unit.active.as_str()),
        ("mnt-usb\\x2dbackup.mount", "enabled", "active")
    );
    assert_eq!((unit.uuid(), unit.options.join(",").as_str()), (Some("1234-ABCD"), "nofail,noatime"));
    assert_eq!(unit.marker.as_deref(), Some(wish.marker.as_str()));
    assert_eq!(seen.at("/mnt/usb-backup").map(|m| m.uuid.as_str()), Some("1234-ABCD"));
    assert_eq!(seen.devices[1].label, "b ackup");
    assert_eq!((seen.devices[1].size, seen.fstab.len()), (8, 1));

    // The same again, and other options: remounted with those and no others, before the unit says so.
    let other = Wish { options: vec![Token::own("defaults")], required: true, ..wish.clone() };
    let (code, _, err) = at(&stage, other.command().expect("it can be said"));
    assert_eq!(code, 0, "{err}");
    assert_eq!(std::fs::read_to_string(&file).expect("there"), other.unit());
    let source = stage.path("by-uuid/1234-ABCD");
    let remounted = format!("mount -o remount,defaults {} /mnt/usb-backup", source.display());
    assert!(stage.log().contains(&remounted), "{}", stage.log());
    std::fs::write(stage.path("stubborn"), "").expect("a file");
    let (code, _, err) = at(&stage, wish.command().expect("it can be said"));
    assert!(code == 34 && err.contains("need an unmount first"), "{code} {err}");
    assert_eq!(std::fs::read_to_string(&file).expect("there"), other.unit(), "what was not done is not written down");

    std::fs::write(stage.path("busy"), "").expect("a file");
    let path = Token::own("/mnt/usb-backup");
    let (code, _, err) = on(&stage, &mounts::unmount(&path));
    assert!(code == 44 && err.contains("in use by the processes 17 23") && file.exists(), "{code} {err}");
    std::fs::remove_file(stage.path("busy")).expect("a file");
    let (code, _, err) = on(&stage, &mounts::unmount(&path));
    assert!(code == 0 && !file.exists() && !stage.path("enabled").exists(), "{code} {err}");
    let (code, ..) = on(&stage, &mounts::unmount(&path));
    assert_eq!(code, 0, "twice is once");
}

#[test]
fn the_program_refuses_what_the_plan_would_refuse() {
    let check = |prepare: &dyn Fn(&Stage), wish: &Wish, code: i32, words: &str| {
        let stage = stage();
        prepare(&stage);
        let (got, _, err) = at(&stage, wish.command().expect("it can be said"));
        assert!(got == code && err.contains(words), "{got} {err}");
        let units = std::fs::read_dir(stage.path("units")).expect("a folder");
        assert!(
            units
                .filter_map(Result::ok)
                .all(|f| !std::fs::read_to_string(f.path()).unwrap_or_default().contains("pvectl {"))
        );
    };
    let one = wish("/mnt/usb-backup");
    check(
        &|_| {},
        &Wish { uuid: Token::own("0000-0000"), ..one.clone() },
        35,
        "no file system with the UUID 0000-0000",
    );
    let fstab = |stage: &Stage| std::fs::write(stage.path("fstab"), "LABEL=x /mnt/usb-backup ext4\n").expect("a file");
    check(&fstab, &one, 36, "has a line for /mnt/usb-backup");
    let mounted =
        |stage: &Stage| std::fs::write(stage.path("mounted"), "/mnt/usb-backup ffff /dev/sdz\n").expect("a file");
    check(&mounted, &one, 33, "/dev/sdz is mounted at /mnt/usb-backup already");
    let full = |stage: &Stage| std::fs::create_dir_all(stage.path("root/mnt/usb-backup/photos")).expect("a folder");
    check(&full, &one, 38, "is no empty folder");
    let by_hand = |stage: &Stage| {
        std::fs::write(stage.path("units").join("mnt-usb\\x2dbackup.mount"), "[Mount]\n").expect("a file");
    };
    check(&by_hand, &one, 32, "which pvectl did not write");
    assert_eq!(Wish { marker: "<!-- pvectl a\nb -->".into(), ..one.clone() }.command(), None);
    assert_eq!(Wish { marker: "x".into(), ..one }.command(), None);
}

#[test]
fn folders_are_told_apart() {
    let stage = stage();
    std::fs::create_dir_all(stage.path("a/b")).expect("folders");
    let look = |name: &str| {
        let path = Token::new(stage.path(name).display().to_string()).expect("a plain path");
        let (code, out, err) = on(&stage, &mounts::folder(&path));
        assert_eq!(code, 0, "{err}");
        Folder::read(&out).expect("it can be read")
    };
    assert_eq!(look("a"), Folder::Full(vec!["b".into()]));
    assert_eq!(look("a/b"), Folder::Empty);
    assert_eq!(look("none"), Folder::Absent);
    assert_eq!(look("fstab"), Folder::NoFolder);
    for folder in [Folder::Full(vec!["b".into()]), Folder::Empty, Folder::Absent, Folder::NoFolder] {
        assert_eq!(Folder::read(&folder.write()), Some(folder));
    }
}

#[test]
fn units_are_called_as_systemd_calls_them() {
    let paths = ["/mnt/usb-backup", "/mnt/usb", "/", "/srv/.hidden/a.b", "/mnt/ä_ö:x", "/.x", "/mnt/a+b@c"];
    for path in paths {
        let Ok(out) = std::process::Command::new("systemd-escape").args(["--path", "--suffix=mount", path]).output()
        else {
            crate::shell::missing("systemd-escape");
            return;
        };
        assert_eq!(unit_name(path), String::from_utf8_lossy(&out.stdout).trim(), "{path}");
    }
}
