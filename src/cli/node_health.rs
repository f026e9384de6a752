//! `node health`: what disks, sensors, pools and the cluster say, and what of it needs a person.

use crate::cli::args::Global;
use crate::cli::args::node::NodeHealth as Args;
use crate::cli::exit;
use crate::cli::output::{self, Form, Format, table, yaml};
use crate::cli::run::{Ended, Failure, block_on, print};
use crate::cli::session::Session;
use crate::daemon::health::{Looked, look};
use crate::daemon::http::words::span;
use crate::host::health::{Measure, Sensor, Smart};
use crate::kinds::node_health::findings::{Finding, Severity};
use crate::kinds::node_health::{Ceph, Disk, NodeHealth, Pool};
use serde_json::{Value, json};
use std::io::Write;

/// `node health [NODE]`.
pub fn health(global: &Global, args: &Args) -> Ended {
    let session = Session::open(global, None)?;
    let looked = block_on(seen(&session, args.node.as_deref()))??;
    session.close()?;
    match &args.format.output {
        Some(Format::Name) => looked.nodes.iter().for_each(|node| print(&format!("node/{}\n", node.node))),
        Some(Format::Value(Form::Yaml)) => print(&yaml(&value(&looked))),
        Some(Format::Value(form)) => print(&output::write(&value(&looked), form)?),
        Some(Format::Table | Format::Wide) | None => print(&tables(&looked)),
    }
    for node in looked.nodes.iter().filter(|node| node.away.is_none()) {
        if let Some(why) = &node.unlinked {
            let text = format!("{}: sensors, and wear and temperature of some disks, are not known: {why}", node.node);
            let _ = writeln!(anstream::stderr(), "warning: {text}");
        }
    }
    let bad = looked.findings.iter().any(|finding| finding.severity >= Severity::Warning);
    Ok(if bad { exit::FINDINGS } else { exit::DONE })
}

async fn seen(session: &Session, only: Option<&str>) -> Result<Looked, Failure> {
    let cluster = session.cluster();
    let looked = look(cluster.api, cluster.clock, &session.links, only).await;
    let looked = looked.map_err(|e| Failure::wire(exit::FAILED, &e))?;
    match only.filter(|_| looked.nodes.is_empty()) {
        Some(only) => Err(Failure::new(exit::REFUSED, format!("there is no node `{only}`"))
            .hint(format!("nodes: {}", looked.known.join(", ")))),
        None => Ok(looked),
    }
}

fn of((used, total): (u64, u64)) -> String {
    let percent = used.saturating_mul(100).checked_div(total).unwrap_or_default();
    if total == 0 { String::new() } else { format!("{percent}% of {}Gi", total.div_ceil(1 << 30)) }
}

fn or<T: ToString>(value: Option<T>, unit: &str) -> String {
    value.map(|v| v.to_string() + unit).unwrap_or_default()
}

fn tables(looked: &Looked) -> String {
    let row = |node: &NodeHealth| {
        let state = match &node.away {
            Some(_) => "offline",
            None => "online",
        };
        let load = if node.away.is_some() { String::new() } else { format!("{:.2} on {}", node.load[0], node.cpus) };
        let hottest = node.sensors.iter().filter(|s| s.measure == Measure::Temperature).map(|s| s.value).max();
        vec![
            node.node.clone(),
            state.to_owned(),
            if node.uptime == 0 { String::new() } else { span(node.uptime * 1000) },
            load,
            of(node.memory),
            of(node.root),
            hottest.map(|value| format!("{}°C", value / 1000)).unwrap_or_default(),
        ]
    };
    let mut out =
        table(&["NODE", "STATE", "UPTIME", "LOAD", "MEMORY", "ROOT", "HOTTEST"], looked.nodes.iter().map(row));
    let disks = looked.nodes.iter().flat_map(|node| node.disks.iter().map(move |disk| disk_row(&node.node, disk)));
    let head =
        ["NODE", "DISK", "MODEL", "SIZE", "USED", "SMART", "WORN", "TEMP", "HOURS", "REALLOCATED", "PENDING", "ERRORS"];
    out += &format!("\n{}", table(&head, disks));
    let pools: Vec<Vec<String>> =
        looked.nodes.iter().flat_map(|node| node.pools.iter().map(move |pool| pool_row(&node.node, pool))).collect();
    if !pools.is_empty() {
        out += &format!("\n{}", table(&["NODE", "POOL", "STATE", "IN USE", "ERRORS", "SCAN"], pools.into_iter()));
    }
    if let Some(Ok(ceph)) = &looked.ceph {
        out += &format!("\nceph: {}\n", ceph.status);
    }
    if looked.findings.is_empty() {
        return out + "\nall is well\n";
    }
    out.push('\n');
    for Finding { severity, node, about, evidence, remedy } in &looked.findings {
        let at = if node.is_empty() { String::new() } else { format!("{node} ") };
        out += &format!("{}: {at}{about}: {evidence}\n  do: {remedy}\n", severity.as_str());
    }
    out
}

fn disk_row(node: &str, disk: &Disk) -> Vec<String> {
    let Disk { smart, size, used } = disk;
    let Smart {
        device,
        model,
        serial: _,
        passed,
        celsius,
        hours,
        worn_percent,
        reallocated,
        pending,
        uncorrectable,
        ..
    } = smart;
    let verdict = match (passed, smart.asleep) {
        (Some(true), _) => "passed",
        (Some(false), _) => "FAILED",
        (None, true) => "asleep",
        (None, false) => "",
    };
    vec![
        node.to_owned(),
        device.clone(),
        model.clone(),
        if *size == 0 { String::new() } else { format!("{}Gi", size.div_ceil(1 << 30)) },
        used.clone(),
        verdict.to_owned(),
        or(*worn_percent, "%"),
        or(*celsius, "°C"),
        or(*hours, ""),
        or(*reallocated, ""),
        or(*pending, ""),
        or(*uncorrectable, ""),
    ]
}

fn pool_row(node: &str, pool: &Pool) -> Vec<String> {
    let Pool { name, state, filled, errors, scan, parts: _ } = pool;
    let first = |text: &str| text.lines().next().unwrap_or_default().to_owned();
    vec![node.to_owned(), name.clone(), state.clone(), of(*filled), first(errors), first(scan)]
}

fn value(looked: &Looked) -> Value {
    let Looked { nodes, known: _, ceph, quorate, findings } = looked;
    let ceph = match ceph {
        None => Value::Null,
        Some(Err(why)) => json!({"unread": why}),
        Some(Ok(Ceph { status, checks })) => {
            let check = |(name, severity, text): &(String, String, String)| json!({"check": name, "severity": severity, "says": text});
            json!({"status": status, "checks": checks.iter().map(check).collect::<Vec<_>>()})
        }
    };
    let finding = |f: &Finding| {
        let Finding { severity, node, about, evidence, remedy } = f;
        json!({"severity": severity.as_str(), "node": node, "about": about, "evidence": evidence, "remedy": remedy})
    };
    json!({
        "quorate": quorate, "ceph": ceph, "nodes": nodes.iter().map(node_value).collect::<Vec<_>>(),
        "findings": findings.iter().map(finding).collect::<Vec<_>>(),
    })
}

fn node_value(health: &NodeHealth) -> Value {
    let NodeHealth {
        node,
        away,
        unlinked,
        uptime,
        load,
        cpus,
        memory,
        swap,
        root,
        disks,
        pools,
        sensors,
        missing,
        unread,
    } = health;
    let filled = |(used, total): &(u64, u64)| json!({"used": used, "total": total});
    let disk = |disk: &Disk| {
        let Disk { smart, size, used } = disk;
        let Smart {
            device,
            model,
            serial,
            passed,
            celsius,
            hours,
            worn_percent,
            reallocated,
            pending,
            uncorrectable,
            spare,
            asleep,
        } = smart;
        json!({
            "device": device, "model": model, "serial": serial, "size": size, "used": used, "passed": passed,
            "temperatureCelsius": celsius, "powerOnHours": hours, "wornPercent": worn_percent, "reallocatedSectors": reallocated,
            "pendingSectors": pending, "uncorrectableErrors": uncorrectable, "asleep": asleep,
            "sparePercent": spare.map(|(left, _)| left),
        })
    };
    let pool = |pool: &Pool| {
        let Pool { name, state, filled: (used, total), errors, scan, parts } = pool;
        let part = |(name, state, [read, write, checksum]): &(String, String, [u64; 3])| json!({"name": name, "state": state, "read": read, "write": write, "checksum": checksum});
        json!({
            "name": name, "state": state, "used": used, "total": total, "errors": errors, "scan": scan,
            "parts": parts.iter().map(part).collect::<Vec<_>>(),
        })
    };
    let sensor = |sensor: &Sensor| {
        let Sensor { chip, label, measure, value, critical } = sensor;
        let thousandths = |value: i64| {
            #[expect(clippy::cast_precision_loss, reason = "a temperature is a small number")]
            let degrees = value as f64 / 1000.0;
            degrees
        };
        match measure {
            Measure::Temperature => {
                json!({"chip": chip, "label": label, "celsius": thousandths(*value), "criticalCelsius": critical.map(thousandths)})
            }
            Measure::Fan => json!({"chip": chip, "label": label, "turnsPerMinute": value}),
        }
    };
    json!({
        "node": node, "away": away, "link": {"missing": unlinked}, "uptimeSeconds": uptime, "load": load, "threads": cpus,
        "memory": filled(memory), "swap": filled(swap), "rootFileSystem": filled(root),
        "disks": disks.iter().map(disk).collect::<Vec<_>>(), "pools": pools.iter().map(pool).collect::<Vec<_>>(),
        "sensors": sensors.iter().map(sensor).collect::<Vec<_>>(), "missingPrograms": missing, "unread": unread,
    })
}
