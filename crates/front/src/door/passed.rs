//! Connections that proxies pass on to us: whose they are stands in front of them (the PROXY protocol).

use std::io;
use std::net::SocketAddr;

use outwork_wire::proxy::{Ends, Header, Transport};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// Bytes that are looked at for more of a header. Most have less.
const STEP: usize = 512;

/// What a proxy says of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Said {
    /// Who it is from; `None` where it is the proxy's own, or nobody knows.
    pub peer: Option<SocketAddr>,
    /// Where that has connected to, likewise.
    pub local: Option<SocketAddr>,
    /// Whether the client has come by TLS.
    pub tls: bool,
}

/// Reads the header of a connection and nothing that follows it. `None` where it ends before there is any, as when a proxy looks whether somebody
/// listens.
///
/// # Errors
/// What is wrong with the header, or with the connection.
pub async fn read(stream: &mut TcpStream) -> io::Result<Option<Said>> {
    let mut bytes = Vec::with_capacity(STEP);
    loop {
        let before = bytes.len();
        bytes.resize(before + STEP, 0);
        let come = stream.peek(bytes.get_mut(before..).unwrap_or_default()).await?;
        if come == 0 {
            return if before == 0 { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
        }
        bytes.truncate(before + come);
        let header = Header::read(&bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        let whole = header.map(|(header, length)| (Said::of(&header), length));
        // What is no more than its beginning cannot be anything else.
        let until = whole.map_or(bytes.len(), |(_, length)| length);
        stream.read_exact(bytes.get_mut(before..until).unwrap_or_default()).await?;
        if let Some((said, _)) = whole {
            return Ok(Some(said));
        }
    }
}

impl Said {
    fn of(header: &Header<'_>) -> Self {
        let plain = |end: SocketAddr| SocketAddr::new(end.ip().to_canonical(), end.port());
        let (peer, local) = match header.ends {
            Ends::Internet { transport: Transport::Stream, source, destination } => {
                (Some(plain(source)), Some(plain(destination)))
            }
            _ => (None, None),
        };
        Self { peer, local, tls: header.extras.tls.unwrap_or(false) }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;

    /// What is read where a client sends these parts, one after the other, and what follows.
    async fn told(parts: &[&[u8]]) -> (io::Result<Option<Said>>, Vec<u8>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let send = async {
            let mut client = TcpStream::connect(address).await.unwrap();
            client.set_nodelay(true).unwrap();
            for part in parts {
                client.write_all(part).await.unwrap();
                tokio::task::yield_now().await;
            }
        };
        let hear = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let said = read(&mut stream).await;
            let mut rest = Vec::new();
            // What was refused may end otherwise.
            let _ = stream.read_to_end(&mut rest).await;
            (said, rest)
        };
        tokio::join!(send, hear).1
    }

    #[tokio::test]
    async fn a_header_is_read_to_its_end_and_no_further_however_it_comes() {
        let mut v2 = Vec::new();
        let header = outwork_wire::proxy::Extras { tls: Some(true), checksum: true, ..Default::default() };
        let ends = Ends::Internet {
            transport: Transport::Stream,
            source: "[::ffff:192.0.2.7]:4711".parse().unwrap(),
            destination: "[2001:db8::1]:443".parse().unwrap(),
        };
        let (authority, long) = ([b'x'; 3000], Some(true));
        let header = outwork_wire::proxy::Extras { authority: Some(&authority), tls: long, ..header };
        outwork_wire::proxy::write_v2(&ends, &header, &mut v2).unwrap();
        let v1 = b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n".to_vec();
        let peer = Some("192.0.2.7:4711".parse().unwrap());
        let [one, two] = ["198.51.100.1:443", "[2001:db8::1]:443"].map(|end| Some(end.parse().unwrap()));
        for (bytes, said) in [(v1, Said { peer, local: one, tls: false }), (v2, Said { peer, local: two, tls: true })] {
            let all = [&*bytes, b"GET / HTTP/1.1\r\n"].concat();
            for cut in [0, 1, 5, 14, 17, bytes.len() - 1, bytes.len()] {
                let (told, rest) = told(&[&all[..cut], &all[cut..]]).await;
                assert_eq!((told.unwrap(), &*rest), (Some(said), &b"GET / HTTP/1.1\r\n"[..]), "{cut}");
            }
            let each: Vec<&[u8]> = all.chunks(1).collect();
            assert_eq!(told(&each).await.0.unwrap(), Some(said));
            assert_eq!(told(&[&bytes[..9]]).await.0.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        }
    }

    #[tokio::test]
    async fn who_only_looks_is_no_error_and_who_says_something_else_is_one() {
        assert_eq!(told(&[]).await.0.unwrap(), None);
        assert_eq!(told(&[b"GET / HTTP/1.1\r\n\r\n"]).await.0.unwrap_err().kind(), io::ErrorKind::InvalidData);
        let own = Some(Said { peer: None, local: None, tls: false });
        assert_eq!(told(&[b"PROXY UNKNOWN\r\n"]).await.0.unwrap(), own);
        assert_eq!(told(&[b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00"]).await.0.unwrap(), own);
    }
}
