//! Questions that middleware asks others, sent as requests of clients are: on the connections of a pool, with its retries and ejections.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;

use bytes::BytesMut;
use futures_util::StreamExt;
use http::uri::PathAndQuery;
use http::{Request as Head, StatusCode, Uri};
use outwork_front::ask::{Ask, AskError, Question, Reply};
use outwork_front::message::{Body, Local, Origin, Request, RequestBody, Response};

use crate::address::BackendUrl;
use crate::forward::Proxied;
use crate::pool::PreparedPools;

/// Sends questions to servers that are known beforehand.
#[derive(Debug)]
pub struct Asker(BTreeMap<String, Arc<Proxied>>);

/// Why a question was not answered.
#[derive(Debug, thiserror::Error)]
enum Unanswered {
    #[error("nobody is known at {0}")]
    Unknown(String),
    #[error("the question is no request")]
    Malformed,
    #[error("{0}")]
    Refused(String),
}

impl Asker {
    /// To these servers, for each of which there is a pool.
    pub fn new(pools: &PreparedPools) -> Self {
        let known = pools.servers().map(|(server, pool)| (server.to_owned(), Proxied::asking(Arc::clone(pool))));
        Self(known.collect())
    }
}

/// The server that a URL is of.
pub fn server(url: &Uri) -> Option<BackendUrl> {
    let (scheme, authority) = (url.scheme_str()?, url.authority()?);
    format!("{scheme}://{authority}").parse().ok()
}

impl Ask for Asker {
    fn ask(&self, question: Question) -> Local<Result<Reply, AskError>> {
        let server = server(&question.url).map_or_else(|| question.url.to_string(), |server| server.to_string());
        let proxied = self.0.get(&server).cloned();
        Box::pin(async move {
            let unreachable = |why: Unanswered| AskError::Unreachable(Box::new(why));
            let proxied = proxied.ok_or_else(|| unreachable(Unanswered::Unknown(server)))?;
            let most = question.most;
            let request = request(question).ok_or_else(|| unreachable(Unanswered::Malformed))?;
            reply(proxied.serve(request).await, most).await
        })
    }
}

/// The question as a request of nobody's.
fn request(question: Question) -> Option<Request> {
    let (mut head, ()) = Head::new(()).into_parts();
    let target = question.url.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    (head.method, head.uri, head.headers) = (question.method, Uri::from(target), question.headers);
    let nobody = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    let origin = Origin { peer: nobody, local: nobody, to: None, tls: false, session: None };
    Some(Request { head, body: RequestBody::Empty, origin: Rc::new(origin) })
}

/// All of the answer, within a limit.
async fn reply(response: Response, most: usize) -> Result<Reply, AskError> {
    let note = response.note.as_deref();
    if let Some(why) = note.filter(|note| note.problem.is_some()).and_then(|note| note.why.clone()) {
        return Err(AskError::Unreachable(Box::new(Unanswered::Refused(why.into_owned()))));
    }
    let mut content = BytesMut::new();
    match response.body {
        Body::Full(bytes) => content.extend_from_slice(&bytes),
        Body::Stream(mut stream) => {
            while let Some(part) = stream.parts.next().await {
                content.extend_from_slice(&part.map_err(|error| AskError::Unreachable(Box::new(error)))?);
                if content.len() > most {
                    break;
                }
            }
        }
        // No answer of a backend is anything else.
        Body::Empty | Body::File(_) | Body::Pieces(_) => {}
    }
    if content.len() > most {
        return Err(AskError::TooLarge(most));
    }
    let status = if response.status.is_informational() { StatusCode::BAD_GATEWAY } else { response.status };
    Ok(Reply { status, headers: response.headers, content: content.freeze() })
}
