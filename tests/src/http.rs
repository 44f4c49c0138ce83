//! As much of an HTTP/1.1 client as the admin's pages need (RFC 9112), by hand: bodies with a length, no chunks.

use std::{io, net::SocketAddr};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};

use super::DEADLINE;

/// A connection that is kept alive between requests.
#[derive(Debug)]
pub struct HttpConnection {
    stream: BufReader<TcpStream>,
    host: SocketAddr,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub body: String,
}

impl HttpConnection {
    pub async fn open(host: SocketAddr) -> io::Result<Self> {
        let stream = in_time(TcpStream::connect(host)).await?;
        Ok(Self { stream: BufReader::new(stream), host })
    }

    pub async fn get(&mut self, path: &str) -> io::Result<Answer> {
        in_time(self.exchange(path)).await
    }

    async fn exchange(&mut self, path: &str) -> io::Result<Answer> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.host);
        self.stream.write_all(request.as_bytes()).await?;
        let status = self.line().await?;
        let status = status
            .strip_prefix("HTTP/1.1 ")
            .and_then(|rest| rest.get(..3))
            .and_then(|code| code.parse().ok())
            .ok_or_else(|| invalid("status line", &status))?;
        let mut length = None;
        loop {
            let header = self.line().await?;
            if header.is_empty() {
                break;
            }
            let (name, value) = header.split_once(':').ok_or_else(|| invalid("header", &header))?;
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().ok();
            }
        }
        let length = length.ok_or_else(|| invalid("answer without content-length", path))?;
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).await?;
        let body = String::from_utf8(body).map_err(|error| invalid("body", &error.to_string()))?;
        Ok(Answer { status, body })
    }

    async fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end().to_owned())
    }
}

/// One request over a connection of its own.
pub async fn get(host: SocketAddr, path: &str) -> io::Result<Answer> {
    HttpConnection::open(host).await?.get(path).await
}

fn invalid(what: &str, text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{what}: {text:?}"))
}

async fn in_time<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(DEADLINE, work).await.map_err(|_| io::ErrorKind::TimedOut)?
}
