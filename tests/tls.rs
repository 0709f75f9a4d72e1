//! `amqps://` with a private CA, with client certificates, and with what is wrong about them; TLS to PostgreSQL.

use std::net::TcpListener;
use std::path::Path;

use crate::support::certificates::make_in;
use crate::support::private::{PrivateBroker, PrivatePostgres};
use crate::support::{World, outcome};

/// A broker with a TLS port, and that port's `HOST:PORT`.
fn tls_broker(more: &str) -> (PrivateBroker, String) {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let broker = PrivateBroker::start_with(|dir| {
        make_in(dir);
        std::fs::write(dir.join("plugins"), "rabbitmq_auth_mechanism_ssl").unwrap();
        let dir = dir.display();
        format!(
            "listeners.ssl.1 = 127.0.0.1:{port}\nssl_options.cacertfile = {dir}/ca.pem\n\
             ssl_options.certfile = {dir}/server.pem\nssl_options.keyfile = {dir}/server.key\n{more}"
        )
    });
    (broker, format!("127.0.0.1:{port}"))
}

/// What makes the broker take only clients with a certificate of its CA, and lets a certificate say who they are.
const MUTUAL: &str = "ssl_options.verify = verify_peer\nssl_options.fail_if_no_peer_cert = true\n\
                      auth_mechanisms.1 = PLAIN\nauth_mechanisms.2 = EXTERNAL\nssl_cert_login_from = common_name\n";

fn amqps(address: &str) -> String {
    format!("amqps://guest:guest@{address}/%2f")
}

fn file(dir: &Path, name: &str) -> String {
    dir.join(name).to_str().unwrap().to_owned()
}

/// The settings of a client certificate that `issuer` holds, with its key, and of the CA that `believed` holds.
fn mutual(url: &str, believed: &Path, issuer: &Path) -> Vec<(&'static str, String)> {
    vec![
        ("BROKER__URL", url.to_owned()),
        ("BROKER__CA_FILE", file(believed, "ca.pem")),
        ("BROKER__CLIENT_CERT_FILE", file(issuer, "client.pem")),
        ("BROKER__CLIENT_KEY_FILE", file(issuer, "client.key")),
    ]
}

async fn unstarted(broker: &PrivateBroker, settings: &[(&str, String)]) -> World {
    let settings: Vec<_> = settings.iter().map(|(key, value)| (*key, value.as_str())).collect();
    World::without_worker(&broker.url, &settings).await
}

async fn works(broker: &PrivateBroker, settings: &[(&str, String)]) {
    let mut world = unstarted(broker, settings).await;
    world.start_worker().await;
    assert_eq!(outcome(&world.delete("a").await), ("deleted", ""));
    world.finish(0).await;
}

/// `check` has to fail over the broker, and to name each of `words`.
async fn is_refused(broker: &PrivateBroker, settings: &[(&str, String)], words: &[&str]) {
    let mut world = unstarted(broker, settings).await;
    let mut check = world.command("check");
    let status = check.ended().await;
    let said = check.output();
    let line = said.lines().find(|line| line.starts_with("FAIL  broker")).unwrap_or_else(|| panic!("{said}"));
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(words.iter().all(|word| line.contains(word)), "{line}\nshould have {words:?}");
    assert!(said.contains("ok    provider") && said.contains("ok    ledger"), "nothing else is wrong: {said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_is_believed_with_a_certificate_of_a_known_ca_for_its_host_and_not_otherwise() {
    let (broker, address) = tls_broker("");
    let other = tempfile::tempdir().unwrap();
    make_in(other.path());
    let with_ca =
        |url: &str, dir: &Path| vec![("BROKER__URL", url.to_owned()), ("BROKER__CA_FILE", file(dir, "ca.pem"))];
    works(&broker, &with_ca(&amqps(&address), broker.path())).await;

    let unknown: &[&str] = &["invalid peer certificate", "set broker.ca_file to its PEM file"];
    is_refused(&broker, &[("BROKER__URL", amqps(&address))], unknown).await;
    is_refused(&broker, &with_ca(&amqps(&address), other.path()), unknown).await;
    let elsewhere = amqps(&address).replace("127.0.0.1", "localhost");
    let wrong_host: &[&str] = &["not valid for name", "broker.url must name one that it is for"];
    is_refused(&broker, &with_ca(&elsewhere, broker.path()), wrong_host).await;
    let plain_port = broker.url.replace("amqp:", "amqps:");
    is_refused(&broker, &with_ca(&plain_port, broker.path()), &["is the port in broker.url the one for TLS?"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_wants_certificates_takes_one_of_its_ca_and_no_client_without() {
    let (broker, address) = tls_broker(MUTUAL);
    let (own, other) = (broker.path(), tempfile::tempdir().unwrap());
    make_in(other.path());
    let url = amqps(&address);
    works(&broker, &mutual(&url, own, own)).await;

    let settings = mutual(&url, own, own);
    is_refused(&broker, &settings[..2], &["set broker.client_cert_file and broker.client_key_file"]).await;
    let strange = mutual(&url, own, other.path());
    is_refused(&broker, &strange, &["may not believe broker.client_cert_file"]).await;
    is_refused(&broker, &mutual(&url, other.path(), own), &["set broker.ca_file to its PEM file"]).await;

    // A key that does not fit ends `run` too: no later try would mend it.
    let mut settings = mutual(&url, own, own);
    settings[3].1 = file(other.path(), "client.key");
    let misfit = format!("broker.client_key_file: {} is not the key of the certificate in", settings[3].1);
    is_refused(&broker, &settings, &[&misfit]).await;
    let mut world = unstarted(&broker, &settings).await;
    let mut run = world.command("run");
    assert_eq!(run.ended().await.code(), Some(1));
    assert!(run.output().contains(&misfit), "{}", run.output());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_alone_can_say_who_the_worker_is() {
    let (broker, address) = tls_broker(MUTUAL);
    // The name in the certificate, without a password that could be stolen.
    broker.ctl(&["add_user", "client", "to-be-cleared"]);
    broker.ctl(&["clear_password", "client"]);
    broker.ctl(&["set_permissions", "-p", "/", "client", ".*", ".*", ".*"]);
    let url = format!("amqps://{address}/%2f?auth_mechanism=external");
    works(&broker, &mutual(&url, broker.path(), broker.path())).await;

    broker.ctl(&["delete_user", "client"]);
    let settings = mutual(&url, broker.path(), broker.path());
    is_refused(&broker, &settings, &["ACCESS_REFUSED"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_database_is_reached_over_tls_if_its_certificate_is_known() {
    let postgres = PrivatePostgres::start_with(|dir| {
        make_in(dir);
        let key = dir.join("server.key");
        // PostgreSQL wants its key to be readable by its user alone.
        std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let dir = dir.display();
        format!("ssl = on\nssl_cert_file = '{dir}/server.pem'\nssl_key_file = '{dir}/server.key'\n")
    });
    let with = |parameters: &str| format!("{}?{parameters}", postgres.url);
    let url = with("sslmode=require");
    let amqp = std::env::var("AMQP_URL").expect("AMQP_URL is not set: run the tests with `make test`");
    let mut world = World::without_worker(&amqp, &[("LEDGER__URL", &url)]).await;
    let mut check = world.command("check");
    assert_eq!(check.ended().await.code(), Some(1), "its CA is not known");
    assert!(
        check.output().contains("FAIL  ledger") && check.output().contains("sslrootcert=FILE"),
        "{}",
        check.output()
    );
    let file = format!("sslmode=verify-full&sslrootcert={}", file(postgres.path(), "ca.pem"));
    let elsewhere = with(&file).replace("127.0.0.1", "localhost");
    let other = with("sslmode=verify-full&sslrootcert=/nowhere.pem");
    let own = with("sslmode=verify-full&sslcert=/nowhere.pem");
    for (url, said) in [
        (with(&file), "ok    ledger"),
        (elsewhere, "is for another host"),
        (other, "sslrootcert: /nowhere.pem"),
        (own, "its parameter sslcert is not supported"),
    ] {
        world.set("LEDGER__URL", &url);
        let mut check = world.command("check");
        check.ended().await;
        assert!(check.output().contains(said), "{}", check.output());
    }
    world.set("LEDGER__URL", &url);
    let ca = std::fs::read(postgres.path().join("ca.pem")).unwrap();
    let file = world.dir.path().join("ca.pem");
    std::fs::write(&file, ca).unwrap();
    world.environment.push(("SSL_CERT_FILE".to_owned(), file.to_str().unwrap().to_owned()));
    world.start_worker().await;
    assert_eq!(outcome(&world.delete("a").await), ("deleted", ""));
    world.finish(0).await;
}
