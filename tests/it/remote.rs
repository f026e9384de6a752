//! Scenes of the real program against a simulated cluster over HTTPS: the real client, certificates, log-ins, endpoints that
//! are down, a server that dies in the middle. Each checks the exit code, what is said, and that it is said what to do.

use crate::cli::Said;
use pvectl::sim::Sim;
use pvectl::sim::baseline::Baseline;
use pvectl::sim::serve::{Ready, serve};
use pvectl::sim::world::AclEntry;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_pvectl");
const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
/// Nobody waits longer than this for anything.
const PATIENCE: Duration = Duration::from_secs(60);
const APPLY: &str = "apply -f manifests/homelab --yes";
const POOL: &str = "apiVersion: pvectl/v1alpha1\nkind: Pool\nmetadata: {name: lab}\nspec: {comment: one}\n";

// ---- servers ---------------------------------------------------------------------------------------------------------

/// `pvectl sim serve`, as a process of its own, whose state is kept.
pub(crate) struct Server {
    child: Child,
    pub(crate) ready: Ready,
}

impl Server {
    pub(crate) fn start(state: &Path, speed: &str) -> Server {
        let mut child = Command::new(PROGRAM)
            .args(["sim", "serve", "--listen", "127.0.0.1:0", "--speed", speed, "--state"])
            .arg(state)
            .env_clear()
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the simulator starts");
        let mut line = String::new();
        let out = child.stdout.take().expect("its output is ours");
        BufReader::new(out).read_line(&mut line).expect("it says that it is ready");
        let said: serde_json::Value = serde_json::from_str(&line).expect("the first line is JSON");
        let text = |key: &str| said[key].as_str().expect("a text").to_owned();
        let tokens = serde_json::from_value(said["tokens"].clone()).expect("tokens by id");
        Server { child, ready: Ready { url: text("url"), fingerprint: text("fingerprint"), tokens } }
    }

    /// Ends it in order; it writes its state.
    pub(crate) fn stop(mut self) {
        let id = self.child.id().to_string();
        Command::new("kill").args(["-TERM", &id]).status().expect("a signal can be sent");
        assert!(self.child.wait().expect("it ends").success(), "it ends in order");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The same server inside this process, so that a test can look at the world and count requests.
pub(crate) struct Inside {
    pub(crate) sim: Sim,
    pub(crate) ready: Ready,
    _runtime: tokio::runtime::Runtime,
}

impl Inside {
    pub(crate) fn start() -> Inside {
        let sim = Sim::new(Baseline::Homelab);
        sim.set_speed(Some(500.0));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.expect("threads can be started");
        let (sender, receiver) = std::sync::mpsc::channel();
        let served = sim.clone();
        runtime.spawn(async move {
            let ended = serve(served, ANY_PORT, |ready| sender.send(ready).expect("somebody waits")).await;
            ended.expect("it is served");
        });
        let ready = receiver.recv_timeout(PATIENCE).expect("the server comes up");
        Inside { sim, ready, _runtime: runtime }
    }

    /// Requests that are no reads.
    pub(crate) fn writes(&self) -> Vec<String> {
        let log = self.sim.request_log().into_iter();
        log.filter(|(method, _)| method != "GET").map(|(method, path)| format!("{method} {path}")).collect()
    }

    /// A privilege-separated token with a role of just these privileges, everywhere.
    pub(crate) fn grant(&self, privileges: &[&str]) {
        self.sim.with_world(|world| {
            world.roles.insert("few".into(), privileges.iter().map(|p| (*p).to_owned()).collect());
            world.acl.push(AclEntry {
                path: "/".into(),
                subject_type: "token".into(),
                subject: "admin@pve!priv".into(),
                role: "few".into(),
                propagate: true,
            });
        });
    }
}

/// A listener that shows a certificate and never gets further; how many came and what they said before they left.
struct Impostor {
    port: u16,
}

impl Impostor {
    /// With TLS and a certificate.
    fn with(certificate: rcgen::CertifiedKey<rcgen::KeyPair>) -> Impostor {
        let key = rustls::pki_types::PrivatePkcs8KeyDer::from(certificate.signing_key.serialize_der());
        let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("the usual versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.cert.der().clone()], key.into())
            .expect("key and certificate fit");
        let config = Arc::new(config);
        Impostor::listen(move |mut stream| {
            if let Ok(mut tls) = rustls::ServerConnection::new(Arc::clone(&config)) {
                while tls.is_handshaking() && tls.complete_io(&mut stream).is_ok() {}
            }
        })
    }

    /// Plain HTTP.
    fn plain() -> Impostor {
        Impostor::listen(|mut stream| {
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n");
        })
    }

    fn listen(answer: impl Fn(std::net::TcpStream) + Send + 'static) -> Impostor {
        let listener = TcpListener::bind(ANY_PORT).expect("a free port");
        let port = listener.local_addr().expect("it has an address").port();
        // Ends with the test's process.
        std::thread::spawn(move || listener.incoming().flatten().for_each(answer));
        Impostor { port }
    }

    fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }
}

/// A port that nobody listens on.
pub(crate) fn dead_port() -> u16 {
    TcpListener::bind(ANY_PORT).expect("a free port").local_addr().expect("it has an address").port()
}

// ---- the program -----------------------------------------------------------------------------------------------------

/// Somebody's machine: a home folder and an environment.
pub(crate) struct Client {
    home: TempDir,
    env: BTreeMap<&'static str, String>,
}

impl Client {
    /// Nothing but an address.
    fn bare(url: &str) -> Client {
        let home = TempDir::new().expect("a folder of its own");
        Client { home, env: BTreeMap::from([("PVECTL_ENDPOINT", url.to_owned())]) }
    }

    /// With a pinned fingerprint and a token.
    pub(crate) fn of(ready: &Ready, token: &str) -> Client {
        Client::bare(&ready.url)
            .with("PVECTL_FINGERPRINT", &ready.fingerprint)
            .with("PVECTL_TOKEN", &format!("{token}={}", ready.tokens[token]))
    }

    pub(crate) fn with(mut self, name: &'static str, value: &str) -> Client {
        self.env.insert(name, value.to_owned());
        self
    }

    pub(crate) fn without(mut self, name: &str) -> Client {
        self.env.remove(name);
        self
    }

    fn command(&self, words: &str) -> Command {
        let mut command = Command::new(PROGRAM);
        command
            .args(words.split_whitespace())
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .env_clear()
            .env("HOME", self.home.path())
            .envs(&self.env)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub(crate) fn run(&self, words: &str) -> Said {
        said(&self.command(words).output().expect("it runs"))
    }

    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        let path = self.home.path().join(name);
        std::fs::write(&path, text).expect("a file can be written");
        path.display().to_string()
    }
}

fn said(output: &std::process::Output) -> Said {
    Said {
        code: output.status.code().expect("it ended by itself"),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// A state file in a folder that lives as long as the test.
fn state() -> (TempDir, PathBuf) {
    let folder = TempDir::new().expect("a folder of its own");
    let path = folder.path().join("cluster.json");
    (folder, path)
}

// ---- it works --------------------------------------------------------------------------------------------------------

#[test]
fn the_homelab_over_https_with_a_pinned_fingerprint_and_a_token_and_then_quiet() {
    let (_folder, state) = state();
    let server = Server::start(&state, "300");
    let client = Client::of(&server.ready, "root@pam!test");
    client.run(APPLY).code(0).says("18 steps done; 8 of 8 objects are as their manifests say.");
    let quiet = client.run("diff -f manifests/homelab").code(0);
    assert_eq!(quiet.out, "Plan: 0 to create, 0 to update, 0 to delete, 8 unchanged.\n");
    assert_eq!(quiet.err, "");
    client.run(APPLY).code(0).says("Nothing to do: 8 objects are as their manifests say.");
    let listed = client.run("get vm -o name").code(0);
    assert!(listed.out.contains("VirtualMachine/web-02\n"), "{}", listed.out);
    server.stop();
    let kept = std::fs::read_to_string(&state).expect("the state is kept");
    assert!(kept.contains("web-02"), "the machines are in the state");
}

#[test]
fn the_certificate_as_ca_file_is_believed() {
    let server = Inside::start();
    let pem = certificate_of(&server.ready.url);
    let client = Client::of(&server.ready, "root@pam!test").without("PVECTL_FINGERPRINT");
    let ca = client.file("ca.pem", &pem);
    let client = client.with("PVECTL_CA_FILE", &ca);
    client.run("get vm -o name").code(0).says("VirtualMachine/opnsense");
    let empty = client.file("empty.pem", "nothing here\n");
    client
        .with("PVECTL_CA_FILE", &empty)
        .run("get vm")
        .code(2)
        .says("it holds no certificate (-----BEGIN CERTIFICATE-----)");
}

/// What a server shows, as PEM.
fn certificate_of(url: &str) -> String {
    let provider = rustls::crypto::ring::default_provider();
    // Another test may have installed it already.
    let _ = provider.install_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let der = runtime.block_on(async {
        let client = reqwest::Client::builder().tls_info(true).tls_danger_accept_invalid_certs(true).build();
        let answer = client.expect("a client").get(url).send().await.expect("the server answers");
        let info = answer.extensions().get::<reqwest::tls::TlsInfo>().expect("it was asked for");
        info.peer_certificate().expect("a server has a certificate").to_vec()
    });
    let base64 = base64(&der);
    let lines: Vec<&str> =
        base64.as_bytes().chunks(64).map(|c| std::str::from_utf8(c).expect("base64 is ASCII")).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().chain([0, 0].iter()).take(3).fold(0_u32, |w, b| (w << 8) | u32::from(*b));
        for i in 0..4 {
            let digit = DIGITS[(word >> (18 - 6 * i)) as usize & 63];
            out.push(if i <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    out
}

#[test]
fn a_user_and_a_password_get_a_ticket_that_may_set_what_no_token_may() {
    let server = Inside::start();
    let client = Client::of(&server.ready, "root@pam!test").without("PVECTL_TOKEN");
    let client = client.with("PVECTL_USERNAME", "root@pam").with("PVECTL_PASSWORD", "rootpw123");
    let file = client.file(
        "vm.yaml",
        "apiVersion: pvectl/v1alpha1\nkind: VirtualMachine\nmetadata: {name: odd}\nspec: {vmid: 150, node: pve1, options: {args: -snapshot}}\n",
    );
    client.run(&format!("apply -f {file} --yes")).code(0).says("1 step done; 1 of 1 objects");
    assert_eq!(server.writes(), ["POST /access/ticket", "POST /nodes/pve1/qemu"], "one log-in, one write");
    let args = server.sim.with_world(|w| w.guests[&150].config.get("args").cloned());
    assert_eq!(args.as_deref(), Some("-snapshot"));
    client.run(&format!("diff -f {file}")).code(0);
    let file = client.file(
        "vm.yaml",
        "apiVersion: pvectl/v1alpha1\nkind: VirtualMachine\nmetadata: {name: odd}\nspec: {vmid: 150, node: pve1, options: {args: -S}}\n",
    );
    let token = Client::of(&server.ready, "root@pam!test");
    let before = server.writes().len();
    token
        .run(&format!("apply -f {file} --yes"))
        .code(3)
        .says("vm.yaml:4:")
        .says("PVE lets only root@pam's own login set `args`")
        .says("log in with user root@pam and a password")
        .says("nothing was sent");
    assert_eq!(server.writes().len(), before);
}

#[test]
fn with_several_endpoints_the_first_that_lives_is_taken() {
    let server = Inside::start();
    let urls = format!("https://127.0.0.1:{},{}", dead_port(), server.ready.url);
    let client = Client::of(&server.ready, "root@pam!test").with("PVECTL_ENDPOINT", &urls);
    let file = client.file("pool.yaml", POOL);
    client.run(&format!("apply -f {file} --yes")).code(0).says("1 of 1 objects are as their manifests say");
    client.run(&format!("diff -f {file}")).code(0);
    assert_eq!(server.writes(), ["POST /pools"]);
    let dead = format!("https://127.0.0.1:{},https://127.0.0.1:{}", dead_port(), dead_port());
    let said = client.with("PVECTL_ENDPOINT", &dead).run(&format!("diff -f {file}")).code(3);
    assert_eq!(said.err.matches("refused the connection on port").count(), 2, "both are named: {}", said.err);
}

#[test]
fn a_look_sends_no_write() {
    let server = Inside::start();
    let client = Client::of(&server.ready, "root@pam!test");
    let settled = |world: String| {
        let mut world: serde_json::Value = serde_json::from_str(&world).expect("a world is JSON");
        world["clock_ms"] = serde_json::Value::Null;
        world["statistics"] = serde_json::Value::Null;
        world
    };
    let before = settled(server.sim.save());
    client.run("diff -f manifests/homelab").code(1).says("Plan: 8 to create");
    client.run("plan -f manifests/homelab").code(0).says("Plan: 8 to create");
    client.run("apply -f manifests/homelab --dry-run").code(0).says("Plan: 8 to create");
    client.run("apply -f manifests/homelab").code(3).says("not agreed to; nothing was sent").says("say --yes");
    client.run("drift -f manifests/homelab").code(0);
    client.run("get pool").code(0);
    client.run("describe vm opnsense").code(0);
    assert_eq!(server.writes(), Vec::<String>::new());
    assert!(server.sim.requests() > 30, "it was asked: {} requests", server.sim.requests());
    assert_eq!(before, settled(server.sim.save()), "the cluster is what it was");
}

// ---- the way there ---------------------------------------------------------------------------------------------------

#[test]
fn a_refused_connection_says_which_port_and_what_to_look_at() {
    let port = dead_port();
    let client = Client::bare(&format!("https://127.0.0.1:{port}")).with("PVECTL_TOKEN", "root@pam!test=x");
    let said = client.run(APPLY).code(1);
    let wanted = format!(
        "error: GET /cluster/tasks was not sent: 127.0.0.1 refused the connection on port {port}\n\
         hint: is the port right (8006 by default), and does pveproxy run there? systemctl status pveproxy\n"
    );
    assert_eq!((said.out.as_str(), said.err), ("", wanted.clone()));
    assert_eq!(client.run("diff -f manifests/homelab").code(3).err, wanted);
}

#[test]
fn an_unknown_name_says_that_it_is_the_name() {
    let client = Client::bare("pve1.invalid").with("PVECTL_TOKEN", "root@pam!test=x");
    client
        .run("diff -f manifests/homelab")
        .code(3)
        .says("the name pve1.invalid could not be resolved")
        .says("hint: check the endpoint's spelling and this machine's DNS: getent hosts pve1.invalid");
}

#[test]
fn plain_http_is_told_from_a_port_that_speaks_no_tls() {
    let client = Client::bare("http://127.0.0.1:8006").with("PVECTL_TOKEN", "root@pam!test=x");
    let said = client.run(APPLY).code(2);
    insta::assert_snapshot!(said.err, @"error: PVECTL_ENDPOINT: `http://127.0.0.1:8006` is not an endpoint: Proxmox VE speaks https only; write it like https://pve1.example.com:8006");
    let plain = Impostor::plain();
    client
        .with("PVECTL_ENDPOINT", &plain.url())
        .run(APPLY)
        .code(1)
        .says(&format!("https://127.0.0.1:{} does not speak TLS", plain.port))
        .says("hint: is the port right? Proxmox VE's API is https on port 8006");
}

#[test]
fn a_wrong_fingerprint_shows_both_and_says_how_to_check() {
    let server = Inside::start();
    let wrong = ["AB"; 32].join(":");
    let client = Client::of(&server.ready, "root@pam!test").with("PVECTL_FINGERPRINT", &wrong);
    let said = client.run(APPLY).code(1).says("is not the pinned one");
    assert!(
        said.err.contains(&format!("\n  pinned: {wrong}\n  server: {}\n", server.ready.fingerprint)),
        "{}",
        said.err
    );
    said.says("compare with `pvenode cert info` on the node and pin the new one; if not, somebody is in between");
    assert_eq!(server.sim.requests(), 0, "nothing is said to a stranger, the token least of all");
    client
        .with("PVECTL_FINGERPRINT", "AB:CD")
        .run(APPLY)
        .code(2)
        .says("PVECTL_FINGERPRINT: `AB:CD` is not a certificate fingerprint: it has 2 bytes; SHA-256 has 32");
}

#[test]
fn an_unknown_issuer_names_the_fingerprint_to_pin() {
    let server = Inside::start();
    let client = Client::of(&server.ready, "root@pam!test").without("PVECTL_FINGERPRINT");
    client
        .run("diff -f manifests/homelab")
        .code(3)
        .says("is from an unknown issuer")
        .says(&format!("pin it: fingerprint: \"{}\"", server.ready.fingerprint))
        .says("or trust the cluster's CA with caFile (a copy of /etc/pve/pve-root-ca.pem)");
    assert_eq!(server.sim.requests(), 0, "nothing is said to a stranger");
}

#[test]
fn an_expired_certificate_says_since_when_and_how_to_renew_it() {
    let signing_key = rcgen::KeyPair::generate().expect("a key");
    let mut params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("a name");
    params.not_before = rcgen::date_time_ymd(2020, 1, 2);
    params.not_after = rcgen::date_time_ymd(2021, 3, 4);
    let cert = params.self_signed(&signing_key).expect("it signs itself");
    let pem = cert.pem();
    let old = Impostor::with(rcgen::CertifiedKey { cert, signing_key });
    let client = Client::bare(&old.url()).with("PVECTL_TOKEN", "root@pam!test=x");
    let ca = client.file("ca.pem", &pem);
    client
        .with("PVECTL_CA_FILE", &ca)
        .run(APPLY)
        .code(1)
        .says(&format!("the certificate of {} expired on 2021-03-04", old.url()))
        .says("hint: renew it on the node (pvecm updatecerts --force");
}

// ---- who we are ------------------------------------------------------------------------------------------------------

#[test]
fn a_wrong_secret_and_an_unknown_token_say_what_to_check() {
    let server = Inside::start();
    let client = Client::of(&server.ready, "root@pam!test");
    for token in ["root@pam!test=00000000-0000-0000-0000-000000000000", "root@pam!nobody=x", "nobody@pve!a=x"] {
        let client = Client::of(&server.ready, "root@pam!test").with("PVECTL_TOKEN", token);
        let said = client.run(APPLY).code(1).says("GET /cluster/tasks was refused: 401 Authentication failed!");
        let said = said.says(
            "hint: the token or the ticket was not accepted: check the token id (user@realm!name) and its secret",
        );
        let secret = token.split_once('=').expect("a token").1;
        assert!(secret == "x" || !said.err.contains(secret), "the secret is not repeated");
    }
    client
        .with("PVECTL_TOKEN", "root@pam=secretsecret")
        .run(APPLY)
        .code(2)
        .says("PVECTL_TOKEN: this is not a token id; it looks like root@pam!pvectl (user@realm!name)");
    assert_eq!(server.writes(), Vec::<String>::new());
}

#[test]
fn a_wrong_password_is_tried_once_and_speaks_of_the_password() {
    let server = Inside::start();
    let client = Client::of(&server.ready, "root@pam!test").without("PVECTL_TOKEN");
    let client = client.with("PVECTL_USERNAME", "root@pam").with("PVECTL_PASSWORD", "open sesame");
    let said = client.run(APPLY).code(1);
    insta::assert_snapshot!(said.err, @r"
    error: POST /access/ticket was refused: 401 authentication failure
    hint: check the user (with its realm: root@pam, admin@pve), the password, and that the user is enabled
    ");
    assert_eq!(server.writes(), ["POST /access/ticket"], "a node that bans addresses counts each attempt");
}

#[test]
fn nobody_to_be_is_told_how_to_make_a_token() {
    let server = Inside::start();
    let client = Client::of(&server.ready, "root@pam!test").without("PVECTL_TOKEN");
    let said = client.run(APPLY).code(2).says("no credentials are configured for https://127.0.0.1:");
    said.says("pveum user token add root@pam pvectl --privsep 0");
    client.without("PVECTL_ENDPOINT").run(APPLY).code(2).says("no Proxmox VE cluster is configured").says("--sim");
}

#[test]
fn a_token_that_may_not_even_look_is_told_what_it_lacks() {
    let server = Inside::start();
    let client = Client::of(&server.ready, "admin@pve!priv");
    client
        .run("diff -f manifests/homelab")
        .code(3)
        .says("GET /cluster/status was refused: 403 Permission check failed (/, Sys.Audit)")
        .says("pveum role modify ROLE --append 1 --privs Sys.Audit")
        .says("pveum acl modify / --tokens 'USER@REALM!NAME' --roles ROLE");
}

#[test]
fn every_missing_privilege_is_named_with_its_path_and_the_command_that_grants_it_and_nothing_is_sent() {
    let server = Inside::start();
    server.grant(&["Sys.Audit", "VM.Audit", "Pool.Audit", "Datastore.Audit", "SDN.Audit", "VM.Config.Disk"]);
    let client = Client::of(&server.ready, "admin@pve!priv");
    let said = client.run(APPLY).code(3).says("things stand against this plan; nothing was sent");
    let missing: BTreeSet<&str> =
        said.err.lines().filter_map(|line| line.split_once("the privilege ")?.1.strip_suffix(" is missing")).collect();
    let wanted = BTreeSet::from([
        "Datastore.AllocateSpace on /storage/local-lvm",
        "Pool.Allocate on /pool/infra",
        "Pool.Allocate on /pool/web",
        "SDN.Use on /sdn/zones/localnetwork/vmbr0",
        "Sys.Modify on /",
        "VM.Allocate on /vms/100",
        "VM.Allocate on /vms/101",
        "VM.Allocate on /vms/102",
        "VM.Allocate on /vms/103",
        "VM.Allocate on /vms/200",
        "VM.Allocate on /vms/9000",
        "VM.Clone on /vms/8000",
        "VM.Clone on /vms/9000",
        "VM.Config.CPU on /vms/100",
        "VM.Config.CPU on /vms/101",
        "VM.Config.CPU on /vms/102",
        "VM.Config.CPU on /vms/103",
        "VM.Config.CPU on /vms/200",
        "VM.Config.Cloudinit on /vms/101",
        "VM.Config.Cloudinit on /vms/103",
        "VM.Config.HWType on /vms/102",
        "VM.Config.Memory on /vms/100",
        "VM.Config.Memory on /vms/101",
        "VM.Config.Memory on /vms/102",
        "VM.Config.Memory on /vms/103",
        "VM.Config.Memory on /vms/200",
        "VM.Config.Network on /vms/100",
        "VM.Config.Network on /vms/101",
        "VM.Config.Network on /vms/102",
        "VM.Config.Network on /vms/103",
        "VM.Config.Network on /vms/200",
        "VM.Config.Options on /vms/100",
        "VM.Config.Options on /vms/101",
        "VM.Config.Options on /vms/102",
        "VM.Config.Options on /vms/103",
        "VM.Config.Options on /vms/200",
        "VM.Config.Options on /vms/9000",
        "VM.PowerMgmt on /vms/100",
        "VM.PowerMgmt on /vms/101",
        "VM.PowerMgmt on /vms/103",
        "VM.PowerMgmt on /vms/200",
    ]);
    assert_eq!(missing, wanted);
    for (privilege, path) in missing.iter().filter_map(|m| m.split_once(" on ")) {
        assert!(said.err.contains(&format!("pveum role modify ROLE --append 1 --privs {privilege}")), "{privilege}");
        assert!(said.err.contains(&format!("pveum acl modify {path} --tokens")), "{path}");
    }
    assert_eq!(server.writes(), Vec::<String>::new());
    // With exactly what was named it works.
    let granted: Vec<&str> = missing.iter().filter_map(|m| m.split(' ').next()).collect();
    server.sim.with_world(|w| {
        w.roles.entry("few".into()).or_default().extend(granted.iter().map(|p| (*p).to_owned()));
    });
    client.run(APPLY).code(0).says("8 of 8 objects are as their manifests say");
}

// ---- a cluster that is not well --------------------------------------------------------------------------------------

#[test]
fn a_node_that_is_off_is_said_and_its_guests_are_left_alone() {
    let server = Inside::start();
    let client = Client::of(&server.ready, "root@pam!test");
    client.run(APPLY).code(0);
    let before = server.writes().len();
    server.sim.with_world(|w| w.nodes.get_mut("pve2").expect("it is there").online = false);
    // Others get what is theirs.
    server.sim.with_world(|w| w.edit_guest(200, "cores", Some("7")));
    client
        .run(APPLY)
        .code(1)
        .says("left alone: node `pve2` does not answer")
        .says("✓ Container/pg-01: configure lxc 200 (1 option)")
        .says("1 step done; 6 of 8 objects are as their manifests say.")
        .says("left: Container/dns-01, VirtualMachine/pxe-lab")
        .says("hint: node pve2 does not answer: bring it back, then run the same command again");
    client
        .run("diff -f manifests/homelab")
        .code(3)
        .says("2 objects could not be compared: node pve2 does not answer")
        .says("hint: look at it with pvecm status");
    assert_eq!(server.writes()[before..], ["PUT /nodes/pve1/lxc/200/config"], "what cannot be seen is not made twice");
    // What would be new there cannot be made.
    let file = client.file(
        "vm.yaml",
        "apiVersion: pvectl/v1alpha1\nkind: VirtualMachine\nmetadata: {name: new}\nspec: {vmid: 150, node: pve2}\n",
    );
    client
        .run(&format!("apply -f {file} --set other --yes"))
        .code(1)
        .says("left alone: node `pve2` does not answer")
        .says("left: VirtualMachine/new")
        .says("hint: node pve2 does not answer");
    client
        .run("delete vm pxe-lab --yes --allow data-loss")
        .code(3)
        .says("node pve2 does not answer, and what is on it");
    assert_eq!(server.writes().len(), before + 1);
}

#[test]
fn without_a_quorum_nothing_is_sent() {
    let server = Inside::start();
    let client = Client::of(&server.ready, "root@pam!test");
    client.run(APPLY).code(0);
    let before = server.writes().len();
    server.sim.with_world(|w| w.quorate = false);
    let pool = client.file("pool.yaml", POOL);
    let vm = client.file(
        "vm.yaml",
        "apiVersion: pvectl/v1alpha1\nkind: VirtualMachine\nmetadata: {name: new}\nspec: {vmid: 150, node: pve2}\n",
    );
    for file in [pool, vm] {
        client
            .run(&format!("apply -f {file} --set other --yes"))
            .code(3)
            .says("the cluster has no quorum, so nothing can be written")
            .says("help: bring nodes back; pvecm status shows the votes");
    }
    client.run("delete vm web-01 --yes --allow data-loss").code(3).says("the cluster has no quorum");
    // A look is no write.
    client.run("diff -f manifests/homelab").code(0);
    assert_eq!(server.writes().len(), before);
}

#[test]
fn a_server_that_dies_in_the_middle_leaves_word_of_what_is_done_and_what_is_left() {
    let (_folder, state) = state();
    let server = Server::start(&state, "4");
    let client = Client::of(&server.ready, "root@pam!test");
    let mut apply = client.command(APPLY).spawn().expect("it runs");
    let talk = apply.stderr.take().expect("its talk is ours");
    let mut talk = BufReader::new(talk);
    let mut heard = String::new();
    let started = Instant::now();
    // The template takes five seconds to copy; the first container is made by then.
    while !heard.contains("create lxc") {
        assert!(started.elapsed() < PATIENCE && talk.read_line(&mut heard).expect("it talks") > 0, "it ended: {heard}");
    }
    server.stop();
    talk.read_to_string(&mut heard).expect("it talks to the end");
    let mut out = String::new();
    apply.stdout.take().expect("its output is ours").read_to_string(&mut out).expect("it prints");
    let code = apply.wait().expect("it ends").code();
    let said = Said { code: code.expect("it ended by itself"), out, err: heard };
    let said = said
        .code(1)
        .says("  ✓ Pool/infra: create pool infra")
        .says("refused the connection on port")
        .says(" done before that")
        .says("hint: when the cluster answers again, run the same command: it goes on from what is there");
    let left = said.err.lines().find_map(|l| l.trim().strip_prefix("left: ")).expect("it says what is left");
    assert!(left.contains("GuestTemplate/debian-12-base") && left.contains("VirtualMachine/web-01"), "{left}");
    assert!(!left.contains("Pool/infra"), "what is done is not left: {left}");

    let server = Server::start(&state, "300");
    let client = Client::of(&server.ready, "root@pam!test");
    client.run(APPLY).code(0).says("8 of 8 objects are as their manifests say");
    client.run("diff -f manifests/homelab").code(0);
    server.stop();
    let world: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(&state).expect("the state is kept")).expect("it is JSON");
    let guests: Vec<&String> = world["guests"].as_object().expect("guests").keys().collect();
    assert_eq!(guests, ["100", "101", "102", "103", "200", "8000", "8100", "8200", "9000"], "nothing was made twice");
}

#[test]
fn an_interrupted_run_says_what_that_means_and_is_finished_by_the_next() {
    let (_folder, state) = state();
    let server = Server::start(&state, "4");
    let client = Client::of(&server.ready, "root@pam!test");
    let mut apply = client.command(APPLY).spawn().expect("it runs");
    let mut talk = BufReader::new(apply.stderr.take().expect("its talk is ours"));
    let mut heard = String::new();
    while !heard.contains("create pool") {
        assert!(talk.read_line(&mut heard).expect("it talks") > 0, "it ended: {heard}");
    }
    Command::new("kill").args(["-INT", &apply.id().to_string()]).status().expect("a signal can be sent");
    talk.read_to_string(&mut heard).expect("it talks to the end");
    assert_eq!(apply.wait().expect("it ends").code(), Some(1), "{heard}");
    assert!(heard.contains("error: interrupted") && heard.contains("goes on from what is there"), "{heard}");
    server.stop();
    let server = Server::start(&state, "300");
    let client = Client::of(&server.ready, "root@pam!test");
    client.run(APPLY).code(0).says("8 of 8 objects are as their manifests say");
}
