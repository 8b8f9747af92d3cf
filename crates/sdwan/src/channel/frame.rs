//! How messages stand in the stream: four octets that say how long it is, in network order, and the message in JSON.

use std::io;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Octets of a message of the controller: documents of some thousand sites.
pub const MOST: u32 = 32 << 20;
/// Octets of a message of a site: a report of all its paths.
pub const MOST_OF_SITES: u32 = 4 << 20;
/// Octets of a message of who is not known yet.
pub const MOST_OF_STRANGERS: u32 = 64 << 10;
/// How long one may take to be written, and to come once it has begun.
const PATIENCE: Duration = Duration::from_secs(60);
/// What is made room for at once: a length that is a lie costs no more.
const STEP: usize = 64 << 10;

/// Why nothing came, or nothing went.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The connection.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It is too long.
    #[error("a message of {length} octets: {most} are the most")]
    TooLong {
        /// How long it is.
        length: u32,
        /// How long it may be.
        most: u32,
    },
    /// It is none.
    #[error("a message that cannot be read: {0}")]
    Unreadable(#[from] serde_json::Error),
    /// It took too long.
    #[error("nothing has come or gone for too long")]
    Late,
}

/// The next message; none where the stream ends between two.
///
/// # Errors
/// When the stream ends within one, it is too long or none, or it does not come.
pub async fn read<T: DeserializeOwned>(
    stream: &mut (impl AsyncRead + Unpin),
    most: u32,
) -> Result<Option<T>, FrameError> {
    let mut head = [0; 4];
    // The first octet may take its time.
    if stream.read(&mut head[..1]).await? == 0 {
        return Ok(None);
    }
    let rest = async {
        stream.read_exact(&mut head[1..]).await?;
        let length = u32::from_be_bytes(head);
        if length > most {
            return Err(FrameError::TooLong { length, most });
        }
        let (mut text, length) = (vec![], length as usize);
        while text.len() < length {
            let from = text.len();
            text.resize(length.min(from + STEP), 0);
            stream.read_exact(text.get_mut(from..).unwrap_or_default()).await?;
        }
        Ok(serde_json::from_slice(&text)?)
    };
    timeout(PATIENCE, rest).await.map_err(|_| FrameError::Late)?.map(Some)
}

/// Writes a message.
///
/// # Errors
/// When it is too long, or the stream does not take it.
pub async fn write(stream: &mut (impl AsyncWrite + Unpin), message: &impl Serialize) -> Result<(), FrameError> {
    let text = serde_json::to_vec(message)?;
    let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
    if length > MOST {
        return Err(FrameError::TooLong { length, most: MOST });
    }
    let written = async {
        stream.write_all(&length.to_be_bytes()).await?;
        stream.write_all(&text).await?;
        stream.flush().await
    };
    timeout(PATIENCE, written).await.map_err(|_| FrameError::Late)??;
    Ok(())
}

/// Reads messages and passes them on, until the stream ends, nothing comes for `silence`, one is none, or nobody listens. Of whatever ends it but the first and the last, who
/// listens is told.
pub async fn hear<T: DeserializeOwned>(
    mut stream: impl AsyncRead + Unpin,
    most: u32,
    silence: Duration,
    say: mpsc::Sender<Result<T, FrameError>>,
) {
    loop {
        let said = match timeout(silence, read(&mut stream, most)).await {
            Err(_) => Err(FrameError::Late),
            Ok(Ok(None)) => return,
            Ok(Ok(Some(said))) => Ok(said),
            Ok(Err(error)) => Err(error),
        };
        let is_over = said.is_err();
        if say.send(said).await.is_err() || is_over {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
    }

    #[test]
    fn messages_come_one_by_one_and_then_the_stream_ends() {
        run(async {
            let mut stream = vec![];
            for text in ["one".to_owned(), "x".repeat(200_000)] {
                write(&mut stream, &text).await.unwrap();
            }
            let mut stream = stream.as_slice();
            assert_eq!(read::<String>(&mut stream, MOST).await.unwrap().as_deref(), Some("one"));
            assert_eq!(read::<String>(&mut stream, MOST).await.unwrap().map(|text| text.len()), Some(200_000));
            assert!(read::<String>(&mut stream, MOST).await.unwrap().is_none());
        });
    }

    #[test]
    fn what_is_too_long_or_cut_off_or_no_message_is_an_error() {
        run(async {
            let long = [&u32::to_be_bytes(MOST_OF_STRANGERS + 1)[..], b"..."].concat();
            let error = read::<String>(&mut long.as_slice(), MOST_OF_STRANGERS).await.unwrap_err();
            assert!(matches!(error, FrameError::TooLong { .. }));
            let cut = [&u32::to_be_bytes(9)[..], b"\"ab"].concat();
            assert!(matches!(read::<String>(&mut cut.as_slice(), MOST).await, Err(FrameError::Io(_))));
            let odd = [&u32::to_be_bytes(2)[..], b"[]"].concat();
            assert!(matches!(read::<String>(&mut odd.as_slice(), MOST).await, Err(FrameError::Unreadable(_))));
        });
    }
}
