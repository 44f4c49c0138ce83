use std::net::SocketAddr;

use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use portcullis_layers::{
    BoxError, Drain, Outcome, Peer, RejectReason, UnixPeer,
    metrics::MetricsLayer,
    tls::{ClientAuth, ClientRoots, TlsLayer, TlsStream, rustls},
    track::{TrackLayer, Tracked, Tracker},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    net::UnixStream,
    sync::watch,
    task::JoinHandle,
    time::{Duration, timeout},
};
use tower::{Layer, Service, ServiceExt};

use super::{Admin, AdminStack, Exporter, ExporterError, prometheus};
use crate::{
    http::{HttpLeaf, tests::Claimed},
    lifecycle::Phase,
};

const SOON: Duration = Duration::from_secs(5);

fn admin() -> Admin {
    admin_of(&Tracker::new(), Phase::Serving)
}

fn admin_of(tracker: &Tracker, phase: Phase) -> Admin {
    let (_recorder, exporter) = Exporter::builder().build().unwrap();
    Admin::from_parts(exporter, tracker.clone(), watch::channel(phase).1)
}

async fn ask(admin: &Admin, method: Method, path: &str) -> Response<Full<bytes::Bytes>> {
    let request = Request::builder().method(method).uri(path).body(()).unwrap();
    admin.clone().oneshot(request).await.unwrap()
}

async fn body(response: Response<Full<bytes::Bytes>>) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

#[tokio::test]
async fn each_page_is_served_with_its_type() {
    for (path, content_type, contains) in [
        ("/", "text/html; charset=utf-8", "href=\"/metrics\""),
        ("/metrics", "text/plain; version=0.0.4; charset=utf-8", "process_open_fds "),
        ("/healthz", "text/plain; charset=utf-8", "ok"),
        ("/readyz", "text/plain; charset=utf-8", "serving"),
        ("/connections", "application/json", "[]"),
    ] {
        let response = ask(&admin(), Method::GET, path).await;
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        assert_eq!(response.headers()[header::CONTENT_TYPE], content_type, "{path}");
        assert_eq!(response.headers()[header::CACHE_CONTROL], "no-store", "{path}");
        let text = body(response).await;
        assert!(text.contains(contains), "{path}: {text}");
    }
}

#[tokio::test]
async fn a_query_does_not_change_the_page() {
    assert_eq!(ask(&admin(), Method::GET, "/healthz?verbose").await.status(), StatusCode::OK);
}

#[tokio::test]
async fn head_answers_as_get_without_the_body() {
    let get = ask(&admin(), Method::GET, "/readyz").await;
    let head = ask(&admin(), Method::HEAD, "/readyz").await;
    assert_eq!((get.status(), get.headers()), (head.status(), head.headers()));
    assert_eq!(head.headers()[header::CONTENT_LENGTH], "7");
    assert_eq!(body(head).await, "");
}

#[tokio::test]
async fn head_says_the_length_over_http_too() {
    let (mut client, _served) = serve(AdminStack::new(admin()), ip("127.0.0.1:1"));
    client.write_all(b"HEAD /healthz HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    timeout(SOON, client.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.contains("\r\ncontent-length: 2\r\n") && answer.ends_with("\r\n\r\n"), "{answer}");
}

#[tokio::test]
async fn another_path_is_not_found_and_another_method_not_allowed() {
    for method in [Method::GET, Method::POST] {
        assert_eq!(ask(&admin(), method, "/metrics/").await.status(), StatusCode::NOT_FOUND);
    }
    for method in [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS] {
        let response = ask(&admin(), method, "/metrics").await;
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(response.headers()[header::ALLOW], "GET, HEAD");
    }
}

#[tokio::test]
async fn readiness_follows_the_phase() {
    let (_recorder, exporter) = Exporter::builder().build().unwrap();
    let (phase, phases) = watch::channel(Phase::Starting);
    let admin = Admin::from_parts(exporter, Tracker::new(), phases);
    for (now, status) in [
        (Phase::Starting, StatusCode::SERVICE_UNAVAILABLE),
        (Phase::Serving, StatusCode::OK),
        (Phase::Standby, StatusCode::SERVICE_UNAVAILABLE),
        (Phase::Draining, StatusCode::SERVICE_UNAVAILABLE),
    ] {
        phase.send_replace(now);
        let response = ask(&admin, Method::GET, "/readyz").await;
        assert_eq!(response.status(), status);
        assert_eq!(body(response).await, now.as_str());
        assert_eq!(ask(&admin, Method::GET, "/healthz").await.status(), StatusCode::OK);
    }
    // Who told the phase is gone: the last word stands.
    drop(phase);
    assert_eq!(body(ask(&admin, Method::GET, "/readyz").await).await, "draining");
}

#[tokio::test]
async fn an_open_connection_is_listed_until_it_ends() {
    let tracker = Tracker::new();
    let admin = admin_of(&tracker, Phase::Serving);
    let leaf = tower::service_fn(async |mut stream: Tracked<Claimed<DuplexStream>>| {
        stream.write_all(b"hello").await?;
        // Until the peer goes.
        stream.read_to_end(&mut Vec::new()).await?;
        Ok::<_, BoxError>(())
    });
    let mut stack = TrackLayer::new(tracker.clone()).listener("echo").layer(leaf);
    let (mut client, server) = tokio::io::duplex(64);
    let served = tokio::spawn(stack.call(Claimed::new(server, ip("192.0.2.7:50123"), Drain::never())));
    client.write_all(b"hi").await.unwrap();
    timeout(SOON, client.read_exact(&mut [0; 5])).await.unwrap().unwrap();

    let text = body(ask(&admin, Method::GET, "/connections").await).await;
    let rows: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
    let [row] = rows.as_slice() else { panic!("not one connection: {text}") };
    assert!(row["id"].is_u64(), "{text}");
    assert_eq!(row["listener"], "echo");
    assert_eq!(row["peer"], "192.0.2.7:50123");
    assert_eq!(row["bytes_written"], 5);
    assert!(row["bytes_read"].is_u64() && row["activity"].is_string(), "{text}");
    assert!(row["age_seconds"].as_f64().unwrap() < SOON.as_secs_f64(), "{text}");
    let since = humantime::parse_rfc3339(row["since"].as_str().unwrap()).unwrap();
    assert!(since.elapsed().unwrap() < SOON, "{text}");

    assert!(row["tls"].is_null() && row["identity"].is_null(), "{text}");

    drop(client);
    timeout(SOON, served).await.unwrap().unwrap().unwrap();
    assert_eq!(body(ask(&admin, Method::GET, "/connections").await).await, "[]");
}

/// A name in a certificate is what its holder could talk a CA into.
#[tokio::test]
async fn whom_a_certificate_names_is_listed_and_cannot_break_out() {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
    params.subject_alt_names.clear();
    params.distinguished_name.push(rcgen::DnType::CommonName, "</script>\"}],\n\u{202e}");
    let certificate = params.self_signed(&key).unwrap();
    let server = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let layer = TlsLayer::builder()
        .certificate_pem(server.cert.pem(), server.signing_key.serialize_pem())
        .client_auth(ClientAuth::Required(ClientRoots::from_pem(certificate.pem())))
        .build()
        .unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(server.cert.der().clone()).unwrap();
    let config = rustls::ClientConfig::builder_with_provider(layer.config().crypto_provider().clone())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![certificate.der().clone()], key.into())
        .unwrap();

    let tracker = Tracker::new();
    let admin = admin_of(&tracker, Phase::Serving);
    let leaf = tower::service_fn(async |mut stream: TlsStream<Tracked<DuplexStream>>| {
        stream.write_u8(1).await?;
        stream.read_to_end(&mut Vec::new()).await?;
        Ok::<_, BoxError>(())
    });
    let mut stack = TrackLayer::new(tracker.clone()).layer(layer.layer(leaf));
    let (client, server) = tokio::io::duplex(4096);
    let _served = tokio::spawn(stack.call(server));
    let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config));
    let talk = async {
        let mut client = connector.connect("localhost".try_into().unwrap(), client).await.unwrap();
        client.read_u8().await.unwrap();
        client
    };
    let _client = timeout(SOON, talk).await.unwrap();

    let text = body(ask(&admin, Method::GET, "/connections").await).await;
    let rows: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
    assert_eq!(rows[0]["tls"], "TLSv1.3");
    assert_eq!(rows[0]["identity"], r#"</script>\"}],\n\u{202e}"#, "{text}");
    assert!(text.is_ascii() && !text.contains(char::is_control), "{text}");
}

/// Serves the stack to a peer; gives the peer's end.
fn serve(stack: AdminStack, peer: Peer) -> (DuplexStream, JoinHandle<Result<(), BoxError>>) {
    let (client, server) = tokio::io::duplex(64 * 1024);
    (client, tokio::spawn(stack.oneshot(Claimed::new(server, peer, Drain::never()))))
}

async fn is_answered(stack: &AdminStack, peer: Peer) -> bool {
    let (mut client, served) = serve(stack.clone(), peer);
    // It may be closed before it is written to.
    let _ = client.write_all(b"GET /healthz HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n").await;
    let mut answer = String::new();
    timeout(SOON, client.read_to_string(&mut answer)).await.unwrap().unwrap();
    let answered = answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("ok");
    assert!(answered || answer.is_empty(), "{answer}");
    match timeout(SOON, served).await.unwrap().unwrap() {
        Ok(()) => assert!(answered),
        Err(error) => {
            assert!(!answered);
            assert_eq!(Outcome::of(Err(&*error)), Outcome::Rejected(RejectReason::Address), "{error}");
        }
    }
    answered
}

fn ip(address: &str) -> Peer {
    Peer::Ip(address.parse::<SocketAddr>().unwrap())
}

fn user(uid: u32) -> Peer {
    Peer::Unix(UnixPeer { uid, gid: 0, pid: None })
}

#[tokio::test]
async fn this_machine_is_answered_and_nobody_else() {
    let stack = AdminStack::new(admin());
    for address in ["127.0.0.1:1", "127.8.9.10:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
        assert!(is_answered(&stack, ip(address)).await, "{address}");
    }
    for address in
        ["192.0.2.1:1", "[2001:db8::1]:1", "[::]:1", "0.0.0.0:1", "[::ffff:10.0.0.1]:1", "[fe80::1]:1"]
    {
        assert!(!is_answered(&stack, ip(address)).await, "{address}");
    }
    assert!(!is_answered(&stack, Peer::Unknown).await);
}

#[tokio::test]
async fn a_unix_peer_is_answered_if_it_is_our_own_user_or_root() {
    let ours = rustix::process::geteuid().as_raw();
    let stack = AdminStack::new(admin());
    assert!(is_answered(&stack, user(0)).await);
    assert!(is_answered(&stack, user(ours)).await);
    assert!(!is_answered(&stack, user(ours + 1)).await);

    // And over a real socket, with the kernel's word for it.
    let (mut client, server) = UnixStream::pair().unwrap();
    let served = tokio::spawn(stack.oneshot(server));
    client.write_all(b"GET /healthz HTTP/1.0\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    timeout(SOON, client.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.0 200"), "{answer}");
    timeout(SOON, served).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn other_networks_can_be_allowed() {
    let stack = AdminStack::new(admin()).allow(["192.0.2.0/24".parse().unwrap()]);
    assert!(is_answered(&stack, ip("192.0.2.1:1")).await);
    assert!(is_answered(&stack, ip("127.0.0.1:1")).await);
    assert!(!is_answered(&stack, ip("192.0.3.1:1")).await);
    let uid = rustix::process::geteuid().as_raw() + 1;
    assert!(!is_answered(&stack, user(uid)).await, "a network says nothing of Unix peers");
}

#[tokio::test]
async fn connections_that_do_nothing_are_bounded() {
    let mut stack = AdminStack::new(admin());
    let mut open = Vec::new();
    for _ in 0..64 {
        let ready = timeout(SOON, ServiceExt::<DuplexStream>::ready(&mut stack)).await;
        ready.expect("there is room").unwrap();
        let (client, server) = tokio::io::duplex(64);
        open.push((client, stack.call(Claimed::new(server, ip("127.0.0.1:1"), Drain::never()))));
    }
    std::future::poll_fn(|cx| {
        assert!(Service::<DuplexStream>::poll_ready(&mut stack, cx).is_pending());
        std::task::Poll::Ready(())
    })
    .await;

    open.pop();
    timeout(SOON, ServiceExt::<DuplexStream>::ready(&mut stack)).await.expect("there is room again").unwrap();
}

#[test]
fn metrics_are_rendered_with_their_types_help_and_buckets() {
    let (recorder, exporter) = Exporter::builder().bounds("bytes", [1024.0, 4096.0]).build().unwrap();
    metrics::with_local_recorder(&recorder, || {
        prometheus::introduce();
        metrics::counter!("portcullis_restarts_total", "result" => "succeeded").increment(2);
        metrics::gauge!("portcullis_draining").set(0.0);
        metrics::histogram!("portcullis_connection_duration_seconds", "listener" => "echo").record(2.0);
        metrics::histogram!("other_drain_duration_seconds").record(7.0);
        metrics::histogram!("request_duration_seconds").record(0.3);
        metrics::histogram!("bytes").record(2048.0);
    });
    let text = exporter.render();
    for line in [
        "# HELP portcullis_build_info Always 1; the version of portcullis is in the label.",
        "# TYPE portcullis_restarts_total counter",
        "portcullis_restarts_total{result=\"succeeded\"} 2",
        "# TYPE portcullis_draining gauge",
        "portcullis_draining 0",
        "# TYPE portcullis_connection_duration_seconds histogram",
        "portcullis_connection_duration_seconds_bucket{listener=\"echo\",le=\"1\"} 0",
        "portcullis_connection_duration_seconds_bucket{listener=\"echo\",le=\"5\"} 1",
        "portcullis_connection_duration_seconds_bucket{listener=\"echo\",le=\"43200\"} 1",
        "portcullis_connection_duration_seconds_bucket{listener=\"echo\",le=\"+Inf\"} 1",
        "portcullis_connection_duration_seconds_count{listener=\"echo\"} 1",
        "other_drain_duration_seconds_bucket{le=\"10\"} 1",
        "request_duration_seconds_bucket{le=\"0.5\"} 1",
        "bytes_bucket{le=\"1024\"} 0",
        "bytes_bucket{le=\"4096\"} 1",
        "# TYPE process_cpu_seconds_total counter",
        "# TYPE process_resident_memory_bytes gauge",
        concat!("portcullis_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
    ] {
        assert!(text.lines().any(|l| l == line), "no line {line:?} in:\n{text}");
    }
    assert!(!text.contains(" summary"), "{text}");
}

/// What `promtool check metrics` complains about, as far as it concerns us.
#[test]
fn each_series_has_help_and_the_suffix_of_its_type() {
    let (recorder, exporter) = Exporter::builder().build().unwrap();
    metrics::with_local_recorder(&recorder, || {
        prometheus::introduce();
        let _stack = MetricsLayer::new("echo").layer(HttpLeaf::new(admin()));
    });
    let text = exporter.render();
    let types: Vec<(&str, &str)> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .map(|line| line.split_once(' ').unwrap())
        .collect();
    assert!(types.contains(&("portcullis_connections_accepted_total", "counter")), "{text}");
    assert!(types.contains(&("portcullis_tls_handshake_duration_seconds", "histogram")), "{text}");
    for (name, kind) in types {
        assert!(text.contains(&format!("# HELP {name} ")), "{name} has no help");
        assert_eq!(name.ends_with("_total"), kind == "counter", "{name} is a {kind}");
        assert!(["counter", "gauge", "histogram"].contains(&kind), "{name} is a {kind}");
        assert_eq!(text.matches(&format!("# TYPE {name} ")).count(), 1, "{name} is declared once");
    }
}

#[test]
fn bounds_that_make_no_buckets_are_refused_with_the_name() {
    for bounds in [vec![], vec![2.0, 1.0], vec![1.0, 1.0], vec![1.0, f64::NAN]] {
        let error = Exporter::builder().bounds("size_bytes", bounds).build().err().unwrap();
        assert!(matches!(&error, ExporterError::Bounds { name, .. } if name == "size_bytes"), "{error}");
    }
}

#[test]
fn an_exporter_outside_a_runtime_is_refused() {
    assert!(matches!(Exporter::install(), Err(ExporterError::NoRuntime(_))));
}
