//! The metrics of connections over HTTP, and of logins at the console.

use prometheus::{IntCounter, IntCounterVec, IntGauge};

use super::{Declare, Metrics, MetricsError};

pub(super) struct ConnectionMetrics {
    open: IntGauge,
    displaced: IntCounter,
    logins_refused: IntCounterVec,
}

impl ConnectionMetrics {
    pub(super) fn declare(declare: &Declare) -> Result<Self, MetricsError> {
        let connections = Self {
            open: declare.gauge("http_connections", "Open connections over HTTP.")?,
            displaced: declare.counter(
                "http_connections_displaced_total",
                "Idle connections over HTTP that were closed to make room for another.",
            )?,
            logins_refused: declare.counters(
                "console_logins_refused_total",
                "Logins refused at the console: wrong ones, and those not looked at because too many waited.",
                &["reason"],
            )?,
        };
        for reason in ["wrong", "not_looked_at"] {
            connections.logins_refused.with_label_values(&[reason]);
        }
        Ok(connections)
    }
}

impl Metrics {
    /// One more connection is open.
    pub fn http_connection_opened(&self) {
        self.0.connections.open.inc();
    }

    /// A connection has ended, or is to end.
    pub fn http_connection_closed(&self) {
        self.0.connections.open.dec();
    }

    /// An idle connection was closed to make room.
    pub fn http_connection_displaced(&self) {
        self.0.connections.displaced.inc();
    }

    /// A login at the console was wrong.
    pub fn console_login_wrong(&self) {
        self.0.connections.logins_refused.with_label_values(&["wrong"]).inc();
    }

    /// A login at the console was refused because too many waited.
    pub fn console_login_unseen(&self) {
        self.0.connections.logins_refused.with_label_values(&["not_looked_at"]).inc();
    }
}
