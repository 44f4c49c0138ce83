//! A server that knows its clients: they need a certificate of our CA, that was not revoked, and that names somebody who is allowed.
//!
//! Make a CA, its revocation list, and certificates for the server and for two clients:
//!
//! ```console
//! mkdir /tmp/mtls && cd /tmp/mtls && touch index.txt
//! printf '[ca]\ndefault_ca=ours\n[ours]\ndatabase=index.txt\ndefault_md=sha256\ndefault_crl_days=30\ncrl_extensions=list\n[list]\nauthorityKeyIdentifier=keyid\n' > ca.cnf
//! new="openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
//! $new -subj '/CN=our CA' -keyout ca.key -out ca.pem
//! for name in localhost alice bob; do
//!   $new -CA ca.pem -CAkey ca.key -subj /CN=$name -addext subjectAltName=DNS:$name \
//!     -addext basicConstraints=critical,CA:FALSE -keyout $name.key -out $name.pem
//! done
//! openssl ca -config ca.cnf -cert ca.pem -keyfile ca.key -gencrl -out ca.crl
//! ```
//!
//! Start it with that directory and whom to allow, and be greeted; bob is turned away:
//!
//! ```console
//! cargo run --example mtls -- /tmp/mtls cn=alice
//! openssl s_client -quiet -connect 127.0.0.1:6790 -cert alice.pem -key alice.key
//! openssl s_client -quiet -connect 127.0.0.1:6790 -cert bob.pem -key bob.key
//! ```
//!
//! Revoke alice's certificate while she is connected. As soon as the new list is there her connection is ended, and she cannot come
//! back, nor resume her session:
//!
//! ```console
//! openssl ca -config ca.cnf -cert ca.pem -keyfile ca.key -revoke alice.pem
//! openssl ca -config ca.cnf -cert ca.pem -keyfile ca.key -gencrl -out new.crl && mv new.crl ca.crl
//! ```

use std::{
    error::Error,
    io::{self, IsTerminal},
    path::PathBuf,
    process::ExitCode,
};

use portcullis::{
    Generation,
    layers::{
        Connection, ErrorChain,
        tls::{ClientAuth, ClientRoots, IdentityRule, IdentityRules, TlsLayer},
        track::TrackLayer,
    },
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tower::ServiceBuilder;

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt().with_writer(io::stderr).with_ansi(io::stderr().is_terminal()).init();
    match serve().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mtls: {}", ErrorChain(&*error));
            if let Some(hint) = portcullis::hint(&*error) {
                eprintln!("hint: {hint}");
            }
            ExitCode::FAILURE
        }
    }
}

async fn serve() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let directory = PathBuf::from(arguments.next().ok_or("name the directory of the certificates")?);
    let allowed = arguments.map(|rule| rule.parse()).collect::<Result<Vec<IdentityRule>, _>>()?;
    if allowed.is_empty() {
        return Err("say whom to allow, as in cn=alice".into());
    }

    let file = |name| directory.join(name);
    let clients = ClientRoots::from_pem_file(file("ca.pem")).crl_file(file("ca.crl"));
    let (tls, reloader) = TlsLayer::builder()
        .certificate_files(file("localhost.pem"), file("localhost.key"))
        .client_auth(ClientAuth::Required(clients))
        .allow_identities(IdentityRules::any(allowed))
        .end_revoked(true)
        .build_reloadable()?;

    let generation = Generation::builder().start().await?;
    // While the guard lives, the files are read again when they change.
    let _tls = generation.manage_tls("mtls", reloader)?;
    let listener = generation.listen("mtls", "tcp://127.0.0.1:6790")?;
    let stack = ServiceBuilder::new()
        .layer(TrackLayer::new(generation.tracker()).listener("mtls"))
        .layer(tls)
        .service_fn(greet);
    listener.serve(stack).await?;
    Ok(())
}

/// Greets the client by its name, and sends back what it sends.
async fn greet<C: Connection>(mut connection: C) -> io::Result<()> {
    let identity = connection.tls().and_then(|tls| tls.client_identity.as_deref());
    // The layer lets nobody come without one; in a stack that has no TLS there is none.
    let identity = identity.ok_or_else(|| io::Error::other("a client without a certificate"))?;
    connection.write_all(format!("Hello {identity}\n").as_bytes()).await?;
    connection.flush().await?;
    let mut buffer = vec![0; 8192];
    loop {
        let length = connection.read(&mut buffer).await?;
        if length == 0 {
            return connection.shutdown().await;
        }
        connection.write_all(&buffer[..length]).await?;
        connection.flush().await?;
    }
}
