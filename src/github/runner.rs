//! Runners as GitHub lists them (`GET …/actions/runners`).

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A runner that is registered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Runner {
    /// GitHub's number for it.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// It is connected.
    pub online: bool,
    /// It works on a job.
    pub busy: bool,
    /// It takes one job and is gone; `None` where GitHub does not say (older servers).
    #[serde(default)]
    pub ephemeral: Option<bool>,
    /// Its labels.
    #[serde(default)]
    pub labels: Vec<String>,
    /// Its version, once it was connected.
    #[serde(default)]
    pub version: Option<String>,
}

impl Runner {
    /// Reads a row of GitHub's list; `None` if it has no id or name.
    pub fn of_row(row: &Value) -> Option<Runner> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let labels = row["labels"].as_array().into_iter().flatten().filter_map(|label| text(&label["name"]));
        Some(Runner {
            id: row["id"].as_u64()?,
            name: text(&row["name"])?,
            online: row["status"] == "online",
            busy: row["busy"] == true,
            ephemeral: row["ephemeral"].as_bool(),
            labels: labels.collect(),
            version: text(&row["version"]),
        })
    }

    /// Reads what a hub answers to [`crate::github::operation::Operation::Runners`]; `None` if it is no list of runners.
    pub fn list(answer: &Value) -> Option<Vec<Runner>> {
        Vec::deserialize(answer).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_row_of_githubs() {
        let row = json!({
            "id": 23, "name": "MBP", "os": "macos", "status": "online", "busy": true, "ephemeral": true,
            "labels": [{"id": 5, "name": "self-hosted", "type": "read-only"}], "version": null,
        });
        let runner = Runner::of_row(&row).expect("a runner");
        assert!(runner.online && runner.busy && runner.version.is_none());
        assert_eq!(runner.labels, ["self-hosted"]);
        let answer = serde_json::to_value([&runner]).expect("plain");
        assert_eq!(Runner::list(&answer), Some(vec![runner]));
        assert_eq!(Runner::of_row(&json!({"name": "x"})), None);
    }
}
