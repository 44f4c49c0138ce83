//! A client of the echo server that believes nothing: every byte is compared.

use std::io;

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};

use super::{DEADLINE, noise::Noise};

/// A connection to the server, over whatever.
pub struct Client {
    stream: Box<dyn Stream>,
    noise: Noise,
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// What a client can hold against the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nobody listened.
    Refused(String),
    /// The connection was broken off.
    Reset(String),
    /// It ended before everything had come back.
    Short(String),
    /// A byte came back that was not sent, or too many of them.
    Wrong(String),
    /// Nothing happened until the deadline.
    Stalled,
    Other(String),
}

impl Client {
    pub(crate) fn new(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Self {
        Self { stream: Box::new(stream), noise: Noise::new() }
    }

    /// Sends `length` bytes that nobody can guess, and receives them again meanwhile.
    pub async fn echo(&mut self, length: usize) -> Result<(), Fault> {
        let sent = self.noise.bytes(length);
        let (mut reader, mut writer) = tokio::io::split(&mut self.stream);
        let mut received = vec![0; length];
        in_time(async {
            let writing = async {
                writer.write_all(&sent).await?;
                writer.flush().await
            };
            tokio::try_join!(writing, reader.read_exact(&mut received)).map(drop)
        })
        .await?;
        compare(&sent, &received)
    }

    /// Sends bytes and does not wait for them. Returns what was sent.
    pub async fn send(&mut self, length: usize) -> Result<Vec<u8>, Fault> {
        let sent = self.noise.bytes(length);
        in_time(async {
            self.stream.write_all(&sent).await?;
            self.stream.flush().await
        })
        .await?;
        Ok(sent)
    }

    /// Says that it will send no more, and goes on listening.
    pub async fn half_close(&mut self) -> Result<(), Fault> {
        in_time(self.stream.shutdown()).await
    }

    /// Receives exactly these bytes.
    pub async fn expect(&mut self, sent: &[u8]) -> Result<(), Fault> {
        let mut received = vec![0; sent.len()];
        in_time(self.stream.read_exact(&mut received)).await?;
        compare(sent, &received)
    }

    /// Receives a line, without its end.
    pub async fn line(&mut self) -> Result<String, Fault> {
        let mut line = Vec::new();
        loop {
            let byte = in_time(self.stream.read_u8()).await?;
            if byte == b'\n' {
                return String::from_utf8(line).map_err(|error| Fault::Wrong(error.to_string()));
            }
            line.push(byte);
        }
    }

    /// The server is done as well: an orderly end, and nothing before it.
    pub async fn expect_end(&mut self) -> Result<(), Fault> {
        match in_time(self.stream.read(&mut [0])).await? {
            0 => Ok(()),
            _ => Err(Fault::Wrong("a byte after the last one".to_owned())),
        }
    }

    /// Ends in good order: says that it is done, and hears the same.
    pub async fn finish(mut self) -> Result<(), Fault> {
        self.half_close().await?;
        self.expect_end().await
    }

    /// Sends a text, and reads the answer to the end of the connection.
    pub async fn ask(&mut self, text: &[u8]) -> String {
        in_time(self.stream.write_all(text)).await.expect("bytes are taken");
        String::from_utf8(self.wait_for_end().await).expect("text")
    }

    /// Waits until the server ends the connection, in whatever way, and gives what came before that.
    pub async fn wait_for_end(&mut self) -> Vec<u8> {
        let mut received = Vec::new();
        match in_time(self.stream.read_to_end(&mut received)).await {
            Err(Fault::Stalled) => panic!("the server did not end the connection within {DEADLINE:?}"),
            _ => received,
        }
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

/// Breaks the connection off: the kernel sends RST instead of FIN (`SO_LINGER` of 0, socket(7)).
pub fn reset(stream: TcpStream) {
    stream.set_zero_linger().expect("a socket of ours");
    drop(stream);
}

fn compare(sent: &[u8], received: &[u8]) -> Result<(), Fault> {
    match sent.iter().zip(received).position(|(sent, received)| sent != received) {
        None => Ok(()),
        Some(place) => Err(Fault::Wrong(format!("byte {place} of {}", sent.len()))),
    }
}

/// With the deadline, and with an error that says what the client holds against the server.
pub(crate) async fn in_time<T>(work: impl Future<Output = io::Result<T>>) -> Result<T, Fault> {
    match tokio::time::timeout(DEADLINE, work).await {
        Ok(result) => result.map_err(|error| Fault::from(&error)),
        Err(_) => Err(Fault::Stalled),
    }
}

impl From<&io::Error> for Fault {
    fn from(error: &io::Error) -> Self {
        let text = error.to_string();
        match error.kind() {
            io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => Self::Refused(text),
            io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted | io::ErrorKind::BrokenPipe => {
                Self::Reset(text)
            }
            io::ErrorKind::UnexpectedEof => Self::Short(text),
            _ => Self::Other(text),
        }
    }
}
