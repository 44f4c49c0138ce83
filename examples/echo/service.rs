//! The leaf: what is done with a connection once it is through the layers.

use std::io;

use portcullis::layers::Connection;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Bytes read at a time.
const BUFFER: usize = 8 * 1024;

/// Sends back what comes, until the peer is done sending; then it is done, too.
///
/// It pays no heed to a drain: whoever is connected decides when to leave, up to the drain's deadline.
pub(crate) async fn echo<C: Connection>(mut connection: C) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let length = connection.read(&mut buffer).await?;
        if length == 0 {
            return connection.shutdown().await;
        }
        connection.write_all(&buffer[..length]).await?;
        connection.flush().await?;
    }
}
