//! The web page in a real, headless Chromium, where there is one: what it makes of the pages, whether they fit a telephone,
//! and whether the colours follow light and dark.

use crate::pages::PAGES;
use crate::site::{Served, state};
use serde_json::{Value, json};
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// A Chromium by one of its names, if there is one. It is large and no part of what must be there: without it this is left
/// out even where nothing else may be.
fn chromium() -> Option<&'static str> {
    let runs = |name: &&str| {
        let tried = Command::new(name).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        tried.is_ok_and(|status| status.success())
    };
    let found = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"].into_iter().find(runs);
    if found.is_none() {
        crate::apidoc::say("left out: no Chromium on this machine (package chromium)");
    }
    found
}

const QUIET: [&str; 7] = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-extensions",
];

#[test]
fn a_browser_has_nothing_to_mend() {
    let Some(browser) = chromium() else { return };
    let served = Served::of(state());
    for (path, more) in [("/", None), ("/drift", Some("--force-dark-mode")), ("/proposals/7f3a2c", None)] {
        let profile = TempDir::new().expect("a folder");
        let output = Command::new("timeout")
            .args(["90", browser])
            .args(QUIET)
            .args(["--timeout=20000", "--dump-dom"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .args(more)
            .arg(format!("http://{}{path}", served.at))
            .stderr(Stdio::null())
            .output()
            .expect("the browser runs");
        let dom = String::from_utf8_lossy(&output.stdout).into_owned();
        let body = |text: &str| {
            let (_, body) = text.split_once("<body>").unwrap_or_else(|| panic!("{path} has no body:\n{text}"));
            let body = body.split("</body>").next().unwrap_or_default();
            body.split_whitespace().collect::<String>()
        };
        // The browser mends what is broken; what it had nothing to mend in comes back as it was sent, but for how it writes
        // characters and attributes without a value.
        let alike = |text: String| {
            ["open", "required"]
                .iter()
                .fold(text, |text, word| text.replace(&format!("{word}=\"\""), word))
                .replace("&#x2f;", "/")
                .replace("&#x27;", "'")
        };
        assert_eq!(alike(body(&dom)), alike(body(&served.get(path).text)), "{path}");
    }
}

/// A browser that does what it is told, over two pipes.
struct Driven {
    browser: Child,
    to: File,
    from: BufReader<File>,
    session: String,
    calls: u64,
    _folder: TempDir,
}

impl Drop for Driven {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.call("Browser.close", json!({}), false);
        let _ = self.browser.wait();
    }
}

impl Driven {
    fn start(browser: &str) -> Driven {
        let folder = TempDir::new().expect("a folder");
        let pipe = |name: &str| {
            let path = folder.path().join(name);
            assert!(Command::new("mkfifo").arg(&path).status().expect("mkfifo runs").success());
            path
        };
        let (inward, outward) = (pipe("in"), pipe("out"));
        let script = "to=$1 from=$2; shift 2; exec timeout 90 \"$@\" 3<\"$to\" 4>\"$from\" 2>/dev/null";
        let child = Command::new("sh")
            .args(["-c", script, "sh"])
            .args([&inward, &outward])
            .arg(browser)
            .args(QUIET)
            .arg("--remote-debugging-pipe")
            .arg(format!("--user-data-dir={}", folder.path().join("profile").display()))
            .spawn()
            .expect("a shell runs");
        let to = File::options().write(true).open(&inward).expect("the pipe to it");
        let from = BufReader::new(File::open(&outward).expect("the pipe from it"));
        let mut driven = Driven { browser: child, to, from, session: String::new(), calls: 0, _folder: folder };
        let target = driven.call("Target.createTarget", json!({"url": "about:blank"}), true);
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let session = driven.call("Target.attachToTarget", attach, true);
        driven.session = session["sessionId"].as_str().expect("a session").to_owned();
        driven.call("Page.enable", json!({}), true);
        driven
    }

    fn call(&mut self, method: &str, params: Value, waits: bool) -> Value {
        self.calls += 1;
        let mut call = json!({"id": self.calls, "method": method, "params": params});
        if !self.session.is_empty() && !method.starts_with("Browser.") {
            call["sessionId"] = self.session.clone().into();
        }
        let sent = self.to.write_all(format!("{call}\0").as_bytes());
        if !waits {
            return Value::Null;
        }
        sent.expect("it is sent");
        loop {
            let said = self.hear();
            if said["id"] == json!(self.calls) {
                assert!(said["error"].is_null(), "{method}: {}", said["error"]);
                return said["result"].clone();
            }
        }
    }

    fn hear(&mut self) -> Value {
        let mut bytes = Vec::new();
        self.from.read_until(0, &mut bytes).expect("it can be read");
        assert_eq!(bytes.pop(), Some(0), "the browser ended");
        serde_json::from_slice(&bytes).expect("JSON")
    }

    /// Goes to a page, and waits until it is there.
    fn open(&mut self, url: &str) {
        self.call("Page.navigate", json!({"url": url}), true);
        for _ in 0..1000 {
            let ready = self.tell("document.readyState + document.URL.startsWith('http')");
            if ready == "completetrue" {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        panic!("{url} does not come");
    }

    fn tell(&mut self, expression: &str) -> Value {
        let found = self.call("Runtime.evaluate", json!({"expression": expression, "returnByValue": true}), true);
        assert!(found["exceptionDetails"].is_null(), "{expression}: {found}");
        found["result"]["value"].clone()
    }
}

#[test]
fn pages_fit_a_telephone_in_light_and_dark() {
    let Some(browser) = chromium() else { return };
    let mut wide = state();
    let long = "0123456789abcdef".repeat(12);
    wide.objects.values_mut().for_each(|object| object.error = Some(format!("no space on {long}")));
    wide.drift[0].fields[0].from = Some(long.clone());
    wide.sources.values_mut().for_each(|source| source.origin = format!("/srv/{long}"));
    wide.tasks[0].user = long;
    let served = Served::of(wide);
    let mut driven = Driven::start(browser);
    let small = json!({"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": true});
    driven.call("Emulation.setDeviceMetricsOverride", small, true);
    let mut grounds = Vec::new();
    for scheme in ["light", "dark"] {
        let media = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        driven.call("Emulation.setEmulatedMedia", media, true);
        for (_, path) in PAGES {
            driven.open(&format!("http://{}{path}", served.at));
            let width = driven.tell("document.documentElement.scrollWidth");
            assert!(width.as_f64().is_some_and(|w| w <= 360.0), "{path} in {scheme} is {width} wide");
            assert_eq!(driven.tell("window.innerWidth"), 360, "{path}");
        }
        grounds.push(driven.tell("getComputedStyle(document.body).backgroundColor"));
    }
    assert_eq!(grounds, ["rgb(255, 255, 255)", "rgb(15, 19, 24)"]);
}

#[test]
fn the_keyboard_comes_everywhere_and_a_button_asks_the_loop() {
    let Some(browser) = chromium() else { return };
    let served = Served::of(state());
    let mut driven = Driven::start(browser);
    driven.open(&format!("http://{}/proposals/7f3a2c", served.at));
    let tab = |kind: &str| json!({"type": kind, "key": "Tab", "code": "Tab", "windowsVirtualKeyCode": 9});
    let mut reached = Vec::new();
    for _ in 0..30 {
        driven.call("Input.dispatchKeyEvent", tab("rawKeyDown"), true);
        driven.call("Input.dispatchKeyEvent", tab("keyUp"), true);
        let here = driven.tell("document.activeElement.innerText || document.activeElement.name || ''");
        reached.push(here.as_str().unwrap_or_default().trim().to_owned());
        if reached.last().is_some_and(|last| last == "Approve") {
            break;
        }
    }
    for wanted in ["Skip to the content", "Overview", "Objects", "by", "Approve"] {
        assert!(reached.iter().any(|r| r.starts_with(wanted)), "`{wanted}` in {reached:?}");
    }
    let enter =
        |kind: &str| json!({"type": kind, "key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13, "text": "\r"});
    driven.call("Input.dispatchKeyEvent", enter("keyDown"), true);
    driven.call("Input.dispatchKeyEvent", enter("keyUp"), true);
    let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while served.heard().is_empty() && std::time::Instant::now() < end {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert!(matches!(&served.heard()[..], [pvectl::daemon::shared::Wish::Approve { id, .. }] if id == "7f3a2c"));
}
