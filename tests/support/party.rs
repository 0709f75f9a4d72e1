//! Another user of the broker than the worker and the test itself.

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use serde_json::Value;

use super::private::PrivateBroker;

pub struct Party {
    connection: Connection,
}

/// The broker's URL for a user, whose password follows from the name.
pub fn url(broker: &PrivateBroker, user: &str) -> String {
    let mut url = url::Url::parse(&broker.url).unwrap();
    url.set_username(user).unwrap();
    url.set_password(Some(&password(user))).unwrap();
    url.to_string()
}

fn password(user: &str) -> String {
    format!("{user}-password")
}

/// Makes a user who may do nothing yet.
pub fn add_user(broker: &PrivateBroker, user: &str) {
    broker.ctl(&["add_user", user, &password(user)]);
}

impl Party {
    pub async fn connect(broker: &PrivateBroker, user: &str) -> Self {
        let connection = Connection::connect(&url(broker, user), ConnectionProperties::default()).await.unwrap();
        Self { connection }
    }

    /// A new one: the broker closes a channel over each refusal.
    pub async fn channel(&self) -> Channel {
        let channel = self.connection.create_channel().await.unwrap();
        channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
        channel
    }

    pub async fn publish(
        &self,
        exchange: &str,
        key: &str,
        body: &Value,
        properties: BasicProperties,
    ) -> Result<(), lapin::Error> {
        let (channel, options, body) = (self.channel().await, BasicPublishOptions::default(), body.to_string());
        channel.basic_publish(exchange.into(), key.into(), options, body.as_bytes(), properties).await?.await?;
        channel.close(200, "".into()).await
    }
}
