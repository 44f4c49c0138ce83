use std::{fs, time::Duration};

use portcullis_layers::tls::{TlsLayer, TlsReloader};
use tempfile::TempDir;

use super::*;

fn write_identity(directory: &TempDir) {
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    fs::write(directory.path().join("cert.pem"), pair.cert.pem()).unwrap();
    fs::write(directory.path().join("key.pem"), pair.signing_key.serialize_pem()).unwrap();
}

fn reloader(directory: &TempDir) -> TlsReloader {
    write_identity(directory);
    let [cert, key] = ["cert.pem", "key.pem"].map(|name| directory.path().join(name));
    TlsLayer::builder().certificate_files(cert, key).build_reloadable().unwrap().1
}

/// Whether the files that were read are those that are there now, within this time.
async fn is_reloaded(reloader: &TlsReloader, limit: Duration) -> bool {
    let reloaded = async {
        while reloader.stamps_now() != reloader.stamps_read() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(limit, reloaded).await.is_ok()
}

#[tokio::test]
async fn a_name_is_managed_once_until_its_guard_is_dropped() {
    let generation = Generation::builder().signals(false).start().await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let reloader = reloader(&directory);
    let guard = generation.manage_tls("public", reloader.clone()).unwrap();
    let error = generation.clone().manage_tls("public", reloader.clone()).unwrap_err();
    assert!(matches!(error, ManageTlsError::Duplicate { name } if name == "public"));
    let _other = generation.manage_tls("local", reloader.clone()).unwrap();
    drop(guard);
    let _again = generation.manage_tls("public", reloader).unwrap();
}

#[tokio::test]
async fn files_are_read_again_until_the_guard_is_dropped() {
    let generation = Generation::builder().signals(false).start().await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let reloader = reloader(&directory);
    let guard = generation.manage_tls("public", reloader.clone()).unwrap();
    write_identity(&directory);
    assert!(is_reloaded(&reloader, Duration::from_secs(30)).await);
    drop(guard);
    write_identity(&directory);
    assert!(!is_reloaded(&reloader, 3 * QUIET).await);
}
