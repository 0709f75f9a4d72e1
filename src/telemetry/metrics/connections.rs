//! The metrics of connections to the HTTP port.

use prometheus::{IntCounter, IntGauge};

use super::{Declare, Metrics, MetricsError};

pub(super) struct Connections {
    open: IntGauge,
    displaced: IntCounter,
}

impl Connections {
    pub(super) fn declare(declare: &Declare) -> Result<Self, MetricsError> {
        Ok(Self {
            open: declare.gauge("http_connections", "Open connections to the HTTP port.")?,
            displaced: declare.counter(
                "http_connections_displaced_total",
                "Idle connections to the HTTP port that were closed to make room for another.",
            )?,
        })
    }
}

impl Metrics {
    /// So many connections to the HTTP port are open.
    pub fn http_connections(&self, open: usize) {
        self.0.connections.open.set(i64::try_from(open).unwrap_or(i64::MAX));
    }

    /// An idle connection to the HTTP port was closed to make room.
    pub fn http_connection_displaced(&self) {
        self.0.connections.displaced.inc();
    }
}
