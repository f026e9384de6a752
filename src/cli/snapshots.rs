//! `snapshot list`: what a guest can go back to.

use crate::cli::args::Global;
use crate::cli::args::guests::SnapshotList;
use crate::cli::exit;
use crate::cli::guests::find;
use crate::cli::output::{self, Form, Format, yaml};
use crate::cli::run::{Ended, Failure, block_on, print};
use crate::cli::session::Session;
use crate::engine::observe::get;
use crate::kinds::guest::hand::snapshot::{Row, SnapState, list_query, rows};
use comfy_table::{ContentArrangement, Table, presets};
use serde_json::{Value, json};

/// `snapshot list KIND NAME`.
pub fn list(global: &Global, args: &SnapshotList) -> Ended {
    let session = Session::open(global, None)?;
    let found = block_on(async {
        let cluster = session.cluster();
        let (target, seen) = find(&cluster, &args.which).await?;
        let row = seen.index.guests.get(&target.vmid).expect("it was found in this index");
        let list = get(cluster.api, cluster.clock, &list_query(row)).await;
        Ok::<Vec<Row>, Failure>(rows(&list.map_err(|e| Failure::wire(exit::FAILED, &e))?))
    })??;
    session.close()?;
    match &args.format.output {
        Some(Format::Name) => found.iter().for_each(|r| print(&format!("{}\n", r.name))),
        Some(Format::Value(Form::Yaml)) => print(&yaml(&Value::from(found.iter().map(value).collect::<Vec<_>>()))),
        Some(Format::Value(form)) => {
            print(&output::write(&Value::from(found.iter().map(value).collect::<Vec<_>>()), form)?);
        }
        Some(Format::Table | Format::Wide) | None => print(&table(&found)),
    }
    Ok(exit::DONE)
}

fn time(row: &Row) -> Option<String> {
    let stamp = jiff::Timestamp::from_second(i64::try_from(row.time?).ok()?).ok()?;
    Some(stamp.to_string())
}

fn value(row: &Row) -> Value {
    let Row { name, description, time: _, memory, parent, ours, policy: _, state } = row;
    json!({"name": name, "description": description, "taken": time(row), "ram": memory, "parent": parent, "ours": ours, "state": state.as_ref().map(SnapState::as_str)})
}

fn table(found: &[Row]) -> String {
    if found.is_empty() {
        return "none\n".to_owned();
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(["NAME", "TAKEN", "RAM", "PARENT", "BY", "DESCRIPTION"]);
    for row in found {
        let or = |text: Option<String>| text.filter(|t| !t.is_empty()).unwrap_or_else(|| "-".to_owned());
        table.add_row([
            row.name.clone(),
            or(time(row)),
            if row.memory { "yes" } else { "no" }.to_owned(),
            or(row.parent.clone()),
            if row.ours { "pvectl" } else { "-" }.to_owned(),
            or(Some(row.description.replace(|c: char| c.is_control(), " "))),
        ]);
    }
    table.lines().map(|l| l.trim().to_owned()).collect::<Vec<_>>().join("\n") + "\n"
}
