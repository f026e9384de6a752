//! `patch status`, and `get` and `describe` of a PatchWindow: when it opens, whose turn it is, what waits.

use crate::cli::args::patch::{Status, Which};
use crate::cli::args::{self, Global};
use crate::cli::exit;
use crate::cli::output::{self, Form, Format, table};
use crate::cli::patch::{Of, look_once, read, span, waiting};
use crate::cli::run::{Ended, Failure, print};
use crate::kinds::patch_window::NAME;
use crate::kinds::patch_window::standing::{Standing, standings};
use crate::kinds::patch_window::window::Opening;
use serde_json::{Value, json};

/// How many of its next openings `describe` shows.
const NEXT_SHOWN: usize = 5;

/// `patch status`.
pub fn status(global: &Global, args: &Status) -> Ended {
    let (tree, only) = read(&args.which)?;
    let scene = look_once(global, &tree, &only)?;
    let (windows, now) = (scene.windows(), scene.now());
    match &args.format.output {
        Some(Format::Name) => windows.iter().for_each(|of| print(&format!("{NAME}/{}\n", of.name))),
        Some(Format::Value(form)) => {
            let all: Vec<Value> = windows.iter().map(|of| json!(of.record(now).window)).collect();
            show(&Value::from(all), form)?;
        }
        Some(Format::Table | Format::Wide) | None => {
            let texts: Vec<String> = windows.iter().map(|of| text(of, now)).collect();
            print(&texts.join("\n"));
        }
    }
    Ok(exit::DONE)
}

fn show(value: &Value, form: &Form) -> Result<(), Failure> {
    print(&output::write(value, form)?);
    Ok(())
}

/// A window and its targets, for people.
pub fn text(of: &Of<'_>, now: i64) -> String {
    let mut out = format!("{NAME}/{}: {}\n", of.name, times(of, now));
    if let Some(why) = &of.turns.halted {
        out += &format!("  {why}\n");
    }
    let rows = targets(&standings(&of.turns, &of.spec.updates, now), now);
    out + &rows.lines().map(|line| format!("  {line}\n")).collect::<String>()
}

/// Whether it is open, and when.
pub fn times(of: &Of<'_>, now: i64) -> String {
    let open = of.turns.opening.filter(|opening| opening.is_open(now));
    if let Some(opening) = open {
        let (end, left) = (of.local(opening.end), span(opening.end - now));
        return if opening.starts(now) {
            let cutoff = of.local(opening.cutoff);
            format!("open until {end} ({left} left); nothing new is started after {cutoff}")
        } else {
            format!("open until {end} ({left} left); nothing new is started any more")
        };
    }
    let next = of.window.next(now).map_or_else(
        || "it does not open any more".to_owned(),
        |next| format!("opens {} for {}", of.local(next.slot), span(next.end - next.slot)),
    );
    match of.turns.opening {
        Some(last) => format!("{next}; the last time was {}", of.local(last.slot)),
        None => next,
    }
}

fn targets(standings: &[Standing], now: i64) -> String {
    let row = |one: &Standing| {
        let Standing { target, wave, stand, waiting: waits, reboot, records: _ } = one;
        let updates = waits.map(|waits| {
            let age = now.saturating_sub(waits.at);
            let count = waiting(waits.security, waits.other);
            if age < 60 { count } else { format!("{count}, {} ago", span(age)) }
        });
        let reboot = if reboot.is_some() { "needed" } else { "" };
        vec![
            target.to_string(),
            (wave + 1).to_string(),
            stand.word().to_owned(),
            updates.unwrap_or_default(),
            reboot.to_owned(),
            stand.detail().to_owned(),
        ]
    };
    table(&["TARGET", "WAVE", "STATE", "UPDATES", "REBOOT", "DETAIL"], standings.iter().map(row))
}

/// `get PatchWindow`.
pub fn get(global: &Global, args: &args::Get) -> Ended {
    let (tree, only) = read(&Which { windows: args.names.clone(), files: args.files.clone() })?;
    let scene = look_once(global, &tree, &only)?;
    let (windows, now) = (scene.windows(), scene.now());
    match &args.format.output {
        Some(Format::Name) => windows.iter().for_each(|of| print(&format!("{NAME}/{}\n", of.name))),
        Some(Format::Value(form)) => {
            let all: Vec<Value> = windows.iter().map(|of| json!(of.record(now).window)).collect();
            show(&Value::from(all), form)?;
        }
        Some(Format::Table | Format::Wide) | None => {
            let rows = windows.iter().map(|of| {
                let open = of.turns.opening.is_some_and(|opening| opening.is_open(now));
                let bad = standings(&of.turns, &of.spec.updates, now).iter().filter(|one| one.stand.is_bad()).count();
                let next = of.window.next(now).map(|next| of.local(next.slot));
                vec![
                    of.name.to_owned(),
                    schedule(of).to_owned(),
                    of.spec.time_zone.clone().unwrap_or_else(|| "UTC".to_owned()),
                    if open { "open".to_owned() } else { "closed".to_owned() },
                    next.unwrap_or_default(),
                    (of.turns.turns.len() + of.turns.nodes.len()).to_string(),
                    bad.to_string(),
                ]
            });
            print(&table(&["NAME", "SCHEDULE", "ZONE", "STATE", "NEXT", "TARGETS", "FAILED"], rows));
        }
    }
    Ok(exit::DONE)
}

fn schedule<'a>(of: &'a Of<'_>) -> &'a str {
    of.spec.schedule.as_deref().or(of.spec.cron.as_deref()).unwrap_or_default()
}

/// `describe PatchWindow`.
pub fn describe(global: &Global, args: &args::Describe) -> Ended {
    let (tree, only) = read(&Which { windows: vec![args.name.clone()], files: args.files.clone() })?;
    let scene = look_once(global, &tree, &only)?;
    let (windows, now) = (scene.windows(), scene.now());
    let Some(of) = windows.first() else {
        return Err(Failure::new(exit::FAILED, format!("{NAME}/{} cannot be understood", args.name)));
    };
    match &args.format.output {
        Some(Format::Value(form)) => show(&json!(of.record(now).window), form)?,
        Some(Format::Name) => print(&format!("{NAME}/{}\n", of.name)),
        Some(Format::Table | Format::Wide) | None => print(&described(of, now)),
    }
    Ok(exit::DONE)
}

fn described(of: &Of<'_>, now: i64) -> String {
    let zone = of.spec.time_zone.as_deref().unwrap_or("UTC");
    let mut out = format!("Name:      {}\nKind:      {NAME}\nSchedule:  {} ({zone})\n", of.name, schedule(of));
    let opening = |opening: Opening| {
        let length = |seconds: i64| span(seconds);
        let cutoff = of.local(opening.cutoff);
        format!("{}, for {}; nothing new after {cutoff}", of.local(opening.slot), length(opening.end - opening.slot))
    };
    out += &format!("Now:       {}\n", times(of, now));
    if let Some(why) = &of.turns.halted {
        out += &format!("Halted:    {why}\n");
    }
    for (n, next) in of.window.openings(now).take(NEXT_SHOWN).enumerate() {
        out += &format!("{}{}\n", if n == 0 { "Next:      " } else { "           " }, opening(next));
    }
    if !of.spec.freeze.is_empty() {
        out += &format!("Frozen:    {}\n", of.spec.freeze.join(", "));
    }
    for (n, wave) in of.spec.waves.iter().enumerate() {
        let soak = wave.soak.map_or_else(String::new, |soak| format!(", soaks for {}", span(soak.signed())));
        let count = of.turns.turns.iter().filter(|turn| turn.wave == n).count()
            + of.turns.nodes.iter().filter(|turn| turn.wave == n).count();
        out += &format!("Wave {}:    {}{soak}\n", n + 1, crate::base::quantity::counted(count, "target"));
    }
    out += "Targets:\n";
    let rows = targets(&standings(&of.turns, &of.spec.updates, now), now);
    out + &rows.lines().map(|line| format!("  {line}\n")).collect::<String>()
}
