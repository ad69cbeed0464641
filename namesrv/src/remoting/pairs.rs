//! Pairs of strings (100, 101, 102, 219), and the settings of this name server (318, 319).

use super::{Answer, Handled, Request};
use crate::connection::Shared;
use crate::kv::KvError;
use ringmq_wire::remoting::body::routes::Pairs;
use ringmq_wire::remoting::response_code;

pub(super) fn put(shared: &Shared, request: &Request<'_>) -> Handled {
    let namespace: String = request.command.required("namespace")?;
    let key: String = request.command.required("key")?;
    let value: String = request.command.required("value")?;
    tracing::info!(%namespace, %key, "pair set by a tool");
    Ok(written(shared.pairs().put(namespace, key, value)))
}

pub(super) fn delete(shared: &Shared, request: &Request<'_>) -> Handled {
    let namespace: String = request.command.required("namespace")?;
    let key: String = request.command.required("key")?;
    tracing::info!(%namespace, %key, "pair removed by a tool");
    Ok(written(shared.pairs().delete(&namespace, &key)))
}

fn written(result: Result<(), KvError>) -> Answer {
    match result {
        Ok(()) => Answer::ok(),
        Err(error) => Answer::error(response_code::SYSTEM_ERROR, error.to_string()),
    }
}

pub(super) fn get(shared: &Shared, request: &Request<'_>) -> Handled {
    let namespace: String = request.command.required("namespace")?;
    let key: String = request.command.required("key")?;
    Ok(match shared.pairs().get(&namespace, &key) {
        Some(value) => Answer::ok().field("value", value),
        None => not_found(format!("No config item, Namespace: {namespace} Key: {key}")),
    })
}

pub(super) fn namespace(shared: &Shared, request: &Request<'_>) -> Handled {
    let namespace: String = request.command.required("namespace")?;
    Ok(match shared.pairs().namespace(&namespace) {
        Some(table) => Answer::json(&Pairs {
            table: table.clone(),
        }),
        None => not_found(format!("No config item, Namespace: {namespace}")),
    })
}

fn not_found(remark: String) -> Answer {
    Answer::error(response_code::QUERY_NOT_FOUND, remark)
}

/// One `name=value` a line.
pub(super) fn settings(shared: &Shared) -> Answer {
    let config = &shared.config;
    let file = config.kv_file.as_ref();
    let file = file.map_or(String::new(), |file| file.display().to_string());
    let lines = [
        ("listenPort", config.listen.port().to_string()),
        ("bindAddress", config.listen.ip().to_string()),
        ("kvConfigPath", file),
        (
            "serverChannelMaxIdleTimeSeconds",
            (config.idle_timeout_ms / 1_000).to_string(),
        ),
        ("connectionsMax", config.connections_max.to_string()),
        ("shardsMax", config.shards_max.to_string()),
        ("topicsMax", config.topics_max.to_string()),
        ("orderMessageEnable", false.to_string()),
    ];
    let lines: Vec<String> = lines
        .iter()
        .map(|(name, value)| format!("{name}={value}\n"))
        .collect();
    let answer = Answer {
        body: lines.concat().into_bytes(),
        ..Answer::ok()
    };
    // Brokers of ours must be able to tell this from a name server of RocketMQ.
    answer.field("server", "ringmq-namesrv")
}

pub(super) fn no_settings() -> Answer {
    Answer::error(
        response_code::NO_PERMISSION,
        "this name server takes its settings from its file and flags, at start",
    )
}
