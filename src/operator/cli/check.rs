//! `asset-eraser check`: is everything reachable that `run` will need?

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use crate::contract::message::{AssetId, TraceContext};
use crate::neighbours::backup::Backups;
use crate::neighbours::broker::policies;
use crate::neighbours::broker::session::Session;
use crate::neighbours::broker::topology::TopologySettings;
use crate::neighbours::guard::{self, Guard, GuardAnswer};
use crate::neighbours::ledger::Ledger;
use crate::neighbours::pace::gate::Gate;
use crate::neighbours::provider::{Answer, Client, Detail, Meaning, RecordedAnswer};
use crate::platform::telemetry::metrics::Metrics;
use crate::platform::text::plain_lines;
use crate::settings::{Settings, brief};

/// Longest wait for one of the five.
const LIMIT: Duration = Duration::from_secs(45);

/// Tries broker, provider, guard, ledger and the store of backups, and prints a line for each.
///
/// # Errors
/// When at least one of them cannot be used.
pub async fn check(settings: &Settings) -> Result<(), Box<dyn Error>> {
    let metrics = Metrics::new()?;
    let gate = Gate::new(settings.worker.concurrency, settings.provider.max_rate, metrics.clone());
    let provider = Client::new(&settings.provider, gate, metrics.clone())?;
    let parts: [(&str, Result<String, String>); 5] = [
        ("broker", limited(broker(settings, &metrics)).await),
        ("provider", limited(ask_provider(&provider)).await),
        ("guard", limited(guard(settings, &provider, &metrics)).await),
        ("ledger", limited(ledger(settings, &metrics)).await),
        ("backups", limited(backups(settings)).await),
    ];
    let mut bad = 0;
    for (name, result) in parts {
        match result {
            Ok(said) => println!("ok    {name:<9} {}", plain_lines(&said)),
            Err(why) => {
                bad += 1;
                println!("FAIL  {name:<9} {}", plain_lines(&why));
            }
        }
    }
    if bad == 0 { Ok(()) } else { Err(format!("{bad} of 5 cannot be used").into()) }
}

async fn limited(part: impl Future<Output = Result<String, String>>) -> Result<String, String> {
    tokio::time::timeout(LIMIT, part).await.unwrap_or_else(|_| Err(format!("no answer within {}s", LIMIT.as_secs())))
}

async fn broker(settings: &Settings, metrics: &Metrics) -> Result<String, String> {
    let topology = TopologySettings::of(settings);
    let publishers = settings.publishers.as_ref();
    let session = Session::open(&settings.broker, publishers, &topology, metrics).await;
    let session = session.map_err(|error| error.to_string())?;
    session.close().await;
    let warnings: Vec<String> = match policies::limits(&settings.broker).await {
        Ok(limits) => limits.into_iter().map(|limit| limit.harm().to_owned()).collect(),
        Err(error) => vec![format!("what policies do to its queues is not known: {error}")],
    };
    let reached = format!("reached; exchange and queues of {} are declared", settings.broker.prefix);
    Ok([reached].into_iter().chain(warnings).collect::<Vec<_>>().join("; warning: "))
}

async fn ask_provider(client: &Client) -> Result<String, String> {
    let answer = client.probe().await;
    match &answer.meaning {
        Meaning::KeyRefused(status) => {
            let refused = answer.told(format!("HTTP {status}"));
            Err(format!("reached, but the key is refused: {refused}; {}: provider.token", client.way()))
        }
        Meaning::Found(_) if client.control_asset().is_some() => {
            Ok("reached, key accepted, control asset found".into())
        }
        meaning if meaning.is_clear() && client.control_asset().is_some() => Err(format!(
            "reached, but the control asset is not found ({}): the key, the account or the address is wrong, or it was \
             deleted: provider.control_asset",
            said(&answer)
        )),
        _ if client.control_asset().is_none() && answer.shows_life() => Ok(without_control(&answer)),
        Meaning::Retry { why, .. } => {
            Err(format!("no usable answer: {}; {}; see provider.base_url", answer.told(why), client.way()))
        }
        Meaning::Found(_) | Meaning::Gone | Meaning::InUse | Meaning::Refused | Meaning::Unlisted => {
            Err(format!("no usable answer: {}", said(&answer)))
        }
    }
}

/// What an asset that does not exist can tell.
fn without_control(answer: &Answer<Detail>) -> String {
    let unknown = if matches!(answer.meaning, Meaning::Gone) {
        String::new()
    } else {
        let said = said(answer);
        format!(
            "; warning: an asset that does not exist is answered {said}, which does not mean \"gone\": see provider.answers"
        )
    };
    format!(
        "reached, key not refused{unknown}; warning: without provider.control_asset it is not known whether this key finds the \
         assets that it is asked to delete"
    )
}

fn said(answer: &Answer<Detail>) -> String {
    let words = answer.words();
    let status = words.status.map(|status| format!("HTTP {status}"));
    let rule = words.rule.map(|rule| format!("by {rule}"));
    let parts = [status, words.code.map(|code| format!("code {code}")), words.msg, rule];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// Prints what recorded answers of the provider mean.
///
/// # Errors
/// When the file cannot be read, or an answer in it is none.
pub fn answers(settings: &Settings, file: &Path) -> Result<(), Box<dyn Error>> {
    let text = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let answers = recorded(&text).map_err(|why| format!("{}: {why}", file.display()))?;
    println!("{:<8}{:<11}{:<7}{:<14}{:<10}rule", "answer", "operation", "HTTP", "means", "pause");
    for (recorded, number) in answers.iter().zip(1..) {
        for read in recorded.read(&settings.provider).map_err(|why| format!("answer {number}: {why}"))? {
            let (operation, pause) = (read.operation.as_str(), read.pause.map(brief).unwrap_or_default());
            let rule = read.rule.unwrap_or_else(|| "none".to_owned());
            println!("{number:<8}{operation:<11}{:<7}{:<14}{pause:<10}{}", read.status, read.means, plain_lines(&rule));
        }
    }
    Ok(())
}

/// A JSON list, or objects one after the other.
fn recorded(text: &str) -> Result<Vec<RecordedAnswer>, String> {
    let wrong = |number: usize, error: serde_json::Error| format!("answer {number}: {error}");
    if text.trim_start().starts_with('[') {
        return serde_json::from_str(text).map_err(|error| error.to_string());
    }
    let objects = serde_json::Deserializer::from_str(text).into_iter();
    objects.zip(1..).map(|(answer, number)| answer.map_err(|error| wrong(number, error))).collect()
}

async fn guard(settings: &Settings, provider: &Client, metrics: &Metrics) -> Result<String, String> {
    if settings.guard.none {
        return Ok("none, as guard.none says: nothing keeps an asset in use from being deleted".into());
    }
    let guard = Guard::new(&settings.guard, provider.clone(), metrics.clone()).map_err(|error| error.to_string())?;
    let asset = AssetId::parse("asset-eraser-check")?;
    match guard.check(&asset, &TraceContext::default()).await {
        GuardAnswer::Unknown { why } => Err(why),
        GuardAnswer::Free => Ok("answers".into()),
        GuardAnswer::InUse { jobs } => Ok(format!("answers; {asset} is in use by {}", guard::named(&jobs))),
    }
}

async fn ledger(settings: &Settings, metrics: &Metrics) -> Result<String, String> {
    let ledger = Ledger::open(&settings.ledger.url, metrics.clone()).await.map_err(|error| error.to_string())?;
    ledger.probe().await.map_err(|error| error.to_string())?;
    let warnings = ledger.durability_warnings().await.map_err(|error| error.to_string())?;
    Ok(["can be written"].into_iter().chain(warnings).collect::<Vec<_>>().join("; warning: "))
}

async fn backups(settings: &Settings) -> Result<String, String> {
    if !settings.backup.named {
        return Ok("not tried, as backup.url is not set: they would be in the folder backups".into());
    }
    let backups = Backups::new(settings.backup.clone()).map_err(|error| error.to_string())?;
    backups.probe().await.map(|()| "can be written and read".into())
}
