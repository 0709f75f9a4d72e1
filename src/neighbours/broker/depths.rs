//! How many messages are in each queue.

use std::time::Duration;

use lapin::options::QueueDeclareOptions;
use lapin::types::FieldTable;

use super::BrokerError;
use super::connection::connect;
use super::topology::{Names, TopologySettings};
use crate::settings;

/// Longest wait for all of it.
const LIMIT: Duration = Duration::from_secs(10);

/// One queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Depth {
    /// Its name.
    pub queue: String,
    /// Messages that no consumer holds.
    pub ready: u32,
}

/// The queues of a deployment, in the order of a request's way: requests, waits from the shortest, results, dead.
///
/// # Errors
/// When the broker does not answer, or a queue is not there.
pub async fn depths(
    settings: &settings::BrokerSettings,
    topology: &TopologySettings,
) -> Result<Vec<Depth>, BrokerError> {
    let asked = tokio::time::timeout(LIMIT, asked(settings, topology)).await;
    asked.map_err(|_| BrokerError::Timeout(LIMIT, "count the messages in each queue"))?
}

async fn asked(settings: &settings::BrokerSettings, topology: &TopologySettings) -> Result<Vec<Depth>, BrokerError> {
    let names = Names::new(&settings.prefix);
    // Of its own: a queue that is not there costs the channel, and here nothing is lost with it.
    let connection = connect(settings).await?;
    let channel = connection.create_channel().await?;
    let waits = topology.delays.iter().map(|delay| names.wait(*delay));
    let results = topology.results_queue.then(|| names.results());
    let mut depths = Vec::new();
    for queue in [names.requests()].into_iter().chain(waits).chain(results).chain([names.dead()]) {
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let declared = channel.queue_declare(queue.as_str().into(), passive, FieldTable::default()).await?;
        depths.push(Depth { queue, ready: declared.message_count() });
    }
    connection.close(200, "bye".into()).await?;
    Ok(depths)
}
