//! The program for Windows cannot be run here: what can be said of its text.

use super::*;

fn text(deed: &Deed) -> String {
    let job = Job { window: token("sunday"), slot: token("20261122T010000Z"), deed: deed.clone() };
    program::begin(System::Windows, &job).expect("it can be written down")
}

#[test]
fn every_verb_is_there_and_brackets_close() {
    let text = text(&assess());
    for verb in ["'assess'", "'patch'", "'health'", "'note'", "'revive'", "'read'"] {
        assert!(text.contains(verb), "{verb}");
    }
    for (open, close) in [('{', '}'), ('(', ')'), ('[', ']')] {
        // Within quotes there are pairs too, but for two characters of patterns.
        let count = |c: char| text.matches(c).count();
        assert_eq!(count(open), count(close), "{open}");
    }
    assert!(!text.contains('\t') && text.is_ascii());
}

#[test]
fn words_and_list_are_literal() {
    let evil = "$(Remove-Item C:\\ -Recurse) `n '@ \" ; iex x";
    let deed = Deed::Health { attempt: 1, tcp: vec![3389], units: false, command: vec![evil.to_owned()], timeout: 60 };
    let text = text(&deed);
    assert!(
        text.starts_with(
            "$ErrorActionPreference = 'Stop'\n$Words = 'health sunday 20261122T010000Z-health 60 0' -split ' '\n"
        ),
        "{text}"
    );
    // A here-string in single quotes ends with `'@` at the beginning of a line, and expands nothing.
    let after = text.split_once("$List = @'\n").expect("the list").1;
    let (list, _) = after.split_once("\n'@\n").expect("its end");
    assert_eq!(list, format!("tcp 3389\nargument {evil}"));
    let program = text.split_once("$Program = @'\n").expect("the worker").1.split_once("\n'@\n").expect("its end").0;
    assert!(program.contains("'health' { Work }") && !program.contains("@'"), "{program}");
}

#[test]
fn it_starts_by_a_command_that_no_quoting_can_change() {
    let words = program::words(System::Windows, &[]);
    assert_eq!(&words[..4], ["powershell.exe", "-NoProfile", "-NonInteractive", "-EncodedCommand"]);
    assert!(words[4].chars().all(|c| c.is_ascii_alphanumeric() || "+/=".contains(c)));
}
