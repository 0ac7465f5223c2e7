//! Health, metrics and the admin API, over HTTP.
//!
//! `/healthz`, `/readyz` and `/metrics` are open: they tell no names. Everything under `/api` wants Basic authentication by a
//! user of the broker.

mod metrics;

#[cfg(test)]
mod tests;

use crate::driver::{Inbox, State};
use crate::users::Users;
use axum::extract::{ConnectInfo, Path, Query, Request, State as Extract};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use waystation_core::node::{AdminReply, AdminRequest, QueueInfo, Stats};

/// How long the core may take to turn once: far longer than any turn, far shorter than a supervisor's patience.
const TURN_MAX: Duration = Duration::from_secs(5);

/// What the handlers share.
#[derive(Clone)]
pub struct Api {
    /// The way to the core.
    pub inbox: Inbox,
    /// How far the core is.
    pub state: watch::Receiver<State>,
    /// Who may ask.
    pub users: Arc<Users>,
}

/// One queue as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "named as the core's QueueInfo")]
pub struct Queue {
    pub vhost: String,
    pub name: String,
    pub durable: bool,
    pub exclusive: bool,
    pub auto_delete: bool,
    pub arguments: std::collections::BTreeMap<String, String>,
    pub messages_ready: u64,
    pub messages_unsettled: u64,
    pub message_bytes: u64,
    pub consumers: u64,
}

/// How many messages an operation removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removed {
    /// Messages.
    pub messages: u64,
}

/// An error as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What happened, to what.
    pub error: String,
}

#[derive(Deserialize)]
struct Filter {
    vhost: Option<String>,
}

/// Serves until the runtime ends.
pub async fn serve(listener: TcpListener, api: Api) {
    let app = router(api).into_make_service_with_connect_info::<SocketAddr>();
    if let Err(error) = axum::serve(listener, app).await {
        tracing::error!(%error, "the admin API ended");
    }
}

fn router(api: Api) -> Router {
    let guarded = Router::new()
        .route("/api/overview", get(overview))
        .route("/api/queues", get(queues))
        .route("/api/queues/{vhost}/{name}", get(queue).delete(delete))
        .route("/api/queues/{vhost}/{name}/purge", post(purge))
        .layer(middleware::from_fn_with_state(api.clone(), authenticate));
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .merge(guarded)
        .fallback(|| async { failure(StatusCode::NOT_FOUND, "no such resource") })
        .with_state(api)
}

fn failure(status: StatusCode, text: impl Into<String>) -> Response {
    (status, Json(Failure { error: text.into() })).into_response()
}

async fn authenticate(
    Extract(api): Extract<Api>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
    next: Next,
) -> Response {
    let Some((user, password)) = credentials(request.headers()) else {
        let text = "this needs Basic authentication by a user of the broker";
        let demand = [(header::WWW_AUTHENTICATE, "Basic realm=\"waystation\"")];
        return (demand, failure(StatusCode::UNAUTHORIZED, text)).into_response();
    };
    match api.users.verify(peer.ip(), user.clone(), password).await {
        Ok(()) => next.run(request).await,
        Err(refused) => {
            tracing::warn!(%peer, user, "admin login refused: {refused}");
            failure(StatusCode::UNAUTHORIZED, refused.to_string())
        }
    }
}

/// Name and password of Basic authentication (RFC 7617).
fn credentials(headers: &HeaderMap) -> Option<(String, String)> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(BASE64_STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (user, password) = decoded.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

/// Alive as long as the core's loop turns, recovery included.
async fn healthz(Extract(api): Extract<Api>) -> Response {
    match tokio::time::timeout(TURN_MAX, api.inbox.ping()).await {
        Ok(Ok(())) => "ok\n".into_response(),
        Ok(Err(ended)) => failure(StatusCode::SERVICE_UNAVAILABLE, ended.to_string()),
        Err(_) => failure(StatusCode::SERVICE_UNAVAILABLE, "the core has not turned for 5 seconds"),
    }
}

/// Ready as long as connections are served.
async fn readyz(Extract(api): Extract<Api>) -> Response {
    match &*api.state.borrow() {
        State::Ready(_) => "ready\n".into_response(),
        State::Starting => failure(StatusCode::SERVICE_UNAVAILABLE, "recovery is running"),
        State::Stopped => failure(StatusCode::SERVICE_UNAVAILABLE, "the broker has stopped"),
        State::Halted(cause) => failure(StatusCode::SERVICE_UNAVAILABLE, format!("the broker stopped: {cause}")),
    }
}

/// Asks the core, once recovery is over.
async fn ask(api: &Api, request: AdminRequest) -> Result<AdminReply, Response> {
    let unavailable = |text: String| failure(StatusCode::SERVICE_UNAVAILABLE, text);
    if !matches!(*api.state.borrow(), State::Ready(_)) {
        return Err(unavailable("the broker is not ready: see /readyz".to_owned()));
    }
    let reply = tokio::time::timeout(TURN_MAX, api.inbox.admin(request)).await;
    reply
        .map_err(|_| unavailable("the broker has not answered within 5 seconds".to_owned()))?
        .map_err(|ended| unavailable(ended.to_string()))
}

async fn stats(api: &Api) -> Result<Stats, Response> {
    match ask(api, AdminRequest::Stats).await? {
        AdminReply::Stats(stats) => Ok(*stats),
        other => Err(unexpected(&other)),
    }
}

fn unexpected(reply: &AdminReply) -> Response {
    failure(
        StatusCode::INTERNAL_SERVER_ERROR,
        format!("the core gave an answer to another question: {reply:?}"),
    )
}

async fn metrics(Extract(api): Extract<Api>) -> Result<Response, Response> {
    let text = metrics::encode(&stats(&api).await?);
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}

async fn overview(Extract(api): Extract<Api>) -> Result<Response, Response> {
    let stats = stats(&api).await?;
    let mut values = serde_json::Map::new();
    values.insert("version".to_owned(), env!("CARGO_PKG_VERSION").into());
    for (name, _, value) in metrics::values(&stats) {
        values.insert(name.to_owned(), value.into());
    }
    Ok(Json(values).into_response())
}

async fn listed(api: &Api, vhost: Option<String>) -> Result<Vec<QueueInfo>, Response> {
    let vhost = vhost.map(Into::into);
    match ask(api, AdminRequest::Queues { vhost }).await? {
        AdminReply::Queues(queues) => Ok(queues),
        other => Err(unexpected(&other)),
    }
}

async fn queues(Extract(api): Extract<Api>, Query(filter): Query<Filter>) -> Result<Response, Response> {
    let queues: Vec<Queue> = listed(&api, filter.vhost).await?.into_iter().map(Queue::from).collect();
    Ok(Json(queues).into_response())
}

async fn queue(Extract(api): Extract<Api>, Path((vhost, name)): Path<(String, String)>) -> Result<Response, Response> {
    let queues = listed(&api, Some(vhost.clone())).await?;
    match queues.into_iter().find(|queue| *queue.name == *name) {
        Some(queue) => Ok(Json(Queue::from(queue)).into_response()),
        None => Err(no_queue(&vhost, &name)),
    }
}

async fn delete(Extract(api): Extract<Api>, Path((vhost, name)): Path<(String, String)>) -> Result<Response, Response> {
    let request = AdminRequest::Delete {
        vhost: vhost.as_str().into(),
        queue: name.as_str().into(),
    };
    Ok(removed(&ask(&api, request).await?, &vhost, &name))
}

async fn purge(Extract(api): Extract<Api>, Path((vhost, name)): Path<(String, String)>) -> Result<Response, Response> {
    let request = AdminRequest::Purge {
        vhost: vhost.as_str().into(),
        queue: name.as_str().into(),
    };
    Ok(removed(&ask(&api, request).await?, &vhost, &name))
}

fn removed(reply: &AdminReply, vhost: &str, name: &str) -> Response {
    match reply {
        AdminReply::Done { messages } => Json(Removed { messages: *messages }).into_response(),
        AdminReply::NotFound => no_queue(vhost, name),
        AdminReply::Stats(_) | AdminReply::Queues(_) => unexpected(reply),
    }
}

fn no_queue(vhost: &str, name: &str) -> Response {
    failure(StatusCode::NOT_FOUND, format!("no queue '{name}' in vhost '{vhost}'"))
}

impl From<QueueInfo> for Queue {
    fn from(info: QueueInfo) -> Self {
        Self {
            vhost: info.vhost.to_string(),
            name: info.name.to_string(),
            durable: info.durable,
            exclusive: info.exclusive,
            auto_delete: info.auto_delete,
            arguments: info.arguments.into_iter().collect(),
            messages_ready: info.messages_ready,
            messages_unsettled: info.messages_unsettled,
            message_bytes: info.message_bytes,
            consumers: info.consumers,
        }
    }
}
