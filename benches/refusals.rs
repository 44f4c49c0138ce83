//! What does a client cost that is refused? Honest clients and those that are turned away take turns at one server, which asks for
//! client certificates and has all layers.
//!
//! ```text
//! cargo bench -p portcullis-benches --bench refusals
//! cargo bench -p portcullis-benches --bench refusals -- --kind not_tls      # one kind of client
//! ```
//!
//! The table has the time that the server's thread was running for one refused client, in parts of what a full handshake of
//! an honest one takes: under 1.000 a flood of them is cheaper than as many customers. It is the median of the rounds'
//! ratios, with their quartiles in brackets.

mod rig;

use std::{
    io::{self, Read, Write},
    net::{Shutdown, TcpStream},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use clap::Parser;
use portcullis::layers::{
    BoxError,
    tls::{ClientAuth, ClientRoots, HandshakeLimits, TlsLayer},
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio_rustls::rustls::{self, AlertDescription, ClientConfig, ClientConnection, pki_types::ServerName};

use rig::{Churn, Client, Harness, Quartiles, Server, Side, Stack, client_config, end};

#[derive(Debug, Parser)]
struct Options {
    /// Only the kinds with this in their name
    #[arg(long, default_value = "")]
    kind: String,

    /// Rounds of each kind
    #[arg(long, default_value_t = 40)]
    rounds: u32,

    /// Milliseconds that one side of a round takes
    #[arg(long, default_value_t = 50)]
    length: u64,

    /// Connections that the client has at once
    #[arg(long, default_value_t = 16)]
    connections: usize,

    #[command(flatten)]
    harness: Harness,
}

fn main() -> ExitCode {
    let mut options = Options::parse();
    if options.harness.is_test() {
        options.rounds = 1;
        options.length = 1;
    }
    end("refusals", run(&options))
}

/// How a client goes wrong: the reason that it is counted under.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// More handshakes are in progress than may be.
    LimitTotal,
    EofEmpty,
    NotTls,
    Sni,
    CertMissing,
    CertUnknownCa,
}

impl Kind {
    const ALL: [Self; 6] =
        [Self::LimitTotal, Self::EofEmpty, Self::NotTls, Self::Sni, Self::CertMissing, Self::CertUnknownCa];

    const fn name(self) -> &'static str {
        match self {
            Self::LimitTotal => "limit_total",
            Self::EofEmpty => "eof_empty",
            Self::NotTls => "not_tls",
            Self::Sni => "sni",
            Self::CertMissing => "cert_missing",
            Self::CertUnknownCa => "cert_unknown_ca",
        }
    }
}

fn run(options: &Options) -> Result<(), BoxError> {
    let site = Site::new()?;
    let length = Duration::from_millis(options.length);
    println!("{:<15}  {:<22}", "refused as", "processor");
    for kind in Kind::ALL.into_iter().filter(|kind| kind.name().contains(&options.kind)) {
        let side = |limits, approach| {
            let server = Server::start(Stack::Full, Some(&site.layer(limits)?))?;
            let churn = Churn { server: server.address, connections: options.connections, source: 0 };
            Ok::<_, BoxError>(Side::new(server, Box::new(Visits { churn, approach })))
        };
        let honest = Approach::Tls { config: site.honest.clone(), name: NAME, alert: None };
        let mut served = side(HandshakeLimits::default(), honest)?;
        let limits = match kind {
            Kind::LimitTotal => HandshakeLimits::new(0, 0),
            _ => HandshakeLimits::default(),
        };
        let mut refused = side(limits, site.approach(kind))?;

        // Not counted: caches, buffers and branch predictors get warm.
        served.measure(length)?;
        refused.measure(length)?;
        let ratios = (0..options.rounds).map(|_| {
            let served = served.measure(length)?.cost();
            Ok(refused.measure(length)?.cost() / served)
        });
        let ratios = ratios.collect::<Result<Vec<_>, BoxError>>()?;
        println!("{:<15}  {:<22}", kind.name(), Quartiles::of(ratios.into_iter()).to_string());
    }
    Ok(())
}

/// What the servers have a certificate for.
const NAME: &str = "localhost";

/// What the servers are made of, and their clients.
struct Site {
    certificate: String,
    key: String,
    clients_ca: String,
    honest: Arc<ClientConfig>,
    nameless: Arc<ClientConfig>,
    stranger: Arc<ClientConfig>,
}

impl Site {
    fn new() -> Result<Self, BoxError> {
        let made = rcgen::generate_simple_self_signed([NAME.to_owned()])?;
        let (ours, others) = (authority()?, authority()?);
        Ok(Self {
            certificate: made.cert.pem(),
            key: made.signing_key.serialize_pem(),
            clients_ca: ours.pem(),
            honest: certified(&ours)?,
            nameless: Arc::new(client_config(None)?),
            stranger: certified(&others)?,
        })
    }

    fn layer(&self, limits: HandshakeLimits) -> Result<TlsLayer, BoxError> {
        let builder = TlsLayer::builder()
            .sni_certificate_pem(NAME, self.certificate.as_str(), self.key.as_str())
            .client_auth(ClientAuth::Required(ClientRoots::from_pem(self.clients_ca.as_str())))
            .handshake_limits(limits);
        Ok(builder.build()?)
    }

    fn approach(&self, kind: Kind) -> Approach {
        let tls = |config: &Arc<ClientConfig>, name, alert| Approach::Tls {
            config: config.clone(),
            name,
            alert: Some(alert),
        };
        match kind {
            Kind::LimitTotal => Approach::Bytes { sent: b"", ends: false, answer: b"" },
            Kind::EofEmpty => Approach::Bytes { sent: b"", ends: true, answer: b"" },
            // A fatal alert, decode_error.
            Kind::NotTls => {
                let sent = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
                Approach::Bytes { sent, ends: true, answer: &[21, 3, 3, 0, 2, 2, 50] }
            }
            Kind::Sni => tls(&self.honest, "other.example", AlertDescription::UnrecognisedName),
            Kind::CertMissing => tls(&self.nameless, NAME, AlertDescription::CertificateRequired),
            Kind::CertUnknownCa => tls(&self.stranger, NAME, AlertDescription::UnknownCA),
        }
    }
}

fn authority() -> Result<CertifiedIssuer<'static, KeyPair>, BoxError> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    Ok(CertifiedIssuer::self_signed(params, KeyPair::generate()?)?)
}

/// A client with a certificate of this authority.
fn certified(authority: &CertifiedIssuer<'_, KeyPair>) -> Result<Arc<ClientConfig>, BoxError> {
    let key = KeyPair::generate()?;
    let certificate = CertificateParams::default().signed_by(&key, authority)?;
    Ok(Arc::new(client_config(Some((certificate.into(), key.into())))?))
}

/// What a client does, and what comes of it.
enum Approach {
    /// Says this, ends or waits, and hears that.
    Bytes { sent: &'static [u8], ends: bool, answer: &'static [u8] },
    /// Makes a handshake.
    Tls { config: Arc<ClientConfig>, name: &'static str, alert: Option<AlertDescription> },
}

/// Connect, approach, close; many at a time.
struct Visits {
    churn: Churn,
    approach: Approach,
}

impl Client for Visits {
    fn turn(&mut self) -> io::Result<u64> {
        let mut visits = Vec::with_capacity(self.churn.connections);
        for _ in 0..self.churn.connections {
            let mut stream = self.churn.open()?;
            let session = match &self.approach {
                Approach::Bytes { sent, ends, .. } => {
                    stream.write_all(sent)?;
                    if *ends {
                        stream.shutdown(Shutdown::Write)?;
                    }
                    None
                }
                Approach::Tls { config, name, .. } => {
                    let name = ServerName::try_from(*name).map_err(io::Error::other)?;
                    let mut session =
                        ClientConnection::new(config.clone(), name).map_err(io::Error::other)?;
                    session.write_tls(&mut stream)?;
                    Some(session)
                }
            };
            visits.push((session, stream));
        }
        for (session, stream) in &mut visits {
            let as_expected = match (&self.approach, session) {
                (Approach::Tls { alert, .. }, Some(session)) => talk(session, stream)? == *alert,
                (Approach::Bytes { answer, .. }, _) => hear(stream)? == *answer,
                (Approach::Tls { .. }, None) => false,
            };
            if !as_expected {
                return Err(io::Error::other("the server has done something else with a client"));
            }
        }
        Ok(self.churn.connections as u64)
    }
}

/// A whole session, in which nothing is said, and the alert that it ended with, if it did. On TLS 1.3 a client learns after its
/// handshake that it was refused.
fn talk(session: &mut ClientConnection, stream: &mut TcpStream) -> io::Result<Option<AlertDescription>> {
    match whole(session, stream) {
        Ok(()) => Ok(None),
        Err(error) => match error.get_ref().and_then(|carried| carried.downcast_ref()) {
            Some(rustls::Error::AlertReceived(alert)) => Ok(Some(*alert)),
            _ => Err(error),
        },
    }
}

fn whole(session: &mut ClientConnection, stream: &mut TcpStream) -> io::Result<()> {
    session.complete_io(stream)?;
    session.send_close_notify();
    session.write_tls(stream)?;
    stream.shutdown(Shutdown::Write)?;
    while session.read_tls(stream)? > 0 {
        session.process_new_packets().map_err(io::Error::other)?;
    }
    Ok(())
}

/// All that comes.
fn hear(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut heard = Vec::new();
    stream.read_to_end(&mut heard)?;
    Ok(heard)
}
