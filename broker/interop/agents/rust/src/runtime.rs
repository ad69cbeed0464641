//! The runtime that the client wants to be handed.

use std::sync::Arc;

use rocketmq_client_rust::{ClientRuntime, ClientRuntimeConfig};
use rocketmq_observability::{TelemetryBootstrapConfig, TelemetryRuntimeGuard, install_global};
use rocketmq_runtime::{RuntimeConfig, RuntimeOwner};

use crate::Outcome;

/// Keeps alive what the client's threads need.
pub struct Runtime {
    client: Arc<ClientRuntime>,
    _owner: RuntimeOwner,
    _telemetry: TelemetryRuntimeGuard,
}

impl Runtime {
    pub fn start() -> Outcome<Self> {
        let owner = RuntimeOwner::plan(RuntimeConfig {
            thread_name: "interop".into(),
            ..Default::default()
        })
        .map_err(|error| format!("{error:?}"))?
        .build()
        .map_err(|error| format!("{error:?}"))?;
        let telemetry = install_global(&TelemetryBootstrapConfig::default())
            .map_err(|error| format!("{error:?}"))?;
        let client = ClientRuntime::try_new(
            owner.root_context().component("client"),
            ClientRuntimeConfig::default(),
            telemetry.handle(),
        )?;
        Ok(Self {
            client,
            _owner: owner,
            _telemetry: telemetry,
        })
    }

    pub fn client(&self) -> Arc<ClientRuntime> {
        self.client.clone()
    }
}
