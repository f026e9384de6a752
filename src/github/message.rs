//! What GitHub tells a listener: how many jobs there are, and news of single ones. Pure. The numbers count; the news are of
//! fifty jobs at most, and a job that nobody takes in time is taken back and told again.

use crate::github::demand::{Demand, Job};
use crate::github::fault::seconds;
use serde_json::Value;
use std::collections::BTreeMap;

/// Jobs that are remembered one by one.
const JOBS_MAX: usize = 1_000;
/// A job that was told of and that the numbers pass over is believed in so long, in seconds.
const PASSED_OVER: i64 = 3600;

/// What a scale set counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Statistics {
    /// Jobs that anybody may acquire.
    pub(super) available: u32,
    /// Jobs that are the set's, waiting and running.
    pub(super) assigned: u32,
    /// Those among them that run.
    pub(super) running: u32,
}

impl Statistics {
    /// `None` where there are none: they are null now and then.
    pub(super) fn read(value: &Value) -> Option<Statistics> {
        let count = |key: &str| value[key].as_u64().map(|n| u32::try_from(n).unwrap_or(u32::MAX));
        Some(Statistics {
            available: count("totalAvailableJobs").unwrap_or(0),
            assigned: count("totalAssignedJobs")?,
            running: count("totalRunningJobs").unwrap_or(0),
        })
    }
}

/// News of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// It can be acquired.
    Available(Job),
    /// It is the set's.
    Assigned(Job),
    /// A runner has it.
    Started(Job),
    /// It has ended, or was taken back.
    Completed(u64),
}

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) id: u64,
    pub(super) statistics: Option<Statistics>,
    pub(super) news: Vec<News>,
}

impl Message {
    /// Reads an answer of the queue; `None` if it cannot even be acknowledged. What it does not know it passes over.
    pub(super) fn read(answer: &Value) -> Option<Message> {
        let news = answer["body"].as_str().and_then(|body| serde_json::from_str::<Vec<Value>>(body).ok());
        Some(Message {
            id: answer["messageId"].as_u64()?,
            statistics: Statistics::read(&answer["statistics"]),
            news: news.unwrap_or_default().iter().filter_map(News::read).collect(),
        })
    }

    /// The jobs that can be acquired.
    pub(super) fn available(&self) -> Vec<u64> {
        let of = |news: &News| match news {
            News::Available(job) => Some(job.id),
            News::Assigned(_) | News::Started(_) | News::Completed(_) => None,
        };
        self.news.iter().filter_map(of).collect()
    }
}

impl News {
    fn read(item: &Value) -> Option<News> {
        let id = item["runnerRequestId"].as_u64()?;
        let text = |key: &str| item[key].as_str().unwrap_or_default();
        let labels = item["requestLabels"].as_array().into_iter().flatten();
        // `acme/app/.github/workflows/ci.yml@refs/heads/main`
        let file = text("jobWorkflowRef").split('@').next().and_then(|path| path.rsplit('/').next());
        let workflow = file.map(|file| file.trim_end_matches(".yaml").trim_end_matches(".yml")).unwrap_or_default();
        let name = text("jobDisplayName");
        let job = Job {
            id,
            repository: format!("{}/{}", text("ownerName"), text("repositoryName")),
            name: if workflow.is_empty() { name.to_owned() } else { format!("{workflow} / {name}") },
            labels: labels.filter_map(|label| label.as_str().map(str::to_owned)).collect(),
            queued: seconds(&item["queueTime"]).unwrap_or(0),
            runner: Some(text("runnerName").to_owned()).filter(|name| !name.is_empty()),
        };
        match item["messageType"].as_str()? {
            "JobAvailable" => Some(News::Available(Job { runner: None, ..job })),
            "JobAssigned" => Some(News::Assigned(Job { runner: None, ..job })),
            "JobStarted" => Some(News::Started(job)),
            "JobCompleted" => Some(News::Completed(id)),
            _ => None,
        }
    }
}

/// What a listener has learnt.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    statistics: Statistics,
    /// Each with the time at which it was told of.
    jobs: BTreeMap<u64, (Job, i64)>,
    /// Since when jobs wait, as far as it was seen.
    since: Option<i64>,
}

impl Tally {
    /// Learns from a message.
    pub(super) fn learn(&mut self, statistics: Option<Statistics>, news: &[News], now: i64) {
        let mut went_on = false;
        for one in news {
            match one {
                // It is nobody's until it is acquired.
                News::Available(_) => {}
                News::Assigned(job) => {
                    if self.jobs.len() < JOBS_MAX {
                        self.jobs.entry(job.id).or_insert_with(|| (job.clone(), now));
                    }
                }
                News::Started(job) => {
                    went_on = true;
                    if self.jobs.len() < JOBS_MAX || self.jobs.contains_key(&job.id) {
                        self.jobs.insert(job.id, (job.clone(), now));
                    }
                }
                News::Completed(id) => {
                    self.jobs.remove(id);
                }
            }
        }
        self.statistics = statistics.unwrap_or(self.statistics);
        let Statistics { assigned, running, .. } = self.statistics;
        if running == 0 {
            self.jobs.retain(|_, (job, _)| job.runner.is_none());
        }
        if assigned <= running {
            // GitHub's numbers pass over an assigned job now and then (actions-runner-controller issue 3420), and it waits for
            // ever. It is known by its message until it begins or ends.
            self.jobs.retain(|_, (job, told)| job.runner.is_some() || now - *told < PASSED_OVER);
        }
        if assigned <= running && self.waiting().next().is_none() {
            self.since = None;
        } else if self.since.is_none() || went_on {
            // Jobs that go on say that the rest is not stuck.
            self.since = Some(now);
        }
    }

    /// The numbers that were told last.
    pub(super) fn statistics(&self) -> Statistics {
        self.statistics
    }

    fn waiting(&self) -> impl Iterator<Item = &Job> {
        self.jobs.values().map(|(job, _)| job).filter(|job| job.runner.is_none())
    }

    /// As it is told.
    pub(super) fn demand(&self, at: i64) -> Demand {
        let Statistics { assigned, running, available } = self.statistics;
        let oldest = self.waiting().map(|job| job.queued).filter(|queued| *queued > 0).min();
        let mut notes = Vec::new();
        if available > 0 {
            notes.push(format!(
                "{available} jobs more can be had; GitHub gives them while a listener runs (the daemon)"
            ));
        }
        let passed_over = if assigned <= running { self.waiting().count() } else { 0 };
        if passed_over > 0 {
            notes.push(format!(
                "GitHub told of {passed_over} assigned jobs that have not begun, and its statistics count {assigned} assigned \
                 and {running} running: a job that waits on like this gets a runner when the watchdog sees it"
            ));
        }
        Demand {
            assigned,
            running: running.min(assigned),
            at,
            waiting_since: self.since.map(|since| oldest.unwrap_or(since).min(since)),
            jobs: self.jobs.values().map(|(job, _)| job.clone()).collect(),
            unset: None,
            notes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn item(kind: &str, id: u64, runner: &str) -> Value {
        json!({
            "messageType": kind, "runnerRequestId": id, "ownerName": "acme", "repositoryName": "app",
            "jobDisplayName": "build", "jobWorkflowRef": "acme/app/.github/workflows/ci.yml@refs/heads/main",
            "requestLabels": ["x64"], "queueTime": "2026-09-21T14:13:20Z", "runnerName": runner,
        })
    }

    fn message(id: u64, assigned: u32, running: u32, items: &[Value]) -> Message {
        let body = serde_json::to_string(items).expect("JSON");
        let statistics = json!({"totalAvailableJobs": 0, "totalAssignedJobs": assigned, "totalRunningJobs": running});
        let answer = json!({
            "messageId": id, "messageType": "RunnerScaleSetJobMessages", "body": body, "statistics": statistics,
        });
        Message::read(&answer).expect("a message")
    }

    #[test]
    fn the_numbers_count_and_news_are_remembered() {
        let (mut tally, now) = (Tally::default(), 1_790_000_100);
        let told = message(1, 60, 0, &[item("JobAvailable", 1, ""), item("JobAssigned", 2, ""), item("Odd", 3, "")]);
        assert_eq!(told.available(), [1]);
        tally.learn(told.statistics, &told.news, now);
        let demand = tally.demand(now);
        assert_eq!((demand.assigned, demand.waiting(), demand.jobs.len()), (60, 60, 1), "never the number of messages");
        assert_eq!(demand.waiting_since, Some(1_790_000_000), "the oldest job that is known");
        assert_eq!(demand.jobs[0].name, "ci / build");

        let told = message(2, 60, 1, &[item("JobStarted", 2, "ci-50000-x")]);
        tally.learn(told.statistics, &told.news, now + 50);
        let demand = tally.demand(now + 50);
        assert_eq!(demand.jobs[0].runner.as_deref(), Some("ci-50000-x"));
        assert_eq!(demand.waiting_since, Some(now + 50), "something went on");

        let told = message(3, 0, 0, &[item("JobCompleted", 2, "ci-50000-x")]);
        tally.learn(told.statistics, &told.news, now + 60);
        assert_eq!(tally.demand(now + 60), Demand { at: now + 60, ..Demand::default() });
    }

    #[test]
    fn a_job_that_was_taken_back_is_told_again() {
        let mut tally = Tally::default();
        for round in 0..3_u32 {
            let told = message(1, 1, 0, &[item("JobAssigned", u64::from(round), "")]);
            tally.learn(told.statistics, &told.news, 0);
            let told = message(2, 1, 0, &[item("JobCompleted", u64::from(round), "")]);
            tally.learn(told.statistics, &told.news, 0);
        }
        assert_eq!((tally.demand(9).assigned, tally.demand(9).jobs.len()), (1, 0));
    }

    #[test]
    fn a_job_that_the_numbers_pass_over_waits_all_the_same() {
        let (mut tally, now) = (Tally::default(), 1_790_000_100);
        let told = message(1, 0, 0, &[item("JobAssigned", 2, "")]);
        tally.learn(told.statistics, &told.news, now);
        let demand = tally.demand(now);
        assert_eq!((demand.assigned, demand.waiting(), demand.jobs.len()), (0, 1, 1), "the numbers count; it waits");
        assert_eq!(demand.waiting_since, Some(1_790_000_000));
        assert!(demand.notes.len() == 1 && demand.notes[0].contains("count 0 assigned"), "{:?}", demand.notes);
        // The numbers say it again, and others go on.
        tally.learn(Some(Statistics { available: 0, assigned: 1, running: 1 }), &[], now + 120);
        assert_eq!(tally.demand(now + 120).waiting_since, Some(1_790_000_000));
        let mut begun = tally.clone();
        let told = message(2, 1, 1, &[item("JobStarted", 2, "ci-1")]);
        begun.learn(told.statistics, &told.news, now + 200);
        assert_eq!((begun.demand(0).waiting_since, begun.demand(0).notes.len()), (None, 0));
        let told = message(2, 0, 0, &[item("JobCompleted", 2, "")]);
        let mut ended = tally.clone();
        ended.learn(told.statistics, &told.news, now + 200);
        assert_eq!(ended.demand(0), Demand::default());
        // It is not believed in for ever.
        tally.learn(Some(Statistics::default()), &[], now + PASSED_OVER);
        assert_eq!(tally.demand(0), Demand::default());
    }

    #[test]
    fn messages_that_are_odd() {
        for (answer, want) in [
            (json!({}), None),
            (json!({"messageId": -1}), None),
            (json!({"messageId": 7}), Some(7)),
            (json!({"messageId": 7, "body": "[", "statistics": null}), Some(7)),
            (json!({"messageId": 7, "body": "[1, {}, {\"runnerRequestId\": 1}]", "statistics": {}}), Some(7)),
        ] {
            let read = Message::read(&answer);
            assert_eq!(read.as_ref().map(|message| message.id), want, "{answer}");
            assert!(read.is_none_or(|message| message.news.is_empty() && message.statistics.is_none()));
        }
    }

    proptest! {
        #[test]
        fn no_order_of_news_makes_it_wrong(news in proptest::collection::vec((0_u8..4, 0_u64..5), 0..30), assigned in 0_u32..9, running in 0_u32..9) {
            let kinds = ["JobAvailable", "JobAssigned", "JobStarted", "JobCompleted"];
            let items: Vec<Value> = news.iter().map(|(kind, id)| item(kinds[usize::from(*kind)], *id, "r")).collect();
            let told = message(1, assigned, running, &items);
            let mut tally = Tally::default();
            tally.learn(told.statistics, &told.news, 5);
            let demand = tally.demand(5);
            prop_assert_eq!(demand.assigned, assigned);
            prop_assert!(demand.running <= assigned);
            let waits = assigned > running || demand.jobs.iter().any(|job| job.runner.is_none());
            prop_assert_eq!(demand.waiting_since.is_some(), waits);
            prop_assert_eq!(demand.waiting() > 0, waits);
        }
    }
}
