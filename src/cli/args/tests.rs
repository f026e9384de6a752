//! Lines that are understood, and lines that are not.

use super::*;
use clap::CommandFactory;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(line.split(' '))
}

#[test]
fn arguments_are_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn lines_that_are_understood() {
    for line in [
        "pvectl --sim apply -f manifests/homelab --yes",
        "pvectl apply -f a -f - -R -l app=web --set s --prune --max-deletes 3 --allow data-loss --dry-run --sim",
        "pvectl apply saved.plan --yes",
        "pvectl diff -f a --exit-code=false -o json",
        "pvectl plan -f a -o saved.plan --output json",
        "pvectl delete VirtualMachine web-01 --yes",
        "pvectl delete -f a",
        "pvectl get pools web -o yaml --context home -vv",
        "pvectl get pools -o jsonpath={.items[*].metadata.name}",
        "pvectl get pools -o template={{items|length}}",
        "pvectl --sim --sim-fault drop-after@POST:/clone apply -f a",
        "pvectl explain VirtualMachine.disks.size -R",
        "pvectl --endpoint https://a:8006 --endpoint https://b:8006 --fingerprint AA:BB get pools --config c.yaml",
        "pvectl get pools --ca-file ca.pem --insecure",
        "pvectl api get /nodes full=1",
        "pvectl sim serve --listen 127.0.0.1:0 --baseline recordings",
        "pvectl --sim sim serve --nodes 3 --guests 100 --speed 10 --baseline scale",
        "pvectl wait VirtualMachine/web-01 --for condition=Ready --timeout 10m",
        "pvectl --log-format json --color never version -o json",
        "pvectl completion bash",
        "pvectl auth setup -f a --user ops@pve --token ci --role r --run -y",
        "pvectl auth check --context home",
        "pvectl host check pve1 -o json",
        "pvectl --sim host check",
        "pvectl host operations",
        "pvectl host gate",
        "pvectl start vm web-01",
        "pvectl stop vm 101 --yes --dry-run -o json",
        "pvectl restart ct dns --timeout 2m",
        "pvectl clone vm web-01 web-09 --vmid 190 --full --storage nfs --target-node pve2 --snapshot clean",
        "pvectl clone template debian web-10 --linked",
        "pvectl migrate vm web-01 pve2 --online --with-local-disks",
        "pvectl snapshot create vm web-01 clean --ram --description before",
        "pvectl snapshot list vm web-01 -o json",
        "pvectl snapshot delete vm web-01 clean --allow data-loss",
        "pvectl restore vm web-01 clean --start",
        "pvectl restore vm web-01 clean --branch web-11 --storage nfs",
        "pvectl status --daemon https://pvectl.example.org --daemon-token-file token -o wide",
        "pvectl proposals 7f3a2c -o json",
        "pvectl approve 7f3a2c --by ann",
        "pvectl suspend lab --why switches --daemon-ca-file ca.pem",
        "pvectl resume lab",
        "pvectl reconcile lab VirtualMachine/web-01",
        "pvectl events --warnings --since 24h --source lab",
        "pvectl history VirtualMachine/web-01 --limit 5",
        "pvectl drift --daemon",
        "pvectl drift --daemon http://localhost:9180 -o json",
    ] {
        assert!(parse(line).is_ok(), "{line}: {}", parse(line).expect_err("is an error"));
    }
}

#[test]
fn lines_that_are_refused() {
    for line in [
        "pvectl apply",
        "pvectl apply saved.plan -f a",
        "pvectl --sim --context home get pools",
        "pvectl --sim --endpoint https://a:8006 get pools",
        "pvectl --sim-fault 503@writes get pools",
        "pvectl --sim --sim-fault 503@never get pools",
        "pvectl get pools -o yml",
        "pvectl get pools -o jsonpath={.items[",
        "pvectl delete",
        "pvectl delete VirtualMachine",
        "pvectl api GET /nodes full",
        "pvectl wait a/b --timeout soon",
        "pvectl start vm",
        "pvectl start vm web-01 --timeout 5s",
        "pvectl clone vm web-01 web_09",
        "pvectl clone vm web-01 web-09 --vmid 99",
        "pvectl clone vm web-01 web-09 --linked --storage nfs",
        "pvectl clone vm web-01 web-09 --linked --full",
        "pvectl migrate vm web-01 pve2 --online --offline",
        "pvectl snapshot create vm web-01 current",
        "pvectl snapshot create vm web-01 clean --ram --no-ram",
        "pvectl restore vm web-01 clean --branch web-11 --start",
        "pvectl restore vm web-01 clean --storage nfs",
        "pvectl suspend lab",
        "pvectl approve",
        "pvectl drift --daemon -f a",
        "pvectl status --daemon-token s3cret",
    ] {
        assert!(parse(line).is_err(), "{line}");
    }
}

#[test]
fn the_exit_code_of_diff_can_be_switched_off() {
    for (line, wanted) in [("pvectl diff", true), ("pvectl diff --exit-code=false", false)] {
        let Verb::Diff(diff) = parse(line).expect("is understood").verb else { panic!("not diff") };
        assert_eq!(diff.exit_code, wanted, "{line}");
    }
}
