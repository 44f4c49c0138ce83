//! Versions, cipher suites and key exchange groups by their names; the key log.

use std::{
    process::Command,
    sync::{Arc, Mutex},
};

use portcullis_layers::{
    BoxError, Connection,
    tls::{
        HandshakeFailure, TlsBuilder, TlsConfigError, TlsLayer, TlsStream, TlsVersion,
        rustls::{AlertDescription, ClientConfig, KeyLog, NamedGroup, version::TLS12},
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::mpsc,
};
use tower::{Layer, service_fn};

use crate::{
    certificates::Authority,
    config::told,
    crypto::default_provider,
    ends::{VERSIONS, alert_to, client, client_with, connect, refused, serve, server, tcp},
    visits::visit,
    within::within,
};

/// The cipher suite and the group that were agreed.
async fn agreed(layer: &TlsLayer, config: ClientConfig) -> (&'static str, &'static str) {
    let (tell, mut told) = mpsc::unbounded_channel();
    let stack = layer.layer(service_fn(move |mut stream: TlsStream<TcpStream>| {
        let tell = tell.clone();
        async move {
            let session = stream.tls().unwrap();
            tell.send((session.cipher_suite, session.key_exchange_group.unwrap()))?;
            stream.shutdown().await?;
            Ok::<(), BoxError>(())
        }
    }));
    let (io, accepted) = tcp().await;
    let served = serve(stack, accepted);
    let mut stream = connect(&Arc::new(config), io).await.unwrap();
    within(stream.read_to_end(&mut Vec::new())).await.unwrap();
    within(served).await.unwrap().unwrap();
    told.recv().await.unwrap()
}

fn config_error(build: impl FnOnce(TlsBuilder) -> TlsBuilder) -> TlsConfigError {
    build(server(&Authority::new("a CA"))).build().unwrap_err()
}

#[tokio::test]
async fn the_cipher_suites_are_those_that_are_named_in_their_order() {
    let authority = Authority::new("a CA");
    // As rustls has them, as IANA has them, and in any case.
    let layer = server(&authority)
        .cipher_suites([
            "TLS_CHACHA20_POLY1305_SHA256",
            "tls13_aes_128_gcm_sha256",
            "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
            "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        ])
        .build()
        .unwrap();
    for (version, first, second) in [
        (
            VERSIONS[0],
            "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
            "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        ),
        (VERSIONS[1], "TLS13_CHACHA20_POLY1305_SHA256", "TLS13_AES_128_GCM_SHA256"),
    ] {
        // The client's own order is another one.
        assert_eq!(agreed(&layer, client(&authority, version, None)).await.0, first);
        let mut provider = default_provider();
        provider.cipher_suites.retain(|suite| suite.suite().as_str() != Some(first));
        assert_eq!(agreed(&layer, client_with(provider.clone(), &authority, version, None)).await.0, second);
        provider.cipher_suites.retain(|suite| suite.suite().as_str() != Some(second));
        let (io, accepted) = tcp().await;
        let config = Arc::new(client_with(provider, &authority, version, None));
        let (error, alert) =
            tokio::join!(refused(&layer, accepted), async { alert_to(connect(&config, io).await).await });
        assert_eq!(error.failure(), HandshakeFailure::Incompatible);
        assert_eq!(alert, AlertDescription::HandshakeFailure);
    }
}

#[tokio::test]
async fn the_groups_are_those_that_are_named() {
    let authority = Authority::new("a CA");
    let layer = server(&authority).key_exchange_groups(["secp384r1", "x25519"]).build().unwrap();
    for version in VERSIONS {
        assert_eq!(agreed(&layer, client(&authority, version, None)).await.1, "X25519");
        let mut provider = default_provider();
        provider.kx_groups.retain(|group| group.name() != NamedGroup::X25519);
        let config = client_with(provider, &authority, version, None);
        assert_eq!(agreed(&layer, config).await.1, "secp384r1");
    }
}

#[cfg(feature = "aws-lc-rs")]
#[tokio::test]
async fn the_post_quantum_group_is_there_by_default_for_a_client_that_prefers_it() {
    let authority = Authority::new("a CA");
    let layer = server(&authority).build().unwrap();
    let mut provider = default_provider();
    provider.kx_groups.sort_by_key(|group| group.name() != NamedGroup::X25519MLKEM768);
    let config = client_with(provider, &authority, VERSIONS[1], None);
    assert_eq!(agreed(&layer, config).await.1, "X25519MLKEM768");
    assert_eq!(agreed(&layer, client(&authority, VERSIONS[1], None)).await.1, "X25519");
}

#[test]
fn a_name_that_nobody_knows_is_told_with_those_that_are_known() {
    for name in
        ["TLS_RSA_WITH_AES_128_CBC_SHA", "ECDHE-RSA-AES128-GCM-SHA256", "", "TLS", "\u{e9}\u{e9}\u{e9}"]
    {
        let error = config_error(|builder| builder.cipher_suites([name]));
        assert!(matches!(&error, TlsConfigError::UnknownName { kind: "cipher suite", .. }), "{error:?}");
        let text = told(&error);
        assert!(text.contains(&format!("`{name}`")), "{text}");
        for known in default_provider().cipher_suites {
            assert!(text.contains(known.suite().as_str().unwrap()), "{text}");
        }
    }
    let error = config_error(|builder| builder.key_exchange_groups(["X25519", "P-512"]));
    let text = told(&error);
    assert!(text.contains("`P-512` is no key exchange group"), "{text}");
    for known in default_provider().kx_groups {
        assert!(text.contains(known.name().as_str().unwrap()), "{text}");
    }
}

#[test]
fn a_version_that_could_not_be_spoken_is_refused_with_what_would_help() {
    let only_1_3 = ["TLS_AES_128_GCM_SHA256"];
    let error = config_error(|builder| builder.cipher_suites(only_1_3));
    let TlsConfigError::NoneForVersion { kind: "cipher suite", version: TlsVersion::V1_2, known, .. } =
        &error
    else {
        panic!("{error:?}")
    };
    assert!(known.contains("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256") && !known.contains("TLS13_"), "{known}");
    server(&Authority::new("a CA")).cipher_suites(only_1_3).min_version(TlsVersion::V1_3).build().unwrap();

    let error = config_error(|builder| builder.cipher_suites(["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"]));
    assert!(matches!(error, TlsConfigError::NoneForVersion { version: TlsVersion::V1_3, .. }), "{error:?}");
    for error in [
        config_error(|builder| builder.cipher_suites::<&str>([])),
        config_error(|builder| builder.key_exchange_groups::<&str>([])),
    ] {
        assert!(
            matches!(error, TlsConfigError::NoneForVersion { version: TlsVersion::V1_2, .. }),
            "{error:?}"
        );
    }
}

#[cfg(feature = "aws-lc-rs")]
#[test]
fn post_quantum_alone_is_for_tls_1_3_alone() {
    let groups = ["X25519MLKEM768", "SecP256r1MLKEM768"];
    let error = config_error(|builder| builder.key_exchange_groups(groups));
    assert!(
        matches!(
            error,
            TlsConfigError::NoneForVersion { kind: "key exchange group", version: TlsVersion::V1_2, .. }
        ),
        "{error:?}"
    );
    let authority = Authority::new("a CA");
    server(&authority).key_exchange_groups(groups).min_version(TlsVersion::V1_3).build().unwrap();
}

#[tokio::test]
async fn a_client_of_tls_1_2_is_served_unless_1_3_is_the_oldest_version() {
    let authority = Authority::new("a CA");
    let config = Arc::new(client(&authority, &TLS12, None));
    visit(&server(&authority).min_version(TlsVersion::V1_2).build().unwrap(), &config).await.unwrap();
    let (io, accepted) = tcp().await;
    let layer = server(&authority).min_version(TlsVersion::V1_3).build().unwrap();
    let (error, alert) =
        tokio::join!(refused(&layer, accepted), async { alert_to(connect(&config, io).await).await });
    assert_eq!((error.failure(), alert), (HandshakeFailure::Incompatible, AlertDescription::ProtocolVersion));
}

/// Keeps what it is told.
#[derive(Debug, Default)]
struct Told(Mutex<Vec<String>>);

impl KeyLog for Told {
    fn log(&self, label: &str, _: &[u8], _: &[u8]) {
        self.0.lock().unwrap().push(label.to_owned());
    }
}

#[tokio::test]
async fn secrets_are_told_to_a_key_log_that_was_given() {
    let authority = Authority::new("a CA");
    for (version, label) in [(VERSIONS[0], "CLIENT_RANDOM"), (VERSIONS[1], "SERVER_TRAFFIC_SECRET_0")] {
        let log = Arc::new(Told::default());
        let layer = server(&authority).key_log(log.clone()).build().unwrap();
        visit(&layer, &Arc::new(client(&authority, version, None))).await.unwrap();
        let told = log.0.lock().unwrap();
        assert!(told.iter().any(|told| told == label), "{told:?}");
    }
}

/// This program once more, with the variable that makes others write their secrets to a file.
#[test]
fn the_environment_has_no_say_in_the_key_log() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("secrets");
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "resumption::without_client_certificates_a_returning_client_is_resumed"])
        .env("SSLKEYLOGFILE", &file)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
    assert!(!file.exists(), "there are secrets in it");
}
