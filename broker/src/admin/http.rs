//! `/healthz`, `/readyz`, `/metrics`.

use std::fmt::Write;
use std::net::TcpListener;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::time::timeout;

use super::exposition::{self, Scraped};
use super::phase::{Phase, Standing};
use crate::node::{NodeHandle, ShardCommand, reply};
use crate::runtime::Condition;

/// How long a scrape waits for a shard.
const SHARD_WAIT: Duration = Duration::from_secs(1);

#[derive(Clone)]
struct Admin {
    node: NodeHandle,
    standing: Standing,
}

/// Serves until dropped.
pub(super) async fn serve(listener: TcpListener, node: NodeHandle, standing: Standing) {
    let router = Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(Admin { node, standing });
    let listener = listener
        .set_nonblocking(true)
        .and_then(|()| tokio::net::TcpListener::from_std(listener));
    let served = match listener {
        Ok(listener) => axum::serve(listener, router).await,
        Err(error) => Err(error),
    };
    if let Err(error) = served {
        tracing::error!(%error, "the HTTP side does not serve");
    }
}

/// Whether the process should be left alone: 503 asks for a restart.
async fn healthz(State(admin): State<Admin>) -> impl IntoResponse {
    let conditions = admin.standing.conditions();
    let failed = conditions
        .iter()
        .any(|condition| matches!(condition, Condition::Failed(_)));
    answer(!failed, admin.standing.phase(), &admin.node, &conditions)
}

/// Whether clients should come: 503 while starting, draining and stopping.
async fn readyz(State(admin): State<Admin>) -> impl IntoResponse {
    let conditions = admin.standing.conditions();
    let serving = conditions
        .iter()
        .all(|condition| matches!(condition, Condition::Serving | Condition::Degraded(_)));
    let ready = admin.standing.phase() == Phase::Serving && serving;
    answer(ready, admin.standing.phase(), &admin.node, &conditions)
}

fn answer(
    good: bool,
    phase: Phase,
    node: &NodeHandle,
    conditions: &[Condition],
) -> (StatusCode, String) {
    let phase = match phase {
        Phase::Starting => "starting",
        Phase::Serving => "serving",
        Phase::Draining => "draining",
        Phase::Stopping => "stopping",
    };
    let mut text = format!("{phase}\n");
    for (link, condition) in node.shards().iter().zip(conditions) {
        let condition = match condition {
            Condition::Starting => "starting".to_owned(),
            Condition::Serving => "serving".to_owned(),
            Condition::Degraded(why) => format!("degraded: {why}"),
            Condition::Failed(why) => format!("failed: {why}"),
            Condition::Stopped => "stopped".to_owned(),
        };
        let _ = writeln!(text, "{} {condition}", link.name);
    }
    let status = if good {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, text)
}

async fn metrics(State(admin): State<Admin>) -> impl IntoResponse {
    // Asked all at once, so that a scrape takes a second at most however many shards are slow.
    let mut answers = Vec::new();
    for link in admin.node.shards() {
        let (reply, answer) = reply();
        let asked = link
            .mailbox
            .try_send(ShardCommand::Metrics { reply })
            .is_ok();
        answers.push((link.name.clone(), asked.then_some(answer)));
    }
    let mut scraped = Vec::new();
    let deadline = tokio::time::Instant::now() + SHARD_WAIT;
    for (shard, answer) in answers {
        let metrics = match answer {
            Some(answer) => timeout(
                deadline.saturating_duration_since(tokio::time::Instant::now()),
                answer.recv_async(),
            )
            .await
            .ok()
            .and_then(Result::ok),
            None => None,
        };
        scraped.push(Scraped { shard, metrics });
    }
    let identity = admin.node.identity();
    let text = exposition::render(
        &identity.cluster,
        &identity.node,
        admin.node.uptime_ms(),
        scraped,
    );
    match text {
        Ok(text) => (
            StatusCode::OK,
            [(
                header::CONTENT_TYPE,
                "application/openmetrics-text; version=1.0.0; charset=utf-8",
            )],
            text,
        ),
        Err(error) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            [(header::CONTENT_TYPE, "text/plain")],
            error.to_string(),
        ),
    }
}
