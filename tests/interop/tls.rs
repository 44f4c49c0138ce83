//! What others say of our TLS: clients that are not rustls, and scanners that look for what a security team would complain of. `.ci/run`
//! installs them; each test fails in words where its tool is missing. None of these tools has the post-quantum group yet: a
//! rustls client proves it, in `layers/tests/tls/session.rs`.

use std::{collections::BTreeSet, time::Duration};

use harness::{
    Authority, Echo, Exit, Kind, Metrics,
    certificates::SERVER_NAME,
    program,
    tool::{Tool, ca_file, run, run_for, s_client, text},
};
use serde_json::Value;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs openssl; run by .ci/run"]
async fn openssl_speaks_both_versions_of_tls() {
    let server = Echo::new(Kind::Tls).start().await;
    for version in ["-tls1_2", "-tls1_3"] {
        let mut client = Tool::start("openssl", s_client(&server, &["-quiet", version]));
        assert_eq!(client.exchange("through the gate"), "through the gate\n", "{version}");
    }
    server
        .metrics_when("both handshakes are counted", |metrics| {
            ["TLSv1.2", "TLSv1.3"]
                .iter()
                .all(|version| metrics.sum("portcullis_tls_handshakes_total", &[("version", version)]) == 1.0)
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs openssl; run by .ci/run"]
async fn openssl_is_told_that_tls_1_1_is_too_old() {
    let server = Echo::new(Kind::Tls).start().await;
    // Otherwise openssl itself refuses to offer it.
    let arguments = s_client(&server, &["-quiet", "-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"]);
    let (success, said) = Tool::start("openssl", arguments).finish();
    assert!(!success && said.contains(" alert "), "{said}");
    let refused = |reason| [("reason", reason)];
    server
        .metrics_when("it is counted", |metrics| {
            metrics.sum("portcullis_tls_handshake_failures_total", &refused("incompatible")) == 1.0
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs openssl; run by .ci/run"]
async fn openssl_gets_in_with_a_client_certificate_and_not_without() {
    let clients = Authority::new();
    let echo = Echo::new(Kind::Tls);
    let ca = echo.place().path("clients.crt");
    std::fs::write(&ca, clients.pem()).expect("a file of ours");
    let server = echo.option("--client-ca", &ca).start().await;

    let files = clients.client().write(server.place(), "client");
    let path = |path: &std::path::Path| path.to_str().expect("a path of ours").to_owned();
    let (certificate, key) = (path(&files.certificate), path(&files.key));
    for version in ["-tls1_2", "-tls1_3"] {
        let mut client = Tool::start(
            "openssl",
            s_client(&server, &["-quiet", version, "-cert", &certificate, "-key", &key]),
        );
        assert_eq!(client.exchange("known"), "known\n", "{version}");
        let (success, said) = Tool::start("openssl", s_client(&server, &["-quiet", version])).finish();
        assert!(!success, "{version}: {said}");
        assert!(
            said.contains("alert certificate required") || said.contains("alert handshake failure"),
            "{said}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs openssl; run by .ci/run"]
async fn openssl_resumes_its_session_in_both_versions() {
    let server = Echo::new(Kind::Tls).start().await;
    for version in ["-tls1_2", "-tls1_3"] {
        let session = server.place().path(format!("session{version}"));
        let session = session.to_str().expect("a path of ours");
        // By the echo the ticket is there, also in TLS 1.3, where it comes after the handshake.
        let mut first = Tool::start("openssl", s_client(&server, &[version, "-sess_out", session]));
        let said = first.exchange_among_others("hello");
        assert!(said.contains("\nNew, TLSv1."), "{said}");
        assert!(first.finish().0, "{version}");
        let mut second = Tool::start("openssl", s_client(&server, &[version, "-sess_in", session]));
        let said = second.exchange_among_others("hello again");
        assert!(said.contains("\nReused, TLSv1."), "{said}");
    }
    server.metrics_when("one resumption in each version", |metrics| each_resumed(metrics, 1.0)).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs gnutls-cli; run by .ci/run"]
async fn gnutls_speaks_both_versions_and_resumes() {
    let server = Echo::new(Kind::Tls).start().await;
    let address = server.place().address(6789);
    let (ip, port, ca) = (address.ip().to_string(), address.port().to_string(), ca_file(&server));
    for version in ["1.2", "1.3"] {
        let only = format!("NORMAL:-VERS-ALL:+VERS-TLS{version}");
        // Connects, and again with the session of the first time; fails where the certificate is not trusted.
        let arguments = ["--resume", "--priority", &only, "--x509cafile", &ca].into_iter().chain([
            "--sni-hostname",
            SERVER_NAME,
            "--verify-hostname",
            SERVER_NAME,
            "--port",
            &port,
            &ip,
        ]);
        let mut client = Tool::start("gnutls-cli", arguments);
        let said = client.exchange_among_others("from the other library");
        assert!(said.contains(&format!("Description: (TLS{version}")), "{said}");
        assert!(said.contains("Status: The certificate is trusted."), "{said}");
        assert!(said.contains("*** This is a resumed session"), "{said}");
    }
    server.metrics_when("one resumption in each version", |metrics| each_resumed(metrics, 1.0)).await;
}

fn each_resumed(metrics: &Metrics, times: f64) -> bool {
    ["TLSv1.2", "TLSv1.3"].into_iter().all(|version| {
        let labels = [("version", version), ("resumed", "true")];
        metrics.sum("portcullis_tls_handshakes_total", &labels) == times
    })
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs curl; run by .ci/run"]
async fn curl_trusts_axum_in_both_versions_and_is_refused_in_tls_1_1() {
    let authority = Authority::new();
    let echo = Echo::bare().program(program("axum"));
    let files = authority.server().write(echo.place(), "server");
    let ca = echo.place().path("ca.crt");
    std::fs::write(&ca, authority.pem()).expect("a file of ours");
    let address = echo.place().address(8443);
    let server = echo
        .variable("BIND", format!("tcp://{address}"))
        .variable("TLS_CERTIFICATE", files.certificate)
        .variable("TLS_KEY", files.key)
        .start()
        .await;

    let ca = ca.to_str().expect("a path of ours");
    let resolve = format!("{SERVER_NAME}:{}:{}", address.port(), address.ip());
    let url = format!("https://{SERVER_NAME}:{}/", address.port());
    let curl = async |more: &[&str]| {
        let fixed = ["-sS", "--cacert", ca, "--resolve", &resolve];
        run("curl", &[&fixed[..], more, &[&url]].concat()).await
    };
    for version in ["1.2", "1.3"] {
        let answer = curl(&["--tls-max", version]).await;
        assert!(text(&answer).contains(&format!("over TLSv{version}")), "{answer:?}");
    }
    // Otherwise its openssl refuses to offer it.
    let refused = curl(&["--tlsv1.1", "--tls-max", "1.1", "--ciphers", "DEFAULT@SECLEVEL=0"]).await;
    let said = String::from_utf8_lossy(&refused.stderr);
    // 35: the handshake failed.
    assert!(refused.status.code() == Some(35) && said.contains("alert"), "{said}");
    assert_eq!(server.terminate().await, Exit::Code(0));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs sslscan; run by .ci/run"]
async fn sslscan_finds_tls_1_2_and_1_3_and_strong_ciphers_alone() {
    let server = Echo::new(Kind::Tls).start().await;
    let address = server.place().address(6789).to_string();
    let sni = format!("--sni-name={SERVER_NAME}");
    let scan = text(&run_for(Duration::from_secs(120), "sslscan", &["--xml=-", &sni, &address]).await);

    let versions: BTreeSet<_> = elements(&scan, "protocol")
        .filter(|protocol| attribute(protocol, "enabled") == "1")
        .map(|protocol| (attribute(protocol, "type"), attribute(protocol, "version")))
        .collect();
    assert_eq!(versions, BTreeSet::from([("tls", "1.2"), ("tls", "1.3")]), "{scan}");

    let ciphers: Vec<_> = elements(&scan, "cipher").collect();
    for version in ["TLSv1.2", "TLSv1.3"] {
        let of_it = ciphers.iter().filter(|cipher| attribute(cipher, "sslversion") == version);
        assert_eq!(of_it.count(), 3, "two of AES-GCM and one of ChaCha20: {scan}");
    }
    for cipher in ciphers {
        let name = attribute(cipher, "cipher");
        // All that there are in TLS 1.3; in TLS 1.2, those with forward secrecy.
        assert!(name.starts_with("TLS_") || name.starts_with("ECDHE-"), "{cipher}");
        assert!(name.contains("GCM") || name.contains("POLY1305"), "no authenticated encryption: {cipher}");
        assert!(!attribute(cipher, "strength").contains("weak"), "{cipher}");
    }
    assert!(elements(&scan, "heartbleed").count() > 0, "{scan}");
    assert!(elements(&scan, "heartbleed").all(|tried| attribute(tried, "vulnerable") == "0"), "{scan}");
    assert!(elements(&scan, "renegotiation").all(|tried| attribute(tried, "supported") == "0"), "{scan}");
}

/// What is between the brackets of these elements: as much of XML as sslscan's takes.
fn elements<'a>(xml: &'a str, name: &'a str) -> impl Iterator<Item = &'a str> {
    let starts = xml.split('<').filter_map(move |element| element.strip_prefix(name));
    starts.filter(|rest| rest.starts_with(' ')).filter_map(|rest| rest.split('>').next())
}

fn attribute<'a>(element: &'a str, name: &str) -> &'a str {
    let value = element.split_once(&format!(" {name}=\"")).and_then(|(_, rest)| rest.split('"').next());
    value.unwrap_or_else(|| panic!("no {name} in <{element}>"))
}

/// What testssl.sh says of the certificate that a test has made, which is not about the server; and of itself.
const NOT_OURS: [(&str, &str); 3] = [
    ("cert_validityPeriod", "the test's certificate is good until the year 4096"),
    ("cert_revocation", "the test's CA publishes no revocation list and has no OCSP responder"),
    ("engine_problem", "the openssl that testssl.sh uses has no GOST"),
];

/// What it must have looked into for its silence to be worth something.
const LOOKED_INTO: [&str; 10] = [
    "SSLv2",
    "TLS1",
    "TLS1_1",
    "TLS1_3",
    "cipher_order",
    "cert_chain_of_trust",
    "heartbleed",
    "ROBOT",
    "secure_client_renego",
    "LUCKY13",
];

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs testssl.sh; run by .ci/run"]
async fn testssl_finds_nothing_above_low() {
    let server = Echo::new(Kind::Tls).start().await;
    let address = server.place().address(6789);
    let (ip, ca) = (address.ip().to_string(), ca_file(&server));
    let found = server.place().path("found.json");
    let found_path = found.to_str().expect("a path of ours");
    let url = format!("{SERVER_NAME}:{}", address.port());
    // Offline, and against a CA that it must be told of. `timeout` ends also what the script has started.
    let arguments = ["150", "testssl", "--quiet", "--color", "0", "--warnings", "batch", "--nodns", "none"]
        .into_iter()
        .chain(["--add-ca", &ca, "--ip", &ip, "--jsonfile", found_path])
        .chain(["--protocols", "--server-defaults", "--server-preference", "--vulnerable", &url])
        .collect::<Vec<_>>();
    let scan = run_for(Duration::from_secs(160), "timeout", &arguments).await;
    assert_ne!(scan.status.code(), Some(124), "not within 150 s: {}", text(&scan));

    let findings = std::fs::read_to_string(found).unwrap_or_else(|error| panic!("{error}: {}", text(&scan)));
    let findings: Vec<Value> = serde_json::from_str(&findings).expect("JSON");
    let field = |finding: &Value, name: &str| finding[name].as_str().unwrap_or_default().to_owned();
    let looked_into: BTreeSet<_> = findings.iter().map(|finding| field(finding, "id")).collect();
    for id in LOOKED_INTO {
        assert!(looked_into.contains(id), "{id} was not looked into: {}", text(&scan));
    }
    // For the log of `.ci/run`.
    match findings.iter().find(|finding| field(finding, "id") == "overall_grade") {
        Some(grade) => println!("testssl.sh gives the grade {}", field(grade, "finding")),
        None => println!("testssl.sh gives no grade (versions before 3.2 have none)"),
    }
    let harmless = ["OK", "INFO", "DEBUG", "LOW"];
    let complaints: Vec<_> = findings
        .iter()
        .filter(|finding| !harmless.contains(&&*field(finding, "severity")))
        .filter(|finding| NOT_OURS.iter().all(|(id, _)| *id != field(finding, "id")))
        .collect();
    assert!(complaints.is_empty(), "{complaints:#?}");
}
