//! `asset-eraser dead`: what could not be handled, and what to do with it.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::io::Write;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::confirmation::confirmed;
use crate::engine::dead_letters::{self, DeadLetterRequest, Deed, Done, Listing, Which};
use crate::neighbours::broker::dead_queue::Letter;
use crate::platform::text::{plain, plain_json};
use crate::settings::BrokerSettings;

/// Most characters of one column.
const WIDEST: usize = 40;

/// What to do with the dead letters.
#[derive(Debug, Subcommand)]
pub enum DeadCommand {
    /// List them, the oldest first: why each is dead, since when, who published it, what it asks.
    List {
        /// Only those that are dead for this cause, such as `invalid_request`.
        #[arg(long, value_name = "CAUSE")]
        why: Option<String>,
        /// How many at most.
        #[arg(long, default_value_t = 100)]
        limit: usize,
        /// As one JSON object.
        #[arg(long)]
        json: bool,
        /// Who is believed about publishers.
        #[command(flatten)]
        signer: Signer,
    },
    /// Show one with its properties, its headers and its body.
    Show {
        /// Its ID, as `dead list` prints it.
        id: String,
        /// The body alone, byte for byte.
        #[arg(long)]
        raw: bool,
        /// Who is believed about publishers.
        #[command(flatten)]
        signer: Signer,
    },
    /// Send letters through again, as if they had just been published: every check applies, and what was answered gets
    /// the recorded answer. Asks first, as assets may be deleted.
    Replay(Selected),
    /// Remove letters for good. Asks first.
    Drop(Selected),
}

/// Who is believed about the publisher of an original.
#[derive(Args, Debug)]
pub struct Signer {
    /// The worker's RabbitMQ user, if it is not the one of `broker.url`. Only its copies are believed about who published the
    /// original.
    #[arg(long, value_name = "USER")]
    worker_user: Option<String>,
}

impl Signer {
    fn user(&self, broker: &BrokerSettings) -> Option<String> {
        self.worker_user.clone().or_else(|| broker.own_user())
    }
}

/// Which letters, and whether to ask.
#[derive(Args, Debug)]
pub struct Selected {
    #[command(flatten)]
    which: Selection,
    /// Do not ask. Needed where there is no terminal to answer on.
    #[arg(long)]
    yes: bool,
}

#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
struct Selection {
    /// Letters, by the IDs that `dead list` prints.
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    /// All that are dead for this cause.
    #[arg(long, value_name = "CAUSE")]
    why: Option<String>,
    /// All.
    #[arg(long)]
    all: bool,
}

impl Selection {
    fn which(&self) -> Which {
        match (&self.why, self.all) {
            (Some(why), _) => Which::Why(why.clone()),
            (None, true) => Which::All,
            (None, false) => Which::Ids(self.ids.iter().cloned().collect()),
        }
    }
}

/// Runs one of the commands; they work while workers do.
///
/// # Errors
/// When the broker cannot be reached, there is no such letter, or what cannot be undone was not confirmed.
pub async fn dead(broker: &BrokerSettings, command: &DeadCommand) -> Result<(), Box<dyn Error>> {
    let mut out = std::io::stdout();
    match command {
        DeadCommand::List { why, limit, json, signer } => {
            let which = why.clone().map_or(Which::All, Which::Why);
            let found = dead_letters::list(broker, &which, *limit).await?;
            list(&found, signer.user(broker).as_deref(), *json, &mut out)
        }
        DeadCommand::Show { id, raw, signer } => {
            let letter = letter(broker, id).await?;
            if !*raw {
                return show(&letter, signer.user(broker).as_deref(), &mut out);
            }
            let body = match letter.message.left_out {
                Some(_) => dead_letters::body(broker, id).await?.ok_or("the letter is no longer there")?,
                None => letter.message.body,
            };
            Ok(out.write_all(&body)?)
        }
        DeadCommand::Replay(selected) => act(broker, selected, Deed::Replay, &mut out).await,
        DeadCommand::Drop(selected) => act(broker, selected, Deed::Drop, &mut out).await,
    }
}

fn list(found: &Listing, worker: Option<&str>, as_json: bool, out: &mut impl Write) -> Result<(), Box<dyn Error>> {
    if as_json {
        let letters: Vec<Value> = found.letters.iter().map(|letter| object(letter, worker)).collect();
        let listed = json!({"total": found.total, "complete": found.complete, "letters": letters});
        writeln!(out, "{}", plain_json(&format!("{listed:#}")))?;
        return Ok(());
    }
    if found.letters.is_empty() {
        writeln!(out, "no such letter among the {} in the dead queue", letters(found.total))?;
        return Ok(());
    }
    let heads = ["ID", "SINCE", "WHY", "BY", "REQUEST", "ASSET", "DETAIL"].map(str::to_owned);
    table(
        &[heads].into_iter().chain(found.letters.iter().map(|letter| line(letter, worker))).collect::<Vec<_>>(),
        out,
    )?;
    let rest = if found.complete { "" } else { "; --limit shows more" };
    writeln!(out, "{} of {}{rest}", found.letters.len(), letters(found.total))?;
    for user in found.letters.iter().filter_map(|letter| letter.signed_by_another(worker)).collect::<BTreeSet<_>>() {
        let user = plain(user);
        writeln!(
            out,
            "if {user} is the worker's RabbitMQ user, --worker-user {user} shows who has published the originals"
        )?;
    }
    Ok(())
}

fn line(letter: &Letter, worker: Option<&str>) -> [String; 7] {
    let asked = DeadLetterRequest::of(letter);
    let known = |text: Option<String>| text.map_or_else(|| "-".to_owned(), |text| cut(&plain(&text)));
    let since = letter.since.map(|since| format!("{since:.0}"));
    let id = letter.id.clone();
    let why = cut(&plain(&letter.why));
    let publisher = known(letter.publisher(worker).map(str::to_owned));
    [id, known(since), why, publisher, known(asked.request_id), known(asked.asset_id), plain(&letter.detail)]
}

fn table(lines: &[[String; 7]], out: &mut impl Write) -> std::io::Result<()> {
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    for line in lines {
        let cells = line.iter().enumerate().map(|(column, text)| format!("{text:<0$}", width(column)));
        writeln!(out, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
    }
    Ok(())
}

fn object(letter: &Letter, worker: Option<&str>) -> Value {
    let DeadLetterRequest { request_id, asset_id, requested_by } = DeadLetterRequest::of(letter);
    let properties: BTreeMap<&str, &str> =
        letter.properties.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    json!({
        "id": letter.id, "why": letter.why, "detail": letter.detail, "since": letter.since,
        "publisher": letter.publisher(worker), "request_id": request_id, "asset_id": asset_id,
        "requested_by": requested_by, "bytes": letter.size(), "properties": properties,
    })
}

async fn letter(broker: &BrokerSettings, id: &str) -> Result<Letter, Box<dyn Error>> {
    let which = Which::Ids(BTreeSet::from([id.to_owned()]));
    let found = dead_letters::list(broker, &which, 1).await?.letters.pop();
    found.ok_or_else(|| {
        format!("there is no letter {id:?} in the dead queue; `asset-eraser dead list` shows them").into()
    })
}

fn show(letter: &Letter, worker: Option<&str>, out: &mut impl Write) -> Result<(), Box<dyn Error>> {
    let since = letter.since.map(|since| format!(" since {since:.0}")).unwrap_or_default();
    writeln!(out, "{} is dead{since}: {} {}", letter.id, plain(&letter.why), plain(&letter.detail))?;
    let DeadLetterRequest { request_id, asset_id, requested_by } = DeadLetterRequest::of(letter);
    let asked = [("request", request_id), ("asset", asset_id), ("requested by", requested_by)];
    for (name, text) in asked.into_iter().chain([("published by", letter.publisher(worker).map(str::to_owned))]) {
        writeln!(out, "  {name}: {}", text.map_or_else(|| "not known".to_owned(), |text| plain(&text)))?;
    }
    writeln!(out, "properties:")?;
    for (name, value) in &letter.properties {
        writeln!(out, "  {}: {}", plain(name), plain(value))?;
    }
    writeln!(out, "body, {} bytes:", letter.size())?;
    writeln!(out, "{}", dead_letters::shown_body(letter))?;
    Ok(())
}

async fn act(
    broker: &BrokerSettings,
    selected: &Selected,
    deed: Deed,
    out: &mut impl Write,
) -> Result<(), Box<dyn Error>> {
    let which = selected.which.which();
    if !selected.yes {
        // Counted in a look of its own: nothing is held while the operator thinks.
        let counts = dead_letters::count(broker, &which).await?;
        let count: u32 = counts.values().sum();
        for (why, count) in &counts {
            writeln!(out, "{count:>8}  {}", plain(why))?;
        }
        let question = match deed {
            Deed::Replay => format!("Send {} through again? What they ask may be deleted for good.", letters(count)),
            Deed::Drop => format!("Drop {} for good? Nothing is deleted or answered for them.", letters(count)),
        };
        if count > 0 && !confirmed(&question)? {
            return Err("nothing was done".into());
        }
    }
    let Done { letters: count, missing } = dead_letters::act(broker, &which, deed).await?;
    let done = match deed {
        Deed::Replay => "sent through again",
        Deed::Drop => "dropped",
    };
    writeln!(out, "{} {done}", letters(count))?;
    if missing.is_empty() {
        return Ok(());
    }
    let missing: Vec<String> = missing.into_iter().collect();
    Err(format!("there is no such letter in the dead queue: {}", missing.join(", ")).into())
}

fn letters(count: u32) -> String {
    format!("{count} {}", if count == 1 { "letter" } else { "letters" })
}

fn cut(text: &str) -> String {
    if text.chars().count() <= WIDEST {
        return text.to_owned();
    }
    text.chars().take(WIDEST - 1).chain(['…']).collect()
}
