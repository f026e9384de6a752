//! The machine's DNS servers as a [`Resolver`]. Answers are kept as long as their TTL says, within bounds.

use crate::base::resolver::{Resolution, Resolver};
use futures::future::BoxFuture;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::RecordType;
use hickory_resolver::{ResolverBuilder, TokioResolver, net::runtime::TokioRuntimeProvider};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::OnceLock;
use std::time::Duration;

/// A name is not asked for more often than this, however short its TTL.
const TTL_MIN: Duration = Duration::from_secs(30);
/// And not less often than this.
const TTL_MAX: Duration = Duration::from_secs(3600);
/// How long a server may take.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Asks the servers that the machine is set up with.
pub struct Servers {
    resolver: TokioResolver,
}

impl Servers {
    /// The servers of `/etc/resolv.conf`, or of the system's settings.
    ///
    /// # Errors
    /// Settings that cannot be read, in words.
    pub fn of_system() -> Result<Servers, String> {
        let wrong = |e: NetError| format!("the DNS settings of this machine cannot be read: {e}");
        Servers::built(TokioResolver::builder_tokio().map_err(wrong)?).map_err(wrong)
    }

    fn built(mut builder: ResolverBuilder<TokioRuntimeProvider>) -> Result<Servers, NetError> {
        let options = builder.options_mut();
        options.positive_min_ttl = Some(TTL_MIN);
        options.positive_max_ttl = Some(TTL_MAX);
        options.timeout = TIMEOUT;
        options.attempts = 2;
        Ok(Servers { resolver: builder.build()? })
    }

    /// One family; a name that has no address of it is no failure.
    async fn family(&self, name: &str, kind: RecordType) -> Result<Vec<IpAddr>, String> {
        // With the dot at its end a name is whole, and no search domain is tried.
        let whole = format!("{}.", name.trim_end_matches('.'));
        match self.resolver.lookup(whole, kind).await {
            Ok(lookup) => Ok(lookup.answers().iter().filter_map(|record| record.data.ip_addr()).collect()),
            Err(NetError::Dns(DnsError::NoRecordsFound(none))) if none.response_code == ResponseCode::NoError => {
                Ok(Vec::new())
            }
            Err(NetError::Dns(DnsError::NoRecordsFound(none))) if none.response_code == ResponseCode::NXDomain => {
                Err(format!("there is no name `{name}` in DNS"))
            }
            Err(error) => Err(format!("DNS does not tell the addresses of `{name}`: {error}")),
        }
    }
}

/// The machine's servers, looked for when the first name is asked for: most clusters have no names in their manifests.
#[derive(Default)]
pub struct System {
    servers: OnceLock<Result<Servers, String>>,
}

impl Resolver for System {
    fn resolve<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Resolution> {
        Box::pin(async move {
            self.servers.get_or_init(Servers::of_system).as_ref().map_err(String::clone)?.resolve(name).await
        })
    }
}

impl Resolver for Servers {
    fn resolve<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Resolution> {
        Box::pin(async move {
            let (four, six) =
                futures::future::join(self.family(name, RecordType::A), self.family(name, RecordType::AAAA)).await;
            // Half an answer would take the other half for gone.
            let all: BTreeSet<IpAddr> = four?.into_iter().chain(six?).collect();
            if all.is_empty() { Err(format!("`{name}` has no address in DNS")) } else { Ok(all) }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
    use hickory_resolver::proto::op::Message;
    use hickory_resolver::proto::rr::{RData, Record};
    use tokio::net::UdpSocket;

    /// A server that knows three names, and fails on a fourth.
    async fn server() -> Servers {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
        let port = socket.local_addr().expect("bound").port();
        tokio::spawn(async move {
            let mut buffer = [0_u8; 1500];
            loop {
                let (length, from) = socket.recv_from(&mut buffer).await.expect("a question");
                let asked = Message::from_vec(&buffer[..length]).expect("a message");
                let mut answer = Message::response(asked.metadata.id, asked.metadata.op_code);
                let query = asked.queries[0].clone();
                let name = query.name().to_string();
                let addresses: &[&str] = match (name.as_str(), query.query_type()) {
                    ("both.example.", RecordType::A) => &["192.0.2.1", "192.0.2.2"],
                    ("both.example.", RecordType::AAAA) => &["2001:db8::1"],
                    ("four.example." | "half.example.", RecordType::A) => &["192.0.2.3"],
                    _ => &[],
                };
                answer.metadata.response_code = match (name.as_str(), query.query_type()) {
                    ("both.example." | "four.example.", _) | ("half.example.", RecordType::A) => ResponseCode::NoError,
                    ("half.example.", _) => ResponseCode::ServFail,
                    _ => ResponseCode::NXDomain,
                };
                answer.add_query(query.clone());
                for address in addresses {
                    let data = match address.parse().expect("an address") {
                        IpAddr::V4(four) => RData::A(four.into()),
                        IpAddr::V6(six) => RData::AAAA(six.into()),
                    };
                    answer.add_answer(Record::from_rdata(query.name().clone(), 1, data));
                }
                socket.send_to(&answer.to_vec().expect("a message"), from).await.expect("sent");
            }
        });
        let mut connection = ConnectionConfig::udp();
        connection.port = port;
        let server = NameServerConfig::new("127.0.0.1".parse().expect("one"), true, vec![connection]);
        let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
        let builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        Servers::built(builder).expect("built")
    }

    #[tokio::test]
    async fn both_families_or_a_failure() {
        let servers = server().await;
        let all = servers.resolve("both.example").await.expect("addresses");
        let shown: Vec<String> = all.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["192.0.2.1", "192.0.2.2", "2001:db8::1"]);
        assert_eq!(servers.resolve("four.example").await.expect("an address").len(), 1);
        let half = servers.resolve("half.example").await.expect_err("half an answer is none");
        assert!(half.contains("half.example"), "{half}");
        let none = servers.resolve("none.example").await.expect_err("no such name");
        assert_eq!(none, "there is no name `none.example` in DNS");
    }
}
