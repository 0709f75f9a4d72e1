//! The provider and the job registry over HTTPS: without a certificate that is known, nothing is sent to a server.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::support::World;
use crate::support::certificates::{Authority, Pair};

/// What a client sends first when it speaks TLS.
const HANDSHAKE: u8 = 22;

#[derive(Default)]
struct Seen {
    /// The first byte of each connection.
    first_bytes: Vec<u8>,
    /// What was asked, by those who believed the certificate.
    requests: Vec<String>,
}

/// Stands in for both: knows no asset and no job.
struct Server {
    port: u16,
    seen: Arc<Mutex<Seen>>,
}

impl Server {
    /// Runs until the test's process ends.
    fn start(pair: &Pair) -> Self {
        let chain = vec![CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = Arc::new(config.with_no_client_auth().with_single_cert(chain, key).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Self { port: listener.local_addr().unwrap().port(), seen: Arc::default() };
        let seen = server.seen.clone();
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                let (config, seen) = (config.clone(), seen.clone());
                std::thread::spawn(move || serve(connection.unwrap(), config, &seen));
            }
        });
        server
    }

    /// `check` of a worker for which `host` is both, and which knows the CA with this certificate.
    async fn check(&self, host: &str, ca: &str) -> (Option<i32>, String) {
        let amqp = std::env::var("AMQP_URL").expect("AMQP_URL is not set: run the tests with `make test`");
        let base = format!("https://{host}:{}", self.port);
        let settings =
            [("PROVIDER__BASE_URL", base.clone()), ("GUARD__HTTP__URL", format!("{base}/jobs/{{asset_id}}"))];
        let mut world =
            World::without_worker(&amqp, &settings.each_ref().map(|(key, value)| (*key, value.as_str()))).await;
        let file = world.dir.path().join("known.pem");
        std::fs::write(&file, ca).unwrap();
        world.environment.push(("SSL_CERT_FILE".to_owned(), file.to_str().unwrap().to_owned()));
        let mut check = world.command("check");
        let code = check.ended().await.code();
        world.no_secret_in(&check.output());
        world.broker.clean_up().await;
        (code, check.output())
    }
}

fn serve(tcp: TcpStream, config: Arc<ServerConfig>, seen: &Mutex<Seen>) {
    let mut first = [0];
    if tcp.peek(&mut first).unwrap() == 1 {
        seen.lock().unwrap().first_bytes.push(first[0]);
    }
    let mut stream = StreamOwned::new(ServerConnection::new(config).unwrap(), tcp);
    let (mut asked, mut piece) = (Vec::new(), [0; 4096]);
    while !asked.ends_with(b"\r\n\r\n") {
        match stream.read(&mut piece) {
            Ok(count @ 1..) => asked.extend_from_slice(&piece[..count]),
            // It did not believe the certificate.
            Ok(0) | Err(_) => return,
        }
    }
    let asked = String::from_utf8(asked).unwrap();
    let body =
        if asked.starts_with("GET /jobs/") { r#"{"jobs":[]}"# } else { r#"{"code":"-1","msg":"no such asset"}"# };
    seen.lock().unwrap().requests.push(asked);
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    // The client may be gone; what matters was seen.
    let _ = stream.write_all(format!("{head}{body}").as_bytes()).and_then(|()| stream.flush());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sent_to_a_provider_or_registry_whose_certificate_is_not_known() {
    let authority = Authority::new();
    let server = Server::start(&authority.issue("server", "127.0.0.1"));
    for (host, ca, why) in
        [("127.0.0.1", Authority::new().pem(), "another CA's"), ("localhost", authority.pem(), "for another host")]
    {
        let (code, said) = server.check(host, &ca).await;
        assert_eq!(code, Some(1), "{why}: {said}");
        assert!(said.contains("FAIL  provider") && said.contains("FAIL  guard"), "{why}: {said}");
        assert!(said.contains("ok    broker"), "nothing else is wrong: {said}");
    }
    {
        let seen = server.seen.lock().unwrap();
        assert!(seen.first_bytes.len() >= 4, "each was tried: {:?}", seen.first_bytes);
        assert!(seen.first_bytes.iter().all(|byte| *byte == HANDSHAKE), "never without TLS: {:?}", seen.first_bytes);
        assert!(seen.requests.is_empty(), "{:?}", seen.requests);
    }
    // And the same certificate is believed where its CA is known.
    let (code, said) = server.check("127.0.0.1", &authority.pem()).await;
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(server.seen.lock().unwrap().requests.len(), 2);
}
