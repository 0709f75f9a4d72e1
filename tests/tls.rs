//! `amqps://` with a private CA, and with client certificates; TLS to PostgreSQL.

use std::net::TcpListener;
use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use crate::support::private::{PrivateBroker, PrivatePostgres};
use crate::support::{World, outcome, world_at};

/// Makes a CA in `dir`, and a server's and a client's certificate from it.
fn make_certificates(dir: &Path) {
    let write = |name: &str, text: String| std::fs::write(dir.join(name), text).unwrap();
    // Each with a name of its own: one that is named like its issuer counts as self-signed.
    let named = |name: &str, hosts: Vec<String>| {
        let mut params = CertificateParams::new(hosts).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params
    };
    let mut params = named("test CA", Vec::new());
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    write("ca.pem", ca.pem());
    for (name, host) in [("server", "127.0.0.1"), ("client", "asset-eraser")] {
        let key = KeyPair::generate().unwrap();
        let certificate = named(name, vec![host.to_owned()]).signed_by(&key, &ca).unwrap();
        write(&format!("{name}.pem"), certificate.pem());
        write(&format!("{name}.key"), key.serialize_pem());
    }
}

/// A broker that takes only clients with a certificate of its CA on its TLS port; gives that port's URL too.
fn tls_broker() -> (PrivateBroker, String) {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let broker = PrivateBroker::start_with(|dir| {
        make_certificates(dir);
        let dir = dir.display();
        format!(
            "listeners.ssl.1 = 127.0.0.1:{port}\nssl_options.cacertfile = {dir}/ca.pem\n\
             ssl_options.certfile = {dir}/server.pem\nssl_options.keyfile = {dir}/server.key\n\
             ssl_options.verify = verify_peer\nssl_options.fail_if_no_peer_cert = true\n"
        )
    });
    (broker, format!("amqps://guest:guest@127.0.0.1:{port}/%2f"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_ca_and_a_client_certificate_make_a_connection() {
    let (broker, amqps) = tls_broker();
    let file = |name: &str| broker.path().join(name).to_str().unwrap().to_owned();
    let tls: &[(&str, &str)] = &[
        ("BROKER__URL", &amqps),
        ("BROKER__CA_FILE", &file("ca.pem")),
        ("BROKER__CLIENT_CERT_FILE", &file("client.pem")),
        ("BROKER__CLIENT_KEY_FILE", &file("client.key")),
    ];
    let mut world = world_at(&broker.url, tls).await;
    assert_eq!(outcome(&world.delete("a").await), ("deleted", ""));
    world.finish(0).await;

    // Another CA's certificate is not believed, and no certificate is not let in.
    let other = tempfile::tempdir().unwrap();
    make_certificates(other.path());
    let other_ca = other.path().join("ca.pem").to_str().unwrap().to_owned();
    let wrong_ca = [tls[0], ("BROKER__CA_FILE", other_ca.as_str()), tls[2], tls[3]];
    // The second is hung up on; the way it hears of that differs from run to run.
    for (settings, why) in [(&wrong_ca[..], "invalid peer certificate"), (&tls[..2], "IO error")] {
        let mut world = World::without_worker(&broker.url, settings).await;
        let mut check = world.command("check");
        let status = check.ended().await;
        let said = check.output();
        assert_eq!(status.code(), Some(1), "{said}");
        assert!(said.contains("FAIL  broker") && said.contains(why), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_database_is_reached_over_tls_if_its_certificate_is_known() {
    let postgres = PrivatePostgres::start_with(|dir| {
        make_certificates(dir);
        let key = dir.join("server.key");
        // PostgreSQL wants its key to be nobody else's.
        std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let dir = dir.display();
        format!("ssl = on\nssl_cert_file = '{dir}/server.pem'\nssl_key_file = '{dir}/server.key'\n")
    });
    let url = format!("{}?sslmode=require", postgres.url);
    let amqp = std::env::var("AMQP_URL").expect("AMQP_URL is not set: run the tests with `make test`");
    let mut world = World::without_worker(&amqp, &[("LEDGER__URL", &url)]).await;
    let mut check = world.command("check");
    assert_eq!(check.ended().await.code(), Some(1), "nobody knows its CA");
    assert!(check.output().contains("FAIL  ledger"), "{}", check.output());
    let ca = std::fs::read(postgres.path().join("ca.pem")).unwrap();
    let file = world.dir.path().join("ca.pem");
    std::fs::write(&file, ca).unwrap();
    world.environment.push(("SSL_CERT_FILE".to_owned(), file.to_str().unwrap().to_owned()));
    world.start_worker().await;
    assert_eq!(outcome(&world.delete("a").await), ("deleted", ""));
    world.finish(0).await;
}
