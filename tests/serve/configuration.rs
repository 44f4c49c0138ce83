//! A value that is wrong keeps the server from starting, and it says which option or variable it was, and which value.

use harness::{Authority, Echo};

/// It ends with an error, and says all of these.
async fn is_refused(echo: Echo, words: &[&str]) {
    echo.run_to_its_end().await.refused(words);
}

/// The variable and its option, with a value that is wrong.
const WRONG: [(&str, &str, &str); 16] = [
    ("BIND", "--bind", "http://127.0.0.1:1"),
    ("BIND", "--bind", "tcp://127.0.0.1"),
    ("BIND", "--bind", "tcp://127.0.0.1:65536"),
    ("BIND", "--bind", "tcp://::1:6789"),
    ("PORT", "--port", "70000"),
    ("PORT", "--port", "six"),
    ("LOG_LEVEL", "--log-level", "deafening"),
    ("TLS_VERSION", "--tls-min-version", "SSLv3"),
    ("TLS_VERSION", "--tls-min-version", "TLSv1_1"),
    ("ALLOWED_NETWORKS", "--allow", "10.0.0.0/33"),
    ("ALLOWED_NETWORKS", "--allow", "127.0.0.0/8,010.0.0.0/8"),
    ("ADMIN_BIND", "--admin", "ftp://127.0.0.1:9100"),
    ("DRAIN_TIMEOUT", "--drain-timeout", "soon"),
    ("READY_TIMEOUT", "--ready-timeout", "7 parsecs"),
    ("READY_TIMEOUT", "--ready-timeout", "0s"),
    ("START_COMMAND", "--start-command", "'not closed"),
];

#[tokio::test]
async fn a_bad_variable_is_named() {
    for (variable, _, value) in WRONG {
        is_refused(Echo::bare().variable(variable, value), &[variable, value]).await;
    }
    is_refused(
        Echo::bare().variable("VERIFY_CLIENT_TLS_CERTIFICATE", "perhaps"),
        &["VERIFY_CLIENT_TLS_CERTIFICATE", "perhaps"],
    )
    .await;
}

#[tokio::test]
async fn a_bad_option_is_named() {
    for (_, option, value) in WRONG {
        is_refused(Echo::bare().option(option, value), &[option, value]).await;
    }
    is_refused(Echo::bare().option("--worker-threads", "0"), &["--worker-threads", "0"]).await;
    is_refused(Echo::bare().flag("--no-such-option"), &["--no-such-option"]).await;
}

#[tokio::test]
async fn an_old_version_of_tls_is_told_why() {
    // What may be asked for instead, and that the old one is not spoken any more.
    is_refused(Echo::bare().variable("TLS_VERSION", "TLSv1_1"), &["TLSv1_1", "TLSv1_2", "TLSv1_3"]).await;
}

/// A server that would start, but for what the test adds.
fn good() -> Echo {
    let echo = Echo::bare();
    let bind = format!("tcp://{}", echo.place().address(6789));
    let admin = format!("tcp://{}", echo.admin());
    echo.option("--bind", bind).option("--admin", admin)
}

#[tokio::test]
async fn a_missing_or_wrong_file_is_named() {
    let identity = Authority::new().server();

    let echo = good();
    let files = identity.write(echo.place(), "server");
    let missing = echo.place().path("missing.pem");
    let missing = missing.to_str().expect("text").to_owned();
    let echo = echo.option("--tls-cert", &missing).option("--tls-key", &files.key);
    is_refused(echo, &[&missing, "`--tls-cert`"]).await;

    let echo = good();
    let files = identity.write(echo.place(), "server");
    let missing = echo.place().path("missing.pem");
    let echo = echo.option("--tls-cert", &files.certificate).option("--tls-key", &missing);
    is_refused(echo, &["missing.pem", "`--tls-key`"]).await;

    // A certificate where the key should be.
    let echo = good();
    let files = identity.write(echo.place(), "server");
    let echo = echo.option("--tls-cert", &files.certificate).option("--tls-key", &files.certificate);
    is_refused(echo, &["server.crt"]).await;

    // A key of another certificate.
    let echo = good();
    let files = identity.write(echo.place(), "server");
    let other = Authority::new().server().write(echo.place(), "other");
    let echo = echo.option("--tls-cert", &files.certificate).option("--tls-key", &other.key);
    is_refused(echo, &["other.key", "`--tls-key`", "`--tls-cert`"]).await;

    let echo = good();
    let files = identity.write(echo.place(), "server");
    let echo = echo
        .option("--tls-cert", &files.certificate)
        .option("--tls-key", &files.key)
        .option("--client-ca", "/no/such/ca.pem");
    is_refused(echo, &["/no/such/ca.pem", "`--client-ca`"]).await;

    let echo = good();
    let files = identity.write(echo.place(), "server");
    let echo = echo.variable("TLS_CERTIFICATE", &files.certificate).variable("TLS_KEY", "/no/such/key.pem");
    is_refused(echo, &["/no/such/key.pem", "`TLS_KEY`"]).await;

    // What is wrong is the list, not the CA that is in its place.
    let echo = good();
    let files = identity.write(echo.place(), "server");
    let ca = echo.place().path("clients.pem");
    std::fs::write(&ca, Authority::new().pem()).expect("a file of ours");
    let echo = echo.option("--tls-cert", &files.certificate).option("--tls-key", &files.key);
    let told = echo.option("--client-ca", &ca).option("--crl", &ca).run_to_its_end().await;
    told.refused(&["wrong revocation list of clients (from the option `--crl`)", "clients.pem"]);

    is_refused(good().option("--pid-file", "/no/such/directory/echo.pid"), &["/no/such/directory/echo.pid"])
        .await;
    is_refused(good().option("--log-file", "/no/such/directory/echo.log"), &["/no/such/directory/echo.log"])
        .await;
}

#[tokio::test]
async fn contradicting_or_incomplete_options_are_named() {
    let identity = Authority::new().server();

    let echo = good();
    let files = identity.write(echo.place(), "server");
    is_refused(echo.variable("TLS_CERTIFICATE", &files.certificate), &["TLS_CERTIFICATE", "TLS_KEY"]).await;

    let echo = good();
    let files = identity.write(echo.place(), "server");
    is_refused(echo.variable("TLS_KEY", &files.key), &["TLS_KEY", "TLS_CERTIFICATE"]).await;

    let echo = good();
    let files = identity.write(echo.place(), "server");
    let echo = echo
        .variable("TLS_CERTIFICATE", &files.certificate)
        .variable("TLS_KEY", &files.key)
        .variable("VERIFY_CLIENT_TLS_CERTIFICATE", "true");
    is_refused(echo, &["VERIFY_CLIENT_TLS_CERTIFICATE", "CLIENT_TLS_CERTIFICATE_CA"]).await;

    // The peers of a Unix socket have no network.
    let echo = Echo::bare();
    let uri = format!("unix://{}", echo.place().path("echo.sock").display());
    is_refused(echo.variable("BIND", uri).variable("ALLOWED_NETWORKS", "127.0.0.0/8"), &["ALLOWED_NETWORKS"])
        .await;
}

#[tokio::test]
async fn incomplete_tls_options_are_named() {
    for (option, value, says) in [
        ("--sni-cert", "example.org", "NAME=CERT,KEY"),
        ("--sni-cert", "example.org=a.pem", "NAME=CERT,KEY"),
        ("--sni-cert", "example.org=a.pem,a.key", "--tls-cert"),
        ("--alpn", "h2", "--tls-cert"),
        ("--crl", "clients.crl", "CLIENT_TLS_CERTIFICATE_CA"),
        ("--allow-identity", "alice", "cn=NAME"),
        ("--allow-identity", "cn=alice", "CLIENT_TLS_CERTIFICATE_CA"),
    ] {
        is_refused(good().option(option, value), &[option, says]).await;
    }
    is_refused(good().flag("--end-revoked"), &["--end-revoked", "--tls-cert"]).await;
    is_refused(good().flag("--tls-self-signed").flag("--end-revoked"), &["--end-revoked", "--client-ca"])
        .await;
    is_refused(good().variable("ALLOWED_IDENTITIES", "alice"), &["ALLOWED_IDENTITIES", "cn=NAME"]).await;
    is_refused(good().variable("CLIENT_TLS_CRL", "a.crl"), &["CLIENT_TLS_CRL", "CLIENT_TLS_CERTIFICATE_CA"])
        .await;

    let echo = good();
    let files = Authority::new().server().write(echo.place(), "server");
    let value = format!("10.0.0.1={},{}", files.certificate.display(), files.key.display());
    is_refused(echo.flag("--tls-self-signed").option("--sni-cert", value), &["--sni-cert", "10.0.0.1"]).await;

    // The same certificate as that of `--tls-cert`, which is good.
    let echo = good();
    let authority = Authority::new();
    let files = authority.server().write(echo.place(), "server");
    let other = authority.server().write(echo.place(), "other");
    let value = format!("example.org={},{}", files.certificate.display(), other.key.display());
    let echo = echo.option("--tls-cert", &files.certificate).option("--tls-key", &files.key);
    is_refused(echo.option("--sni-cert", value), &["wrong `--sni-cert`", "`example.org`", "other.key"]).await;
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    let echo = good();
    let address = echo.place().address(6789);
    let _occupant = std::net::TcpListener::bind(address).expect("an address of ours");
    is_refused(echo, &[&address.to_string()]).await;
}
