//! What holds for every input: nothing panics, what is written is read back, and hostile files fail fast.

use crate::base::diagnostic::{has_errors, render};
use crate::base::source::Sources;
use crate::manifest::load::{Input, load};
use crate::manifest::read::{DEPTH_MAX, DIAGNOSTICS_MAX, FILE_BYTES_MAX, read};
use crate::manifest::schema::check;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::fmt::Write;
use std::time::{Duration, Instant};

fn load_and_render(bytes: Vec<u8>) {
    let loaded = load(&[Input::Text { name: "x".to_owned(), bytes }], false, &["Pool"]);
    for diagnostic in &loaded.diagnostics {
        render(diagnostic, &loaded.sources, false);
    }
    for document in &loaded.documents {
        check(&document.spec, &json!({"type": "object", "additionalProperties": {"type": "string"}}), "spec", None);
    }
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-1e15..1e15f64).prop_map(Value::from),
        "[ -~äß€😀\n\t]{0,12}".prop_map(Value::from),
        prop::sample::select(vec![
            "yes", "no", "0600", "1_000", "1:30", "~", "null", "true", "0x1", "1e3", ".inf", "<<", "-"
        ])
        .prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map("[a-zA-Z0-9 _:#-]{0,8}", inner, 0..5)
                .prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        load_and_render(bytes);
    }

    #[test]
    fn no_text_like_yaml_panics(text in "([a-c\\[\\]{}:,&*!|>'\"%@`#<?~ \r\n\t0-9é-]|---\n|\\.\\.\\.\n|<<: |&a |\\*a ){0,60}") {
        load_and_render(text.into_bytes());
    }

    #[test]
    fn what_is_written_is_read_back(value in value()) {
        let text = serde_yaml::to_string(&json!({"v": value})).unwrap();
        let (nodes, diagnostics) = read(0, &text);
        prop_assert!(diagnostics.is_empty(), "{text}\n{diagnostics:?}");
        prop_assert_eq!(nodes[0].to_json(), json!({"v": value}), "{}", text);
    }

    #[test]
    fn json_is_read_as_it_is(value in value()) {
        let text = serde_json::to_string_pretty(&json!({"v": value})).unwrap();
        let (nodes, diagnostics) = read(0, &text);
        prop_assert!(diagnostics.is_empty(), "{text}\n{diagnostics:?}");
        prop_assert_eq!(nodes[0].to_json(), json!({"v": value}), "{}", text);
    }
}

/// Reads a hostile text in under a second and answers the codes of what was found.
fn fails_fast(text: &str) -> Vec<&'static str> {
    let begin = Instant::now();
    let (_, diagnostics) = read(0, text);
    let took = begin.elapsed();
    assert!(has_errors(&diagnostics));
    assert!(took < Duration::from_secs(1), "took {took:?}");
    diagnostics.iter().map(|d| d.code).collect()
}

#[test]
fn ten_megabytes_of_brackets_fail_fast() {
    assert_eq!(fails_fast(&"[".repeat(10 << 20)), ["too-deep"]);
    assert_eq!(fails_fast(&"{a: ".repeat(1 << 20)), ["too-deep"]);
    assert_eq!(fails_fast(&"- ".repeat(5 << 20)), ["too-deep"]);
}

#[test]
fn deep_blocks_fail_and_the_limit_itself_is_fine() {
    let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
    let (nodes, diagnostics) = read(0, &nested(DEPTH_MAX));
    assert!(diagnostics.is_empty() && nodes[0].depth() == DEPTH_MAX);
    assert_eq!(read(0, &nested(DEPTH_MAX + 1)).1[0].code, "too-deep");
    let through_aliases = format!("a: &a {}\nb: {}*a {}\n", nested(100), "[".repeat(100), "]".repeat(100));
    assert_eq!(read(0, &through_aliases).1[0].code, "too-deep");
}

#[test]
fn an_alias_bomb_is_named_at_the_alias() {
    let mut text = "a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol, lol]\n".to_owned();
    for n in 1..12 {
        let _ = writeln!(text, "a{n}: &a{n} [{}]", vec![format!("*a{}", n - 1); 10].join(", "));
    }
    assert_eq!(fails_fast(&text), ["alias-budget"]);
    let mut sources = Sources::default();
    sources.add("bomb.yaml", &text);
    insta::assert_snapshot!(render(&read(0, &text).1[0], &sources, false));
}

#[test]
fn a_file_of_bombs_has_one_budget() {
    let bomb = format!("---\na: &a [{}]\nb: [{}]\n", vec!["1"; 2000].join(","), vec!["*a"; 40].join(","));
    let codes = fails_fast(&bomb.repeat(20));
    assert!(codes.contains(&"alias-budget"), "{codes:?}");
}

#[test]
fn a_file_of_errors_is_given_up() {
    assert_eq!(fails_fast(&"---\n]\n".repeat(100_000)).len(), DIAGNOSTICS_MAX);
}

#[test]
fn one_long_line_takes_linear_time() {
    let guests: Vec<Value> = (0..10_000).map(|n| json!({"name": format!("web-{n}"), "cores": n})).collect();
    let text = Value::from(guests).to_string();
    let begin = Instant::now();
    let (nodes, diagnostics) = read(0, &text);
    assert!(diagnostics.is_empty() && nodes.len() == 1);
    assert!(begin.elapsed() < Duration::from_secs(3), "took {:?} for {} bytes", begin.elapsed(), text.len());
}

#[test]
fn a_file_over_the_limit_is_not_read() {
    let bytes = vec![b' '; FILE_BYTES_MAX + 1];
    let loaded = load(&[Input::Text { name: "disk.raw".to_owned(), bytes }], false, &["Pool"]);
    assert_eq!(loaded.diagnostics[0].code, "file-too-large");
    assert!(render(&loaded.diagnostics[0], &loaded.sources, false).contains("disk.raw"));
}
