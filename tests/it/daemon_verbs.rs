//! The verbs that talk to a daemon, through the real program: what they show, what they ask, how they end.

use crate::cli::{Said, Scene};
use crate::site::{Served, Wanted, state};
use pvectl::daemon::record::State;
use pvectl::daemon::shared::Wish;
use serde_json::Value;

fn run(served: &Served, words: &str) -> Said {
    let daemon = format!("http://{}", served.at);
    let words: Vec<&str> = words.split_whitespace().chain(["--daemon", &daemon]).collect();
    Scene::new().run_words(&words, "")
}

/// Addresses and how long ago things were change; the rest does not.
fn golden(said: &Said) -> String {
    let ago = regex_lite::Regex::new(r"(in )?\d+[dhms]( \d+[hms])?( ago)?\b").expect("a pattern");
    let blanks = regex_lite::Regex::new(r" {2,}").expect("a pattern");
    blanks.replace_all(&ago.replace_all(&said.out, "TIME"), "  ").into_owned()
}

#[test]
fn what_a_daemon_shows() {
    let served = Served::of(state());
    for (name, words, code) in [
        ("status", "status", 0),
        ("status_wide", "status -o wide", 0),
        ("proposals", "proposals", 0),
        ("proposal", "proposals 7f3a2c", 0),
        ("events", "events", 0),
        ("history", "history", 0),
        ("drift", "drift", 1),
    ] {
        let said = run(&served, words).code(code);
        insta::assert_snapshot!(name, golden(&said));
    }
    run(&served, "events --warnings").code(0).says("DriftSeen").says("note: no history is kept");
    assert!(!run(&served, "events --warnings").out.contains("Applied"));
    run(&served, "history VirtualMachine/none").code(0).says("none");
    run(&served, "events --since 5m").code(0).says("none");
    assert_eq!(run(&served, "status -o name").code(0).out, "homelab\nlab\n");
    let found: Value = serde_json::from_str(&run(&served, "drift -o json").code(1).out).expect("JSON");
    assert_eq!(found["items"][0]["by"]["user"], "root@pam");
    let found: Value = serde_json::from_str(&run(&served, "history -o json").code(0).out).expect("JSON");
    assert!(found["runs"].as_array().is_some_and(|r| r.len() == 2) && found["drift"].is_array(), "{found}");
    run(&served, "drift -o markdown").code(1).says("web-02");
    run(&served, "drift -o junit").code(1).says("<testsuites").says("name=\"VirtualMachine/web-01\"");
    run(&served, "status -o jsonpath={.items[*].name}").code(0).says("homelab lab");
    run(&served, "proposals 7f3a2c -o yaml").code(0).says("verdict: Waiting");
}

#[test]
fn what_a_daemon_is_asked() {
    let served = Served::of(state());
    run(&served, "approve 7f3a2c --by ann").code(0).says("7f3a2c is approved by ann");
    run(&served, "reject 7f3a2c").code(0);
    run(&served, "suspend lab --why switches --by ann").code(0);
    run(&served, "resume lab --by ann").code(0);
    run(&served, "reconcile lab VirtualMachine/web-02").code(0);
    run(&served, "reconcile homelab").code(0);
    let (lab, ann) = (|| "lab".to_owned(), || "ann".to_owned());
    assert_eq!(
        served.heard(),
        [
            Wish::Approve { id: "7f3a2c".into(), by: ann() },
            Wish::Reject { id: "7f3a2c".into(), by: "somebody".into() },
            Wish::Suspend { source: lab(), by: ann(), why: "switches".into() },
            Wish::Resume { source: lab(), by: ann() },
            Wish::Reconcile { source: lab(), object: Some("VirtualMachine/web-02".into()) },
            Wish::Reconcile { source: "homelab".into(), object: None },
        ]
    );
    // What is refused is 3, what is not there 1, what is typed wrong 2.
    run(&served, "approve 11aa22").code(3).says("error: 11aa22 is Done: only what waits is approved");
    run(&served, "approve ../../x").code(1).says("there is no proposal `../../x`");
    run(&served, "suspend none --why x").code(1).says("there is no source `none`");
    run(&served, "reconcile lab web-02").code(2).says("VirtualMachine/web-01");
    run(&served, "history --since soon").code(2).says("`soon` is no time");
}

#[test]
fn drift_of_a_daemon_ends_as_drift_does() {
    let served = Served::of(State { drift: Vec::new(), ..state() });
    run(&served, "drift").code(0).says("0 objects drifted");
    served.shared.write().sources.values_mut().for_each(|s| s.seen_ms = 0);
    run(&served, "drift").code(3).says("has not compared homelab, lab yet");
    let nobody = ["drift", "--daemon", "http://127.0.0.1:9"];
    Scene::new().run_words(&nobody, "").code(3).says("no daemon answers at http://127.0.0.1:9/");
}

#[test]
fn without_a_daemon_or_a_token_it_says_what_to_do() {
    let nobody = ["status", "--daemon", "http://127.0.0.1:9"];
    Scene::new().run_words(&nobody, "").code(1).says("hint: is `pvectl run` running?");
    let served = Served::with(state(), Wanted { token: Some("s3cret"), ..Wanted::default() });
    run(&served, "status").code(2).says("error: the daemon wants a token").says("PVECTL_DAEMON_TOKEN");
    let scene = Scene::new();
    let (file, daemon) = (scene.folder.path().join("token"), format!("http://{}", served.at));
    let words = ["status", "--daemon", &daemon, "--daemon-token-file", file.to_str().expect("a path")];
    scene.run_words(&words, "").code(2).says("cannot be read");
    std::fs::write(&file, "s3cret\n").expect("written");
    scene.run_words(&words, "").code(0).says("homelab");
    std::fs::write(&file, "wrong\n").expect("written");
    let said = scene.run_words(&words, "").code(2).says("does not know this token");
    assert!(!said.err.contains("wrong"), "{}", said.err);
}

#[test]
fn what_strangers_wrote_does_not_reach_the_terminal_raw() {
    let mut evil = state();
    evil.events.iter_mut().for_each(|e| e.message = "\u{1b}[2Jgone".into());
    evil.drift.iter_mut().for_each(|d| d.fields[0].from = Some("\u{1b}]0;x\u{7}".into()));
    evil.proposals.values_mut().for_each(|p| p.text = "one\n\u{1b}[2Jtwo\n".into());
    evil.sources.values_mut().for_each(|s| s.diagnostics = vec!["\u{1b}[2J".into()]);
    let served = Served::of(evil);
    for words in ["events", "drift", "proposals 7f3a2c", "status", "history"] {
        assert!(!run(&served, words).out.contains('\u{1b}'), "{words}");
    }
}

#[test]
fn what_looks_at_the_cluster_shows_the_daemons_word_too() {
    let served = Served::of(state());
    let daemon = format!("http://{}", served.at);
    let scene = Scene::new();
    scene.run("--sim apply -f manifests/homelab --yes").code(0);
    let run = |words: &str, daemon: &str| {
        let words: Vec<&str> = words.split_whitespace().collect();
        scene.run_with(&words, "", &[("PVECTL_DAEMON", daemon)]).code(0)
    };
    let wide = run("--sim get vm -o wide", &daemon);
    assert!(wide.out.lines().next().is_some_and(|head| head.ends_with("DAEMON")), "{}", wide.out);
    for (name, state) in [("web-01", "Ready"), ("web-02", "Drifted"), ("opnsense", "-")] {
        let line = wide.out.lines().find(|line| line.starts_with(name)).expect(name);
        assert!(line.ends_with(state), "{line}");
    }
    run("--sim describe vm web-02", &daemon)
        .says("Drifted  source homelab, Enforce")
        .says("was changed on the cluster");
    // Without one, nothing is said of it; one that does not answer is no reason not to look.
    assert!(!run("--sim get vm -o wide", "").out.contains("DAEMON"));
    assert!(!run("--sim get vm", &daemon).out.contains("DAEMON"));
    let alone = run("--sim get vm -o wide", "http://127.0.0.1:9");
    assert!(alone.out.contains("web-01") && alone.err.contains("nothing of the daemon is shown"), "{}", alone.err);
}
