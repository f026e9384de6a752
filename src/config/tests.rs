//! The configuration, from texts to a connection.

use super::connect::{Commands, connect, find, open};
use super::error::ConfigError;
use super::file::{load, parse};
use super::resolve::{Connection, Flags, Origin, TlsChoice, resolve};
use std::path::Path;

const FILE: &str = "
currentContext: home
contexts:
  home:
    endpoints: [https://pve1:8006, pve2]
    auth:
      token: {id: root@pam!pvectl, secret: {file: home.token}}
    tls: {caFile: pve-root-ca.pem}
  lab:
    endpoint: 192.168.1.10/api2/json
    auth: {user: root, realm: pve, password: {env: LAB_PASSWORD}}
    tls: {insecure: true}
";

fn run(flags: &Flags, env: &[(&str, &str)], file: Option<&str>) -> Result<Connection, ConfigError> {
    let env = |name: &str| env.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned());
    let file = file.map(|text| parse(Path::new("/etc/pvectl/config.yaml"), text)).transpose()?;
    resolve(flags, &env, file)
}

fn shown(connection: &Connection) -> String {
    let lines: Vec<String> =
        connection.origins().iter().map(|(what, value, from)| format!("{what}: {value} ({from})")).collect();
    lines.join("\n")
}

#[track_caller]
fn fails(flags: &Flags, env: &[(&str, &str)], file: Option<&str>, words: &[&str]) {
    let error = run(flags, env, file).unwrap_err();
    let text = format!("{error}\nhint: {}", error.hint().unwrap_or_default());
    for word in words {
        assert!(text.contains(word), "`{word}` is missing in:\n{text}");
    }
    assert!(!text.contains("s3cret"), "{text}");
}

#[test]
fn the_current_context_counts_and_says_so() {
    let connection = run(&Flags::default(), &[], Some(FILE)).unwrap();
    assert_eq!(
        shown(&connection),
        "endpoint: https://pve1:8006, https://pve2:8006 (context `home` in /etc/pvectl/config.yaml)\n\
         auth: token root@pam!pvectl (context `home` in /etc/pvectl/config.yaml)\n\
         tls: CA file /etc/pvectl/pve-root-ca.pem (context `home` in /etc/pvectl/config.yaml)"
    );
}

#[test]
fn own_variables_overrule_the_current_context_but_not_a_named_one() {
    let env = [("PVECTL_TOKEN", "a@pve!b=s3cret"), ("LAB_PASSWORD", "s3cret")];
    let connection = run(&Flags::default(), &env, Some(FILE)).unwrap();
    assert_eq!(connection.credentials.origin, Origin::Environment("PVECTL_TOKEN"));
    assert_eq!(connection.credentials.value.to_string(), "token a@pve!b");
    let flags = Flags { context: Some("lab".to_owned()), ..Flags::default() };
    let connection = run(&flags, &env, Some(FILE)).unwrap();
    assert_eq!(connection.credentials.value.to_string(), "password of root@pve");
    assert_eq!(connection.tls.value, TlsChoice::Insecure);
    let flags = Flags { endpoints: vec!["other".to_owned()], ..flags };
    assert_eq!(run(&flags, &env, Some(FILE)).unwrap().tls.value, TlsChoice::System, "insecure is for its own endpoint");
    assert!(!format!("{connection:?}").contains("s3cret"));
}

#[test]
fn the_names_of_others_count_without_a_context() {
    let env = [
        ("PROXMOX_VE_ENDPOINT", "https://pve1/"),
        ("PROXMOX_VE_USERNAME", "root@pam"),
        ("PROXMOX_VE_PASSWORD", "s3cret"),
        ("PROXMOX_VE_INSECURE", "true"),
    ];
    let connection = run(&Flags::default(), &env, None).unwrap();
    assert_eq!(
        shown(&connection),
        "endpoint: https://pve1:8006 (PROXMOX_VE_ENDPOINT)\nauth: password of root@pam (PROXMOX_VE_USERNAME)\n\
         tls: insecure: certificates are not checked (PROXMOX_VE_INSECURE)"
    );
    let connection = run(&Flags::default(), &env, Some(FILE)).unwrap();
    assert!(matches!(connection.endpoints.origin, Origin::Context { .. }));
    assert!(connection.warnings[0].contains("PROXMOX_VE_* variables do not count"));
}

#[test]
fn a_token_may_be_in_one_piece_or_in_two() {
    let endpoint = ("PVECTL_ENDPOINT", "pve1,pve2");
    let two = [endpoint, ("PVECTL_TOKEN_ID", "a@pve!b"), ("PVECTL_TOKEN_SECRET_FILE", "/x")];
    let connection = run(&Flags::default(), &two, None).unwrap();
    assert_eq!(
        (connection.endpoints.value.len(), connection.credentials.value.to_string()),
        (2, "token a@pve!b".into())
    );
    fails(&Flags::default(), &two[..2], None, &["PVECTL_TOKEN_SECRET"]);
    fails(
        &Flags::default(),
        &[endpoint, ("PVECTL_TOKEN", "s3cret")],
        None,
        &["PVECTL_TOKEN: ", "user@realm!name=secret"],
    );
    fails(&Flags::default(), &[endpoint, ("PVECTL_TOKEN", "root=s3cret")], None, &["root@pam!pvectl"]);
    fails(&Flags::default(), &[endpoint, ("PVECTL_TOKEN", "a@b!c=d"), two[1]], None, &["exclude each other"]);
}

#[test]
fn nothing_configured_says_what_to_write() {
    fails(&Flags::default(), &[], None, &["no Proxmox VE cluster", "config.yaml", "PVECTL_ENDPOINT", "--sim"]);
    fails(
        &Flags::default(),
        &[("PVECTL_ENDPOINT", "pve1")],
        None,
        &["no credentials", "https://pve1:8006", "PVECTL_TOKEN"],
    );
    fails(&Flags::default(), &[("PVECTL_CONTEXT", "hme")], Some(FILE), &["no context `hme`", "did you mean `home`"]);
    fails(&Flags::default(), &[("PVECTL_CONTEXT", "home")], None, &["no configuration file"]);
    fails(&Flags::default(), &[("PVECTL_ENDPOINT", "http://pve1")], None, &["PVECTL_ENDPOINT: ", "https only"]);
}

#[test]
fn the_file_is_strict_and_quiet_about_secrets() {
    let file = |auth: &str| format!("contexts:\n  home:\n    endpoint: pve1\n    auth: {auth}\n");
    for (auth, words) in [
        ("{tokn: {}}", ["config.yaml:4:", "unknown field `tokn`"]),
        ("{token: {id: a@b!c, secret: s3cret}}", ["config.yaml:4:", "{file: path}"]),
        ("{token: {id: a@b!c, secret: {env: A, value: s3cret}}}", ["config.yaml:4:", "exactly one"]),
        ("{token: {id: s3cret, secret: {value: x}}}", ["context `home`", "not a token id"]),
        ("{user: root@pam}", ["context `home`", "auth.password"]),
        ("{user: a, password: {env: UNSET}}", ["context `home`", "UNSET, which is not set"]),
        ("{token: {id: a@b!c, secret: {value: x}}, user: a}", ["context `home`", "one of them"]),
    ] {
        fails(&Flags::default(), &[], Some(&file(auth)), &words);
    }
    let both = "contexts: {a: {endpoint: x, tls: {insecure: true, caFile: y}}}";
    fails(&Flags::default(), &[], Some(both), &["exclude each other"]);
    let number = file("{user: a, password: {value: 123456}}");
    let error = run(&Flags::default(), &[], Some(&number)).unwrap_err().to_string();
    assert!(error.contains("quoted text") && !error.contains("123456"), "{error}");
}

#[test]
fn a_file_is_found_read_and_connected() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().to_str().unwrap().to_owned();
    let env = move |name: &str| (name == "XDG_CONFIG_HOME").then(|| home.clone());
    assert!(find(&Flags::default(), &env).unwrap().is_none());
    std::fs::create_dir(folder.path().join("pvectl")).unwrap();
    let path = folder.path().join("pvectl/config.yaml");
    let text = "contexts: {a: {endpoint: x, auth: {token: {id: a@b!c, secret: {value: x}}}}}";
    std::fs::write(&path, text).unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(load(&path).unwrap().unwrap().warnings[0].contains("chmod 600"));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    let connection = open(&Flags::default(), &env).unwrap();
    assert!(connection.warnings.is_empty());
    assert_eq!(connect(connection, &Echo).unwrap().endpoint().to_string(), "https://x:8006");
    std::fs::write(&path, text.replace("value: x", "file: absent.token")).unwrap();
    let error = connect(open(&Flags::default(), &env).unwrap(), &Echo).err().unwrap().to_string();
    assert!(error.contains("pvectl/absent.token cannot be read"), "{error}");
    let flags = Flags { config: Some(folder.path().join("none.yaml")), ..Flags::default() };
    assert!(find(&flags, &env).unwrap_err().to_string().contains("no such file"));
}

/// Tells its last word; fails for one word alone.
struct Echo;

impl Commands for Echo {
    fn run(&self, words: &[String]) -> Result<crate::base::secret::Secret, String> {
        match words {
            [_, .., last] => Ok(crate::base::secret::Secret::new(last.clone())),
            [_] | [] => Err("it ended with 1".to_owned()),
        }
    }
}

#[test]
fn a_secret_may_be_what_a_program_prints() {
    let file =
        |secret: &str| format!("contexts: {{a: {{endpoint: x, auth: {{token: {{id: a@b!c, secret: {secret}}}}}}}}}");
    let made = |secret: &str| run(&Flags::default(), &[], Some(&file(secret))).map(|c| connect(c, &Echo).map(|_| ()));
    assert_eq!(made("{command: [pass, show, pve]}"), Ok(Ok(())));
    let error = made("{command: [pass]}").unwrap().unwrap_err();
    assert_eq!(error.to_string(), "the secret's command `pass` failed: it ended with 1");
    assert!(error.hint().is_some_and(|hint| hint.contains("by hand")));
    for wrong in ["{command: []}", "{command: [a], env: B}"] {
        assert!(made(wrong).unwrap_err().to_string().contains("{command: [program, argument]}"), "{wrong}");
    }
    assert!(made("{command: pass show}").is_err(), "a line is for a shell, and there is none");
}

fn linked(link: &str) -> String {
    format!(
        "contexts:\n  home:\n    endpoint: pve1\n    auth: {{token: {{id: a@b!c, secret: {{value: x}}}}}}\n    link: {link}\n"
    )
}

#[test]
fn a_context_has_its_host_link() {
    let file = "{local: true, ssh: {user: admin, port: 2222, privateKey: keys/id, knownHosts: ~/hosts, hostKeyAlias: true, \
                jump: me@bastion, connectTimeout: 3s, nodes: {pve2: {host: 10.0.0.2}}}}";
    let connection = run(&Flags::default(), &[("HOME", "/home/me")], Some(&linked(file))).unwrap();
    assert!(
        shown(&connection).ends_with(
            "link: this machine for itself, ssh as admin through bastion (context `home` in /etc/pvectl/config.yaml)"
        ),
        "{}",
        shown(&connection)
    );
    let link = connection.link.unwrap().value;
    let ssh = link.ssh.unwrap();
    assert!(link.local && ssh.host_key_alias);
    assert_eq!(ssh.private_key.unwrap().path(), Path::new("/etc/pvectl/keys/id"));
    assert_eq!(ssh.known_hosts.unwrap().path(), Path::new("/home/me/hosts"));
    assert_eq!((ssh.port, ssh.connect_timeout.as_secs(), ssh.nodes.len()), (Some(2222), 3, 1));
    let plain = run(&Flags::default(), &[], Some(&linked("{ssh: {}}"))).unwrap().link.unwrap().value;
    assert_eq!((plain.local, plain.ssh.unwrap().user.to_string()), (false, "root".to_owned()));
    assert!(run(&Flags::default(), &[], Some(FILE)).unwrap().link.is_none());
}

#[test]
fn a_host_link_is_for_the_nodes_of_its_own_cluster() {
    let other = Flags { endpoints: vec!["other".to_owned()], ..Flags::default() };
    let connection = run(&other, &[], Some(&linked("{ssh: {}}"))).unwrap();
    assert!(connection.link.is_none(), "another cluster may have nodes of the same names");
    assert!(connection.warnings[0].contains("does not count"), "{:?}", connection.warnings);
    // The environment names no nodes.
    let env = [("PVECTL_LINK", "ssh"), ("PVECTL_SSH_KEY_FILE", "/k"), ("PVECTL_SSH_USER", "admin")];
    let connection = run(&other, &env, Some(&linked("{local: true}"))).unwrap();
    let link = connection.link.unwrap();
    assert_eq!((link.origin.to_string(), link.value.to_string()), ("PVECTL_LINK".into(), "ssh as admin".into()));
    fails(&Flags::default(), &[("PVECTL_LINK", "telnet")], Some(FILE), &["PVECTL_LINK: `telnet` is neither"]);
}

#[test]
fn a_wrong_host_link_says_what_to_write() {
    for (link, words) in [
        ("{}", ["link needs `local: true` or `ssh`", "context `home`"]),
        ("{ssh: {usr: x}}", ["unknown field `usr`", "config.yaml:5:"]),
        ("{ssh: []}", ["expected a mapping with `user`", "config.yaml:5:"]),
        ("{ssh: {user: \"a b\"}}", ["link.ssh.user: `a b`", "context `home`"]),
        ("{ssh: {user: -oProxyCommand=x}}", ["link.ssh.user", "plain name"]),
        ("{ssh: {jump: \"a b\"}}", ["link.ssh.jump: `a b`", "[USER@]HOST[:PORT]"]),
        ("{ssh: {port: 0}}", ["link.ssh.port", "no port 0"]),
        ("{ssh: {port: 70000}}", ["70000", "config.yaml:5:"]),
        ("{ssh: {connectTimeout: 1h}}", ["link.ssh.connectTimeout: `1h`", "between 1s and 5m"]),
        ("{ssh: {privateKey: \"/a b\"}}", ["link.ssh.privateKey: /a b", "characters"]),
        ("{ssh: {nodes: {pve1: {host: \"$(id)\"}}}}", ["link.ssh.nodes.pve1.host: `$(id)`", "plain name"]),
        ("{ssh: {nodes: {-x: {}}}}", ["link.ssh.nodes: `-x`", "no name of a node"]),
    ] {
        fails(&Flags::default(), &[], Some(&linked(link)), &words);
    }
}
