//! Which certificate is shown to whom, and who is refused for the name: T5's server names; ALPN where it is required.

use std::sync::Arc;

use portcullis_layers::{
    BoxError, Connection,
    tls::{
        HandshakeFailure, TlsBuilder, TlsConfigError, TlsLayer, TlsStream,
        rustls::{
            AlertDescription, ClientConfig, NamedGroup, SupportedProtocolVersion,
            client::{
                ClientSessionMemoryCache, ClientSessionStore, Resumption, Tls12ClientSessionValue,
                Tls13ClientSessionValue,
            },
            pki_types::{CertificateDer, ServerName},
        },
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tower::{Layer, service_fn};

use crate::{
    certificates::{Authority, Pair},
    ends::{VERSIONS, alert_to, client, connect_to, refused, serve, tcp},
    hello::{Extensions, GCM, TLS_1_2, client_hello},
    within::within,
};

/// A server with several certificates of one CA.
struct Names {
    authority: Authority,
    /// For `localhost`, `a.example.org`, `example.org`, `b.c.example.org` and 127.0.0.1.
    default: Pair,
    exact: Pair,
    wildcard: Pair,
}

/// What a client was shown, and whether its session was resumed.
type Shown = (CertificateDer<'static>, bool);

impl Names {
    fn new() -> Self {
        let authority = Authority::new("a CA");
        let names = ["localhost", "example.org", "b.c.example.org", "elsewhere.test", "127.0.0.1"];
        Self {
            default: authority.server_for(&names),
            exact: authority.server_for(&["www.example.org", "a.example.org"]),
            wildcard: authority.server_for(&["*.example.org"]),
            authority,
        }
    }

    /// Without a default.
    fn named(&self) -> TlsBuilder {
        TlsLayer::builder()
            .sni_certificate_pem("WWW.example.org", self.exact.pem.clone(), self.exact.key_pem.clone())
            .sni_certificate_pem("*.Example.org", self.wildcard.pem.clone(), self.wildcard.key_pem.clone())
    }

    fn with_default(&self) -> TlsBuilder {
        self.named().certificate_pem(self.default.pem.clone(), self.default.key_pem.clone())
    }

    fn client(&self, version: &'static SupportedProtocolVersion) -> ClientConfig {
        client(&self.authority, version, None)
    }

    async fn shown_by(&self, layer: &TlsLayer, name: &str) -> [CertificateDer<'static>; 2] {
        let [one, other] = VERSIONS;
        let (one, _) = visit(layer, name, &Arc::new(self.client(one))).await;
        let (other, _) = visit(layer, name, &Arc::new(self.client(other))).await;
        [one, other]
    }
}

/// Connects to this name, and hears the server out.
async fn visit(layer: &TlsLayer, name: &str, config: &Arc<ClientConfig>) -> Shown {
    let stack = layer.layer(service_fn(|mut stream: TlsStream<TcpStream>| async move {
        stream.write_all(if stream.tls().unwrap().resumed { b"again" } else { b"first" }).await?;
        stream.shutdown().await?;
        Ok::<(), BoxError>(())
    }));
    let (io, accepted) = tcp().await;
    let served = serve(stack, accepted);
    let mut stream = connect_to(name, config, io).await.unwrap();
    let mut word = String::new();
    within(stream.read_to_string(&mut word)).await.unwrap();
    within(served).await.unwrap().unwrap();
    (stream.get_ref().1.peer_certificates().unwrap()[0].clone(), word == "again")
}

/// Connects to this name, is refused, and gets this alert.
async fn turned_away(
    layer: &TlsLayer,
    name: &str,
    config: ClientConfig,
) -> (HandshakeFailure, AlertDescription) {
    let (io, accepted) = tcp().await;
    let config = Arc::new(config);
    let (error, alert) =
        tokio::join!(refused(layer, accepted), async { alert_to(connect_to(name, &config, io).await).await });
    (error.failure(), alert)
}

/// Sends a ClientHello for these names, and leaves; why the handshake failed, and how it was answered.
async fn says(layer: &TlsLayer, names: &'static [&'static str]) -> (HandshakeFailure, Vec<u8>) {
    let (mut io, accepted) = tcp().await;
    let talk = async {
        io.write_all(&client_hello(TLS_1_2, GCM, &Extensions::Names(names))).await.unwrap();
        let mut answer = [0; 7];
        within(io.read_exact(&mut answer)).await.unwrap();
        drop(io);
        answer.to_vec()
    };
    let (error, answer) = tokio::join!(refused(layer, accepted), talk);
    (error.failure(), answer)
}

/// The record of a fatal alert, but for its version.
fn is_alert(answer: &[u8], alert: AlertDescription) -> bool {
    matches!(answer, [21, 3, _, 0, 2, 2, number] if *number == u8::from(alert))
}

#[tokio::test]
async fn an_exact_name_goes_before_a_wildcard_and_a_wildcard_before_the_default() {
    let names = Names::new();
    let layer = names.with_default().build().unwrap();
    for (name, pair) in [
        ("www.example.org", &names.exact),
        ("wWw.eXample.ORG", &names.exact),
        ("a.example.org", &names.wildcard),
        ("A.EXAMPLE.org", &names.wildcard),
        // A wildcard stands for one label, and not for none.
        ("example.org", &names.default),
        ("b.c.example.org", &names.default),
        ("localhost", &names.default),
        ("elsewhere.test", &names.default),
        // Asks for no name.
        ("127.0.0.1", &names.default),
    ] {
        assert_eq!(names.shown_by(&layer, name).await, [pair.der.clone(), pair.der.clone()], "{name}");
    }
}

#[tokio::test]
async fn a_name_of_nobody_is_refused_where_that_is_strict_and_where_there_is_no_default() {
    let names = Names::new();
    let strict = names.with_default().strict_sni(true).build().unwrap();
    let without_default = names.named().build().unwrap();
    for layer in [strict, without_default] {
        for version in VERSIONS {
            for name in ["example.org", "b.c.example.org", "elsewhere.test", "127.0.0.1"] {
                let (failure, alert) = turned_away(&layer, name, names.client(version)).await;
                assert_eq!(failure, HandshakeFailure::Sni, "{name}");
                assert_eq!(alert, AlertDescription::UnrecognisedName, "{name}");
            }
        }
        for (name, pair) in [("www.example.org", &names.exact), ("a.example.org", &names.wildcard)] {
            assert_eq!(names.shown_by(&layer, name).await, [pair.der.clone(), pair.der.clone()]);
        }
    }
}

/// What no client of today would send: an IP address as a name, a dot at the end, two names, none, and what is no name.
#[tokio::test]
async fn names_that_are_none_are_no_way_past() {
    let names = Names::new();
    let default = names.with_default().build().unwrap();
    let strict = names.with_default().strict_sni(true).build().unwrap();

    let (failure, answer) = says(&strict, &["127.0.0.1"]).await;
    assert!(is_alert(&answer, AlertDescription::UnrecognisedName), "{answer:?}");
    assert_eq!(failure, HandshakeFailure::Sni);
    for served in [&["127.0.0.1"], &["nobody.test"]] {
        let (failure, answer) = says(&default, served).await;
        assert_eq!(answer[0], 22, "no ServerHello for {served:?}: {answer:?}");
        assert_ne!(failure, HandshakeFailure::Sni);
    }
    let (failure, answer) = says(&strict, &["www.example.org."]).await;
    assert_eq!(answer[0], 22, "no ServerHello: {answer:?}");
    assert_ne!(failure, HandshakeFailure::Sni);

    for layer in [&default, &strict] {
        for invalid in [&["not a name"][..], &["*.example.org"], &["www.example.org", "a.example.org"], &[""]]
        {
            let (failure, answer) = says(layer, invalid).await;
            assert_eq!(answer[0], 21, "{invalid:?}: {answer:?}");
            assert!(
                matches!(failure, HandshakeFailure::Sni | HandshakeFailure::Protocol),
                "{invalid:?}: {failure}"
            );
        }
    }
}

/// A client that keeps its sessions under one name, whatever it asked for.
#[derive(Debug)]
struct OneName(ClientSessionMemoryCache);

impl OneName {
    fn name() -> ServerName<'static> {
        "one.test".try_into().unwrap()
    }
}

impl ClientSessionStore for OneName {
    fn set_kx_hint(&self, _: ServerName<'static>, group: NamedGroup) {
        self.0.set_kx_hint(Self::name(), group);
    }

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        self.0.kx_hint(&Self::name())
    }

    fn set_tls12_session(&self, _: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.0.set_tls12_session(Self::name(), value);
    }

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.0.tls12_session(&Self::name())
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {
        self.0.remove_tls12_session(&Self::name());
    }

    fn insert_tls13_ticket(&self, _: ServerName<'static>, value: Tls13ClientSessionValue) {
        self.0.insert_tls13_ticket(Self::name(), value);
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.0.take_tls13_ticket(&Self::name())
    }
}

#[tokio::test]
async fn a_session_of_one_name_is_not_resumed_under_another() {
    let names = Names::new();
    let layer = names.with_default().build().unwrap();
    for version in VERSIONS {
        let mut config = names.client(version);
        config.resumption = Resumption::store(Arc::new(OneName(ClientSessionMemoryCache::new(8))));
        let config = Arc::new(config);
        let resumed = async |name| visit(&layer, name, &config).await.1;
        assert!(!resumed("www.example.org").await);
        assert!(resumed("www.example.org").await, "the client has a session, and offers it");
        assert!(!resumed("a.example.org").await);
        assert!(!resumed("127.0.0.1").await);
        assert!(!resumed("www.example.org").await);
        assert!(resumed("WWW.example.org").await);
    }
}

#[test]
fn names_that_cannot_be_asked_for_are_refused_with_the_reason() {
    let pair = Authority::new("a CA").server();
    let build = |names: &[&str]| {
        let builder = TlsLayer::builder().certificate_pem(pair.pem.clone(), pair.key_pem.clone());
        let add = |builder: TlsBuilder, name: &&str| {
            builder.sni_certificate_pem(*name, pair.pem.clone(), pair.key_pem.clone())
        };
        names.iter().fold(builder, add).build()
    };
    for name in [
        "",
        "*",
        "*.",
        ".",
        "*.*.example.org",
        "a.*.org",
        "*example.org",
        "192.0.2.1",
        "2001:db8::1",
        "[::1]",
        "*.192.0.2.1",
        "a b",
        "b\u{fc}cher.example",
        "-a.org",
        "example..org",
        " example.org",
        "example.org:443",
    ] {
        let error = build(&[name]).unwrap_err();
        assert!(matches!(&error, TlsConfigError::ServerName(given) if given == name), "{name}: {error:?}");
        assert!(error.to_string().contains(&format!("`{name}`")), "{error}");
    }
    for twice in [["a.org", "A.org"], ["*.a.org", "*.A.ORG"], ["a.org", "a.org."]] {
        let error = build(&twice).unwrap_err();
        assert!(matches!(&error, TlsConfigError::TwiceTheName(name) if name == twice[1]), "{error:?}");
    }
    build(&["a.org", "*.a.org", "*.org", "localhost", "xn--bcher-kva.example", "_under.score"]).unwrap();
}

#[test]
fn strictness_that_refuses_everybody_is_refused() {
    let pair = Authority::new("a CA").server();
    let error =
        TlsLayer::builder().certificate_pem(pair.pem, pair.key_pem).strict_sni(true).build().unwrap_err();
    assert!(matches!(error, TlsConfigError::StrictWithoutNames), "{error:?}");
}

#[tokio::test]
async fn where_a_protocol_is_required_a_client_without_one_in_common_is_refused() {
    let names = Names::new();
    let (layer, reloader) =
        names.with_default().alpn(["h2", "http/1.1"]).require_alpn(true).build_reloadable().unwrap();
    let with = |version, protocols: &[&str]| {
        let mut config = names.client(version);
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        config
    };
    for version in VERSIONS {
        for protocols in [&[][..], &["imap"]] {
            let refusal = turned_away(&layer, "localhost", with(version, protocols)).await;
            assert_eq!(
                refusal,
                (HandshakeFailure::Alpn, AlertDescription::NoApplicationProtocol),
                "{protocols:?}"
            );
        }
        let config = Arc::new(with(version, &["imap", "http/1.1"]));
        assert!(!visit(&layer, "localhost", &config).await.1);
        assert!(visit(&layer, "localhost", &config).await.1, "resumed, it needs one too, and has it");

        // A session that was begun without one is no way past.
        let lenient = names.with_default().alpn(["h2"]).ticket_keys(reloader.ticket_keys().unwrap().clone());
        let config = names.client(version);
        visit(&lenient.build().unwrap(), "localhost", &Arc::new(config.clone())).await;
        let (failure, _) = turned_away(&layer, "localhost", config).await;
        assert_eq!(failure, HandshakeFailure::Alpn);
    }
}

#[test]
fn a_protocol_that_is_required_must_be_named() {
    let names = Names::new();
    let error = names.with_default().require_alpn(true).build().unwrap_err();
    assert!(matches!(error, TlsConfigError::AlpnRequiredWithoutProtocols), "{error:?}");
}
