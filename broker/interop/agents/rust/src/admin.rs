//! Administration through the client's own admin interface.

use rocketmq_client_rust::{DefaultMQAdminExt, MQAdminMutationExt, MQAdminReadExt};
use serde_json::{Value, json};

use crate::{Agent, Outcome, text};

/// Runs one administration call and gives its result as the client prints it.
pub async fn run(agent: &Agent, command: &Value) -> Outcome {
    let mut admin = DefaultMQAdminExt::new(agent.client.clone());
    admin.set_namesrv_addr(agent.namesrv.clone());
    MQAdminReadExt::start(&mut admin).await?;
    let outcome = call(&admin, command).await;
    MQAdminReadExt::shutdown(&mut admin).await;
    outcome
}

async fn call(admin: &DefaultMQAdminExt, command: &Value) -> Outcome {
    let argument = |name: &str| text(command, name).map(cheetah_string::CheetahString::from);
    Ok(match text(command, "call")? {
        "cluster" => json!(format!("{:?}", admin.examine_broker_cluster_info().await?)),
        "topics" => json!(format!("{:?}", admin.fetch_all_topic_list().await?)),
        "route" => json!(format!(
            "{:?}",
            admin.examine_topic_route_info(argument("topic")?).await?
        )),
        "runtime" => json!(format!(
            "{:?}",
            admin
                .fetch_broker_runtime_stats(argument("address")?)
                .await?
        )),
        "consumers of topic" => {
            json!(format!(
                "{:?}",
                admin.query_topic_consume_by_who(argument("topic")?).await?
            ))
        }
        "connections" => {
            let group = argument("group")?;
            json!(format!(
                "{:?}",
                admin.examine_consumer_connection_info(group, None).await?
            ))
        }
        "remove topic" => {
            admin
                .remove_topic(argument("topic")?, argument("cluster")?)
                .await?;
            json!({})
        }
        other => return Err(format!("unknown call {other}").into()),
    })
}
