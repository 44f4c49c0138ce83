//! Certificates that are replaced are served, without a restart and without a connection lost; a broken file changes nothing.

use std::{fs, os::unix::fs::symlink, path::Path, sync::Arc};

use harness::{
    Authority, Echo, Kind, Load, Server, Signal, Target,
    certificates::{Identity, SERVER_NAME, Versions},
    meet, until,
};
use tokio_rustls::rustls::ClientConfig;

/// Written beside it, then put in its place, as certificate tools do.
fn replace(path: &Path, text: &str) {
    let beside = path.with_extension("new");
    fs::write(&beside, text).expect("a file of ours");
    fs::rename(&beside, path).expect("a file of ours");
}

fn replace_identity(server: &Server, identity: &Identity) {
    replace(&server.place().path("server.crt"), identity.certificate_pem());
    replace(&server.place().path("server.key"), &identity.key_pem());
}

async fn shows(server: &Server, config: &Arc<ClientConfig>, identity: &Identity) {
    until("the new certificate is shown", async || {
        let met = meet(server.place().address(6789), SERVER_NAME, config).await.expect("served all the time");
        if met.certificate == *identity.certificate() { Ok(()) } else { Err("another one") }
    })
    .await;
}

/// Clients that keep no session: a resumed one shows the certificate of its first handshake.
fn forgetful(authority: &Authority) -> Arc<ClientConfig> {
    let mut config = ClientConfig::clone(&authority.trusted_by(None, Versions::Both));
    config.resumption = tokio_rustls::rustls::client::Resumption::disabled();
    Arc::new(config)
}

#[tokio::test]
async fn files_that_are_renamed_into_place_are_reloaded_under_load() {
    let server = Echo::new(Kind::Tls).start().await;
    let config = forgetful(server.authority());
    let mut load = Load::on(server.target());
    load.hold().await;
    for _ in 0..5 {
        let next = server.authority().server();
        replace_identity(&server, &next);
        shows(&server, &config, &next).await;
        load.more(10).await;
    }
    load.stop().await.assert_clean(50);
    let metrics = server.metrics().await;
    assert!(metrics.sum("portcullis_reloads_total", &[("kind", "tls"), ("result", "succeeded")]) >= 5.0);
}

#[tokio::test]
async fn files_behind_a_switched_link_are_reloaded() {
    let authority = Authority::new();
    let echo = Echo::new(Kind::Tcp);
    let directory = echo.place().path("mounted");
    let at = |name: &str| directory.join(name);
    let version = |name: &str, identity: &Identity| {
        fs::create_dir_all(at(name)).expect("a directory of ours");
        fs::write(at(name).join("tls.crt"), identity.certificate_pem()).expect("a file of ours");
        fs::write(at(name).join("tls.key"), identity.key_pem()).expect("a file of ours");
    };
    version("..1", &authority.server());
    symlink("..1", at("..data")).expect("a link of ours");
    symlink("..data/tls.crt", at("tls.crt")).expect("a link of ours");
    symlink("..data/tls.key", at("tls.key")).expect("a link of ours");
    let server = echo.option("--tls-cert", at("tls.crt")).option("--tls-key", at("tls.key")).start().await;
    let config = forgetful(&authority);
    let load = Load::on(&Target::tls(server.place().address(6789), config.clone()));
    for (old, new) in [("..1", "..2"), ("..2", "..3")] {
        let next = authority.server();
        version(new, &next);
        symlink(new, at("..data_tmp")).expect("a link of ours");
        fs::rename(at("..data_tmp"), at("..data")).expect("a link of ours");
        fs::remove_dir_all(at(old)).expect("a directory of ours");
        shows(&server, &config, &next).await;
        load.more(10).await;
    }
    load.stop().await.assert_clean(20);
}

#[tokio::test]
async fn hup_reloads_files() {
    let server = Echo::new(Kind::Tls).start().await;
    let start = server.log().len();
    server.serving().signal(Signal::HUP);
    let told = |line: &str| line.contains("TLS reloaded") && line.contains("HUP");
    server.log().wait_from(start, "reloaded by HUP", told).await;
    let reloads =
        |metrics: &harness::Metrics| metrics.sum("portcullis_reloads_total", &[("result", "succeeded")]);
    server.metrics_when("it is counted", |metrics| reloads(metrics) >= 1.0).await;
    server.target().visit(1000).await.expect("it serves on");
}

#[tokio::test]
async fn a_broken_file_is_not_loaded() {
    let server = Echo::new(Kind::Tls).start().await;
    let config = forgetful(server.authority());
    let address = server.place().address(6789);
    let first = meet(address, SERVER_NAME, &config).await.expect("served").certificate;

    let start = server.log().len();
    replace(&server.place().path("server.key"), "half a ke");
    let named = |line: &str| line.contains("TLS not reloaded") && line.contains("server.key");
    server.log().wait_from(start, "the key cannot be read", named).await;
    let failed = [("kind", "tls"), ("result", "failed")];
    let counted = |metrics: &harness::Metrics| metrics.sum("portcullis_reloads_total", &failed) == 1.0;
    server.metrics_when("it is counted", counted).await;
    let met = meet(address, SERVER_NAME, &config).await.expect("the old one is served on");
    assert_eq!(met.certificate, first);

    let next = server.authority().server();
    replace_identity(&server, &next);
    shows(&server, &config, &next).await;
}

/// Nothing is wrong with the file, and nobody but clients would notice.
#[tokio::test]
async fn an_expired_certificate_is_logged_once() {
    let server = Echo::new(Kind::Tls).start().await;
    let start = server.log().len();
    let expired = server.authority().expired_client();
    replace_identity(&server, &expired);
    let told =
        |line: &str| line.contains("WARN") && line.contains("has expired") && line.contains("server.crt");
    server.log().wait_from(start, "it has expired", told).await;
    // It is looked at again, and is the same.
    let again = server.log().len();
    server.serving().signal(Signal::HUP);
    server.log().wait_from(again, "a reload", |line| line.contains("TLS reloaded")).await;
    replace_identity(&server, &server.authority().server());
    server.log().wait_from(again, "the next", |line| line.contains("reason=\"files changed\"")).await;
    assert_eq!(server.log().count_from(start, told), 1, "{}", server.log().text());
}

#[tokio::test]
async fn each_server_name_has_its_own_certificate() {
    let authority = Authority::new();
    let echo = Echo::new(Kind::Tcp);
    let [default, exact, wildcard] =
        [SERVER_NAME, "a.example.org", "*.example.org"].map(|name| authority.server_for(name));
    let files = default.write(echo.place(), "server");
    let mut echo = echo.option("--tls-cert", files.certificate).option("--tls-key", files.key);
    for (name, file, identity) in
        [("a.example.org", "exact", &exact), ("*.example.org", "wildcard", &wildcard)]
    {
        let files = identity.write(echo.place(), file);
        let value = format!("{name}={},{}", files.certificate.display(), files.key.display());
        echo = echo.option("--sni-cert", value);
    }
    let server = echo.option("--alpn", "echo/1").start().await;
    let mut config = ClientConfig::clone(&forgetful(&authority));
    config.alpn_protocols = vec![b"echo/1".to_vec()];
    let config = Arc::new(config);
    for (name, identity) in [("a.example.org", &exact), ("b.example.org", &wildcard), (SERVER_NAME, &default)]
    {
        let met = meet(server.place().address(6789), name, &config).await.expect(name);
        assert_eq!(met.certificate, *identity.certificate(), "{name}");
        assert_eq!(met.alpn.as_deref(), Some(&b"echo/1"[..]));
    }
}
