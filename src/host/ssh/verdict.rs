//! What OpenSSH's client says about its end. It ends with 255 for any trouble of its own, and so do `pct` and everything else
//! in Perl that dies; only its log tells them apart. The log is a file of its own: what the node prints is not in it.

use crate::host::ssh::options::Target;

/// How a session ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::host) enum Verdict {
    /// The command ended with this code.
    Done(i32),
    /// The command was not begun: it may be tried again.
    NotBegun(String),
    /// It may have been begun, and how it ended is not known.
    Lost(String),
}

/// `mux.c`: what the client says when the connection that is kept open is gone, or takes no more sessions. Nothing was asked of
/// the node then.
const NOT_BEGUN: [&str; 6] = [
    "Control socket connect(",
    "\" does not exist",
    "master alive request failed",
    "master hello exchange failed",
    "session request failed",
    "Master refused session request",
];

/// What an end means. `log` is written with `LogLevel=DEBUG2`.
pub(super) fn verdict(code: Option<i32>, log: &str) -> Verdict {
    let says = |words: &str| log.contains(words);
    match code {
        Some(code) if code != 255 => Verdict::Done(code),
        Some(_) if says("Received exit status from master 255") => Verdict::Done(255),
        Some(_) if !says("read from master failed") && NOT_BEGUN.iter().any(|words| says(words)) => {
            Verdict::NotBegun(last(log).unwrap_or("the connection is gone").to_owned())
        }
        Some(_) => Verdict::Lost("the connection to the node ended before the command".to_owned()),
        None => Verdict::Lost("ssh was killed".to_owned()),
    }
}

/// The last line that is no trace.
pub(in crate::host) fn last(log: &str) -> Option<&str> {
    log.lines().map(str::trim).rfind(|line| !line.is_empty() && !line.starts_with("debug"))
}

/// Why a connection did not come about, and what to do. `said` is all that ssh said.
pub(super) fn unreached(said: &str, target: &Target, known_hosts: &str) -> (String, Option<String>) {
    let says = |words: &[&str]| words.iter().any(|w| said.contains(w));
    let Target { node, host, user, port } = target;
    let at = port.map(|port| format!("-p {port} ")).unwrap_or_default();
    let line = last(said).unwrap_or("it said nothing").trim_end_matches('.');
    let changed = "REMOTE HOST IDENTIFICATION HAS CHANGED";
    let (cause, hint) = if says(&[changed]) {
        (
            format!("the host key of {host} is another than the one in {known_hosts}"),
            format!(
                "somebody installed the node anew, or somebody else answers. On the console of {node}: ssh-keygen -lf \
                 /etc/ssh/ssh_host_ed25519_key.pub shows the true key; only if {host} has that one: ssh-keygen -R {host}, and \
                 log in once by hand"
            ),
        )
    } else if says(&["Host key verification failed", "host key is known for"]) {
        (
            format!("no host key of {host} is in {known_hosts}"),
            format!(
                "on the console of {node}: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub; then ssh {at}{user}@{host} by hand, \
                 and answer yes only if it shows the same key. The keys of all nodes stand in /etc/pve/nodes/*/ssh_known_hosts of \
                 any node: with a copy, `knownHosts: FILE` and `hostKeyAlias: true`"
            ),
        )
    } else if says(&["UNPROTECTED PRIVATE KEY FILE", "bad permissions"]) {
        ("others can read the private key, and ssh does not take it".to_owned(), "chmod 600 FILE".to_owned())
    } else if says(&["Permission denied", "Too many authentication failures", "No more authentication methods"]) {
        (
            format!("{host} does not let {user} in: {line}"),
            format!(
                "the public key must be in ~{user}/.ssh/authorized_keys there (for root of a cluster that is \
                 /etc/pve/priv/authorized_keys), and sshd must allow it (PermitRootLogin prohibit-password). ssh-add -l shows what \
                 the agent holds; try: ssh -v {at}{user}@{host} true"
            ),
        )
    } else if says(&["Could not resolve hostname"]) {
        (
            format!("{host} has no address"),
            format!("write its address into the context: link: {{ssh: {{nodes: {{{node}: {{host: ADDRESS}}}}}}}}"),
        )
    } else if says(&["Connection refused"]) {
        (
            format!("{host} refuses the connection"),
            format!("does sshd run there, on that port? On {node}: systemctl status ssh"),
        )
    } else if says(&["timed out", "No route to host", "Network is unreachable", "Operation timed out"]) {
        (
            format!("{host} does not answer: {line}"),
            format!(
                "is {node} up, is a firewall in between, is the address right? link.ssh.nodes.{node}.host names another"
            ),
        )
    } else if says(&["kex_exchange_identification", "Connection closed by", "Connection reset by"]) {
        (
            format!("{host} closed the connection before anybody logged in: {line}"),
            format!("sshd is overloaded (MaxStartups) or blocks us (fail2ban). On {node}: journalctl -u ssh"),
        )
    } else {
        (format!("ssh to {host}: {line}"), format!("try it by hand: ssh -v {at}{user}@{host} true"))
    };
    (cause, Some(hint))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::token::Token;

    #[test]
    fn an_exit_code_of_255_is_the_nodes_only_if_ssh_says_so() {
        assert_eq!(verdict(Some(0), ""), Verdict::Done(0));
        assert_eq!(verdict(Some(7), "debug2: Control master terminated unexpectedly"), Verdict::Done(7));
        assert_eq!(verdict(Some(255), "debug2: Received exit status from master 255\n"), Verdict::Done(255));
        let lost = |log| matches!(verdict(Some(255), log), Verdict::Lost(_));
        assert!(lost("debug1: master session id: 2\ndebug2: Control master terminated unexpectedly\n"));
        // The request was sent, and the fall-back of the client finds nothing after it.
        assert!(lost(
            "mux_client_request_session: read from master failed: Broken pipe\nControl socket connect(/x): gone\n"
        ));
        assert!(lost(""), "what is not known is not repeated");
        assert!(matches!(verdict(None, ""), Verdict::Lost(_)));
        for log in [
            "Control socket connect(/run/x): Connection refused\n",
            "debug1: Control socket \"/run/x\" does not exist\n",
            "mux_client_request_session: session request failed: Session open refused by peer\n",
        ] {
            assert!(matches!(verdict(Some(255), log), Verdict::NotBegun(_)), "{log}");
        }
    }

    #[test]
    fn each_reason_has_its_way_out() {
        let target =
            Target { node: Token::own("pve1"), host: Token::own("10.0.0.1"), user: Token::own("root"), port: Some(23) };
        for (said, cause, way) in [
            (
                "No ED25519 host key is known for [x]\r\nHost key verification failed.",
                "no host key of 10.0.0.1",
                "ssh -p 23 root@10.0.0.1",
            ),
            (
                "@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nHost key verification failed.",
                "another than",
                "ssh-keygen -R",
            ),
            (
                "root@10.0.0.1: Permission denied (publickey).",
                "does not let root in: root@10.0.0.1: Permission denied (publickey)",
                "authorized_keys",
            ),
            ("ssh: connect to host 10.0.0.1 port 22: Connection refused", "refuses", "sshd"),
            ("ssh: connect to host 10.0.0.1 port 22: No route to host", "does not answer", "firewall"),
            ("ssh: Could not resolve hostname pve1: Name or service not known", "has no address", "host: ADDRESS"),
            ("kex_exchange_identification: read: Connection reset by peer", "before anybody logged in", "MaxStartups"),
            (
                "Permissions 0644 for 'k' are too open.\nWARNING: UNPROTECTED PRIVATE KEY FILE!\nPermission denied",
                "others can read",
                "chmod 600",
            ),
            ("something new", "ssh to 10.0.0.1: something new", "ssh -v -p 23 root@10.0.0.1 true"),
            ("", "it said nothing", "ssh -v"),
        ] {
            let (text, hint) = unreached(said, &target, "known_hosts");
            assert!(text.contains(cause), "{text}");
            assert!(hint.as_deref().is_some_and(|hint| hint.contains(way)), "{hint:?}");
        }
    }
}
