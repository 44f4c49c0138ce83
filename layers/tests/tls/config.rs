//! Certificates and keys from PEM, and what is said of those that cannot be used.

use std::{path::PathBuf, sync::Arc};

use portcullis_layers::{
    BoxError, ErrorChain,
    tls::{
        ClientAuth, ClientRoots, MaybeTlsLayer, PemSource, TlsConfigError, TlsLayer, TlsStream, TlsVersion,
        rustls::version::TLS13,
    },
};
use rcgen::IsCa;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tower::{Layer, service_fn};

use crate::{
    certificates::{Authority, Pair, pem},
    ends::{client, connect, serve, server, tcp},
    files::Files,
    within::within,
};

/// An error with all of its causes, as a log would have it.
pub(crate) fn told(error: &TlsConfigError) -> String {
    let text = ErrorChain(error).to_string();
    match error.hint() {
        Some(hint) => format!("{text}; {hint}"),
        None => text,
    }
}

async fn is_served(layer: &TlsLayer, authority: &Authority) {
    let (io, accepted) = tcp().await;
    let served = serve(
        layer.layer(service_fn(|mut stream: TlsStream<TcpStream>| async move {
            stream.shutdown().await?;
            Ok::<(), BoxError>(())
        })),
        accepted,
    );
    let mut stream = connect(&Arc::new(client(authority, &TLS13, None)), io).await.unwrap();
    within(stream.read_to_end(&mut Vec::new())).await.unwrap();
    within(served).await.unwrap().unwrap();
}

#[tokio::test]
async fn keys_in_all_three_forms_are_read() {
    let authority = Authority::new("a CA");
    let (ecdsa, rsa) = (authority.server(), authority.rsa_server());
    let pairs = [
        (&ecdsa, ecdsa.key_pem.clone()),
        (&rsa, rsa.key_pem.clone()),
        (&rsa, rsa.traditional_key_pem("RSA PRIVATE KEY")),
        (&ecdsa, ecdsa.traditional_key_pem("EC PRIVATE KEY")),
        // As `openssl ecparam -genkey` writes it: the curve, then the key.
        (
            &ecdsa,
            format!(
                "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n{}",
                ecdsa.traditional_key_pem("EC PRIVATE KEY")
            ),
        ),
    ];
    let files = Files::new();
    for (pair, key) in pairs {
        let (cert, key) = (files.write("cert.pem", &pair.pem), files.write("key.pem", key));
        is_served(&TlsLayer::from_pem_files(cert, key).unwrap(), &authority).await;
    }
}

#[tokio::test]
async fn a_chain_and_its_key_may_be_one_file_with_text_between() {
    let authority = Authority::new("a CA");
    let pair = authority.server();
    let all = format!("Subject: localhost\r\n{}\n# the issuer\n{}{}", pair.pem, authority.pem, pair.key_pem);
    let path = Files::new();
    let path = path.write("all.pem", all);
    let layer = TlsLayer::from_pem_files(&path, &path);
    // Read in full by then.
    is_served(&layer.unwrap(), &authority).await;
}

/// An error is printed, and a builder may be.
#[test]
fn a_key_that_is_given_for_its_path_is_shown_nowhere() {
    let pair = Authority::new("a CA").server();
    let files = Files::new();
    let cert = files.write("cert.pem", &pair.pem);
    let secret = pair.key_pem.lines().nth(1).unwrap();
    let builders = [
        TlsLayer::builder().certificate_files(&cert, &pair.key_pem),
        TlsLayer::builder().sni_certificate_files("a.example", &cert, format!(" {}", pair.key_pem)),
    ];
    for builder in builders {
        assert!(!format!("{builder:?}").contains(secret));
        let error = builder.build().unwrap_err();
        let text = told(&error);
        assert!(text.contains("is PEM text itself"), "{text}");
        assert!(!format!("{text} {error:?}").contains(secret), "{text}");
    }
}

#[test]
fn what_is_wrong_with_a_certificate_for_a_name_is_said_with_the_name() {
    let (files, pair) = (Files::new(), Authority::new("a CA").server());
    let (cert, absent) = (files.write("cert.pem", &pair.pem), files.path("absent.key"));
    let error = TlsLayer::builder()
        .certificate_pem(pair.pem, pair.key_pem)
        .sni_certificate_files("a.example", cert, absent)
        .build()
        .unwrap_err();
    let text = told(&error);
    assert!(matches!(error, TlsConfigError::ForName { .. }), "{text}");
    assert!(text.contains("`a.example`") && text.contains("absent.key"), "{text}");
    assert_eq!(error.files().count(), 0, "it is none of the files of other settings");
}

/// A client's own certificate in their place would let the client vouch for others.
#[test]
fn what_says_that_it_is_no_ca_is_refused_as_one() {
    let authority = Authority::new("a CA");
    let client = authority.client_that(|params| params.is_ca = IsCa::ExplicitNoCa);
    let error = server(&authority)
        .client_auth(ClientAuth::Required(ClientRoots::from_pem(authority.pem.clone() + &client.pem)))
        .build()
        .unwrap_err();
    let text = told(&error);
    assert!(matches!(error, TlsConfigError::NotACa { number: 2, .. }), "{text}");
    assert!(text.contains("CA:FALSE"), "{text}");
}

fn server_error(pair: &Pair, change: impl FnOnce(&Files) -> (PathBuf, PathBuf)) -> (TlsConfigError, String) {
    let files = Files::new();
    files.write("cert.pem", &pair.pem);
    files.write("key.pem", &pair.key_pem);
    let (cert, key) = change(&files);
    let error = TlsLayer::from_pem_files(cert, key).unwrap_err();
    let text = told(&error);
    (error, text)
}

#[test]
fn what_is_wrong_with_a_file_is_said_with_its_name() {
    let authority = Authority::new("a CA");
    let pair = authority.server();
    let path = |files: &Files, name: &str| files.path(name);

    let (error, text) = server_error(&pair, |f| (path(f, "absent.pem"), path(f, "key.pem")));
    assert!(matches!(error, TlsConfigError::Read { .. }) && text.contains("absent.pem"), "{text}");
    assert!(text.contains("No such file"), "{text}");

    let (error, text) = server_error(&pair, |f| (path(f, "key.pem"), path(f, "key.pem")));
    assert!(matches!(error, TlsConfigError::NoCertificate { .. }), "{text}");
    assert!(text.contains("key.pem") && text.contains("BEGIN CERTIFICATE"), "{text}");

    let (error, text) = server_error(&pair, |f| (path(f, "cert.pem"), path(f, "cert.pem")));
    assert!(matches!(error, TlsConfigError::NoKey { .. }), "{text}");
    assert!(text.contains("cert.pem") && text.contains("BEGIN PRIVATE KEY"), "{text}");

    let (error, text) = server_error(&pair, |f| (f.write("empty.pem", ""), path(f, "key.pem")));
    assert!(matches!(error, TlsConfigError::NoCertificate { .. }) && text.contains("empty.pem"), "{text}");

    let (error, text) = server_error(&pair, |f| (f.write("server.der", &pair.der), path(f, "key.pem")));
    assert!(matches!(error, TlsConfigError::NoCertificate { .. }) && text.contains("inform der"), "{text}");

    let half = &pair.pem[..pair.pem.len() / 2];
    let (error, text) = server_error(&pair, |f| (f.write("half.pem", half), path(f, "key.pem")));
    assert!(matches!(error, TlsConfigError::Malformed { .. }) && text.contains("cut off"), "{text}");

    let garbage = "-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n";
    let (error, text) = server_error(&pair, |f| (f.write("bad.pem", garbage), path(f, "key.pem")));
    assert!(matches!(error, TlsConfigError::Malformed { .. }) && text.contains("not base64"), "{text}");

    let second = format!("{}{}", pair.pem, pem("CERTIFICATE", b"not DER"));
    let (error, text) = server_error(&pair, |f| (f.write("chain.pem", second), path(f, "key.pem")));
    assert!(matches!(error, TlsConfigError::UnusableCertificate { number: 2, .. }), "{text}");
    assert!(text.contains("number 2 in") && text.contains("chain.pem"), "{text}");

    let (error, text) =
        server_error(&pair, |f| (path(f, "cert.pem"), f.write("k.pem", pem("PRIVATE KEY", b"no key"))));
    assert!(matches!(error, TlsConfigError::UnusableKey { .. }) && text.contains("k.pem"), "{text}");

    let other = authority.server();
    let (error, text) = server_error(&pair, |f| (path(f, "cert.pem"), f.write("other.pem", &other.key_pem)));
    assert!(matches!(error, TlsConfigError::KeyMismatch { .. }), "{text}");
    assert!(text.contains("other.pem") && text.contains("cert.pem"), "{text}");

    // The right certificate, but in the wrong place.
    let reversed = format!("{}{}", authority.pem, pair.pem);
    let (error, _) = server_error(&pair, |f| (f.write("reversed.pem", reversed), path(f, "key.pem")));
    assert!(matches!(error, TlsConfigError::KeyMismatch { .. }));
}

#[test]
fn an_encrypted_key_is_named_for_what_it_is() {
    let pair = Authority::new("a CA").server();
    let pkcs8 = pem("ENCRYPTED PRIVATE KEY", b"whatever it holds");
    let body = pem("RSA PRIVATE KEY", b"whatever it holds");
    let (begin, rest) = body.split_once('\n').unwrap();
    let traditional =
        format!("{begin}\nProc-Type: 4,ENCRYPTED\r\nDEK-Info: AES-256-CBC,6A2F27D5C5ACE0B4\n\n{rest}");
    for key in [pkcs8, traditional] {
        let (error, text) = server_error(&pair, |f| (f.path("cert.pem"), f.write("locked.pem", key)));
        assert!(matches!(error, TlsConfigError::EncryptedKey { .. }), "{text}");
        assert!(text.contains("locked.pem") && text.contains("openssl pkey"), "{text}");
    }
}

#[test]
fn a_certificate_is_needed() {
    let error = TlsLayer::builder().build().unwrap_err();
    assert!(matches!(error, TlsConfigError::NoCertificateConfigured));
}

#[test]
fn client_roots_that_vouch_for_nobody_are_refused() {
    let authority = Authority::new("a CA");
    let files = Files::new();
    let empty = files.write("ca.pem", "# none yet\n");
    let good = files.write("good.pem", &authority.pem);
    let build = |roots: ClientRoots, auth: fn(ClientRoots) -> ClientAuth| {
        let pair = authority.server();
        TlsLayer::builder().certificate_pem(pair.pem, pair.key_pem).client_auth(auth(roots)).build()
    };
    for auth in [ClientAuth::Optional, ClientAuth::Required] {
        let error = build(ClientRoots::from_pem_file(&empty), auth).unwrap_err();
        assert!(
            matches!(&error, TlsConfigError::NoCertificate { from: PemSource::File(path), .. } if *path == empty)
        );
        // One good file does not make up for another.
        let error = build(ClientRoots::from_pem_files([&good, &empty]), auth).unwrap_err();
        assert!(matches!(error, TlsConfigError::NoCertificate { .. }));
        let error = build(ClientRoots::from_pem_files(Vec::<PathBuf>::new()), auth).unwrap_err();
        assert!(matches!(error, TlsConfigError::NoClientRoots));
        let error = build(ClientRoots::from_pem(""), auth).unwrap_err();
        assert!(matches!(error, TlsConfigError::NoCertificate { from: PemSource::Bytes, .. }));
        build(ClientRoots::from_pem_files([&good, &good]), auth).unwrap();
    }
}

#[test]
fn protocol_names_are_checked() {
    for name in [String::new(), "x".repeat(256)] {
        let pair = Authority::new("a CA").server();
        let error =
            TlsLayer::builder().certificate_pem(pair.pem, pair.key_pem).alpn([name]).build().unwrap_err();
        assert!(matches!(error, TlsConfigError::Alpn(_)));
    }
}

#[test]
fn versions_that_are_not_secure_are_refused_with_the_reason() {
    for text in ["TLSv1_2", "TLSv1.2", "1.2"] {
        assert_eq!(text.parse(), Ok(TlsVersion::V1_2));
    }
    for text in ["TLSv1_3", "TLSv1.3", "1.3"] {
        assert_eq!(text.parse(), Ok(TlsVersion::V1_3));
    }
    for text in ["TLSv1_1", "TLSv1", "SSLv3"] {
        let error = text.parse::<TlsVersion>().unwrap_err().to_string();
        assert!(error.contains(text) && error.contains("RFC 8996"), "{error}");
        assert!(error.contains("TLSv1_2") && error.contains("TLSv1_3"), "{error}");
    }
    for text in ["", "TLSv1_4", "tls", " TLSv1_3"] {
        let error = text.parse::<TlsVersion>().unwrap_err().to_string();
        assert!(error.contains("TLSv1_2") && error.contains("TLSv1_3"), "{error}");
        assert!(!error.contains("RFC"), "{error}");
    }
    assert!(TlsVersion::V1_2 < TlsVersion::V1_3);
}

#[test]
fn no_debug_output_has_a_key_in_it() {
    let authority = Authority::new("a CA");
    let pair = authority.server();
    let inner = service_fn(|_: TlsStream<TcpStream>| async { Ok::<(), BoxError>(()) });

    let builder = TlsLayer::builder()
        .certificate_pem(pair.pem.clone(), pair.key_pem.clone())
        .client_auth(ClientAuth::Required(ClientRoots::from_pem(pair.key_pem.clone() + &authority.pem)));
    let layer = builder.clone().build().unwrap();
    let mut outputs = vec![
        format!("{builder:?}"),
        format!("{layer:?}"),
        format!("{:?}", layer.layer(())),
        format!("{:?}", MaybeTlsLayer::from(layer.clone())),
        format!("{:?}", MaybeTlsLayer::from(layer.clone()).layer(())),
    ];
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut stack = layer.layer(inner);
        let future = tower::Service::call(&mut stack, tcp().await.1);
        outputs.push(format!("{future:?}"));
    });
    // Keys that are wrong in every way the parser knows: its own errors quote the text.
    let body = pair.key_pem.lines().nth(1).unwrap();
    let broken = [
        pair.key_pem.replace("-----END", "-----AND"),
        pair.key_pem.replacen("-----\n", "", 1),
        pair.key_pem.replace(body, &format!("{body}!")),
        pair.key_pem.replace(body, &body[..body.len() - 4]),
    ];
    for key in broken {
        let error = TlsLayer::builder().certificate_pem(pair.pem.clone(), key).build().unwrap_err();
        outputs.push(format!("{error:?} {}", told(&error)));
    }
    // The text of the key in base64, and its bytes as numbers.
    let numbers = format!("{:?}", &pair.key.secret_der()[60..68]);
    let letters = format!("{:?}", &body.as_bytes()[..8]);
    for output in outputs {
        for secret in [&body[..16], numbers.trim_matches(['[', ']']), letters.trim_matches(['[', ']'])] {
            assert!(!output.contains(secret), "{output}");
        }
    }
}
