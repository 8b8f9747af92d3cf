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
/// How long each part of one may take to be written, and to come once it has begun: over a slow line a long one takes minutes.
const PATIENCE: Duration = Duration::from_secs(60);
/// Characters of somebody else's words that are told on.
const WORDS: usize = 256;
/// Octets of a part, for which room is made at once: a length that is a lie costs no more.
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
    #[error("a message that cannot be read: {}", brief(&.0.to_string()))]
    Unreadable(#[from] serde_json::Error),
    /// It took too long.
    #[error("nothing has come or gone for too long")]
    Late,
}

/// The beginning of somebody else's words: logs are not theirs to fill.
pub fn brief(words: &str) -> String {
    let mut told: String = words.chars().take(WORDS).collect();
    if told.len() < words.len() {
        told.push_str("...");
    }
    told
}

/// The next message; none where the stream ends between two.
///
/// # Errors
/// When the stream ends within one, it is too long or none, or it does not come.
pub async fn read<T: DeserializeOwned>(
    stream: &mut (impl AsyncRead + Unpin),
    most: u32,
) -> Result<Option<T>, FrameError> {
    // The first octet may take its time.
    match begin(stream).await? {
        None => Ok(None),
        Some(first) => rest(stream, first, most, PATIENCE).await.map(Some),
    }
}

/// The first octet of a message; none where the stream ends there.
async fn begin(stream: &mut (impl AsyncRead + Unpin)) -> Result<Option<u8>, FrameError> {
    let mut first = [0];
    let count = stream.read(&mut first).await?;
    Ok(first.first().copied().filter(|_| count > 0))
}

/// A message that begins so.
async fn rest<T: DeserializeOwned>(
    stream: &mut (impl AsyncRead + Unpin),
    first: u8,
    most: u32,
    patience: Duration,
) -> Result<T, FrameError> {
    let mut head = [0; 3];
    step(patience, stream.read_exact(&mut head)).await?;
    let [second, third, fourth] = head;
    let length = u32::from_be_bytes([first, second, third, fourth]);
    if length > most {
        return Err(FrameError::TooLong { length, most });
    }
    let (mut text, length) = (vec![], length as usize);
    while text.len() < length {
        let from = text.len();
        text.resize(length.min(from + STEP), 0);
        step(patience, stream.read_exact(text.get_mut(from..).unwrap_or_default())).await?;
    }
    Ok(serde_json::from_slice(&text)?)
}

/// Waits for a part of a message, as long as one may take.
async fn step<T>(patience: Duration, part: impl Future<Output = io::Result<T>>) -> Result<T, FrameError> {
    Ok(timeout(patience, part).await.map_err(|_| FrameError::Late)??)
}

/// A message as it stands in the stream: to be sent to many.
///
/// # Errors
/// When it is too long.
pub fn encode(message: &impl Serialize) -> Result<Vec<u8>, FrameError> {
    let mut frame = vec![0; size_of::<u32>()];
    serde_json::to_writer(&mut frame, message)?;
    let length = u32::try_from(frame.len() - size_of::<u32>()).unwrap_or(u32::MAX);
    if length > MOST {
        return Err(FrameError::TooLong { length, most: MOST });
    }
    if let Some(head) = frame.first_chunk_mut() {
        *head = length.to_be_bytes();
    }
    Ok(frame)
}

/// Writes a message.
///
/// # Errors
/// When it is too long, or the stream does not take it.
pub async fn write(stream: &mut (impl AsyncWrite + Unpin), message: &impl Serialize) -> Result<(), FrameError> {
    send(stream, &encode(message)?).await
}

/// Writes what [`encode`] has made.
///
/// # Errors
/// When the stream does not take it.
pub async fn send(stream: &mut (impl AsyncWrite + Unpin), frame: &[u8]) -> Result<(), FrameError> {
    send_within(stream, frame, PATIENCE).await
}

async fn send_within(
    stream: &mut (impl AsyncWrite + Unpin),
    frame: &[u8],
    patience: Duration,
) -> Result<(), FrameError> {
    for part in frame.chunks(STEP) {
        step(patience, stream.write_all(part)).await?;
    }
    step(patience, stream.flush()).await
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
        let said = match timeout(silence, begin(&mut stream)).await {
            Err(_) => Err(FrameError::Late),
            Ok(Ok(None)) => return,
            Ok(Ok(Some(first))) => rest(&mut stream, first, most, PATIENCE).await,
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

    #[test]
    fn who_does_not_read_is_not_written_to_for_ever_and_who_stops_is_not_waited_for() {
        run(async {
            let (mut near, mut far) = tokio::io::duplex(16);
            let frame = encode(&"x".repeat(64)).unwrap();
            let patience = Duration::from_millis(20);
            let outcome = send_within(&mut near, &frame, patience).await;
            assert!(matches!(outcome, Err(FrameError::Late)), "{outcome:?}");
            // What has come of it is no message.
            let first = begin(&mut far).await.unwrap().unwrap();
            let outcome = rest::<String>(&mut far, first, MOST, patience).await;
            assert!(matches!(outcome, Err(FrameError::Late)), "{outcome:?}");
        });
    }

    #[test]
    fn what_is_wrong_with_a_message_is_told_in_a_few_words_however_long_it_is() {
        run(async {
            let long = serde_json::to_vec(&serde_json::json!({ "say": "x".repeat(50_000) })).unwrap();
            let mut frame = u32::to_be_bytes(long.len() as u32).to_vec();
            frame.extend(long);
            let outcome = read::<crate::channel::message::FromSite>(&mut frame.as_slice(), MOST_OF_STRANGERS).await;
            let told = outcome.unwrap_err().to_string();
            assert!(told.contains("unknown variant") && told.len() < 400, "{} octets", told.len());
        });
    }
}
