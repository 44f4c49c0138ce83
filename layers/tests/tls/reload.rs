//! T9: what is served is replaced as a whole or not at all.

use std::{
    fs,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use portcullis_layers::tls::{
    ClientAuth, ClientRoots, TlsLayer, TlsReloader, TlsVersion,
    rustls::{ClientConfig, version::TLS13},
};

use crate::{
    certificates::{Authority, Pair, pem},
    config::told,
    ends::{VERSIONS, client},
    files::Files,
    visits::{resumed, visit},
};

/// A server all of whose material is in files.
struct Site {
    authority: Authority,
    files: Files,
    layer: TlsLayer,
    reloader: TlsReloader,
    alice: Pair,
}

const FILES: [&str; 6] = ["cert.pem", "key.pem", "named.pem", "named.key", "ca.pem", "crl.pem"];

impl Site {
    fn new() -> Self {
        let (authority, files) = (Authority::new("a CA"), Files::new());
        let (default, named) = (authority.server(), authority.server());
        for (name, text) in FILES.into_iter().zip([
            &default.pem,
            &default.key_pem,
            &named.pem,
            &named.key_pem,
            &authority.pem,
            &authority.crl([]),
        ]) {
            files.write(name, text);
        }
        let roots = ClientRoots::from_pem_file(files.path("ca.pem")).crl_file(files.path("crl.pem"));
        let (layer, reloader) = TlsLayer::builder()
            .certificate_files(files.path("cert.pem"), files.path("key.pem"))
            .sni_certificate_files("named.example", files.path("named.pem"), files.path("named.key"))
            .client_auth(ClientAuth::Required(roots))
            .min_version(TlsVersion::V1_2)
            .build_reloadable()
            .unwrap();
        let alice = authority.client();
        Self { authority, files, layer, reloader, alice }
    }

    fn write_server(&self, pair: &Pair) {
        self.files.write("cert.pem", &pair.pem);
        self.files.write("key.pem", &pair.key_pem);
    }

    fn clients(&self) -> Vec<Arc<ClientConfig>> {
        VERSIONS.map(|version| Arc::new(client(&self.authority, version, Some(&self.alice)))).into()
    }
}

#[test]
fn the_files_that_are_read_can_be_watched() {
    let site = Site::new();
    let mut files: Vec<PathBuf> = FILES.iter().map(|name| site.files.path(name)).collect();
    files.sort();
    assert_eq!(site.reloader.files(), files);
}

/// How a file is broken.
type Break = fn(&Site, &mut Vec<u8>);

#[tokio::test]
async fn what_is_broken_is_named_and_everything_stays_as_it_was() {
    let empty: Break = |_, text| text.clear();
    let half_written: Break = |_, text| text.truncate(text.len() / 2);
    let no_der: Break = |_, text| *text = pem("CERTIFICATE", b"nothing").into_bytes();
    let no_list: Break = |_, text| *text = pem("X509 CRL", b"nothing").into_bytes();
    let of_another: Break = |site, text| *text = site.authority.server().key_pem.into_bytes();
    let ways = [
        ("cert.pem", vec![empty, half_written, no_der]),
        ("key.pem", vec![empty, half_written, of_another]),
        ("named.pem", vec![empty, half_written, no_der]),
        ("named.key", vec![empty, half_written, of_another]),
        ("ca.pem", vec![empty, half_written, no_der]),
        ("crl.pem", vec![empty, half_written, no_list]),
    ];
    let site = Site::new();
    let clients = site.clients();
    let mut seen = Vec::new();
    for config in &clients {
        seen.push(visit(&site.layer, config).await.unwrap().server);
    }
    let expiries = site.reloader.expiries();

    // All others are new and good, which must not matter.
    site.write_server(&site.authority.server());
    site.files.write("crl.pem", site.authority.crl([&site.alice.serial]));
    for (name, ways) in ways {
        let path = site.files.path(name);
        let good = fs::read(&path).unwrap();
        let mut broken = ways.into_iter().map(|break_it| {
            let mut text = good.clone();
            break_it(&site, &mut text);
            Some(text)
        });
        // The last way: it is not there.
        for text in broken.by_ref().chain([None]) {
            match text {
                Some(text) => fs::write(&path, text).unwrap(),
                None => fs::remove_file(&path).unwrap(),
            }
            let error = told(&site.reloader.reload().unwrap_err());
            assert!(error.contains(path.to_str().unwrap()), "{name}: {error}");
            for (config, seen) in clients.iter().zip(&seen) {
                let visit = visit(&site.layer, config).await.unwrap();
                assert!(visit.resumed, "{name}: {error}");
                assert_eq!(visit.server, *seen);
            }
            let afresh = Arc::new(client(&site.authority, &TLS13, Some(&site.alice)));
            assert_eq!(visit(&site.layer, &afresh).await.unwrap().server, seen[0], "{name}: {error}");
            assert_eq!(site.reloader.expiries(), expiries);
        }
        fs::write(&path, good).unwrap();
    }

    // Repaired, all of it is taken.
    assert!(site.reloader.reload().unwrap().trust_changed);
    for config in &clients {
        visit(&site.layer, config).await.unwrap_err();
    }
}

#[tokio::test]
async fn a_good_certificate_is_served_from_the_next_handshake_on() {
    let site = Site::new();
    for _ in 0..3 {
        let new = site.authority.server();
        site.write_server(&new);
        assert!(!site.reloader.reload().unwrap().trust_changed);
        for config in site.clients() {
            assert_eq!(visit(&site.layer, &config).await.unwrap().server, new.der);
        }
    }
}

/// What every clone of the layer serves, and every service that was made of it; whichever clone of the reloader reads it.
#[tokio::test]
async fn a_reload_is_for_all_clones() {
    let site = Site::new();
    let (layer, reloader) = (site.layer.clone(), site.reloader.clone());
    let new = site.authority.server();
    site.write_server(&new);
    reloader.reload().unwrap();
    for config in site.clients() {
        assert_eq!(visit(&layer, &config).await.unwrap().server, new.der);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_reloads_under_load_are_noticed_by_nobody() {
    let site = Arc::new(Site::new());
    let over = Arc::new(AtomicBool::new(false));
    let visitors: Vec<_> = site
        .clients()
        .into_iter()
        .cycle()
        .take(4)
        .map(|config| {
            let (site, over) = (Arc::clone(&site), Arc::clone(&over));
            tokio::spawn(async move {
                let (mut full, mut returning) = (0, 0);
                // Somebody new, and somebody who comes back.
                while !over.load(Ordering::Relaxed) || full == 0 || returning == 0 {
                    let mut afresh = ClientConfig::clone(&config);
                    afresh.resumption = Default::default();
                    full += usize::from(!resumed(visit(&site.layer, &Arc::new(afresh)).await));
                    returning += usize::from(resumed(visit(&site.layer, &config).await));
                }
                full
            })
        })
        .collect();

    let stranger = site.authority.client();
    for round in 0..20 {
        site.write_server(&site.authority.server());
        // Every other time, others are trusted.
        let revoked = [&stranger.serial].into_iter().take(round / 2 % 2);
        site.files.write("crl.pem", site.authority.crl(revoked));
        let site = Arc::clone(&site);
        let reloaded = tokio::task::spawn_blocking(move || site.reloader.reload());
        reloaded.await.unwrap().unwrap();
    }
    over.store(true, Ordering::Relaxed);
    for visitor in visitors {
        assert!(visitor.await.unwrap() > 0);
    }
}
