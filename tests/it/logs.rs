//! `logs`: every line once and none lost, whatever pages they come in; and the program that reads inside of guests, by a real
//! shell.

use crate::shell::{Stage, run_words};
use crate::world::{Lab, run};
use pvectl::cli::logs::follow::{Dry, Tap, Wish, drain};
use pvectl::cli::logs::inside::GuestJournal;
use pvectl::cli::logs::node::NodeJournal;
use pvectl::cli::logs::tasks::TaskLogs;
use pvectl::engine::observe::index;
use pvectl::engine::reconcile::Cluster;
use pvectl::host::journal::{self, Ask, Line};
use pvectl::kinds::list::KINDS;
use pvectl::pve::api::Api;
use pvectl::pve::request::{Call, Method};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Mutex;

/// What a tap gives until it is dry.
fn lines(lab: &Lab, tap: &mut dyn Tap, most: Option<usize>) -> Result<Vec<String>, Dry> {
    let (api, clock, names) = (lab.sim.api(), lab.sim.clock(), lab.sim.names());
    let cluster = Cluster { api: &api, clock: &clock, kinds: &KINDS, names: &names, files: &lab.files };
    let told = Mutex::new(Vec::new());
    let tell = |line: &str| {
        told.lock().expect("nobody panics").push(line.to_owned());
        true
    };
    run(drain(tap, &cluster, most, &tell))?;
    Ok(told.into_inner().expect("nobody panics"))
}

fn wish(lines: Option<usize>, since: Option<i64>) -> Wish {
    Wish { lines, since }
}

/// A task of a guest, which says two lines in the node's journal.
fn work(lab: &Lab) {
    let call = Call::new(Method::Post, "/nodes/pve2/qemu/8100/config").with("description", "x");
    run(lab.sim.api().send(&call)).expect("it starts");
    lab.sim.finish_tasks();
}

/// Everything that `logs` asks, through a door of somebody's own.
pub(crate) fn every_request<A: Api>(door: impl Fn(&Lab) -> A) {
    let lab = running();
    (0..60).for_each(|_| work(&lab));
    let (api, clock, names) = (door(&lab), lab.sim.clock(), lab.sim.names());
    let cluster = Cluster { api: &api, clock: &clock, kinds: &KINDS, names: &names, files: &lab.files };
    let now = i64::try_from(lab.world().now()).expect("a time");
    for since in [None, Some(now - 86_400)] {
        let wish = wish(Some(3000), since);
        let mut taps: Vec<Box<dyn Tap>> = vec![
            Box::new(NodeJournal::new("pve2", wish)),
            Box::new(TaskLogs::new(8100, vec!["pve2".into()], wish)),
            Box::new(GuestJournal::new(row(&lab, 8100), wish)),
            Box::new(GuestJournal::new(row(&lab, 8200), wish)),
        ];
        for tap in &mut taps {
            run(drain(tap.as_mut(), &cluster, None, &|_| true)).expect("it is read");
        }
    }
    run(drain(&mut NodeJournal::new("pve2", wish(Some(2500), None)), &cluster, None, &|_| true)).expect("it is read");
}

// ---- a node ----------------------------------------------------------------------------------------------------------

#[test]
fn a_nodes_journal_comes_whole_in_pages_and_goes_on() {
    let lab = Lab::homelab();
    (0..1500).for_each(|_| work(&lab));
    let all = lines(&lab, &mut NodeJournal::new("pve2", wish(None, None)), None).expect("it is read");
    assert!(all.len() > 3000, "{} lines are more than a page", all.len());
    let distinct: BTreeSet<&String> = all.iter().collect();
    assert_eq!(distinct.len(), all.len(), "no line comes twice");
    for count in [0, 1, 50, 1999, 2000, 2001, 2500] {
        let mut tap = NodeJournal::new("pve2", wish(Some(count), None));
        let some = lines(&lab, &mut tap, Some(count)).expect("it is read");
        assert!(some == all[all.len() - count..], "{count}: {} lines", some.len());
    }
    // What comes while it is followed comes once.
    let mut tap = NodeJournal::new("pve2", wish(Some(0), None));
    assert_eq!(lines(&lab, &mut tap, None).expect("it is read"), Vec::<String>::new());
    let mut later = Vec::new();
    for _ in 0..3 {
        work(&lab);
        later.extend(lines(&lab, &mut tap, None).expect("it is read"));
    }
    let now = lines(&lab, &mut NodeJournal::new("pve2", wish(None, None)), None).expect("it is read");
    assert_eq!(later, now[all.len()..]);
    assert_eq!(later.len(), 6);
}

#[test]
fn a_nodes_journal_since_a_moment() {
    let lab = Lab::homelab();
    (0..40).for_each(|_| {
        work(&lab);
        lab.sim.advance(std::time::Duration::from_secs(1800));
    });
    let now = i64::try_from(lab.world().now()).expect("a time");
    let all = lines(&lab, &mut NodeJournal::new("pve2", wish(None, Some(0))), None).expect("it is read");
    let whole = lines(&lab, &mut NodeJournal::new("pve2", wish(None, None)), None).expect("it is read");
    assert_eq!(all, whole, "stretches of time neither overlap nor leave gaps");
    let late = lines(&lab, &mut NodeJournal::new("pve2", wish(None, Some(now - 2 * 3600))), None).expect("it is read");
    assert_eq!(late, whole[whole.len() - late.len()..]);
    assert!((6..=10).contains(&late.len()), "{late:?}");
    let two =
        lines(&lab, &mut NodeJournal::new("pve2", wish(Some(2), Some(now - 2 * 3600))), Some(2)).expect("it is read");
    assert_eq!(two, whole[whole.len() - 2..]);
}

// ---- guests ----------------------------------------------------------------------------------------------------------

fn row(lab: &Lab, vmid: u32) -> std::sync::Arc<pvectl::resource::index::GuestRow> {
    let (api, clock) = (lab.sim.api(), lab.sim.clock());
    let index = run(index(&api, &clock, &BTreeSet::new())).expect("the cluster is read");
    index.guests.values().find(|row| row.vmid.get() == vmid).expect("it is there").clone()
}

/// A VM and a CT that run, by hand.
fn running() -> Lab {
    let lab = Lab::homelab();
    lab.install();
    lab.sim.with_world(|world| {
        let now = world.clock_ms;
        for guest in world.guests.values_mut() {
            guest.power = pvectl::sim::world::Power::Running;
            guest.started_ms = now;
            guest.config.insert("agent".into(), "1".into());
        }
    });
    lab.sim.advance(std::time::Duration::from_secs(30));
    lab
}

fn say(lab: &Lab, vmid: u32, from: usize, count: usize) {
    lab.sim.with_world(|world| {
        let at = world.now();
        let journal = world.table("guests/journal").entry(vmid.to_string()).or_insert_with(|| json!([]));
        let more = (from..from + count).map(|n| json!([at, "app[7]", format!("line {n}")]));
        journal.as_array_mut().expect("a list").extend(more);
    });
}

#[test]
fn a_guests_journal_comes_whole_in_pages_and_goes_on() {
    let lab = running();
    let kind = |vmid: u32| lab.world().guests[&vmid].guest_type;
    let guests = lab.world().guests;
    for vmid in guests.keys().copied().filter(|vmid| !guests[vmid].config.contains_key("template")) {
        say(&lab, vmid, 0, 3500);
        let all = lines(&lab, &mut GuestJournal::new(row(&lab, vmid), wish(None, None)), None).expect("it is read");
        let own: Vec<&String> = all.iter().filter(|l| l.contains(" app[7]: line ")).collect();
        assert_eq!(own.len(), 3500, "{:?} {vmid}", kind(vmid));
        assert!(own[3499].ends_with("line 3499") && all.len() == 3503);
        for count in [1, 999, 1000, 1001, 2000, 3400] {
            let mut tap = GuestJournal::new(row(&lab, vmid), wish(Some(count), None));
            assert!(lines(&lab, &mut tap, Some(count)).expect("it is read") == all[all.len() - count..], "{count}");
        }
        let mut tap = GuestJournal::new(row(&lab, vmid), wish(Some(0), None));
        assert_eq!(lines(&lab, &mut tap, None).expect("it is read"), Vec::<String>::new());
        say(&lab, vmid, 3500, 1200);
        let later = lines(&lab, &mut tap, None).expect("it is read");
        assert_eq!((later.len(), later[0].contains("line 3500")), (1200, true));
        assert_eq!(lines(&lab, &mut tap, None).expect("it is read"), Vec::<String>::new());
        lab.sim.advance(std::time::Duration::from_secs(7200));
        say(&lab, vmid, 9000, 2);
        let since = i64::try_from(lab.world().now()).expect("a time") - 3600;
        let mut tap = GuestJournal::new(row(&lab, vmid), wish(None, Some(since)));
        assert_eq!(lines(&lab, &mut tap, None).expect("it is read").len(), 2);
    }
}

#[test]
fn a_file_of_syslog_is_read_like_a_journal() {
    let lab = running();
    let text = |count: usize| (0..count).map(|n| format!("Nov 21 10:00:00 alpine app: line {n}\n")).collect::<String>();
    let set = |count: usize| {
        lab.sim.with_world(|world| world.table("guests/journal").insert("8200".into(), Value::String(text(count))));
    };
    set(2500);
    let all = lines(&lab, &mut GuestJournal::new(row(&lab, 8200), wish(None, None)), None).expect("it is read");
    assert_eq!(all.len(), 2500);
    let mut tap = GuestJournal::new(row(&lab, 8200), wish(Some(1500), None));
    let some = lines(&lab, &mut tap, None).expect("it is read");
    assert!(tap.is_untimed() && some == all[1000..], "{}", some.len());
    set(2503);
    let later = lines(&lab, &mut tap, None).expect("it is read");
    assert_eq!(later.len(), 3);
    assert!(later[0].ends_with("line 2500"), "{later:?}");
}

#[test]
fn the_logs_of_tasks_come_in_their_order_and_go_on() {
    let lab = Lab::homelab();
    (0..130).for_each(|_| work(&lab));
    let nodes = || vec!["pve1".to_owned(), "pve2".to_owned()];
    let all = lines(&lab, &mut TaskLogs::new(8100, nodes(), wish(Some(100_000), None)), None).expect("they are read");
    let heads = |lines: &[String]| lines.iter().filter(|l| l.starts_with("== ")).cloned().collect::<Vec<_>>();
    assert_eq!(heads(&all).len(), 130, "PVE sends fifty tasks at once");
    let mut tap = TaskLogs::new(8100, nodes(), wish(Some(5), None));
    assert_eq!(lines(&lab, &mut tap, None).expect("they are read"), all[all.len() - 5..]);
    assert_eq!(lines(&lab, &mut tap, None).expect("they are read"), Vec::<String>::new());
    work(&lab);
    let later = lines(&lab, &mut tap, None).expect("they are read");
    assert_eq!(heads(&later).len(), 1, "{later:?}");
    assert_eq!(lines(&lab, &mut tap, None).expect("they are read"), Vec::<String>::new());
}

#[test]
fn the_verb_says_where_the_lines_come_from() {
    let scene = crate::cli::Scene::new();
    scene.run("--sim logs node/pve1 -n 2").code(0).says("pveproxy.service");
    scene.run("--sim logs node pve9").code(3).says("there is no node `pve9`").says("pve1, pve2, pve3");
    scene.run("--sim logs nothing").code(3).says("there is no guest `nothing`");
    scene.run("--sim logs node/pve1 --since yesterday").code(2).says("`yesterday` is no time");
    let ct = "{apiVersion: pvectl/v1alpha1, kind: Container, metadata: {name: box}, spec: {vmid: 310, node: pve1, from: {osTemplate: 'local:vztmpl/alpine-3.22-default_20260401_amd64.tar.gz'}, rootfs: {storage: local-lvm, size: 1Gi}, power: Stopped}}";
    let file = scene.write("box.yaml", ct);
    scene.run(&format!("--sim apply -f {file} --yes")).code(0);
    scene
        .run("--sim logs box")
        .code(0)
        .says("these are the logs of its tasks")
        .says("container '310' not running!")
        .says("== ")
        .says("vzcreate by root@pam on pve1: OK");
    scene.run("--sim start ct box --yes").code(0);
    scene.run("--sim logs ct box -n 1").code(0).says("systemd[1]: Reached target multi-user.target");
    scene.run("--sim logs 310 --tasks -n 1000").code(0).says("vzstart by root@pam on pve1: OK");
}

// ---- the program -----------------------------------------------------------------------------------------------------

const JOURNALCTL: &str = r#"
case "$*" in
"-q --no-pager -n 1 -o short") [ ! -e "$STAGE/nothing" ] && echo "Nov 21 x"; exit 0 ;;
esac
echo "$*" >>"$STAGE/log"
i=0
while [ $i -lt 1500 ]; do
	printf '{"__CURSOR":"s=a;i=%s;x y","__REALTIME_TIMESTAMP":"1795309200000000","MESSAGE":"m %s","_PID":"7","_COMM":"c"}\n' $i $i
	i=$((i + 1))
done
"#;

fn ask(lines: u32, since: Option<i64>, after: Option<&str>) -> Ask {
    Ask { lines, since, after: after.map(str::to_owned) }
}

/// What the program says, with the logs of the stage in the place of the guest's.
fn read(stage: &Stage, ask: &Ask) -> Result<Vec<Line>, String> {
    let words = journal::words(ask);
    let words: Vec<&str> = words.iter().map(|w| w.as_str()).collect();
    let whole = journal::input(ask).expect("it can be said");
    assert_eq!(journal::heard(&words, &whole).as_ref(), Some(ask), "the simulator understands what is sent");
    let input =
        whole.replace("logs=/var/log", &format!("logs={}", stage.path("").display().to_string().trim_end_matches('/')));
    let (code, out, err) = run_words(stage, &words, &input);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    journal::read(&out)
}

#[test]
fn the_program_asks_journald_for_what_was_asked() {
    let stage = Stage::new(&[("journalctl", JOURNALCTL)]);
    let lines = read(&stage, &ask(5000, None, None)).expect("it can be read");
    assert_eq!(lines.len(), 1000, "a page");
    let first = &lines[0];
    assert_eq!(
        (first.at, first.who.as_str(), first.text.as_str(), first.place.as_str()),
        (Some(1_795_309_200), "c[7]", "m 0", "s=a;i=0;x y")
    );
    read(&stage, &ask(7, Some(42), None)).expect("it can be read");
    read(&stage, &ask(7, None, Some("s=a;i=9;$(touch pwned)'\"`"))).expect("it can be read");
    let fields = "-q --no-pager -o json --output-fields=MESSAGE,SYSLOG_IDENTIFIER,_COMM,_PID";
    let expected =
        format!("{fields} -n 5000\n{fields} --since=@42 -n 7\n{fields} --after-cursor=s=a;i=9;$(touch pwned)'\"`\n");
    assert_eq!(stage.log(), expected);
    assert!(!stage.path("pwned").exists());
}

#[test]
fn the_program_reads_files_of_syslog_from_where_it_was() {
    let stage = Stage::new(&[("journalctl", JOURNALCTL)]);
    std::fs::write(stage.path("nothing"), "").expect("a file");
    assert!(read(&stage, &ask(5, None, None)).expect_err("nothing is there").contains("no journal in it"));
    let log = stage.path("messages");
    let text = |from: usize, to: usize| (from..to).map(|n| format!("Nov 21 line {n}\n")).collect::<String>();
    std::fs::write(&log, text(0, 1200)).expect("a file");
    let first = read(&stage, &ask(1100, None, None)).expect("it can be read");
    assert_eq!((first.len(), first[0].text.as_str()), (1000, "Nov 21 line 100"));
    let then = read(&stage, &ask(1100, None, Some(&first[999].place))).expect("it can be read");
    assert_eq!((then.len(), then[99].text.as_str()), (100, "Nov 21 line 1199"));
    // It is rotated while more was written: what was left of the old one, then the new one.
    std::fs::write(&log, text(0, 1203)).expect("a file");
    std::fs::rename(&log, stage.path("messages.1")).expect("renamed");
    std::fs::write(&log, text(2000, 2002)).expect("a file");
    let old = read(&stage, &ask(9, None, Some(&then[99].place))).expect("it can be read");
    assert_eq!(
        old.iter().map(|l| l.text.as_str()).collect::<Vec<_>>(),
        ["Nov 21 line 1200", "Nov 21 line 1201", "Nov 21 line 1202"]
    );
    let new = read(&stage, &ask(9, None, Some(&old[2].place))).expect("it can be read");
    assert_eq!(new.iter().map(|l| l.text.as_str()).collect::<Vec<_>>(), ["Nov 21 line 2000", "Nov 21 line 2001"]);
    assert_eq!(read(&stage, &ask(9, None, Some(&new[1].place))).expect("it can be read"), []);
    // A line that is still being written comes when it is whole.
    std::fs::write(&log, text(2000, 2002) + "Nov 21 hal").expect("a file");
    assert_eq!(read(&stage, &ask(9, None, Some(&new[1].place))).expect("it can be read"), []);
}
