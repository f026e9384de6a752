//! No bytes of an answer bring the hub down, and none of ours get into what it says.

use super::*;
use crate::github::demand::Source;
use proptest::prelude::*;
use serde_json::json;

fn operations() -> Vec<Operation> {
    let ask = |source| Ask {
        source,
        pool: "ci".into(),
        labels: vec!["x64".into()],
        repositories: vec!["acme/app".into()],
        max: 2,
        ..Ask::default()
    };
    let jit = |group: &str, scale_set: Option<&str>| Operation::JustInTime {
        name: "ci-1".into(),
        labels: vec!["x64".into()],
        group: group.into(),
        folder: "_work".into(),
        scale_set: scale_set.map(str::to_owned),
    };
    vec![
        Operation::Runners,
        Operation::Demand(ask(Source::ScaleSet)),
        Operation::Demand(ask(Source::Polling)),
        Operation::Demand(ask(Source::Webhook)),
        jit("lab", None),
        jit("", Some("ci")),
        Operation::RegistrationToken,
        Operation::Remove { runner: 1 },
        Operation::ScaleSet(ask(Source::ScaleSet)),
        Operation::RemoveScaleSet { pool: "ci".into(), group: String::new() },
    ]
}

/// JSON that is nearly GitHub's: its keys with any values.
fn nearly() -> impl Strategy<Value = Vec<u8>> {
    let key = prop::sample::select(vec![
        "total_count",
        "runners",
        "value",
        "count",
        "id",
        "name",
        "labels",
        "token",
        "url",
        "expires_at",
        "statistics",
        "sessionId",
        "messageQueueUrl",
        "messageQueueAccessToken",
        "encodedJITConfig",
        "encoded_jit_config",
        "runner",
        "workflow_runs",
        "jobs",
        "runner_groups",
        "status",
        "messageId",
        "body",
        "message",
        "errors",
        "typeName",
    ]);
    let leaf = prop_oneof![
        Just(json!(null)),
        Just(json!(7)),
        Just(json!(-1)),
        Just(json!(1e300)),
        Just(json!("https://h.example/x")),
        Just(json!("s")),
    ];
    let value = leaf.prop_recursive(3, 24, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::vec((key.clone(), inner), 0..6).prop_map(|pairs| Value::Object(
                pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
            )),
        ]
    });
    value.prop_map(|value| value.to_string().into_bytes())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn any_answer_is_survived(
        bodies in prop::collection::vec(prop_oneof![nearly(), prop::collection::vec(any::<u8>(), 0..60)], 1..8),
        statuses in prop::collection::vec(prop::sample::select(vec![200_u16, 201, 202, 204, 301, 304, 400, 401, 403, 404, 409, 422, 429, 500, 502]), 1..8),
        header in prop::option::of((prop::sample::select(vec!["etag", "retry-after", "x-ratelimit-remaining", "x-ratelimit-reset", "x-ratelimit-limit"]), "\\PC{0,12}")),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let turn = AtomicU64::new(0);
            let world = World::new(move |_| {
                let at = usize::try_from(turn.fetch_add(1, Ordering::SeqCst)).expect("small");
                let headers = header.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
                Ok(Response { status: statuses[at % statuses.len()], headers, body: bodies[at % bodies.len()].clone() })
            });
            for operation in operations() {
                if let Err(error) = world.ask(&place(), &operation).await {
                    assert!(!format!("{error:?}").contains("Bearer"), "{error}");
                }
            }
            for _ in 0..3 {
                let _ = world.hub.listen(&place(), &Ask { pool: "ci".into(), ..Ask::default() }).await;
            }
            world.hub.hang_up(&place(), &Ask { pool: "ci".into(), ..Ask::default() }).await;
            world.hub.budgets();
        });
    }
}
