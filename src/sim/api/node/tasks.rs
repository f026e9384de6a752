//! Tasks: lists, status, log, stop. Who may not audit the node sees only what is theirs.

use crate::sim::ctx::Ctx;
use crate::sim::request::{Args, Refusal};
use crate::sim::task::Task;
use serde_json::{Value, json};

/// How many finished tasks `/cluster/tasks` shows.
const CLUSTER_LIMIT: usize = 25;
/// How many tasks or log lines a call answers if no limit is given.
const DEFAULT_LIMIT: usize = 50;

/// A user's own tasks are theirs, and those of their tokens; a token's are its own.
fn owns(user: &str, task: &Task) -> bool {
    task.user == user || (!user.contains('!') && task.user.split('!').next() == Some(user))
}

fn row(task: &Task) -> Value {
    let mut row = json!({
        "upid": task.upid, "node": task.node, "pid": task.pid, "pstart": pstart(task), "starttime": task.start_ms / 1000,
        "type": task.task_type, "id": task.id,
    });
    match task.user.split_once('!') {
        Some((user, token)) => {
            row["user"] = user.into();
            row["tokenid"] = token.into();
        }
        None => row["user"] = task.user.as_str().into(),
    }
    row
}

fn pstart(task: &Task) -> u64 {
    task.upid.split(':').nth(3).and_then(|h| u64::from_str_radix(h, 16).ok()).unwrap_or(0)
}

fn finished_row(task: &Task) -> Value {
    let mut row = row(task);
    row["status"] = task.exit_status.as_str().into();
    row["endtime"] = (task.end_ms.unwrap_or(task.start_ms) / 1000).into();
    row
}

/// The list of what runs gives users and tokens in one word, unlike that of the finished.
fn active_row(task: &Task) -> Value {
    let mut row = if task.running() { row(task) } else { finished_row(task) };
    row["user"] = task.user.as_str().into();
    if let Some(fields) = row.as_object_mut() {
        fields.remove("tokenid");
    }
    row["saved"] = if task.running() { "0" } else { "1" }.into();
    if task.running() {
        row["status"] = "RUNNING".into();
    }
    row
}

/// `GET /nodes/{node}/tasks`.
pub fn list(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let node = args.text("node");
    let audit = ctx.may(&format!("/nodes/{node}"), &["Sys.Audit"]);
    let source = args.get("source").unwrap_or("archive");
    let user = ctx.user.clone();
    let count = |name: &str| args.int(name).and_then(|n| usize::try_from(n).ok());
    let wanted = |task: &&Task| {
        let fine = task.exit_status == "OK" || task.exit_status.starts_with("WARNINGS:");
        task.node == node
            && (audit || owns(&user, task))
            && match source {
                "active" => task.running(),
                "archive" => !task.running(),
                _ => true,
            }
            && !(args.on("errors") && (fine || task.running()))
            && args.get("vmid").is_none_or(|v| task.id == v)
            && args.get("typefilter").is_none_or(|t| task.task_type == t)
            && args.get("userfilter").is_none_or(|u| task.user.contains(u))
            && args.int("since").is_none_or(|t| i64::try_from(task.start_ms / 1000).is_ok_and(|s| s >= t))
            && args.int("until").is_none_or(|t| i64::try_from(task.start_ms / 1000).is_ok_and(|s| s <= t))
            && (args.get("statusfilter").is_none() || args.list("statusfilter").contains(&class(task)))
    };
    let found: Vec<&Task> = ctx.world.tasks.iter().rev().filter(|t| !t.unseen).filter(wanted).collect();
    ctx.extra["total"] = found.len().into();
    let shown = found.into_iter().skip(count("start").unwrap_or(0)).take(count("limit").unwrap_or(DEFAULT_LIMIT));
    Ok(shown.map(|t| if source == "archive" { finished_row(t) } else { active_row(t) }).collect::<Vec<_>>().into())
}

fn class(task: &Task) -> &'static str {
    match task.exit_status.as_str() {
        "OK" => "ok",
        s if s.starts_with("WARNINGS:") => "warning",
        "" => "unknown",
        _ => "error",
    }
}

/// `GET /cluster/tasks`: what runs and the last that ended, of all nodes.
pub fn of_cluster(ctx: &mut Ctx<'_>, _: &Args) -> Result<Value, Refusal> {
    let audit = ctx.may("/", &["Sys.Audit"]);
    let shown = ctx.world.tasks.iter().rev().filter(|t| !t.unseen && (audit || owns(&ctx.user, t))).take(CLUSTER_LIMIT);
    let rows = shown.map(|task| {
        let mut row = if task.running() { row(task) } else { finished_row(task) };
        if let Some(fields) = row.as_object_mut() {
            fields.remove("pid");
            fields.remove("pstart");
        }
        row["saved"] = if task.running() { "0" } else { "1" }.into();
        row
    });
    Ok(rows.collect::<Vec<_>>().into())
}

/// The place of the task in the list, `None` if it is absent; refuses what is no UPID, and strangers.
fn find(ctx: &Ctx<'_>, args: &Args, privilege: &str) -> Result<Option<usize>, Refusal> {
    let text = args.text("upid");
    let Some(upid) = crate::pve::upid::Upid::parse(text) else {
        return Err(Refusal::param("upid", "unable to parse worker upid"));
    };
    let owner =
        upid.user == ctx.user || (!ctx.user.contains('!') && upid.user.split('!').next() == Some(ctx.user.as_str()));
    if !owner {
        ctx.require(&format!("/nodes/{}", args.text("node")), &[privilege])?;
    }
    Ok(ctx.world.tasks.iter().position(|t| t.upid == text))
}

/// `GET …/tasks/{upid}`.
pub fn index(_: &mut Ctx<'_>, _: &Args) -> Result<Value, Refusal> {
    Ok(json!([{ "name": "log" }, { "name": "status" }]))
}

/// `GET …/tasks/{upid}/status`.
pub fn status(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let Some(index) = find(ctx, args, "Sys.Audit")? else {
        return Err(Refusal::param("upid", "no such task"));
    };
    let task = &ctx.world.tasks[index];
    let mut out = row(task);
    if task.running() {
        out["status"] = "running".into();
    } else {
        out["status"] = "stopped".into();
        out["exitstatus"] = task.exit_status.as_str().into();
    }
    Ok(out)
}

/// `GET …/tasks/{upid}/log`: 50 lines if no limit is given; an absent task is a line, not an error.
pub fn log(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let lines = match find(ctx, args, "Sys.Audit")? {
        None => vec!["unable to open file - No such file or directory".to_owned()],
        Some(index) => {
            let lines = ctx.world.task_log(&ctx.world.tasks[index]);
            if lines.is_empty() { vec!["no content".to_owned()] } else { lines }
        }
    };
    let count = |name: &str| args.int(name).and_then(|n| usize::try_from(n).ok());
    let limit = match count("limit") {
        Some(0) => usize::MAX,
        Some(n) => n,
        None => DEFAULT_LIMIT,
    };
    ctx.extra["total"] = lines.len().into();
    let shown = lines.iter().enumerate().skip(count("start").unwrap_or(0)).take(limit);
    Ok(shown.map(|(i, line)| json!({ "n": i + 1, "t": line })).collect::<Vec<_>>().into())
}

/// `DELETE …/tasks/{upid}`: stopping what has ended already is no error.
pub fn stop(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    if let Some(index) = find(ctx, args, "Sys.Modify")? {
        ctx.world.interrupt_task(index);
    }
    Ok(Value::Null)
}
