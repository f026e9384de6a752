//! `host check`, `host operations` and `host gate`: the host link, as people see it.

use crate::cli::args::host::{Host, HostCheck};
use crate::cli::args::{FormatArgs, Global};
use crate::cli::exit;
use crate::cli::output::{self, Format, table};
use crate::cli::run::{Ended, Failure, block_on, print};
use crate::cli::session::Session;
use crate::host::gate;
use crate::host::link::{LinkError, Listener};
use crate::host::list::ENTRIES;
use crate::host::local::{Local, own_name, path_with};
use crate::host::operation::{Command, Operation};
use crate::host::tools::Found;
use crate::pve::error::PveError;
use crate::pve::request::Query;
use crate::report::text::visible;
use futures::StreamExt;
use serde_json::{Value, json};
use std::io::{Read, Write};

/// Nodes that are tried at once.
const NODES_AT_ONCE: usize = 8;

/// `host`.
pub fn host(global: &Global, verb: &Host) -> Ended {
    match verb {
        Host::Check(args) => check(global, args),
        Host::Operations(args) => operations(args),
        Host::Gate(args) => gate(args.allow_root),
    }
}

/// A node, and what came of the way to it.
struct Tried {
    node: String,
    way: Option<String>,
    found: Result<Found, PveError>,
}

fn check(global: &Global, args: &HostCheck) -> Ended {
    let session = Session::open(global, None)?;
    let tried = block_on(tried(&session, args.node.as_deref()))?;
    session.close()?;
    let tried = tried.map_err(|error| Failure::wire(exit::FAILED, &error))?;
    let rows: Vec<Value> = tried.iter().map(Tried::value).collect();
    match &args.format.output {
        Some(Format::Value(form)) => print(&output::write(&json!({"kind": "List", "items": rows}), form)?),
        Some(Format::Name) => print(&tried.iter().map(|t| format!("{}\n", t.node)).collect::<String>()),
        Some(Format::Table | Format::Wide) | None => {
            let head = ["NODE", "WAY", "STATE", "AS", "VERSION", "MISSING"];
            print(&table(&head, tried.iter().map(Tried::row)));
            tried.iter().for_each(|t| print(&t.trouble()));
        }
    }
    Ok(if tried.iter().all(Tried::is_well) { exit::DONE } else { exit::FAILED })
}

async fn tried(session: &Session, node: Option<&str>) -> Result<Vec<Tried>, PveError> {
    let api = session.cluster().api;
    let nodes = match node {
        Some(node) => vec![node.to_owned()],
        None => {
            let rows = api.get(&Query::new("/nodes")).await?;
            let mut nodes: Vec<String> = rows
                .as_array()
                .map(|rows| rows.iter().filter_map(|row| row["node"].as_str().map(str::to_owned)).collect())
                .unwrap_or_default();
            nodes.sort();
            nodes
        }
    };
    let each = nodes.into_iter().map(|node| async move {
        let query = Operation::Tools.query(&node).expect("it is a read");
        let found = api.get(&query).await.map(|text| Found::read(text.as_str().unwrap_or_default()));
        // Only now it is known where the cluster says that the node is.
        Tried { way: session.way(&node), node, found }
    });
    Ok(futures::stream::iter(each).buffered(NODES_AT_ONCE).collect().await)
}

impl Tried {
    fn is_well(&self) -> bool {
        let is_root = |found: &Found| found.user == "root" && found.is(&self.node);
        self.found.as_ref().is_ok_and(|found| is_root(found) && found.missing().all(|tool| !tool.always))
    }

    fn state(&self) -> &'static str {
        match (&self.found, &self.way) {
            (Ok(_), _) if self.is_well() => "ready",
            (Ok(_), _) => "incomplete",
            (Err(_), None) => "no link",
            (Err(_), Some(_)) => "not reached",
        }
    }

    fn row(&self) -> Vec<String> {
        let Tried { node, way, found } = self;
        let found = found.as_ref().ok();
        let missing = found.map(|f| f.missing().map(|tool| tool.name).collect::<Vec<_>>().join(", "));
        vec![
            node.clone(),
            way.clone().unwrap_or_default(),
            self.state().to_owned(),
            found.map(|f| f.user.clone()).unwrap_or_default(),
            found.and_then(|f| f.version.clone()).unwrap_or_default(),
            missing.unwrap_or_default(),
        ]
    }

    /// What is wrong, and what to do.
    fn trouble(&self) -> String {
        let Tried { node, way: _, found } = self;
        let mut lines = Vec::new();
        match found {
            Err(PveError::Refused { reason, .. }) => lines.push(reason.clone()),
            Err(error) => {
                let hint = error.hint().map(|hint| format!(" ({hint})")).unwrap_or_default();
                lines.push(format!("{error}{hint}"));
            }
            Ok(found) => {
                if !found.is(node) {
                    lines.push(format!("it calls itself {}: nothing is done there", found.name));
                }
                if found.user != "root" {
                    lines.push(format!("we are {} there, and PVE's own programs want root", found.user));
                }
                if found.version.is_none() {
                    lines.push("pveversion is not there: is this a Proxmox VE node?".to_owned());
                }
                for tool in found.missing() {
                    lines.push(format!("{} is missing ({}): apt install {}", tool.name, tool.need, tool.package));
                }
            }
        }
        lines.iter().map(|line| format!("\n{node}: {}\n", visible(line))).collect()
    }

    fn value(&self) -> Value {
        let Tried { node, way, found } = self;
        let mut value = json!({"node": node, "way": way, "state": self.state()});
        match found {
            Ok(found) => {
                let missing = |tool: &crate::host::tools::Tool| json!({"name": tool.name, "package": tool.package, "need": tool.need, "needed": tool.always});
                value["name"] = json!(found.name);
                value["user"] = json!(found.user);
                value["version"] = json!(found.version);
                value["missing"] = found.missing().map(missing).collect();
            }
            Err(error) => value["error"] = json!(error.to_string()),
        }
        value
    }
}

fn operations(args: &FormatArgs) -> Ended {
    let value = |e: &crate::host::list::Entry| json!({"name": e.name, "writes": e.writes, "does": e.does, "why": e.why, "runs": e.runs});
    match &args.output {
        Some(Format::Value(form)) => {
            let items: Vec<Value> = ENTRIES.iter().map(value).collect();
            print(&output::write(&json!({"kind": "List", "items": items}), form)?);
        }
        Some(Format::Name) => print(&ENTRIES.iter().map(|e| format!("{}\n", e.name)).collect::<String>()),
        Some(Format::Table | Format::Wide) | None => {
            for e in &ENTRIES {
                let class = if e.writes { "changes" } else { "reads" };
                print(&format!("{} ({class})\n  {}\n  runs: {}\n  why:  {}\n", e.name, e.does, e.runs, e.why));
            }
        }
    }
    Ok(exit::DONE)
}

/// What the operation says, as it says it.
struct Through;

impl Listener for Through {
    fn out(&mut self, text: &str) {
        // A client that is gone hears nothing; the operation goes on to its end.
        let mut out = std::io::stdout();
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }
}

fn gate(root: bool) -> Ended {
    let refused = |why: String| Failure::new(gate::REFUSED, why);
    let node = own_name().ok_or_else(|| refused("this machine has no name that a node could have".to_owned()))?;
    let mut input = String::new();
    let read = std::io::stdin().lock().take(gate::INPUT_BYTES_MAX).read_to_string(&mut input);
    read.map_err(|error| refused(format!("standard input cannot be read: {error}")))?;
    let asked = std::env::var("SSH_ORIGINAL_COMMAND").ok();
    let command = gate::decide(asked.as_deref(), &input, &node, root).map_err(refused)?;
    // One byte more than the client keeps: it must see that there was more.
    let command = Command { output_bytes_max: command.output_bytes_max.saturating_add(1), ..command };
    let local = Local { node, path: path_with(std::env::var_os("PATH")) };
    match block_on(local.command(&command, Some(&mut Through)))? {
        Ok(output) => {
            let _ = std::io::stderr().write_all(output.err.as_bytes());
            Ok(u8::try_from(output.code).unwrap_or(u8::MAX))
        }
        Err(LinkError::Unsent { cause, .. } | LinkError::Lost { cause }) => Err(Failure::new(exit::FAILED, cause)),
        Err(LinkError::Missing { hint }) => Err(Failure::new(exit::FAILED, hint)),
    }
}
