//! The live view of a run: one line a step when it ends, with progress where there is a terminal; events as JSON lines where
//! a machine listens. Talk goes to stderr, data to stdout.

use crate::report::event::{Event, Outcome, Watch};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::json;
use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::time::Duration;

/// How a run is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// Nothing but errors.
    Quiet,
    /// Lines for people.
    Lines,
    /// One JSON object an event, on stdout.
    Json,
}

/// Shows a run while it goes on.
pub struct Live {
    view: View,
    bars: MultiProgress,
    running: Mutex<BTreeMap<String, ProgressBar>>,
    terminal: bool,
}

impl Live {
    /// A view; progress bars only on a terminal.
    pub fn new(view: View) -> Live {
        Live {
            view,
            bars: MultiProgress::new(),
            running: Mutex::new(BTreeMap::new()),
            terminal: std::io::stderr().is_terminal(),
        }
    }

    fn line(&self, text: &str) {
        if self.terminal {
            let _ = self.bars.println(text);
        } else {
            let _ = writeln!(anstream::stderr(), "{text}");
        }
    }
}

impl Watch for Live {
    fn event(&self, event: Event<'_>) {
        match self.view {
            View::Quiet => {}
            View::Json => {
                let _ = writeln!(anstream::stdout(), "{}", as_json(&event));
            }
            View::Lines => self.show(&event),
        }
    }
}

impl Live {
    fn show(&self, event: &Event<'_>) {
        let mut running = self.running.lock().expect("no holder of this lock panics");
        match event {
            Event::RoundStarted { .. } => {}
            Event::StepStarted { resource, step, .. } => {
                if self.terminal {
                    let bar = self.bars.add(ProgressBar::new(100));
                    bar.set_style(
                        ProgressStyle::with_template("  {spinner} {msg} {elapsed}")
                            .unwrap_or_else(|_| ProgressStyle::default_spinner()),
                    );
                    bar.set_message(format!("{resource}: {}", step.title));
                    bar.enable_steady_tick(Duration::from_millis(120));
                    running.insert(resource.to_string(), bar);
                }
            }
            Event::Progress { resource, step, percent } => {
                if let Some(bar) = running.get(&resource.to_string()) {
                    bar.set_message(format!("{resource}: {} {percent} %", step.title));
                }
            }
            Event::StepEnded { resource, step, outcome, took_ms } => {
                if let Some(bar) = running.remove(&resource.to_string()) {
                    bar.finish_and_clear();
                }
                let took = format!("{}.{} s", took_ms / 1000, took_ms % 1000 / 100);
                match outcome {
                    Outcome::Done => self.line(&format!("  ✓ {resource}: {} ({took})", step.title)),
                    Outcome::Warned(lines) => {
                        self.line(&format!("  ✓ {resource}: {} ({took}, with warnings)", step.title));
                        lines.iter().for_each(|l| self.line(&format!("      {l}")));
                    }
                    Outcome::Failed(error) => self.line(&format!(
                        "  ✗ {resource}: {} ({took})\n      {}",
                        step.title,
                        error.to_string().replace('\n', "\n      ")
                    )),
                    Outcome::Guarded(why) => self.line(&format!("  ✗ {resource}: {}: {why}", step.title)),
                }
            }
        }
    }
}

fn as_json(event: &Event<'_>) -> serde_json::Value {
    match event {
        Event::RoundStarted { round, plan } => json!({"event": "RoundStarted", "round": round, "set": plan.set}),
        Event::StepStarted { resource, step, at_ms } => {
            json!({"event": "StepStarted", "resource": resource.to_string(), "step": step.title, "request": step.call.to_string(), "atMs": at_ms})
        }
        Event::Progress { resource, step, percent } => {
            json!({"event": "Progress", "resource": resource.to_string(), "step": step.title, "percent": percent})
        }
        Event::StepEnded { resource, step, outcome, took_ms } => {
            let (word, detail) = match outcome {
                Outcome::Done => ("Done", None),
                Outcome::Warned(lines) => ("Warned", Some(lines.join("\n"))),
                Outcome::Failed(error) => ("Failed", Some(error.to_string())),
                Outcome::Guarded(why) => ("Guarded", Some(why.clone())),
            };
            json!({"event": "StepEnded", "resource": resource.to_string(), "step": step.title, "outcome": word, "detail": detail, "tookMs": took_ms})
        }
    }
}
