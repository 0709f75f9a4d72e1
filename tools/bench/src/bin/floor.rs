//! The least that could do the job: what `make bench` compares the worker with.
//!
//! The same calls with the same crates (consume, detail, jobs, `DELETE`, detail, a confirmed and persistent result,
//! acknowledge), and nothing else: no ledger, no retries, no metrics, no log, and no check beyond what the next step
//! needs. It is meant to be fast: connections are kept, confirmations and acknowledgements of different requests do not
//! wait for each other, and the broker's prefetch is what bounds the requests at once. Anything unexpected ends it.
//!
//! ```text
//! floor AMQP_URL PREFIX SANDBOX_URL TOKEN CONCURRENCY
//! ```

use std::error::Error;
use std::sync::Arc;

use futures_util::StreamExt;
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
};
use lapin::types::{FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties};
use reqwest::header::{AUTHORIZATION, HeaderMap};
use reqwest::{Client, Method};
use serde::{Deserialize, Serialize, de::IgnoredAny};

type Failure = Box<dyn Error + Send + Sync>;

/// What every request shares.
struct Floor {
    http: Client,
    assets: String,
    jobs: String,
    publishing: Channel,
    exchange: ShortString,
    result: ShortString,
    properties: BasicProperties,
}

#[derive(Deserialize)]
struct Request<'a> {
    request_id: &'a str,
    asset_id: &'a str,
}

/// The detail call's envelope; its `code` is a number.
#[derive(Deserialize)]
struct Detail {
    code: i64,
}

/// The `DELETE`'s envelope; its `code` is text.
#[derive(Deserialize)]
struct Deleted<'a> {
    code: &'a str,
}

#[derive(Deserialize)]
struct Jobs {
    jobs: Vec<IgnoredAny>,
}

#[derive(Serialize)]
struct Event<'a> {
    specversion: &'static str,
    r#type: &'static str,
    id: &'a str,
    source: &'static str,
    subject: &'a str,
    data: Data<'a>,
}

#[derive(Serialize)]
struct Data<'a> {
    request_id: &'a str,
    asset_id: &'a str,
    outcome: &'static str,
    verified: bool,
}

/// One thread: on the small machines that benches run on, handing work between threads costs more than it brings.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [amqp, prefix, sandbox, token, concurrency] = args.as_slice() else {
        return Err("usage: floor AMQP_URL PREFIX SANDBOX_URL TOKEN CONCURRENCY".into());
    };
    let connection = Connection::connect(amqp, ConnectionProperties::default()).await?;
    let publishing = connection.create_channel().await?;
    publishing.confirm_select(ConfirmSelectOptions::default()).await?;
    let consuming = connection.create_channel().await?;
    consuming.basic_qos(concurrency.parse()?, BasicQosOptions::default()).await?;
    let floor = Arc::new(Floor {
        http: client(token)?,
        assets: format!("{sandbox}/kyyReactApiServer/kyyVideo2/asset/"),
        jobs: format!("{sandbox}/jobs/"),
        publishing,
        exchange: prefix.as_str().into(),
        result: "result.deleted".into(),
        properties: BasicProperties::default()
            .with_content_type("application/cloudevents+json".into())
            .with_delivery_mode(2),
    });
    let (queue, options) = (format!("{prefix}.requests"), BasicConsumeOptions::default());
    let mut requests = consuming.basic_consume(queue.into(), "".into(), options, FieldTable::default()).await?;
    while let Some(delivery) = requests.next().await {
        let (floor, delivery) = (floor.clone(), delivery?);
        tokio::spawn(async move {
            if let Err(error) = floor.handle(delivery).await {
                // A floor that goes on without a request would look faster than it is.
                eprintln!("floor: {error}");
                std::process::exit(1);
            }
        });
    }
    Err("the broker sends no more".into())
}

/// Set up as the worker's, without what a plain loop has no use for.
fn client(token: &str) -> Result<Client, Failure> {
    // reqwest wants one for the process, also for plain http.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, format!("Bearer {token}").parse()?);
    let client = Client::builder()
        .default_headers(headers)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false);
    Ok(client.build()?)
}

impl Floor {
    async fn handle(&self, delivery: Delivery) -> Result<(), Failure> {
        let Request { request_id, asset_id } = serde_json::from_slice(&delivery.data)?;
        let asset = format!("{}{asset_id}", self.assets);
        let detail = self.call(Method::GET, &asset).await?;
        if serde_json::from_slice::<Detail>(&detail)?.code != 0 {
            return Err(format!("{asset_id} is not there").into());
        }
        let jobs = self.call(Method::GET, &format!("{}{asset_id}", self.jobs)).await?;
        if !serde_json::from_slice::<Jobs>(&jobs)?.jobs.is_empty() {
            return Err(format!("{asset_id} is in use").into());
        }
        let deleted = self.call(Method::DELETE, &asset).await?;
        if serde_json::from_slice::<Deleted>(&deleted)?.code != "0" {
            return Err(format!("{asset_id} was not deleted").into());
        }
        let detail = self.call(Method::GET, &asset).await?;
        if serde_json::from_slice::<Detail>(&detail)?.code == 0 {
            return Err(format!("{asset_id} is still there").into());
        }
        self.publish(request_id, asset_id).await?;
        delivery.acker.ack(BasicAckOptions::default()).await?;
        Ok(())
    }

    async fn call(&self, method: Method, url: &str) -> Result<bytes::Bytes, Failure> {
        Ok(self.http.request(method, url).send().await?.error_for_status()?.bytes().await?)
    }

    async fn publish(&self, request_id: &str, asset_id: &str) -> Result<(), Failure> {
        let event = serde_json::to_vec(&Event {
            specversion: "1.0",
            r#type: "asset.deletion.deleted.v1",
            id: request_id,
            source: "/floor",
            subject: asset_id,
            data: Data { request_id, asset_id, outcome: "deleted", verified: true },
        })?;
        let (exchange, key, options) = (self.exchange.clone(), self.result.clone(), BasicPublishOptions::default());
        let sent = self.publishing.basic_publish(exchange, key, options, &event, self.properties.clone()).await?;
        match sent.await? {
            Confirmation::Ack(_) => Ok(()),
            other => Err(format!("the result was not confirmed: {other:?}").into()),
        }
    }
}
