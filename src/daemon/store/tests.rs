//! What history keeps, and what becomes of it when the disk, the file or the process fails.

use crate::base::clock::Clock;
use crate::daemon::history::Past;
use crate::daemon::record::{Actor, DriftRecord, EventRecord, FieldRecord, Healer, Level, RunRecord};
use crate::daemon::store::book::{Book, Bounds, Record};
use crate::daemon::store::keeper::{Keeper, News};
use crate::daemon::store::query::History;
use crate::daemon::store::schema::StoreError;
use crate::daemon::windows::{ChangedRecord, CheckRecord, LeftRecord, PatchRecord};
use futures::future::BoxFuture;
use rusqlite::Connection;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(20);
const DAY_MS: u64 = 86_400_000;

fn drift(name: &str, seen_ms: u64, healed_ms: Option<u64>) -> DriftRecord {
    let field = |path: &str, from: Option<&str>, to: Option<&str>| FieldRecord {
        path: path.into(),
        from: from.map(Into::into),
        to: to.map(Into::into),
        cause: "drift".into(),
        impact: "live".into(),
    };
    DriftRecord {
        id: format!("lab/VirtualMachine/{name}@{seen_ms}"),
        source: "lab".into(),
        kind: "VirtualMachine".into(),
        name: name.into(),
        identity: Some("qemu/101 on pve1".into()),
        fields: vec![field("hardware.cores", Some("8"), Some("4")), field("tags", None, Some(""))],
        seen_ms,
        by: Some(Actor { user: "root@pam".into(), what: "update VM 101: -cores 8".into(), at_ms: seen_ms - 5 }),
        healed_ms,
        healed_by: healed_ms.map(|_| Healer::Pvectl),
    }
}

fn event(object: Option<&str>, at_ms: u64, message: &str, count: u32) -> EventRecord {
    EventRecord {
        at_ms,
        source: "lab".into(),
        object: object.map(Into::into),
        revision: Some("abc".into()),
        level: Level::Warning,
        reason: "ApplyFailed".into(),
        message: message.into(),
        count,
    }
}

fn run(id: &str, began_ms: u64, ended_ms: Option<u64>) -> RunRecord {
    let error = |object: &str, why: &str| (object.to_owned(), why.to_owned());
    RunRecord {
        id: id.into(),
        source: "lab".into(),
        revision: "abc".into(),
        began_ms,
        ended_ms,
        objects: vec!["VirtualMachine/b".into(), "Pool/a".into()],
        steps: 3,
        doing: if ended_ms.is_none() { BTreeMap::from([error("Pool/a", "create")]) } else { BTreeMap::new() },
        converged: ended_ms.map(|_| false),
        failed: BTreeMap::from([error("Pool/a", "no"), error("no-object", "why")]),
    }
}

fn book(path: &Path) -> Book {
    Book::open(path, &Bounds::default()).expect("it opens")
}

fn all() -> Past {
    Past { limit: 1_000, ..Past::default() }
}

fn place() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("history.db");
    (folder, path)
}

/// A clock that a test moves.
struct Hand(AtomicU64);

impl Clock for Hand {
    fn now_ms(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
    fn sleep(&self, _: Duration) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

struct Life {
    keeper: Keeper,
    clock: Arc<Hand>,
    news: Arc<Mutex<Vec<News>>>,
    lasting: Vec<DriftRecord>,
}

fn begin(path: &Path, bounds: Bounds) -> Life {
    let clock = Arc::new(Hand(AtomicU64::new(100 * DAY_MS)));
    let news = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&news);
    let hear = Box::new(move |n| heard.lock().expect("nobody panics").push(n));
    let (keeper, lasting) = Keeper::start(path, bounds, Arc::<Hand>::clone(&clock), hear);
    Life { keeper, clock, news, lasting }
}

impl Life {
    fn later(&self, ms: u64) {
        self.clock.0.fetch_add(ms, Ordering::SeqCst);
    }

    fn news(&self) -> Vec<News> {
        assert!(self.keeper.settle(LONG), "the thread lives");
        self.news.lock().expect("nobody panics").clone()
    }

    /// Goes on until history is written again.
    fn until_well(&self) {
        let began = Instant::now();
        while self.keeper.keeping().trouble.is_some() {
            assert!(began.elapsed() < LONG, "{:?}", self.keeper.keeping());
            self.later(60_000);
            assert!(self.keeper.settle(LONG));
        }
    }
}

#[test]
fn what_is_kept_is_read_again_as_it_was() {
    let (_folder, path) = place();
    let (spell, moment, work) = (drift("a", 50, None), event(Some("Pool/x"), 60, "x", 1), run("r1", 40, Some(70)));
    let bare = EventRecord { object: None, revision: None, level: Level::Normal, ..event(None, 61, "y", 1) };
    let odd = event(Some("not-an-object"), 62, "z", 1);
    let records = [
        Record::Drift(spell.clone()),
        Record::Event(moment.clone()),
        Record::Event(bare.clone()),
        Record::Event(odd.clone()),
        Record::Run(work.clone()),
        Record::Run(run("r2", 80, None)),
    ];
    let mut open = book(&path);
    open.keep(&records).expect("it writes");
    let history = History::new(&path);
    assert_eq!(history.drift(&all()).expect("reads"), [spell]);
    assert_eq!(history.events(&all()).expect("reads"), [odd, bare, moment]);
    assert_eq!(history.runs(&all()).expect("reads"), [run("r2", 80, None), work]);
    // The end of a spell takes the place of its beginning.
    let healed = DriftRecord { fields: vec![], by: None, ..drift("a", 50, Some(90)) };
    open.keep(&[Record::Drift(healed.clone())]).expect("it writes");
    assert_eq!(history.drift(&all()).expect("reads"), [healed]);
}

#[test]
fn operators_see_columns_with_plain_names() {
    let (_folder, path) = place();
    book(&path).keep(&[Record::Drift(drift("a", 50, None)), Record::Run(run("r", 1, Some(2)))]).expect("it writes");
    let conn = Connection::open(&path).expect("any SQLite reads it");
    let line: String = conn
        .query_row(
            "SELECT name || ' ' || path || ' ' || cluster || '→' || manifest || ' ' || by_user || ' ' || since_ms
             FROM drift JOIN drift_fields ON drift_id = id WHERE position = 0",
            [],
            |row| row.get(0),
        )
        .expect("it answers");
    assert_eq!(line, "a hardware.cores 8→4 root@pam 45");
    let mode: String = conn.pragma_query_value(None, "journal_mode", |row| row.get(0)).expect("it answers");
    assert_eq!(mode, "wal");
}

#[test]
fn filters_pick_rows_and_the_newest_come_first() {
    let (_folder, path) = place();
    let mut open = book(&path);
    let mut records: Vec<Record> = (1..=20_u64)
        .flat_map(|n| {
            let name = if n % 2 == 0 { "even" } else { "odd" };
            let object = format!("VirtualMachine/{name}");
            [
                Record::Drift(drift(name, n * 100, (n < 20).then_some(n * 100 + 50))),
                Record::Event(event(Some(&object), n * 100, &n.to_string(), 1)),
                Record::Run(RunRecord { objects: vec![object], ..run(&format!("r{n}"), n * 100, Some(n * 100 + 50)) }),
            ]
        })
        .collect();
    records.push(Record::Event(EventRecord { source: "other".into(), ..event(None, 5_000, "far", 1) }));
    open.keep(&records).expect("it writes");
    let history = History::new(&path);
    let told = records;
    let memory = |past: &Past| {
        let (mut drift, mut events, mut runs) = (Vec::new(), Vec::new(), Vec::new());
        for record in told.iter().rev() {
            match record {
                Record::Drift(d) if past.takes_drift(d) => drift.push(d.seen_ms / 100),
                Record::Event(e) if past.takes_event(e) => events.push(e.at_ms / 100),
                Record::Run(r) if past.takes_run(r) => runs.push(r.began_ms / 100),
                Record::Drift(_)
                | Record::Event(_)
                | Record::Run(_)
                | Record::Patch(_)
                | Record::Runner(_)
                | Record::Job(_) => {}
            }
        }
        for rows in [&mut drift, &mut events, &mut runs] {
            rows.sort_by(|a, b| b.cmp(a));
            rows.truncate(past.limit);
        }
        (drift, events, runs)
    };
    let seen = |past: &Past| {
        let drift: Vec<u64> = history.drift(past).expect("reads").iter().map(|d| d.seen_ms / 100).collect();
        let events: Vec<u64> = history.events(past).expect("reads").iter().map(|e| e.at_ms / 100).collect();
        let runs: Vec<u64> = history.runs(past).expect("reads").iter().map(|r| r.began_ms / 100).collect();
        let found = (drift, events, runs);
        assert_eq!(found, memory(past), "the file and memory pick alike: {past:?}");
        found
    };
    let lab = || Past { source: Some("lab".into()), ..all() };
    let three = Past { limit: 3, ..lab() };
    assert_eq!(seen(&three), (vec![20, 19, 18], vec![20, 19, 18], vec![20, 19, 18]));
    let named = Past { kind: Some("VirtualMachine".into()), name: Some("odd".into()), since_ms: Some(1_500), ..lab() };
    assert_eq!(seen(&named), (vec![19, 17, 15], vec![19, 17, 15], vec![19, 17, 15]));
    // What began before and still lasted then is of that time; an event is of its moment.
    let span = Past { since_ms: Some(540), until_ms: Some(700), ..lab() };
    assert_eq!(seen(&span), (vec![7, 6, 5], vec![6], vec![6, 5]), "PVE knows that the seventh drift began at 695");
    let lasting = Past { since_ms: Some(1_000_000), ..all() };
    assert_eq!(seen(&lasting).0, [20]);
    let pools = seen(&Past { kind: Some("Pool".into()), ..lab() });
    assert_eq!((pools.0.len(), pools.1.len(), pools.2.len()), (0, 0, 20), "a pool failed in every run");
    assert_eq!(seen(&Past { source: Some("other".into()), ..all() }).1, [50]);
}

#[test]
fn the_same_in_a_row_is_one_row_that_counts() {
    let (_folder, path) = place();
    let mut open = book(&path);
    let told = |at, message: &str, count| Record::Event(event(Some("Pool/x"), at, message, count));
    open.keep(&[told(1, "a", 1), told(2, "a", 2)]).expect("it writes");
    open.keep(&[told(3, "a", 3), Record::Event(event(Some("Pool/y"), 4, "a", 1))]).expect("it writes");
    // Its beginning was lost, or was pruned: it stands by itself.
    open.keep(&[told(5, "b", 7)]).expect("it writes");
    let rows = History::new(&path).events(&all()).expect("reads");
    let seen: Vec<(u64, &str, u32)> = rows.iter().map(|e| (e.at_ms, e.message.as_str(), e.count)).collect();
    assert_eq!(seen, [(5, "b", 7), (4, "a", 1), (3, "a", 3)]);
}

#[test]
fn a_kill_loses_nothing_that_was_written_and_leaves_nothing_half() {
    let (folder, path) = place();
    let mut open = book(&path);
    let (lasting, healed) = (drift("a", 50, None), drift("b", 60, Some(70)));
    open.keep(&[Record::Drift(lasting.clone()), Record::Drift(healed), Record::Run(run("r", 80, None))])
        .expect("it writes");
    // What is on the disk while it is open is what a kill leaves behind.
    let after = folder.path().join("after");
    std::fs::create_dir(&after).expect("a folder");
    for file in ["history.db", "history.db-wal"] {
        std::fs::copy(folder.path().join(file), after.join(file)).expect("it is there");
    }
    drop(open);
    let life = begin(&after.join("history.db"), Bounds::default());
    assert_eq!(life.lasting, [lasting]);
    let runs = life.keeper.history().runs(&all()).expect("reads");
    assert_eq!((runs[0].converged, runs[0].ended_ms), (Some(false), Some(100 * DAY_MS)));
    assert_eq!(runs[0].failed["VirtualMachine/b"], "the daemon ended before the run did");
    assert_eq!(runs[0].failed["Pool/a"], "no");
    assert!(life.news().is_empty() && life.keeper.close(LONG));
    assert!(!after.join("history.db-wal").exists(), "closed in order");
}

#[test]
fn old_rows_go_and_lasting_drift_stays() {
    let (_folder, path) = place();
    let mut open = book(&path);
    let long = "x".repeat(2_000);
    let records: Vec<Record> = (1..=2_000).map(|n| Record::Event(event(Some("Pool/x"), n, &long, 1))).collect();
    open.keep(&records).expect("it writes");
    open.keep(&[Record::Drift(drift("lasts", 10, None)), Record::Drift(drift("gone", 10, Some(20)))]).expect("writes");
    open.keep(&[Record::Run(run("r", 1, Some(5))), Record::Run(run("now", 1, Some(5_000)))]).expect("it writes");
    assert_eq!(open.prune(1_001, 1_000_000).expect("it prunes"), 1_000 + 1 + 1);
    let history = History::new(&path);
    assert_eq!(history.drift(&all()).expect("reads").len(), 1);
    assert_eq!(history.runs(&all()).expect("reads")[0].id, "now");
    assert_eq!(open.prune(0, 10).expect("it prunes"), 990);
    let left = history.events(&all()).expect("reads");
    assert_eq!((left.len(), left[0].at_ms), (10, 2_000), "the newest are kept");
    assert_eq!(open.prune(0, 0).expect("it prunes"), 11);
    assert_eq!(history.drift(&all()).expect("reads").len(), 1, "what lasts is no history yet");
    // The pages went back to the file system, and no fields or objects of the dead are left.
    drop(open);
    assert!(std::fs::metadata(&path).expect("it is there").len() < 200_000);
    let conn = Connection::open(&path).expect("it opens");
    let count = |table: &str| -> i64 {
        conn.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).expect("it answers")
    };
    assert_eq!((count("drift_fields"), count("run_objects")), (2, 0));
}

#[test]
fn what_is_not_ours_is_left_as_it_is() {
    let (folder, path) = place();
    let foreign = folder.path().join("foreign.db");
    Connection::open(&foreign).expect("opens").execute_batch("CREATE TABLE t (a); PRAGMA user_version = 1").expect("x");
    let newer = folder.path().join("newer.db");
    drop(book(&newer));
    Connection::open(&newer).expect("opens").execute_batch("PRAGMA user_version = 99").expect("it writes");
    std::fs::write(&path, "sources: [{name: lab}]\n").expect("it writes");
    for (file, says) in [
        (&path, "is no SQLite file"),
        (&foreign, "of another program"),
        (&newer, "version 99, and this pvectl knows 3"),
    ] {
        let before = std::fs::read(file).expect("it is there");
        let life = begin(file, Bounds::default());
        for n in 0..5_000 {
            life.keeper.keep(Record::Event(event(None, n, "x", 1)));
        }
        life.later(120_000);
        let news = life.news();
        assert!(matches!(&news[..], [News::Broken(why)] if why.contains(says)), "{news:?}");
        assert!(life.keeper.history().events(&all()).is_err_and(|e| e.to_string().contains(says)));
        assert!(life.keeper.close(LONG));
        assert_eq!(std::fs::read(file).expect("it is there"), before, "{says}");
    }
    let beside: Vec<_> =
        std::fs::read_dir(folder.path()).expect("a folder").map(|e| e.expect("x").file_name()).collect();
    assert_eq!(beside.len(), 3, "{beside:?}");
    // A journal beside it makes SQLite look, and still nothing is written.
    std::fs::write(folder.path().join("history.db-journal"), "").expect("it writes");
    assert!(Book::open(&path, &Bounds::default()).is_err());
    assert_eq!(std::fs::read_to_string(&path).expect("it is there"), "sources: [{name: lab}]\n");
}

#[test]
fn a_full_disk_costs_lines_and_one_warning_and_no_memory() {
    let (_folder, path) = place();
    // SQLite reports its own bound with the very error that a full disk gives.
    let life = begin(&path, Bounds { pages: 40, ..Bounds::default() });
    let long = "x".repeat(1_000);
    let total = 6_000_u64;
    for n in 0..total {
        life.keeper.keep(Record::Event(event(Some("Pool/x"), n, &long, 1)));
        if n % 250 == 0 {
            life.later(30_000);
            assert!(life.keeper.settle(LONG));
        }
    }
    assert!(matches!(&life.news()[..], [News::Broken(why)] if why.contains("full")), "{:?}", life.news());
    let keeping = life.keeper.keeping();
    assert!(keeping.trouble.is_some() && keeping.lost > 0, "{keeping:?}");
    assert!(total - keeping.kept - keeping.lost <= 2_048, "held back within a bound: {keeping:?}");
    // An operator makes room. What was held back is written, and it is told once.
    let conn = Connection::open(&path).expect("it opens");
    conn.busy_timeout(LONG).expect("it may wait");
    conn.execute_batch("DELETE FROM events").expect("it writes");
    drop(conn);
    assert!(life.keeper.history().events(&all()).expect("reads").is_empty());
    assert!(life.keeper.close(LONG));
    let life = begin(&path, Bounds::default());
    life.keeper.keep(Record::Event(event(None, 1, "again", 1)));
    assert!(life.news().is_empty());
    assert_eq!(life.keeper.history().events(&all()).expect("reads").len(), 1);
}

#[test]
fn a_file_that_somebody_holds_is_waited_for_without_losing_a_line() {
    let (_folder, path) = place();
    let life = begin(&path, Bounds::default());
    let other = Connection::open(&path).expect("it opens");
    other.execute_batch("BEGIN IMMEDIATE").expect("it locks");
    let began = Instant::now();
    for n in 0..1_000 {
        life.keeper.keep(Record::Event(event(Some(&format!("Pool/{n}")), n, "x", 1)));
    }
    assert!(began.elapsed() < Duration::from_secs(1), "nobody waits for the disk");
    // Readers go on meanwhile.
    assert!(life.keeper.history().events(&all()).expect("reads").is_empty());
    assert!(matches!(&life.news()[..], [News::Broken(why)] if why.contains("locked")), "{:?}", life.news());
    other.execute_batch("ROLLBACK").expect("it lets go");
    life.until_well();
    assert_eq!(life.news().last(), Some(&News::Mended { lost: 0 }));
    assert_eq!(life.keeper.history().events(&all()).expect("reads").len(), 1_000);
    assert_eq!(life.keeper.keeping().kept, 1_000);
}

#[test]
fn trouble_that_comes_and_goes_is_no_flood() {
    let (_folder, path) = place();
    let life = begin(&path, Bounds::default());
    for n in 0..3 {
        let other = Connection::open(&path).expect("it opens");
        other.execute_batch("BEGIN IMMEDIATE").expect("it locks");
        life.keeper.keep(Record::Event(event(None, n, "x", 1)));
        assert!(life.keeper.settle(LONG) && life.keeper.keeping().trouble.is_some());
        drop(other);
        life.until_well();
    }
    assert_eq!(life.news().len(), 2, "{:?}", life.news());
}

#[test]
#[cfg(unix)]
fn a_deleted_file_is_begun_anew() {
    let (_folder, path) = place();
    let life = begin(&path, Bounds::default());
    life.keeper.keep(Record::Event(event(None, 1, "before", 1)));
    assert!(life.news().is_empty());
    std::fs::remove_file(&path).expect("it is there");
    assert!(matches!(life.keeper.history().events(&all()), Err(StoreError::Missing(_))));
    life.keeper.keep(Record::Event(event(None, 2, "after", 1)));
    assert!(matches!(&life.news()[..], [News::Broken(why), News::Mended { lost: 0 }] if why.contains("deleted")));
    let events = life.keeper.history().events(&all()).expect("reads");
    assert_eq!(events.iter().map(|e| e.message.as_str()).collect::<Vec<_>>(), ["after"]);
}

#[test]
fn a_damaged_file_is_told_and_never_made_anew() {
    let (_folder, path) = place();
    let mut open = book(&path);
    let records: Vec<Record> = (0..500).map(|n| Record::Event(event(None, n, "some words", 1))).collect();
    open.keep(&records).expect("it writes");
    drop(open);
    let mut bytes = std::fs::read(&path).expect("it is there");
    bytes[4_096..].fill(0xa5);
    std::fs::write(&path, &bytes).expect("it writes");
    let life = begin(&path, Bounds::default());
    life.keeper.keep(Record::Event(event(None, 1, "x", 1)));
    life.later(60_000);
    let news = life.news();
    assert!(matches!(&news[..], [News::Broken(why)] if why.contains("malformed")), "{news:?}");
    assert!(life.keeper.history().events(&all()).is_err());
    // Moved away, a new one is begun.
    std::fs::rename(&path, path.with_extension("damaged")).expect("it moves");
    life.keeper.keep(Record::Event(event(None, 2, "y", 1)));
    life.until_well();
    assert_eq!(life.keeper.history().events(&all()).expect("reads").len(), 2);
}

#[test]
fn a_place_that_is_no_folder_is_trouble_and_no_end() {
    let (folder, _) = place();
    let wall = folder.path().join("wall");
    std::fs::write(&wall, "").expect("it writes");
    let path = wall.join("history.db");
    let life = begin(&path, Bounds::default());
    life.keeper.keep(Record::Event(event(None, 1, "x", 1)));
    assert_eq!(life.news().len(), 1);
    std::fs::remove_file(&wall).expect("it is there");
    std::fs::create_dir(&wall).expect("a folder");
    life.until_well();
    assert_eq!(life.keeper.history().events(&all()).expect("reads").len(), 1);
}

#[test]
fn many_read_while_one_writes() {
    let (_folder, path) = place();
    let life = begin(&path, Bounds::default());
    assert!(life.keeper.settle(LONG));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let history = life.keeper.history();
            scope.spawn(move || {
                let mut before = 0;
                for _ in 0..50 {
                    let past = Past { limit: 10_000, ..Past::default() };
                    let rows = history.drift(&past).expect("a reader is never turned away");
                    assert!(rows.iter().all(|row| row.fields.len() == 2), "a row is whole");
                    assert!(rows.len() >= before);
                    before = rows.len();
                }
            });
        }
        for n in 10..1_000 {
            life.keeper.keep(Record::Drift(drift("a", n, None)));
        }
    });
    assert!(life.news().is_empty());
    let keeping = life.keeper.keeping();
    assert_eq!(keeping.kept + keeping.lost, 990);
}

fn patch(target: &str, opened_ms: u64, result: &str) -> PatchRecord {
    PatchRecord {
        id: format!("lab/sunday/{target}@{opened_ms}"),
        source: "lab".into(),
        window: "sunday".into(),
        target: target.into(),
        name: "web".into(),
        opened_ms,
        began_ms: Some(opened_ms + 1),
        ended_ms: Some(opened_ms + 9),
        result: Some(result.into()),
        why: Some("it's so".into()),
        system: Some("debian 12".into()),
        manager: Some("apt".into()),
        changed: vec![
            ChangedRecord { name: "openssl".into(), from: "1".into(), to: "2".into(), security: Some(true) },
            ChangedRecord { name: "libssl3".into(), from: "-".into(), to: "2".into(), security: None },
        ],
        left: vec![
            LeftRecord { name: "vim".into(), why: Some("no security update".into()) },
            LeftRecord { name: "nginx".into(), why: None },
        ],
        cves: vec!["CVE-2026-1".into()],
        checks: vec![CheckRecord { what: "tcp:22".into(), ok: true, said: "listens".into() }],
        log: vec!["Setting up openssl".into()],
        rebooted: true,
        reboot_required: Some("libc6".into()),
        attempts: 2,
    }
}

#[test]
fn what_targets_of_windows_got_is_kept_and_known_better_later() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("h.db");
    let mut open = book(&path);
    let (old, failed) = (patch("101", 1_000, "Updated"), patch("101", 9_000, "Failed"));
    let other = PatchRecord { window: "monday".into(), id: "x".into(), ..patch("102", 5_000, "UpToDate") };
    open.keep(&[Record::Patch(old.clone()), Record::Patch(failed.clone()), Record::Patch(other.clone())])
        .expect("it writes");
    let back = PatchRecord { changed: Vec::new(), left: Vec::new(), ..patch("101", 9_000, "WentBack") };
    open.keep(&[Record::Patch(back.clone())]).expect("it writes");
    let history = History::new(&path);
    let all = |past: Past| history.patches(&past).expect("it reads");
    assert_eq!(all(Past::default()), [back.clone(), other, old.clone()], "the newest first");
    let sunday = Past { name: Some("Sunday".into()), ..Past::default() };
    assert_eq!(all(sunday.clone()), [back.clone(), old.clone()]);
    assert_eq!(all(Past { since_ms: Some(2_000), ..sunday.clone() }), [back]);
    assert_eq!(all(Past { until_ms: Some(2_000), ..sunday }), [old]);
    assert_eq!(open.prune(2_000, 1_000).expect("it prunes"), 1);
    assert_eq!(all(Past::default()).len(), 2);
}

#[test]
fn a_file_of_the_version_before_gets_the_new_tables() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("h.db");
    drop(book(&path));
    let old = Connection::open(&path).expect("opens");
    let tables = "DROP TABLE patch_packages; DROP TABLE patches; DROP TABLE runners; DROP TABLE runner_jobs";
    old.execute_batch(&format!("{tables}; PRAGMA user_version = 1")).expect("as it was");
    drop(old);
    book(&path).keep(&[Record::Patch(patch("101", 1, "Updated"))]).expect("it writes");
    assert_eq!(History::new(&path).patches(&Past::default()).expect("it reads").len(), 1);
}
