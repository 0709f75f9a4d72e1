//! Copies of assets, kept before the assets are deleted for good. Knows neither what a request is nor when to delete: it
//! makes a copy that was read back whole, or says why there is none.

mod address;
mod pieces;
mod place;
mod source;
mod store;
#[cfg(test)]
mod tests;

use std::time::Duration;

use jiff::Timestamp;
use object_store::path::Path;
use tokio::sync::{OnceCell, Semaphore, SemaphorePermit};
use tokio::time::Instant;

use self::pieces::Whole;
use self::place::{Description, Place};
use self::source::AssetSource;
use self::store::{Store, Text};
use crate::contract::message::{AssetId, Backup, RequestId};
use crate::neighbours::provider::Detail;
use crate::settings;

/// Descriptions in one place that describe nothing whole, before a person has to look.
const MOST_DAMAGED: u32 = 20;

/// Why backups cannot be made at all. Names the setting.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The store cannot be set up.
    #[error("backup.url: the store cannot be set up: {0}")]
    Store(String),
    /// TLS or the HTTP client cannot be set up.
    #[error("the HTTP client for backups cannot be set up: {0}")]
    Client(String),
}

/// Makes backups.
#[derive(Debug)]
pub struct Backups {
    settings: settings::BackupSettings,
    source: AssetSource,
    /// A folder that no setting names is made when the first backup is.
    store: OnceCell<Store>,
    turns: Semaphore,
}

/// The right to make one backup now: as many at once as the settings say.
#[derive(Debug)]
pub struct Turn<'a>(#[expect(dead_code, reason = "held until it is dropped")] SemaphorePermit<'a>);

/// What is to be kept, and for whom.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The request that deletes the asset.
    pub request_id: &'a RequestId,
    /// The asset.
    pub asset_id: &'a AssetId,
    /// When the request was first seen: its day is a part of the key, so it has to be the same each time.
    pub first_seen: Timestamp,
    /// What the detail call has just said.
    pub asset: &'a Detail,
}

/// Longest wait for an asset's URL that is only asked whether it serves bytes.
const URL_LIMIT: Duration = Duration::from_secs(10);

/// A copy that was read back whole just now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// It was made now.
    Made(Backup),
    /// It was there already.
    Found(Backup),
}

/// Why there is no copy that is whole. The sentences are for the requester, and hold no URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It may be over soon.
    Passing {
        /// What it was.
        why: String,
        /// How long a server asks to wait.
        after: Option<Duration>,
    },
    /// It looks lasting, and one answer may be wrong: worth a few more tries, not worth hours.
    Doubtful(String),
    /// It stays as it is.
    Lasting(String),
}

impl Trouble {
    fn passing(why: &str) -> Self {
        Self::Passing { why: why.to_owned(), after: None }
    }
}

impl Backups {
    /// Sets up what is needed. A store that the operator has named is opened now, so that a worker that cannot make backups
    /// does not start.
    ///
    /// # Errors
    /// When the store's settings don't do, its folder cannot be made, or TLS cannot be set up.
    pub fn new(settings: settings::BackupSettings) -> Result<Self, BackupError> {
        let store = if settings.named { OnceCell::new_with(Some(Store::open(&settings)?)) } else { OnceCell::new() };
        let (source, turns) = (AssetSource::new(&settings)?, Semaphore::new(settings.concurrency));
        Ok(Self { settings, source, store, turns })
    }

    /// Waits until fewer than the most are made at once; `None` when that takes too long.
    pub async fn turn(&self, patience: Duration) -> Option<Turn<'_>> {
        tokio::time::timeout(patience, self.turns.acquire()).await.ok()?.ok().map(Turn)
    }

    /// Whether the asset's own URL serves bytes now; `None` where it may not be asked or gives no clear answer.
    pub async fn url_serves(&self, asset: &Detail) -> Option<bool> {
        tokio::time::timeout(URL_LIMIT, self.source.serves(asset)).await.ok().flatten()
    }

    /// Keeps a copy of the asset, unless there is one. Either was read back whole before this returns.
    ///
    /// # Errors
    /// Why there is none. Bytes that nothing describes may be left in the store then, where it could not be told to forget
    /// them.
    pub async fn keep(&self, _turn: &Turn<'_>, wanted: Wanted<'_>) -> Result<Kept, Trouble> {
        let deadline = Instant::now() + self.settings.timeout;
        let store = self.store().await?;
        let place = Place::of(&store.prefix, wanted.first_seen, wanted.asset_id, wanted.request_id);
        let number = match within(deadline, find(store, &place, wanted)).await? {
            Holding::Whole(backup) => return Ok(Kept::Found(backup)),
            Holding::Nothing { number } => number,
        };
        let download = within(deadline, self.source.open(wanted.asset)).await?;
        let content_type = download.content_type.clone();
        let key = place.fresh();
        let kept = async {
            let written = store.write(&key, download, deadline).await?;
            within(deadline, read_back(store, &key, written)).await
        };
        let backup = match kept.await {
            Ok(backup) => backup,
            // Nothing points to it yet.
            Err(trouble) => {
                store.take_away(&key).await;
                return Err(trouble);
            }
        };
        let description = Description::new(&wanted, backup, content_type.as_deref(), Timestamp::now());
        within(deadline, describe(store, &place, wanted, description, number)).await
    }

    /// Proves that the store can be written and read, with a small object that is taken away again.
    ///
    /// # Errors
    /// What cannot be done, in the store's own words, for the operator.
    pub async fn probe(&self) -> Result<(), String> {
        let store = self.store.get_or_try_init(async || Store::open(&self.settings)).await;
        store.map_err(|error| error.to_string())?.probe().await.map_err(|error| error.to_string())
    }

    async fn store(&self) -> Result<&Store, Trouble> {
        let open = async || Store::open(&self.settings);
        self.store.get_or_try_init(open).await.map_err(|error| {
            tracing::warn!(%error, "the store of backups");
            Trouble::passing("the store of backups cannot be set up (see the worker's log)")
        })
    }
}

/// What a place holds.
enum Holding {
    Whole(Backup),
    /// No whole copy. The next description has this number.
    Nothing {
        number: u32,
    },
}

/// Looks for a copy that an earlier attempt has made. One that cannot be read back as it was described is not trusted, and
/// is left as it is for a person to look at.
async fn find(store: &Store, place: &Place, wanted: Wanted<'_>) -> Result<Holding, Trouble> {
    for number in 1..=MOST_DAMAGED {
        let key = place.description(number);
        let text = match store.description(&key).await? {
            Text::Missing => return Ok(Holding::Nothing { number }),
            Text::TooLong => None,
            Text::Read(text) => Some(text),
        };
        let described = text.and_then(|text| Description::read(&text, &wanted)).and_then(|description| {
            let bytes = place.described(&description.backup.location)?;
            Some((bytes, description.backup))
        });
        if let Some((bytes, Backup { length, sha256, .. })) = described
            && store.read_back(&bytes).await?.as_ref() == Some(&Whole { length, sha256: sha256.clone() })
        {
            // The store may have moved since.
            return Ok(Holding::Whole(Backup { location: store.location(&bytes), length, sha256 }));
        }
        tracing::warn!(%key, "a backup is not what it is described as; it is left as it is, and another is made");
    }
    Err(Trouble::Lasting(format!("the store of backups holds {MOST_DAMAGED} copies of it, and none is whole")))
}

/// Says beside a copy what it is, which makes it a backup. From the first try on another worker may find it and delete the
/// asset, so whatever happens here, the bytes are taken away only where another copy is described instead.
async fn describe(
    store: &Store,
    place: &Place,
    wanted: Wanted<'_>,
    description: Description,
    mut number: u32,
) -> Result<Kept, Trouble> {
    let text = description.to_json();
    let backup = description.backup;
    let text = match (text, place.described(&backup.location)) {
        (Ok(text), _) => text,
        (Err(problem), key) => {
            if let Some(key) = key {
                store.take_away(&key).await;
            }
            return Err(Trouble::Lasting(format!("backup.json: {problem}")));
        }
    };
    loop {
        if store.describe(&place.description(number), text.clone()).await? {
            return Ok(Kept::Made(backup));
        }
        // There is one: ours, when the store's answer to it was lost on its way, or that of another worker.
        match find(store, place, wanted).await? {
            Holding::Whole(found) if found == backup => return Ok(Kept::Made(backup)),
            Holding::Whole(found) => {
                if let Some(key) = place.described(&backup.location) {
                    store.take_away(&key).await;
                }
                return Ok(Kept::Found(found));
            }
            Holding::Nothing { number: next } => number = next,
        }
    }
}

async fn read_back(store: &Store, key: &Path, written: Whole) -> Result<Backup, Trouble> {
    match store.read_back(key).await? {
        Some(read) if read == written => {
            Ok(Backup { location: store.location(key), length: read.length, sha256: read.sha256 })
        }
        Some(_) => Err(Trouble::passing("the store of backups gives back other bytes than were written")),
        None => Err(Trouble::passing("the store of backups does not have what was just written")),
    }
}

/// Not past the time that one copy may take.
async fn within<T>(deadline: Instant, work: impl Future<Output = Result<T, Trouble>>) -> Result<T, Trouble> {
    let late = || Trouble::passing("the copy was not made in time (backup.timeout)");
    tokio::time::timeout_at(deadline, work).await.unwrap_or_else(|_| Err(late()))
}
