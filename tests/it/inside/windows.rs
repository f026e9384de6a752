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

#[test]
fn an_item_is_taken_of_a_list_and_never_of_a_text() {
    // What a function returns of one line is a text, and its first item is a letter.
    let text = text(&assess());
    let mut found = 0;
    for (at, _) in text.match_indices("(Lines ") {
        let mut depth = 0;
        let end = text[at..].find(|c: char| {
            depth += i32::from(c == '(') - i32::from(c == ')');
            depth == 0
        });
        let (before, after) = (&text[..at], &text[at + end.expect("it closes") + 1..]);
        let line = before.rsplit('\n').next().unwrap_or_default();
        found += usize::from(before.ends_with('@'));
        assert!(before.ends_with('@') || !after.starts_with('[') && !after.starts_with(" -match"), "{line}(Lines");
    }
    assert!(found >= 6, "{found}");
}

#[test]
fn what_runs_as_system_stands_where_nobody_else_writes() {
    let text = text(&assess());
    let (_, main) = text.rsplit_once("\n'@\n").expect("the worker's end");
    let at = |what: &str| main.find(what).unwrap_or_else(|| panic!("no {what} in {main}"));
    let made = at("[IO.Directory]::CreateDirectory($Folder, $Shut)");
    assert!(at("D:P(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)") < made && made < at("$Trusted -notcontains $Owner"));
    assert!(at("$Trusted -notcontains $Owner") < at("exit 73") && at("ReparsePoint") < at("exit 73"));
    for later in ["New-Item ", "WriteAllText", "Register-ScheduledTask", "'revive' $Window"] {
        assert!(at("exit 73") < at(later), "{later} before the folders are known to be ours");
    }
}
