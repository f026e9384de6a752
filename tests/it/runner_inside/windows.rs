//! The program for Windows cannot be run here: what can be said of its text.

use super::*;

fn start() -> Start {
    Start {
        system: System::Windows,
        name: "ci-50000-ab12t3w0q1".into(),
        directory: r"C:\actions-runner".into(),
        user: None,
        host_name: true,
        version: None,
        before: Some("Write-Output \"it's $env:COMPUTERNAME\"".into()),
        after: None,
        registration: Registration::JustInTime,
    }
}

/// The program, as PowerShell gets it.
fn text() -> String {
    let words = start().command();
    let code = words[6].split('\'').nth(1).expect("the program is the first text");
    String::from_utf8(decoded(code)).expect("it is UTF-8")
}

fn decoded(code: &str) -> Vec<u8> {
    let mut child =
        Command::new("base64").arg("-d").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("base64");
    let mut stdin = child.stdin.take().expect("piped");
    let code = code.to_owned();
    let writer = std::thread::spawn(move || stdin.write_all(code.as_bytes()));
    let output = child.wait_with_output().expect("ended");
    writer.join().expect("ended").expect("read");
    assert!(output.status.success());
    output.stdout
}

/// The worker's part, and what begins it.
fn parts() -> (String, String) {
    let text = text();
    let (_, rest) = text.split_once("$Program = @'\n").expect("the worker");
    let (worker, main) = rest.split_once("\n'@\n").expect("its end");
    (worker.to_owned(), format!("{}{main}", text.split_once("$Program").expect("a begin").0))
}

#[test]
fn no_quoting_can_change_the_command() {
    let words = start().command();
    let start = ["powershell.exe", "-NoProfile", "-NonInteractive", "-ExecutionPolicy", "Bypass", "-Command"];
    assert_eq!(&words[..6], start);
    assert!(
        !words[6].contains('"') && !words[6].ends_with('\\') && words[6].is_ascii(),
        "Windows programs quote it alike"
    );
    // Where a script names `$input`, PowerShell itself reads the standard input.
    assert!(!words[6].contains("$input") && !text().to_lowercase().contains("$input"));
    assert!(words.iter().map(String::len).sum::<usize>() < 30_000);
}

#[test]
fn brackets_close_and_nothing_ends_the_worker_early() {
    let text = text();
    for (open, close) in [('{', '}'), ('(', ')'), ('[', ']')] {
        let count = |c: char| text.matches(c).count();
        assert_eq!(count(open), count(close), "{open}");
    }
    let (worker, main) = parts();
    assert!(!worker.contains("@'") && !main.contains("@'"), "a here-string ends where it should");
    assert!(text.is_ascii() && !text.contains('\t') && !text.contains("@SECRET@"));
    for line in worker.lines().chain(main.lines()).filter(|line| !line.starts_with("$Program")) {
        assert_eq!(open_quote(line), None, "{line}");
    }
}

/// The quote that a line leaves open: in one kind of them the other is a character, and a backtick takes the next one as it is.
fn open_quote(line: &str) -> Option<char> {
    let mut open = None;
    let mut plain = false;
    for c in line.chars() {
        match (open, c) {
            _ if plain => plain = false,
            (Some('"'), '`') => plain = true,
            (None, '\'' | '"') => open = Some(c),
            (Some(quote), c) if quote == c => open = None,
            _ => {}
        }
    }
    open
}

#[test]
fn an_open_quote_is_found() {
    assert_eq!(open_quote("$A = 'it`' + \"`\"\""), None);
    assert_eq!(open_quote("$A = \"it's\""), None);
    assert_eq!((open_quote("$A = 'x\""), open_quote("\"`\"")), (Some('\''), Some('"')));
}

#[test]
fn the_secret_goes_by_a_pipe_that_only_the_system_opens() {
    let (worker, main) = parts();
    let at = |what: &str| main.find(what).unwrap_or_else(|| panic!("no {what} in {main}"));
    assert!(at("D:P(A;;FA;;;SY)(A;;FA;;;BA)") < at("NamedPipeServerStream"));
    assert!(at("NamedPipeServerStream") < at("Start-ScheduledTask"), "the pipe is ours before anybody looks for it");
    assert_eq!(main.matches("$Secret").count(), 3, "it is read, looked at, and written to the pipe");
    for line in main.lines().filter(|line| line.contains("WriteAll")) {
        assert!(!line.contains("$Secret") && !line.contains("$Bytes"), "{line}");
    }
    assert!(worker.contains("NamedPipeClientStream") && !worker.contains("--jitconfig") && !worker.contains("--token"));
    assert!(
        worker.contains("ACTIONS_RUNNER_INPUT_JITCONFIG = $Secret")
            && worker.contains("ACTIONS_RUNNER_INPUT_TOKEN = $Secret")
    );
    for line in worker.lines().filter(|line| line.contains("AppendAllText") || line.contains("WriteAllText")) {
        assert!(!line.contains("$Secret"), "{line}");
    }
}

#[test]
fn the_folder_is_made_once_where_nobody_else_writes() {
    let (worker, main) = parts();
    let at = |what: &str| main.find(what).unwrap_or_else(|| panic!("no {what} in {main}"));
    assert!(at("CreateDirectory($Base, $Shut)") < at("-notcontains $Owner") && at("ReparsePoint") < at("exit 73"));
    assert!(
        at("exit 73") < at("New-Item -ItemType Directory -Path $Dir") && at("'there already'") < at("WriteAllText")
    );
    assert!(at("no secret came by standard input") < at("CreateDirectory"), "without it nothing is begun");
    assert!(at("-User 'SYSTEM'") < at("Start-ScheduledTask"));
    let at = |what: &str| worker.find(what).unwrap_or_else(|| panic!("no {what} in {worker}"));
    assert!(at("Join-Path $Dir 'began'") < at("Read-Secret }"), "a second worker has nothing to do");
    assert!(worker.contains("if ($State.exit -eq '0') { Stop-Computer -Force }"));
}

#[test]
fn words_are_literal() {
    let evil = "$(Remove-Item C:\\ -Recurse) `n '@ \" ; iex x";
    let words = Start { before: Some(evil.into()), ..start() }.command();
    assert!(!words[6].contains("Remove-Item") && !words[6].contains("iex x"));
    assert_eq!(Start::of_words(&words).and_then(|start| start.before).as_deref(), Some(evil));
}

#[test]
fn a_look_asks_for_so_many_lines() {
    let text = look::input(System::Windows, 40);
    assert!(text.contains("-Tail 40") && text.contains("'[log]'") && !text.contains("@LINES@"));
}
