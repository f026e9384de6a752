//! The forms on findings with everything that may go wrong in them.

use crate::base::clock::Clock;
use crate::daemon::record::{Actor, DriftRecord, EventRecord, FieldRecord, Healer};
use crate::daemon::report::findings::{Compared, Findings, Times};
use crate::daemon::report::writer::Writer;
use crate::daemon::report::{folder, json, junit, markdown, text};
use futures::future::BoxFuture;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

const NOW_MS: u64 = 1_795_226_403_000;

struct Still;

impl Clock for Still {
    fn now_ms(&self) -> u64 {
        NOW_MS
    }
    fn sleep(&self, _: Duration) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

fn field(path: &str, from: Option<&str>, to: Option<&str>) -> FieldRecord {
    FieldRecord {
        path: path.into(),
        from: from.map(Into::into),
        to: to.map(Into::into),
        cause: "drift".into(),
        impact: "live".into(),
    }
}

fn spell(source: &str, name: &str, fields: Vec<FieldRecord>) -> DriftRecord {
    DriftRecord {
        id: format!("{source}/VirtualMachine/{name}@{NOW_MS}"),
        source: source.into(),
        kind: "VirtualMachine".into(),
        name: name.into(),
        identity: Some("qemu/101 on pve1".into()),
        fields,
        seen_ms: NOW_MS - 11_000_000,
        by: None,
        healed_ms: None,
        healed_by: None,
    }
}

fn drift() -> Vec<DriftRecord> {
    let by = Actor { user: "root@pam".into(), what: "update VM 101: -cores 8".into(), at_ms: NOW_MS - 11_100_000 };
    let nasty = "a|b `c` <script>&\"'\n]]>\u{1b}[31m\u{fffe}\0*x*";
    vec![
        DriftRecord {
            by: Some(by),
            ..spell(
                "homelab",
                "web-02",
                vec![field("hardware.cores", Some("8"), Some("4")), field("tags", None, Some(""))],
            )
        },
        spell("homelab", "bad-01", vec![field("description", Some(nasty), Some(&"long ".repeat(30)))]),
        DriftRecord {
            healed_ms: Some(NOW_MS),
            healed_by: Some(Healer::Hand),
            ..spell("homelab", "over", vec![field("power", None, None)])
        },
        spell("edge", "not-in-the-list", vec![field("pool", Some("a"), None)]),
    ]
}

fn compared() -> Vec<Compared> {
    let one = |name: &str, error: Option<&str>| Compared {
        source: "homelab".into(),
        kind: "VirtualMachine".into(),
        name: name.into(),
        error: error.map(Into::into),
    };
    vec![
        one("web-01", None),
        one("web-02", None),
        one("bad-01", None),
        one("over", None),
        one("gone", Some("node <pve2> does not answer")),
    ]
}

fn with<T>(times: Times, write: impl FnOnce(&Findings<'_>) -> T) -> T {
    write(&Findings { drift: &drift(), compared: &compared(), times })
}

#[test]
fn goldens_of_every_form() {
    insta::assert_snapshot!("text", with(Times::Until(NOW_MS), text::write));
    insta::assert_snapshot!("text_of_one_look", with(Times::None, text::write));
    insta::assert_snapshot!("json", format!("{:#}", with(Times::Until(NOW_MS), json::write)));
    insta::assert_snapshot!("markdown", with(Times::Since, markdown::write));
    insta::assert_snapshot!("junit", with(Times::Since, junit::write));
}

#[test]
fn nothing_is_said_in_every_form() {
    let compared = compared();
    let quiet = Findings { drift: &[], compared: &compared[..2], times: Times::Since };
    assert_eq!(text::write(&quiet), "0 objects drifted, in 0 fields; 2 compared.\n");
    assert_eq!(markdown::write(&quiet), "# Drift\n\n0 objects drifted, in 0 fields; 2 compared.\n");
    let tags = elements(&junit::write(&quiet));
    assert_eq!(tags.iter().filter(|(_, name, _)| name == "testcase").count(), 2);
    assert!(tags.iter().all(|(_, name, _)| name != "failure"));
    let nothing = Findings { drift: &[], compared: &[], times: Times::Since };
    assert_eq!(elements(&junit::write(&nothing)).len(), 1);
}

#[test]
fn a_table_in_markdown_keeps_its_columns() {
    for (times, columns) in [(Times::Since, 7), (Times::None, 5)] {
        let report = with(times, markdown::write);
        let rows: Vec<&str> = report.lines().filter(|line| line.starts_with('|')).collect();
        assert_eq!(rows.len(), 2 + 4);
        for row in rows {
            let bars = row.replace("\\|", "").matches('|').count();
            assert_eq!(bars, columns + 1, "{row}");
        }
        assert!(report.contains("| ``a\\|b `c` <script>"), "code, in a fence of its own: {report}");
    }
}

/// An element: how deep, its name, its attributes by name.
type Element = (usize, String, Vec<(String, String)>);

/// Reads XML as strictly as it must be written: panics at what is not well-formed.
fn elements(xml: &str) -> Vec<Element> {
    let mut rest = xml.strip_prefix("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n").expect("a declaration");
    assert!(xml.chars().all(|c| matches!(c, '\t' | '\n' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)));
    let entities = |text: &str| {
        for part in text.split('&').skip(1) {
            let name = part.split_once(';').expect("an entity ends").0;
            assert!(["amp", "lt", "gt", "quot", "apos", "#10", "#9"].contains(&name), "&{name};");
        }
    };
    let mut open: Vec<String> = Vec::new();
    let mut found = Vec::new();
    while let Some((before, after)) = rest.split_once('<') {
        assert!(!before.contains("]]>") && (!open.is_empty() || before.trim().is_empty()), "{before}");
        entities(before);
        let (tag, after) = after.split_once('>').expect("a tag ends");
        rest = after;
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name), "what was opened is closed");
            continue;
        }
        let closed = tag.ends_with('/');
        let tag = tag.trim_end_matches('/');
        let (name, mut words) = tag.split_once(' ').unwrap_or((tag, ""));
        let mut attributes = Vec::new();
        while !words.is_empty() {
            let (key, value) = words.split_once("=\"").expect("an attribute has a value");
            let (value, more) = value.split_once('"').expect("a value ends");
            entities(value);
            assert!(!value.contains(['\n', '\t']) && attributes.iter().all(|(k, _)| k != key.trim()));
            attributes.push((key.trim().to_owned(), value.to_owned()));
            words = more;
        }
        found.push((open.len(), name.to_owned(), attributes));
        if !closed {
            open.push(name.to_owned());
        }
    }
    assert!(open.is_empty() && rest.trim().is_empty(), "{open:?} {rest}");
    found
}

/// Jenkins' `junit-10.xsd`, as far as it is used: which element stands in which, and what it must and may carry.
fn check_shape(found: &[Element]) {
    let numbers = ["tests", "failures", "errors", "skipped", "time"];
    for (depth, name, attributes) in found {
        let (at, must, may): (usize, &[&str], &[&str]) = match name.as_str() {
            "testsuites" => (0, &[], &["name", "time", "tests", "failures", "errors"]),
            "testsuite" => (1, &["name"], &["tests", "failures", "errors", "skipped", "time"]),
            "testcase" => (2, &["name", "classname"], &["time"]),
            "failure" | "error" => (3, &[], &["type", "message"]),
            other => panic!("{other} is not in the schema"),
        };
        assert_eq!(*depth, at, "{name}");
        let keys: BTreeSet<&str> = attributes.iter().map(|(key, _)| key.as_str()).collect();
        assert!(must.iter().all(|key| keys.contains(key)), "{name} {keys:?}");
        assert!(keys.iter().all(|key| must.contains(key) || may.contains(key)), "{name} {keys:?}");
        let counts = attributes.iter().filter(|(key, _)| numbers.contains(&key.as_str()));
        assert!(counts.into_iter().all(|(_, value)| value.parse::<u32>().is_ok()), "{name} {attributes:?}");
    }
}

#[test]
fn junit_is_well_formed_of_the_common_shape_and_counts_right() {
    let xml = with(Times::Since, junit::write);
    let found = elements(&xml);
    check_shape(&found);
    let count = |wanted: &str| found.iter().filter(|(_, name, _)| name == wanted).count();
    assert_eq!((count("testsuite"), count("testcase"), count("failure"), count("error")), (2, 6, 3, 1));
    let root: Vec<&str> = found[0].2.iter().map(|(_, value)| value.as_str()).collect();
    assert_eq!(root, ["pvectl drift", "6", "3", "1", "0"]);
}

#[test]
#[should_panic(expected = "what was opened is closed")]
fn mutant_of_the_xml_reader() {
    elements("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<a><b></a></b>\n");
}

#[test]
fn files_are_whole_and_change_only_with_what_they_say() {
    let place = tempfile::tempdir().expect("a folder");
    let reports = place.path().join("made/here");
    let all = ["drift.txt", "drift.json", "drift.md", "drift.xml"];
    let write = |times| with(times, |findings| folder::write(&reports, findings));
    assert_eq!(write(Times::Since).expect("it writes"), all);
    let time = |name: &str| std::fs::metadata(reports.join(name)).and_then(|m| m.modified()).expect("it is there");
    let before = all.map(time);
    assert_eq!(write(Times::Since).expect("it writes"), Vec::<&str>::new());
    assert_eq!(all.map(time), before);
    std::fs::write(reports.join("drift.md"), "half").expect("it writes");
    assert_eq!(write(Times::Since).expect("it writes"), ["drift.md"]);
    let names: BTreeSet<_> =
        std::fs::read_dir(&reports).expect("a folder").map(|e| e.expect("x").file_name()).collect();
    assert_eq!(names.len(), 4, "nothing is left beside them: {names:?}");
    // A folder stands in the place of one: said, and nothing is left half.
    std::fs::remove_file(reports.join("drift.xml")).expect("it is there");
    std::fs::create_dir(reports.join("drift.xml")).expect("a folder");
    let error = write(Times::Since).expect_err("it cannot be written").in_full();
    assert!(error.contains("drift.xml: "), "{error}");
    assert_eq!(std::fs::read_dir(&reports).expect("a folder").count(), 4);
}

#[test]
fn a_folder_that_cannot_be_written_is_told_once_and_its_end_too() {
    let place = tempfile::tempdir().expect("a folder");
    let path = place.path().join("reports");
    std::fs::write(&path, "a file stands there").expect("it writes");
    let (tell, told) = std::sync::mpsc::channel();
    let hear = Box::new(move |event: EventRecord| drop(tell.send((event.reason, event.message))));
    let writer = Writer::start(&path, Arc::new(Still), hear);
    let long = Duration::from_secs(20);
    writer.write(drift(), compared());
    let (reason, message) = told.recv_timeout(long).expect("it is told");
    assert!(reason == "ReportsFailed" && message.contains("drift.txt: "), "{reason} {message}");
    writer.write(drift(), compared());
    std::thread::sleep(Duration::from_millis(50));
    std::fs::remove_file(&path).expect("it is there");
    writer.write(drift(), compared());
    assert_eq!(told.recv_timeout(long).expect("it is told").0, "ReportsMended");
    assert!(writer.close(long));
    assert!(told.try_recv().is_err() && path.join("drift.xml").exists());
}
