//! Whoever reads the log learns of each handshake that failed, in one line: who it was, whose certificate was shown, what
//! name was asked for, and why it failed. A health probe fails none.

use std::net::Ipv4Addr;

use harness::{Authority, Echo, Exit, Kind, certificates::Versions, connect, meet, reset};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const PROBE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);

#[tokio::test]
async fn a_failed_handshake_is_logged_once_with_peer_name_and_reason() {
    let clients = Authority::new();
    let echo = Echo::new(Kind::Tls);
    let ca = echo.place().path("clients.crt");
    std::fs::write(&ca, clients.pem()).expect("a file of ours");
    let server = echo.option("--client-ca", &ca).start().await;
    let address = server.place().address(6789);

    for version in [Versions::Tls12, Versions::Tls13] {
        for stranger in [None, Some(clients.expired_client())] {
            let config = server.authority().trusted_by(stranger.as_ref(), version);
            meet(address, "localhost", &config).await.expect_err("a bad certificate");
        }
    }
    let mut plain = connect(address, None).await.expect("a connection");
    plain.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect("bytes are taken");
    // An alert, and the end, in whichever way.
    _ = plain.read_to_end(&mut Vec::new()).await;
    // A probe may close, or reset.
    drop(connect(address, Some(PROBE.into())).await.expect("a connection"));
    reset(connect(address, Some(PROBE.into())).await.expect("a connection"));

    let failures = "portcullis_tls_handshake_failures_total";
    server.metrics_when("all have failed", |metrics| metrics.sum(failures, &[]) >= 7.0).await;
    assert_eq!(server.terminate().await, Exit::Code(0));

    let failed = |words: &[&str]| {
        let told =
            |line: &str| line.contains("handshake failed") && words.iter().all(|word| line.contains(word));
        server.log().count_from(0, told)
    };
    let text = server.log().text();
    assert_eq!(failed(&[]), 5, "{text}");
    let here = "peer=127.0.0.1:";
    assert_eq!(failed(&[here, "server_name=\"localhost\"", "reason=cert_missing"]), 2, "{text}");
    assert_eq!(
        failed(&[here, "server_name=\"localhost\"", "client=gatekeepers-friend", "reason=cert_expired"]),
        2,
        "{text}"
    );
    assert_eq!(failed(&[here, "reason=not_tls"]), 1, "{text}");
    assert!(!text.contains(&PROBE.to_string()), "{text}");
}
