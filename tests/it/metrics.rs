//! The metrics: the exposition format, the bounds of labels, and that documentation, dashboard and alerts name what is there.

use crate::site;
use pvectl::daemon::health::Looked;
use pvectl::daemon::meter::Meter;
use pvectl::daemon::metrics::table::{Described, METRICS};
use pvectl::daemon::metrics::{Metrics, RunResult, Told, VALUES_MAX};
use pvectl::daemon::record::{DriftRecord, Healer, SourceRecord, State, Verdict};
use pvectl::daemon::runners::news::Count;
use pvectl::host::health::{Measure, Sensor, Smart};
use pvectl::kinds::node_health::findings::of_node;
use pvectl::kinds::node_health::{Disk, NodeHealth, Pool};
use pvectl::pve::error::PveError;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

/// A node with one of everything.
fn looked() -> Looked {
    let smart = Smart {
        device: "/dev/sda".into(),
        passed: Some(false),
        celsius: Some(61),
        worn_percent: Some(85),
        reallocated: Some(1),
        pending: Some(2),
        uncorrectable: Some(3),
        ..Smart::default()
    };
    let pool = Pool { name: "tank".into(), state: "DEGRADED".into(), filled: (1, 4), ..Pool::default() };
    let sensor =
        Sensor { chip: "c".into(), label: "t".into(), measure: Measure::Temperature, value: 47_500, critical: None };
    let node = NodeHealth {
        node: "pve1".into(),
        disks: vec![Disk { smart, ..Disk::default() }],
        pools: vec![pool],
        sensors: vec![sensor],
        ..NodeHealth::default()
    };
    let findings = of_node(&node, 0);
    Looked { nodes: vec![node], known: vec!["pve1".into()], ceph: None, quorate: None, findings }
}

#[test]
fn the_health_of_nodes_is_told_and_what_is_gone_is_not() {
    let (metrics, state) = busy();
    let text = metrics.render(&state);
    for line in [
        "pvectl_node_disk_healthy{cluster=\"home\",node=\"pve1\",disk=\"/dev/sda\"} 0.0",
        "pvectl_node_disk_worn_ratio{cluster=\"home\",node=\"pve1\",disk=\"/dev/sda\"} 0.85",
        "pvectl_node_pool_filled_ratio{cluster=\"home\",node=\"pve1\",pool=\"tank\"} 0.25",
        "pvectl_node_sensor_temperature_celsius{cluster=\"home\",node=\"pve1\",sensor=\"c t\"} 47.5",
        "pvectl_node_health_last_look_timestamp_seconds{cluster=\"home\"} 1.0",
    ] {
        assert!(text.lines().any(|l| l == line), "{line}\n{text}");
    }
    let mut later = looked();
    later.nodes[0].disks.clear();
    metrics.node_health("home", &later, 2_000);
    let text = metrics.render(&state);
    assert!(!text.contains("/dev/sda") && text.contains("pool=\"tank\""), "{text}");
}

/// Sets each metric at least once.
fn busy() -> (Metrics, State) {
    let metrics = Metrics::new();
    let second = Duration::from_secs(1);
    metrics.node_health("home", &looked(), 1_000);
    metrics.run_ended("homelab", RunResult::Error, second);
    metrics.queue_depth("home", 3);
    metrics.queue_totals("home", 4, 1);
    metrics.queue_waited("home", second);
    metrics.queue_worked("home", second);
    metrics.remembered("keys", 3);
    metrics.request("home", "GET", Some(200), second);
    metrics.request("home", "POST", None, second);
    metrics.task("home", "qmclone", "WARNINGS: 1", second);
    metrics.drift_seen("homelab");
    metrics.drift_healed("homelab", Healer::Hand);
    metrics.notified("chat", Told::Sent, 1);
    metrics.history_lost(2);
    metrics.target_failed("homelab", "sunday");
    let loops: &dyn Meter = &metrics;
    loops.github("orgs/acme", "GET", None, 20);
    let failed = Count::Failed("NoAgent".into());
    for count in [Count::Queued(4_000), Count::Stage("boot", 20_000), Count::Job(60_000), failed] {
        loops.runner("homelab", "ci", &count);
    }
    let mut state = site::state();
    let member = site::member("homelab");
    let policy =
        pvectl::daemon::record::ObjectRecord { kind: "BackupPolicy".into(), name: "weekly".into(), ..member.clone() };
    for object in [member, policy] {
        state.objects.insert((object.source.clone(), object.kind.clone(), object.name.clone()), object);
    }
    (metrics, state)
}

fn bare(name: &str) -> &str {
    name.trim_end_matches("_total").trim_end_matches("_info")
}

/// The families of a text with their types; panics where the text is not as OpenMetrics wants it.
fn families(text: &str) -> BTreeMap<String, String> {
    let mut types = BTreeMap::new();
    let body = text.strip_suffix("# EOF\n").expect("it ends as it should");
    let mut current = String::new();
    for line in body.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, form) = rest.split_once(' ').expect("a type");
            assert!(types.insert(name.to_owned(), form.to_owned()).is_none(), "{name} twice");
            current = name.to_owned();
            continue;
        }
        if let Some(rest) = line.strip_prefix("# HELP ") {
            assert!(rest.ends_with('.') && !rest.ends_with(".."), "{line}");
            continue;
        }
        let (series, value) = line.rsplit_once(' ').expect("a value");
        assert!(value.parse::<f64>().is_ok(), "{line}");
        let name = series.split('{').next().expect("a name");
        assert!(name.starts_with(&current), "{line} stands under {current}");
        if let Some((_, labels)) = series.split_once('{') {
            assert!(labels.ends_with("\"}"), "{line}");
        }
    }
    types
}

#[test]
fn every_metric_of_the_table_is_exposed_and_no_other() {
    let (metrics, state) = busy();
    let found = families(&metrics.render(&state));
    let linux = Path::new("/proc/self/stat").exists();
    for metric in METRICS.iter().filter(|m| linux || !m.name.starts_with("process_")) {
        assert_eq!(found.get(bare(metric.name)).map(String::as_str), Some(metric.form), "{}", metric.name);
    }
    let known: Vec<&str> = METRICS.iter().map(|m| bare(m.name)).collect();
    assert!(found.keys().all(|name| known.contains(&name.as_str())), "{found:?}");
}

#[test]
fn labels_are_those_of_the_table() {
    let (metrics, state) = busy();
    let text = metrics.render(&state);
    for metric in METRICS {
        let line = text.lines().find(|line| {
            let rest = line.strip_prefix(metric.name).map(|rest| rest.strip_prefix("_sum").unwrap_or(rest));
            rest.is_some_and(|rest| rest.starts_with('{') || rest.starts_with(' '))
        });
        let Some(line) = line else { panic!("{} was not set", metric.name) };
        let inside = line.split_once('{').map_or("", |(_, rest)| rest.split_once('}').map_or("", |(inside, _)| inside));
        let labels: Vec<&str> = inside.split(',').filter_map(|l| l.split_once('=')).map(|(label, _)| label).collect();
        assert_eq!(labels.join(","), metric.labels, "{line}");
    }
}

#[test]
fn the_state_is_read_when_it_is_asked_for() {
    let (metrics, mut state) = busy();
    let text = metrics.render(&state);
    for line in [
        "pvectl_objects{source=\"homelab\",kind=\"VirtualMachine\"} 2.0",
        "pvectl_objects_ready{source=\"homelab\",kind=\"VirtualMachine\"} 1.0",
        "pvectl_drifted_objects{source=\"homelab\",kind=\"VirtualMachine\"} 1.0",
        "pvectl_source_ready{source=\"homelab\"} 1.0",
        "pvectl_source_ready{source=\"lab\"} 0.0",
        "pvectl_source_suspended{source=\"lab\"} 1.0",
        "pvectl_proposals_waiting{source=\"lab\"} 1.0",
        "pvectl_reconcile_active{source=\"homelab\"} 1.0",
        "pvectl_pve_requests_total{cluster=\"home\",method=\"POST\",status=\"none\"} 1",
    ] {
        assert!(text.lines().any(|l| l == line), "{line}\n{text}");
    }
    state.sources.remove("lab");
    state.drift = vec![DriftRecord { healed_ms: Some(1), ..state.drift[0].clone() }];
    state.proposals.values_mut().for_each(|p| p.verdict = Verdict::Expired);
    let text = metrics.render(&state);
    assert!(
        !text.contains("pvectl_source_ready{source=\"lab\"}") && !text.contains("proposals_waiting{source=\"lab\"}")
    );
    assert!(text.contains("pvectl_drifted_objects{source=\"homelab\",kind=\"VirtualMachine\"} 0.0"), "{text}");
}

#[test]
fn what_the_loop_tells_is_counted() {
    let metrics = Metrics::new();
    let loops: &dyn Meter = &metrics;
    let refused = PveError::Refused {
        request: "PUT /x".into(),
        status: 403,
        reason: "Permission check failed".into(),
        errors: BTreeMap::new(),
    };
    loops.request("home", "GET", None, 20);
    loops.request("home", "PUT", Some(&refused), 20);
    loops.request("home", "BREW", Some(&PveError::Lost { request: "x".into(), cause: "y".into() }), 20);
    loops.task("home", "qmclone", false, 4);
    for result in ["success", "open", "error"] {
        loops.run("homelab", result, 1500);
    }
    loops.waited(250);
    // Totals, told again and again.
    loops.queue(3, 10, 2);
    loops.queue(1, 12, 2);
    loops.drift("homelab", None);
    loops.drift("homelab", Some(Healer::Pvectl));
    let text = metrics.render(&State::default());
    for line in [
        "pvectl_pve_requests_total{cluster=\"home\",method=\"GET\",status=\"200\"} 1",
        "pvectl_pve_requests_total{cluster=\"home\",method=\"PUT\",status=\"403\"} 1",
        "pvectl_pve_requests_total{cluster=\"home\",method=\"other\",status=\"none\"} 1",
        "pvectl_pve_task_duration_seconds_sum{cluster=\"home\",type=\"qmclone\",result=\"error\"} 4.0",
        "pvectl_reconcile_total{source=\"homelab\",result=\"requeue\"} 1",
        "pvectl_reconcile_errors_total{source=\"homelab\"} 1",
        "pvectl_reconcile_time_seconds_count{source=\"homelab\"} 3",
        "pvectl_workqueue_queue_duration_seconds_sum{cluster=\"all\"} 0.25",
        "pvectl_workqueue_depth{cluster=\"all\"} 1.0",
        "pvectl_workqueue_adds_total{cluster=\"all\"} 12",
        "pvectl_workqueue_retries_total{cluster=\"all\"} 2",
        "pvectl_drift_healed_total{source=\"homelab\",by=\"pvectl\"} 1",
    ] {
        assert!(text.lines().any(|l| l == line), "{line}\n{text}");
    }
}

#[test]
fn runner_pools_are_told_in_the_words_of_githubs_controller() {
    let (metrics, mut state) = busy();
    let text = metrics.render(&state);
    for line in [
        "pvectl_runner_assigned_jobs{source=\"homelab\",pool=\"ci\"} 2.0",
        "pvectl_runner_registered_runners{source=\"homelab\",pool=\"ci\"} 1.0",
        "pvectl_runner_busy_runners{source=\"homelab\",pool=\"ci\"} 1.0",
        "pvectl_runner_idle_runners{source=\"homelab\",pool=\"ci\"} 0.0",
        "pvectl_runner_machines{source=\"homelab\",pool=\"ci\",stage=\"Booting\"} 1.0",
        "pvectl_runner_condition{source=\"homelab\",pool=\"ci\",reason=\"JobsWait\"} 1.0",
        "pvectl_runner_queue_seconds_sum{source=\"homelab\",pool=\"ci\"} 4.0",
        "pvectl_runner_stage_seconds_sum{source=\"homelab\",pool=\"ci\",stage=\"boot\"} 20.0",
        "pvectl_runner_failures_total{source=\"homelab\",pool=\"ci\",cause=\"NoAgent\"} 1",
        "pvectl_github_requests_total{scope=\"orgs/acme\",method=\"GET\",status=\"200\"} 1",
        "pvectl_github_rate_remaining{api=\"https://api.github.com\",account=\"token GITHUB_TOKEN\",resource=\"core\"} 4321.0",
    ] {
        assert!(text.lines().any(|l| l == line), "{line}\n{text}");
    }
    // What is not known is not told, and what is gone neither.
    let pool = state.pools.values_mut().next().expect("a pool");
    (pool.assigned, pool.running) = (None, None);
    pool.machines.clear();
    let text = metrics.render(&state);
    assert!(!text.contains("pvectl_runner_assigned_jobs{") && !text.contains("stage=\"Booting\""), "{text}");
}

#[test]
fn series_do_not_grow_without_end() {
    let metrics = Metrics::new();
    let lines = |names: std::ops::Range<usize>| {
        names.for_each(|n| metrics.task("home", &format!("worker{n}"), "OK", Duration::ZERO));
        metrics.render(&State::default()).lines().count()
    };
    let full = lines(0..VALUES_MAX + 1);
    assert_eq!(full, lines(0..10 * VALUES_MAX));
    assert!(metrics.render(&State::default()).contains("type=\"other\""));
}

#[test]
fn names_of_others_cannot_break_the_format() {
    let (metrics, mut state) = busy();
    let hostile = "a\"} 1\nevil{x=\"\\";
    let source = SourceRecord { name: hostile.to_owned(), ..state.sources["lab"].clone() };
    state.sources.insert(hostile.to_owned(), source);
    metrics.drift_seen(hostile);
    let text = metrics.render(&state);
    families(&text);
    assert!(!text.lines().any(|line| line.starts_with("evil")));
}

// ---- what names them -----------------------------------------------------------------------------------------------------

fn file(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Words of a text that look like our metrics, histograms by their family.
fn named(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let ours = words.filter(|w| (w.starts_with("pvectl_") || w.starts_with("process_")) && w.len() > "process_".len());
    ours.map(|word| {
        let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| word.strip_suffix(end));
        family.filter(|f| METRICS.iter().any(|m| m.form == "histogram" && m.name == *f)).unwrap_or(word).to_owned()
    })
    .collect()
}

#[test]
fn the_dashboard_and_the_alerts_ask_for_what_is_there() {
    for (name, least) in [("examples/deploy/grafana-dashboard.json", 15), ("examples/deploy/alerts.yaml", 5)] {
        let found = named(&file(name));
        assert!(found.len() >= least, "{name} names {found:?}");
        for word in found {
            assert!(METRICS.iter().any(|m| m.name == word), "{name} asks for `{word}`, which is not there");
        }
    }
    assert!(named("rate(pvectl_typo_total[5m])").contains("pvectl_typo_total"), "the test can see one");
    assert!(named("pvectl_reconcile_time_seconds_bucket{}").contains("pvectl_reconcile_time_seconds"));
}

#[test]
fn the_dashboard_is_one_that_grafana_takes() {
    let board: serde_json::Value = serde_json::from_str(&file("examples/deploy/grafana-dashboard.json")).expect("JSON");
    let panels = board["panels"].as_array().expect("panels");
    let ids: BTreeSet<i64> = panels.iter().filter_map(|p| p["id"].as_i64()).collect();
    assert_eq!(ids.len(), panels.len(), "each panel has a number of its own");
    for panel in panels.iter().filter(|p| p["type"] != "row") {
        assert!(panel["gridPos"]["w"].as_i64().is_some_and(|w| (1..=24).contains(&w)), "{panel}");
        let targets = panel["targets"].as_array().expect("targets");
        assert!(!targets.is_empty() && targets.iter().all(|t| t["expr"].as_str().is_some_and(|e| !e.is_empty())));
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{}", panel["title"]);
    }
    assert!(board["templating"]["list"].as_array().is_some_and(|l| l.iter().any(|v| v["type"] == "datasource")));
    let alerts: serde_json::Value = serde_yaml::from_str(&file("examples/deploy/alerts.yaml")).expect("YAML");
    for rule in alerts["groups"][0]["rules"].as_array().expect("rules") {
        for key in ["alert", "expr", "for"] {
            assert!(rule[key].is_string(), "{key} of {rule}");
        }
        assert!(rule["annotations"]["summary"].is_string() && rule["labels"]["severity"].is_string(), "{rule}");
    }
}

const BEGIN: &str = "<!-- metrics: written by a test, UPDATE=1 cargo test --test it metrics -->\n";
const END: &str = "<!-- /metrics -->";

#[test]
fn the_documentation_has_the_table_of_metrics() {
    let mut table = "| metric | type | labels | what it tells |\n|---|---|---|---|\n".to_owned();
    for Described { name, form, labels, help } in METRICS {
        let labels = if labels.is_empty() { "–".to_owned() } else { format!("`{}`", labels.replace(',', "`, `")) };
        table += &format!("| `{name}` | {form} | {labels} | {help} |\n");
    }
    let text = file("docs/http.md");
    let (before, rest) = text.split_once(BEGIN).expect("the table's place");
    let (found, after) = rest.split_once(END).expect("the table's end");
    if std::env::var_os("UPDATE").is_some() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/http.md");
        std::fs::write(path, format!("{before}{BEGIN}{table}{END}{after}")).expect("it can be written");
        return;
    }
    assert_eq!(found, table, "UPDATE=1 cargo test --test it metrics");
}
