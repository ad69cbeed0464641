//! How the servers of other projects are set and started.

use super::{Line, Places, Server, failed, log};
use crate::BenchError;
use crate::process::free_port;
use crate::rig::scenario::{Entrant, Sync};
use std::path::Path;

impl Server {
    pub(super) async fn redis(
        places: &Places,
        entrant: &Entrant,
        directory: &Path,
    ) -> Result<Self, BenchError> {
        let port = port()?;
        let sync = if entrant.sync == Sync::Always {
            "always"
        } else {
            "no"
        };
        let mut line = Line::new(&places.redis_server);
        line.put(&[
            "--port",
            &port.to_string(),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
        ]);
        line.put(&["--appendonly", "yes", "--appendfsync", sync]);
        line.put(&["--dir", &directory.join("data").display().to_string()]);
        line.spawn_until_port(directory, port, "redis").await
    }

    pub(super) async fn nats(
        places: &Places,
        entrant: &Entrant,
        directory: &Path,
    ) -> Result<Self, BenchError> {
        let port = port()?;
        let sync = if entrant.sync == Sync::Always {
            "always"
        } else {
            "2m"
        };
        let file = directory.join("nats.conf");
        let store = directory.join("store");
        let text = format!(
            "listen: \"127.0.0.1:{port}\"\njetstream {{ store_dir: {:?}, sync_interval: \"{sync}\" }}\n",
            store.display().to_string()
        );
        std::fs::write(&file, text).map_err(|e| failed("configure", e))?;
        let mut line = Line::new(&places.nats_server);
        line.put(&["-c", &file.display().to_string()]);
        line.spawn_until_port(directory, port, "nats").await
    }

    /// One node that is broker and controller.
    pub(super) async fn kafka(
        places: &Places,
        entrant: &Entrant,
        directory: &Path,
    ) -> Result<Self, BenchError> {
        let Some(kafka) = &places.kafka_dir else {
            return Err(BenchError::Cluster(
                "say where Kafka is unpacked with --kafka-dir".to_owned(),
            ));
        };
        let (port, controller) = (port()?, port()?);
        let file = directory.join("kafka.properties");
        let data = directory.join("data").display().to_string();
        let text = kafka_properties(port, controller, &data, entrant.sync);
        std::fs::write(&file, text).map_err(|e| failed("configure", e))?;
        let file = file.display().to_string();
        let line = |program: &str| {
            let mut line = Line::new(&kafka.join("bin").join(program));
            // Else they lie beside the programs.
            line.environment = vec![("LOG_DIR", directory.join("logs"))];
            line
        };
        let mut format = line("kafka-storage.sh");
        format.put(&["format", "--ignore-formatted", "--config", &file]);
        format.put(&["--cluster-id", CLUSTER]);
        format.run(directory).await?;
        let mut start = line("kafka-server-start.sh");
        start.put(&[&file]);
        start.spawn_until_port(directory, port, "kafka").await
    }

    pub(super) async fn iggy(
        places: &Places,
        entrant: &Entrant,
        directory: &Path,
    ) -> Result<Self, BenchError> {
        let port = port()?;
        let mut line = Line::new(&places.iggy_server);
        let mut set = |key, value: String| line.environment.push((key, value.into()));
        set(
            "IGGY_SYSTEM_PATH",
            directory.join("data").display().to_string(),
        );
        set("IGGY_TCP_ADDRESS", format!("127.0.0.1:{port}"));
        for other in [
            "IGGY_HTTP_ENABLED",
            "IGGY_QUIC_ENABLED",
            "IGGY_WEBSOCKET_ENABLED",
        ] {
            set(other, "false".to_owned());
        }
        for credential in ["IGGY_ROOT_USERNAME", "IGGY_ROOT_PASSWORD"] {
            set(credential, "iggy".to_owned());
        }
        if entrant.sync == Sync::Always {
            set("IGGY_SYSTEM_PARTITION_ENFORCE_FSYNC", "true".to_owned());
            set(
                "IGGY_SYSTEM_PARTITION_MESSAGES_REQUIRED_TO_SAVE",
                "1".to_owned(),
            );
        }
        line.spawn_until_port(directory, port, "iggy").await
    }
}

/// Kafka wants a name for the cluster: 16 bytes in base64.
const CLUSTER: &str = "cmluZ21xLWJlbmNoLTEyMw";

fn kafka_properties(port: u16, controller: u16, data: &str, sync: Sync) -> String {
    let flush = match sync {
        Sync::Always => "log.flush.interval.messages=1\n",
        Sync::Never => "",
    };
    format!(
        "process.roles=broker,controller\n\
         node.id=1\n\
         controller.quorum.voters=1@127.0.0.1:{controller}\n\
         controller.listener.names=CONTROLLER\n\
         listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
         listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT\n\
         log.dirs={data}\n\
         offsets.topic.replication.factor=1\n\
         {flush}"
    )
}

impl Places {
    /// As the file names of the distribution have it: its programs take seconds to say it.
    pub(super) fn kafka_version(&self) -> Option<String> {
        let jars = std::fs::read_dir(self.kafka_dir.as_ref()?.join("libs")).ok()?;
        let names = jars.flatten().map(|jar| jar.file_name());
        let version = |name: std::ffi::OsString| {
            let name = name.to_string_lossy();
            let version = name.strip_prefix("kafka-clients-")?.strip_suffix(".jar")?;
            Some(format!("Apache Kafka {version}"))
        };
        names.filter_map(version).next()
    }
}

impl Line {
    /// For programs that prepare a directory and end.
    async fn run(&self, directory: &Path) -> Result<(), BenchError> {
        let stdout = log(directory)?;
        let mut child = self.spawn(stdout.into(), log(directory)?)?;
        let status = child.wait().await.map_err(|e| failed("prepare", e))?;
        if status.success() {
            Ok(())
        } else {
            Err(self.not_ready(directory))
        }
    }
}

fn port() -> Result<u16, BenchError> {
    free_port().map_err(|e| failed("find a port for", e))
}
