//! What OpenSSH's client says about its end, where it has a connection of its own. It ends with 255 for any trouble of its own;
//! only its log tells that from a program that did.

use crate::host::guest::{HostKeys, Login};
use crate::host::ssh::verdict::{Verdict, last};

/// What the client says just before it asks the other side to run the command (`client_session2_setup` in `clientloop.c`).
const ASKED: &str = "debug1: Sending command: ";

/// What an end means. `log` is written with `LogLevel=DEBUG1`.
pub(super) fn verdict(code: Option<i32>, log: &str) -> Verdict {
    match code {
        Some(code) if code != 255 => Verdict::Done(code),
        Some(_) if log.lines().any(|line| line.trim() == "debug1: Exit status 255") => Verdict::Done(255),
        Some(_) if !log.contains(ASKED) => Verdict::NotBegun(last(log).unwrap_or("it said nothing").to_owned()),
        Some(_) => Verdict::Lost("the connection to the guest ended before the command".to_owned()),
        None => Verdict::Lost("ssh was killed".to_owned()),
    }
}

/// Why nobody got in, and what to do. `said` is all that ssh said.
pub(super) fn unreached(said: &str, login: &Login) -> (String, String) {
    let says = |words: &[&str]| words.iter().any(|word| said.contains(word));
    let Login { name, address, port, user, private_key, host_keys } = login;
    let line = last(said).unwrap_or("it said nothing").trim_end_matches('.');
    let key = private_key.path().display().to_string();
    if says(&["REMOTE HOST IDENTIFICATION HAS CHANGED", "Host key verification failed", "host key is known for"]) {
        let (cause, hint) = match host_keys {
            HostKeys::File(file) => (
                format!("no host key that {name} at {address} shows is in {}", file.path().display()),
                "on the template's console: cat /etc/ssh/ssh_host_ed25519_key.pub; a line `10.0.5.* ssh-ed25519 AAAA…` is for all \
                 clones of a template that does not make its keys anew",
            ),
            HostKeys::Pinned(_) => (
                format!("{name} at {address} shows another host key than the pinned one"),
                "does the template make its host keys anew at the first start (cloud-init does)? Then the pinned one is never \
                 shown: `ssh_deletekeys: false`, or another policy. Else somebody else answers at that address",
            ),
            HostKeys::AcceptNew => (
                format!("{name} at {address} shows another host key than the first time"),
                "does the guest make its keys anew while sshd runs already? Else somebody else answers at that address",
            ),
        };
        return (cause, hint.to_owned());
    }
    if says(&["UNPROTECTED PRIVATE KEY FILE", "bad permissions"]) {
        return (
            format!("others can read the private key {key}, and ssh does not take it"),
            format!("chmod 600 {key}"),
        );
    }
    if says(&["Permission denied", "Too many authentication failures", "No more authentication methods"]) {
        let hint = format!(
            "the public key of {key} must be in ~{user}/.ssh/authorized_keys of the template, and the key must have no passphrase; \
             try: ssh -v -i {key} -p {port} {user}@{address} true"
        );
        return (format!("{name} at {address} does not let {user} in: {line}"), hint);
    }
    if says(&["Connection refused"]) {
        let hint = format!("does sshd run in the guest, on port {port}? It may still be starting");
        return (format!("{name} at {address} refuses the connection"), hint);
    }
    if says(&["timed out", "No route to host", "Network is unreachable"]) {
        let hint =
            "is there a way from here to the guest's network, and no firewall in between? `via: GuestAgent` needs none";
        return (format!("{name} at {address} does not answer: {line}"), hint.to_owned());
    }
    (
        format!("ssh to {name} at {address}: {line}"),
        format!("try it by hand: ssh -v -i {key} -p {port} {user}@{address} true"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::ssh::options::Spot;
    use crate::host::token::Token;
    use std::path::Path;

    #[test]
    fn an_end_before_the_command_has_run_nothing() {
        let asked = "debug1: Sending command: /bin/sh -s -- runner\n";
        assert_eq!(verdict(Some(0), ""), Verdict::Done(0));
        assert_eq!(verdict(Some(64), asked), Verdict::Done(64));
        assert_eq!(verdict(Some(255), &format!("{asked}debug1: Exit status 255\n")), Verdict::Done(255));
        assert!(matches!(verdict(Some(255), &format!("{asked}debug1: Exit status -1\n")), Verdict::Lost(_)));
        assert!(matches!(verdict(None, asked), Verdict::Lost(_)));
        let refused = "debug1: Connecting to x\nssh: connect to host x port 22: Connection refused\r\n";
        assert_eq!(
            verdict(Some(255), refused),
            Verdict::NotBegun("ssh: connect to host x port 22: Connection refused".into())
        );
    }

    #[test]
    fn each_reason_has_its_way_out() {
        let login = |host_keys| Login {
            name: Token::own("ci-1"),
            address: "10.0.5.7".parse().expect("an address"),
            port: 22,
            user: Token::own("ci"),
            private_key: Spot::new(Path::new("/k/id")).expect("a plain name"),
            host_keys,
        };
        let file = HostKeys::File(Spot::new(Path::new("/k/hosts")).expect("a plain name"));
        let pinned = HostKeys::pinned("ssh-ed25519 AAAA").expect("a key");
        for (said, host_keys, cause, way) in [
            ("Host key verification failed.", file, "is in /k/hosts", "10.0.5.*"),
            ("Host key verification failed.", pinned, "than the pinned one", "ssh_deletekeys"),
            ("Host key verification failed.", HostKeys::AcceptNew, "than the first time", "somebody else"),
            (
                "ci@10.0.5.7: Permission denied (publickey).",
                HostKeys::AcceptNew,
                "does not let ci in",
                "authorized_keys",
            ),
            ("WARNING: UNPROTECTED PRIVATE KEY FILE!", HostKeys::AcceptNew, "/k/id", "chmod 600 /k/id"),
            ("ssh: connect to host 10.0.5.7 port 22: Connection refused", HostKeys::AcceptNew, "refuses", "sshd"),
            (
                "ssh: connect to host 10.0.5.7 port 22: Connection timed out",
                HostKeys::AcceptNew,
                "answer",
                "GuestAgent",
            ),
            ("new", HostKeys::AcceptNew, "ssh to ci-1 at 10.0.5.7: new", "ssh -v -i /k/id -p 22 ci@10.0.5.7 true"),
        ] {
            let (text, hint) = unreached(said, &login(host_keys));
            assert!(text.contains(cause) && hint.contains(way), "{text}: {hint}");
        }
    }
}
