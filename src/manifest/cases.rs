//! Golden tests: every kind of diagnostic as a user sees it, and every trap of YAML by name.

use crate::base::diagnostic::render;
use crate::manifest::decode::decode;
use crate::manifest::explain::explain;
use crate::manifest::load::{Input, Loaded, load};
use crate::manifest::schema::check;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;

const KINDS: [&str; 3] = ["VirtualMachine", "Container", "Pool"];

/// A guest.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema and its decoding are under test")]
struct Spec {
    /// The number of the guest.
    #[schemars(range(min = 100, max = 999_999_999))]
    vmid: Option<u32>,
    /// The node that it runs on.
    ///
    /// It may move.
    node: String,
    hardware: Option<Hardware>,
    #[serde(default)]
    disks: Vec<Disk>,
    from: Option<Origin>,
    power: Option<Power>,
    protection: Option<bool>,
    update: Option<Reboot>,
    options: Option<BTreeMap<String, String>>,
    ratio: Option<f64>,
}

/// What the guest has.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema and its decoding are under test")]
struct Hardware {
    /// How many cores.
    #[serde(default = "one")]
    cores: u16,
    sockets: Option<u8>,
    memory: Option<String>,
}

fn one() -> u16 {
    1
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema and its decoding are under test")]
struct Disk {
    slot: String,
    size: Option<String>,
}

/// Where it comes from.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema and its decoding are under test")]
enum Origin {
    Template { name: String, mode: Option<String> },
    Archive(String),
}

#[derive(Debug, Deserialize, JsonSchema)]
enum Power {
    /// It runs.
    Running,
    /// It does not.
    Stopped,
    Unmanaged,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[expect(dead_code, reason = "only its schema and its decoding are under test")]
enum Reboot {
    Never,
    IfRequired,
    InWindow(String),
}

fn schema() -> Value {
    schemars::schema_for!(Spec).to_value()
}

fn stdin(text: impl Into<Vec<u8>>) -> Loaded {
    load(&[Input::Text { name: "<stdin>".to_owned(), bytes: text.into() }], false, &KINDS)
}

fn rendered(loaded: &Loaded) -> String {
    let texts: Vec<String> = loaded.diagnostics.iter().map(|d| render(d, &loaded.sources, false)).collect();
    format!("{}\n{} documents", texts.join("\n\n"), loaded.documents.len())
}

/// Everything about a whole text: what loading, the schema and (without errors) decoding say.
fn said(text: &str) -> String {
    let mut loaded = stdin(text);
    for document in &loaded.documents {
        loaded.diagnostics.extend(check(&document.spec, &schema(), "spec", Some(document.spec_key)));
    }
    if loaded.diagnostics.is_empty() {
        loaded.diagnostics.extend(loaded.documents.iter().filter_map(|d| decode::<Spec>(&d.spec).err()));
    }
    rendered(&loaded)
}

/// The same for a spec in a right envelope.
fn spec_said(spec: &str) -> String {
    let indented: String = spec.lines().map(|l| format!("  {l}\n")).collect();
    said(&format!("apiVersion: pvectl/v1alpha1\nkind: VirtualMachine\nmetadata: {{name: web-01}}\nspec:\n{indented}"))
}

macro_rules! cases {
    ($($name:ident: $function:ident $text:expr;)*) => {$(
        #[test]
        fn $name() {
            insta::assert_snapshot!($function($text));
        }
    )*};
}

cases! {
    // The envelope.
    unknown_kind: said "apiVersion: pvectl/v1alpha1\nkind: VirtualMachin\nmetadata: {name: a}\n";
    unknown_kind_without_a_near_one: said "apiVersion: pvectl/v1alpha1\nkind: Deployment\nmetadata: {name: a}\n";
    wrong_api_version: said "apiVersion: v1\nkind: Pool\nmetadata: {name: a}\n";
    nothing_but_a_spec: said "spec: {}\n";
    unknown_envelope_fields: said "apiVersion: pvectl/v1alpha1\nkind: Pool\nmetadata: {name: a, label: {}, namespace: x}\nspecs: {}\n";
    bad_name: said "apiVersion: pvectl/v1alpha1\nkind: Pool\nmetadata: {name: Web_01}\nspec: {node: a}\n";
    number_as_name: said "apiVersion: pvectl/v1alpha1\nkind: Pool\nmetadata:\n  name: 12\nspec: {node: a}\n";
    labels_are_strings: said "apiVersion: pvectl/v1alpha1\nkind: Pool\nmetadata:\n  name: a\n  labels: {tier: 1}\n  annotations:\n    pvectl/paused: true\nspec: {node: a}\n";
    not_a_mapping: said "- a\n- b\n";
    spec_not_a_mapping: said "apiVersion: pvectl/v1alpha1\nkind: Pool\nmetadata: {name: a}\nspec: [1]\n";
    same_document_twice: said "apiVersion: pvectl/v1alpha1\nkind: Pool\nmetadata: {name: a}\nspec: {node: a}\n---\napiVersion: pvectl/v1alpha1\nkind: Pool\nmetadata: {name: a}\nspec: {node: a}\n";

    // The reader.
    duplicate_key: spec_said "node: a\nhardware:\n  cores: 2\n  cores: 4\n";
    duplicate_key_in_flow: spec_said "node: a\nhardware: {cores: 2, \"cores\": 4}\n";
    tab_in_indentation: spec_said "node: a\nhardware:\n\tcores: 2\n";
    tab_before_a_root_key: said "kind: Pool\n\td: tab\n";
    tab_first_in_the_file: said "\tkind: Pool\n";
    unclosed_bracket_then_a_good_document: said "a: [1, 2\n---\napiVersion: pvectl/v1alpha1\nkind: Pool\nmetadata: {name: a}\nspec: {node: a}\n";
    two_broken_documents: said "a: [1\n---\nb: }\n---\nc: \"x\n";
    bad_indentation: spec_said "node: a\nhardware:\n    cores: 2\n  memory: 4Gi\n";
    template_without_quotes: spec_said "node: {{ node }}\n";
    unknown_anchor: spec_said "node: &here a\nhardware: *her\n";
    alias_inside_its_anchor: spec_said "node: a\nhardware: &h {cores: *h}\n";
    merge_key_brings_defaults: spec_said "node: a\nhardware: &hw {cores: 2, memory: 4Gi}\ndisks:\n- {<<: {slot: scsi0, sise: 1}, size: 20Gi}\n";
    two_merge_keys: spec_said "node: a\nhardware:\n  <<: {cores: 1}\n  <<: {memory: 1Gi}\n";
    merge_keys_of_a_list: spec_said "node: a\nhardware:\n  <<: [{cores: 1}, {cores: x, memory: 2}]\n";
    merge_key_of_a_scalar: spec_said "node: a\nhardware: {<<: 5, cores: 2}\n";
    unknown_tag: spec_said "node: !vault secret\n";
    core_tag_makes_text: spec_said "node: !!str 5\n";
    core_tag_that_does_not_fit: spec_said "node: a\nvmid: !!int two\n";
    number_too_large: spec_said "node: a\nvmid: 18446744073709551616\n";
    number_not_finite: spec_said "node: a\nratio: .inf\n";
    empty_and_comment_only_documents: said "# a\n---\n---\n# b\n---\n~\n...\n";

    // Traps of YAML 1.1.
    yes_for_a_boolean: spec_said "node: a\nprotection: yes\n";
    off_for_a_boolean: spec_said "node: a\nprotection: off\n";
    no_as_text_is_text: spec_said "node: no\n";
    octal_for_a_number: spec_said "node: a\nvmid: 0600\n";
    underscore_in_a_number: spec_said "node: a\nvmid: 1_000\n";
    base_sixty_for_a_number: spec_said "node: a\nvmid: 1:30\n";
    quoted_number: spec_said "node: a\nvmid: \"101\"\n";
    quoted_boolean: spec_said "node: a\nprotection: \"true\"\n";
    version_read_as_number: spec_said "node: 1.10\n";
    float_for_an_integer: spec_said "node: a\nvmid: 101.0\n";
    carriage_returns: spec_said "node: a\r\nvmid: two\r\n";

    // The schema.
    unknown_field: spec_said "node: a\nhardware: {corse: 2}\n";
    unknown_field_without_a_near_one: spec_said "node: a\nhardware: {zzz: 2}\n";
    wrong_type: spec_said "node: a\nhardware: {cores: two}\n";
    list_for_a_mapping: spec_said "node: a\nhardware:\n- cores: 2\n";
    nothing_for_a_string: spec_said "node:\n";
    missing_field: spec_said "vmid: 101\n";
    missing_field_in_a_list: spec_said "node: a\ndisks:\n- slot: scsi0\n- size: 20Gi\n";
    no_spec_at_all: said "apiVersion: pvectl/v1alpha1\nkind: Pool\nmetadata: {name: a}\n";
    unknown_value: spec_said "node: a\npower: Runing\n";
    unknown_value_in_a_mixed_choice: spec_said "node: a\nupdate: Nevr\n";
    unknown_variant: spec_said "node: a\nfrom: {templat: {name: x}}\n";
    inside_a_variant: spec_said "node: a\nfrom: {template: {nam: x}}\n";
    scalar_for_a_variant: spec_said "node: a\nfrom: 5\n";
    out_of_range: spec_said "node: a\nvmid: 50\nhardware: {sockets: 300}\n";
    map_of_strings: spec_said "node: a\noptions: {args: 1}\n";
    all_at_once: spec_said "vmid: one\nhardware: {corse: 1, cores: x}\npower: on\nprotection: no\n";
    all_well: spec_said "node: a\nvmid: 101\nhardware: {cores: 2}\nfrom: {template: {name: x}}\nupdate: {InWindow: sunday}\npower: Running\n";
}

#[test]
fn byte_order_marks_are_fine() {
    let loaded = stdin("\u{feff}apiVersion: pvectl/v1alpha1\nkind: Pool\nmetadata: {name: a}\n");
    assert_eq!(rendered(&loaded), "\n1 documents");
    assert_eq!(loaded.sources.line_column(loaded.documents[0].kind.1), (2, 7));
}

#[test]
fn text_that_is_not_utf8_is_a_diagnostic() {
    insta::assert_snapshot!(rendered(&stdin(b"kind: Pool\nname: caf\xe9\n".as_slice())));
}

#[test]
fn utf16_is_named() {
    let text = rendered(&stdin(b"\xff\xfek\0i\0".as_slice()));
    assert!(text.contains("UTF-16"), "{text}");
}

#[test]
fn json_with_tabs_is_read() {
    let text = "{\n\t\"apiVersion\": \"pvectl/v1alpha1\",\n\t\"kind\": \"Pool\",\n\t\"metadata\": {\n\t\t\"name\": \"a\",\n\t\t\"labels\": {\"x\": \"\\ud83d\\ude00\\/\"}\n\t}\n}\n";
    let loaded = stdin(text);
    assert_eq!(rendered(&loaded), "\n1 documents");
    assert_eq!(loaded.documents[0].labels["x"], "😀/");
}

#[test]
fn variants_told_apart_by_a_tag() {
    let variant = |tag: &str, field: &str| {
        json!({"type": "object", "required": ["type", field], "additionalProperties": false,
            "properties": {"type": {"const": tag}, field: {"type": "integer"}}})
    };
    let schema = json!({"properties": {"probe": {"oneOf": [variant("Tcp", "port"), variant("Agent", "channel")]}}});
    let mut text = Vec::new();
    for probe in ["{type: Tcp, port: x}", "{type: Tpc, port: 1}", "{port: 1}", "{type: Agent, port: 1}"] {
        let mut loaded = stdin(format!(
            "{{apiVersion: pvectl/v1alpha1, kind: Pool, metadata: {{name: a}}, spec: {{\n  probe: {probe}}}}}"
        ));
        loaded.diagnostics = check(&loaded.documents[0].spec, &schema, "spec", None);
        text.push(rendered(&loaded));
    }
    insta::assert_snapshot!(text.join("\n\n"));
}

#[test]
fn a_quoted_merge_key_is_a_field() {
    let (nodes, diagnostics) = crate::manifest::read::read(0, "\"<<\": {a: 1}\n<<: {b: 2}\n");
    assert!(diagnostics.is_empty());
    assert_eq!(nodes[0].to_json(), json!({"<<": {"a": 1}, "b": 2}));
}

#[test]
fn decoding_points_at_the_place() {
    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "it never decodes")]
    struct Address {
        hosts: Vec<std::net::Ipv4Addr>,
    }
    let mut loaded = stdin(
        "apiVersion: pvectl/v1alpha1\nkind: Pool\nmetadata: {name: a}\nspec:\n  hosts:\n  - 10.0.0.1\n  - 10.0.0.256\n",
    );
    let diagnostic = decode::<Address>(&loaded.documents[0].spec).unwrap_err();
    loaded.diagnostics.push(diagnostic);
    insta::assert_snapshot!(rendered(&loaded));
}

#[test]
fn a_file_of_a_tree_belongs_to_the_tree_above_it() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("sub")).unwrap();
    std::fs::write(dir.path().join("pvectl.yaml"), "set: home\n").unwrap();
    let document = "apiVersion: pvectl/v1alpha1\nkind: Pool\nmetadata: {name: a}\nspec: {}\n";
    let file = dir.path().join("sub/pools.yaml");
    std::fs::write(&file, document).unwrap();
    for input in [file, dir.path().join("sub")] {
        let loaded = super::load::load(&[super::load::Input::Path(input)], false, &["Pool"]);
        assert_eq!(loaded.diagnostics, []);
        assert!(loaded.partial);
        assert_eq!(loaded.settings.and_then(|s| s.set).map(|(name, _)| name).as_deref(), Some("home"));
    }
    let whole = super::load::load(&[super::load::Input::Path(dir.path().to_owned())], true, &["Pool"]);
    assert!(!whole.partial && whole.documents.len() == 1);
}

#[test]
fn a_tree_of_files_with_settings() {
    let dir = tempfile::tempdir().unwrap();
    let pool = |name: &str, spec: &str| {
        format!("apiVersion: pvectl/v1alpha1\nkind: Pool\nmetadata: {{name: {name}}}\nspec: {spec}\n")
    };
    let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
    fs::create_dir(dir.path().join("sub")).unwrap();
    write(
        "pvectl.yaml",
        "set: homelab\ncontext: home\ndefaults:\n  Pool: {node: n0, hardware: {cores: 1, memory: 1Gi}}\n",
    );
    write("b.yaml", &pool("b", "{hardware: {cores: 8}}"));
    write("a.yml", &pool("a", "{node: x}"));
    write(".hidden.yaml", "]");
    write("notes.txt", "]");
    write("sub/c.json", r#"{"apiVersion":"pvectl/v1alpha1","kind":"Pool","metadata":{"name":"c"}}"#);
    #[cfg(unix)]
    std::os::unix::fs::symlink(dir.path(), dir.path().join("sub/loop")).unwrap();

    let input = [Input::Path(dir.path().to_owned())];
    let loaded = load(&input, true, &KINDS);
    assert!(loaded.diagnostics.is_empty(), "{}", rendered(&loaded));
    let names: Vec<&str> = loaded.documents.iter().map(|d| d.name.0.as_str()).collect();
    assert_eq!(names, ["a", "b", "c"]);
    let settings = loaded.settings.unwrap();
    assert_eq!(settings.set.unwrap().0, "homelab");
    let b = &loaded.documents[1].spec;
    assert_eq!(b.to_json(), json!({"node": "n0", "hardware": {"cores": 8, "memory": "1Gi"}}));
    assert!(loaded.sources.name(b.get("node").unwrap().span.source).ends_with("pvectl.yaml"));
    assert!(loaded.sources.name(b.get("hardware").unwrap().span.source).ends_with("b.yaml"));
    assert_eq!(load(&input, false, &KINDS).documents.len(), 2);
}

#[test]
fn files_that_are_not_there() {
    let dir = tempfile::tempdir().unwrap();
    let shown = |input: &std::path::Path| {
        rendered(&load(&[Input::Path(input.to_owned())], false, &KINDS))
            .replace(&dir.path().display().to_string(), "/tree")
    };
    insta::assert_snapshot!("missing_file", shown(&dir.path().join("nope.yaml")));
    insta::assert_snapshot!("empty_folder", shown(dir.path()));
    fs::write(dir.path().join("pvectl.yaml"), "sett: a\nset: [1]\ndefaults: {Pol: {}, Pool: 1}\n---\na: b\n").unwrap();
    insta::assert_snapshot!("bad_settings", shown(dir.path()));
    fs::create_dir(dir.path().join("sub")).unwrap();
    fs::write(dir.path().join("sub/pvectl.yaml"), "set: b\n").unwrap();
    let both = [Input::Path(dir.path().to_owned()), Input::Path(dir.path().join("sub"))];
    let text = rendered(&load(&both, true, &KINDS)).replace(&dir.path().display().to_string(), "/tree");
    assert!(text.contains("counts only at the root") && text.contains("two `pvectl.yaml` are given"), "{text}");
}

#[test]
fn explain_shows_a_kind_and_its_fields() {
    let schema = schema();
    insta::assert_snapshot!("explain_kind", explain(&schema, "VirtualMachine", &[], false).unwrap());
    insta::assert_snapshot!(
        "explain_field",
        explain(&schema, "VirtualMachine", &["spec", "hardware", "cores"], false).unwrap()
    );
    insta::assert_snapshot!("explain_mapping", explain(&schema, "VirtualMachine", &["from"], false).unwrap());
    insta::assert_snapshot!("explain_tree", explain(&schema, "VirtualMachine", &[], true).unwrap());
    let error = explain(&schema, "VirtualMachine", &["hardware", "corse"], true).unwrap_err();
    assert_eq!(error.to_string(), "no field `corse` in hardware: did you mean `cores`?");
}

#[test]
fn a_list_holds_documents() {
    let item =
        |name: &str| format!("- {{apiVersion: pvectl/v1alpha1, kind: Pool, metadata: {{name: {name}}}, spec: {{}}}}\n");
    let list = format!("apiVersion: v1\nkind: List\nitems:\n{}{}", item("a"), item("b"));
    let read = |text: &str| load(&[Input::Text { name: "list.yaml".into(), bytes: text.into() }], false, &KINDS);
    let loaded = read(&list);
    let names: Vec<&str> = loaded.documents.iter().map(|d| d.name.0.as_str()).collect();
    assert_eq!((names, loaded.diagnostics.len()), (vec!["a", "b"], 0));
    let twice = read(&format!("{list}---\n{}", item("a").trim_start_matches("- ")));
    assert!(rendered(&twice).contains("Pool/a stands in the manifests twice"), "{}", rendered(&twice));
    insta::assert_snapshot!(
        "lists_that_are_none",
        rendered(&read("kind: List\nitem: []\n---\nkind: List\nitems: 3\n"))
    );
}

#[test]
fn a_part_of_a_tree_knows_the_rest_of_it() {
    let dir = tempfile::TempDir::new().unwrap();
    let pool = |name: &str| format!("apiVersion: pvectl/v1alpha1\nkind: Pool\nmetadata: {{name: {name}}}\n");
    fs::create_dir_all(dir.path().join("sub/own")).unwrap();
    for (file, text) in [
        ("pvectl.yaml", "set: home\n".to_owned()),
        ("a.yaml", pool("a")),
        ("sub/b.yaml", pool("b")),
        ("sub/own/pvectl.yaml", "set: other\n".to_owned()),
        ("sub/own/c.yaml", pool("c")),
    ] {
        fs::write(dir.path().join(file), text).unwrap();
    }
    let read = |file: &str| load(&[Input::Path(dir.path().join(file))], false, &KINDS);
    let names = |loaded: &Loaded| loaded.documents.iter().map(|d| d.name.0.clone()).collect::<Vec<_>>();
    let given =
        |loaded: &Loaded| loaded.given.as_ref().map(|g| g.iter().map(|(_, name)| name.clone()).collect::<Vec<_>>());
    for (file, all, some) in [("sub/b.yaml", ["b", "a"], "b"), ("sub", ["b", "a"], "b"), ("a.yaml", ["a", "b"], "a")] {
        let loaded = read(file);
        assert!(loaded.diagnostics.is_empty(), "{file}: {}", rendered(&loaded));
        assert_eq!(names(&loaded), all, "{file}");
        assert_eq!((loaded.partial, given(&loaded)), (true, Some(vec![some.to_owned()])), "{file}");
    }
    let whole = read("");
    assert_eq!((whole.partial, given(&whole), names(&whole)), (false, None, vec!["a".to_owned()]));
}
