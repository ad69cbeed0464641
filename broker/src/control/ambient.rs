//! Time and chance, as the control plane takes them: tokio's in a broker, virtual ones in the simulator.

use std::future::Future;
use std::time::Duration;

/// See the module.
pub trait Ambient: Clone + Send + Sync + 'static {
    /// Waits.
    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send;
    /// Random bits, for ids.
    fn random(&self) -> u64;
}

/// Within a tokio runtime.
#[derive(Debug, Clone, Copy)]
pub struct TokioAmbient;

impl Ambient for TokioAmbient {
    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }

    fn random(&self) -> u64 {
        rand::random()
    }
}
