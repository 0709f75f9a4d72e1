//! Where in the store a request's backup is, and what is written beside it.

use jiff::Timestamp;
use object_store::path::Path;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use url::Url;
use uuid::Uuid;

use super::Wanted;
use crate::contract::message::{AssetId, Backup, RequestId};

/// What the names of objects with an asset's bytes begin with.
const BYTES: &str = "asset-";
/// The longest part of a key, in bytes: file systems take 255, with what a store adds while it writes.
const LONGEST_PART: usize = 200;

/// The folder of one request's backup: the day the request was first seen, the asset, the request. A program that has these
/// three finds it, and so does the request's redelivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place(String);

impl Place {
    pub(super) fn of(prefix: &str, first_seen: Timestamp, asset: &AssetId, request: &RequestId) -> Self {
        let day = first_seen.strftime("%Y/%m/%d");
        let (asset, request) = (part(asset.as_str()), part(request.as_str()));
        let begin = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        Self(format!("{begin}{day}/{asset}/{request}"))
    }

    /// A name for the asset's bytes that was never used: what is there is never written over.
    pub(super) fn fresh(&self) -> Path {
        self.join(&format!("{BYTES}{}", Uuid::new_v4()))
    }

    /// The `number`th description, from 1: a further one is written where the ones before it describe nothing whole.
    pub(super) fn description(&self, number: u32) -> Path {
        self.join(&if number == 1 { "backup.json".to_owned() } else { format!("backup-{number}.json") })
    }

    /// The object in this folder that a description's location names; `None` when it names none of ours.
    pub(super) fn described(&self, location: &str) -> Option<Path> {
        let name = location.rsplit('/').next()?;
        let id = name.strip_prefix(BYTES)?;
        Uuid::try_parse(id).ok().map(|_| self.join(name))
    }

    fn join(&self, name: &str) -> Path {
        // `From` would encode some characters once more; there are none of those in it.
        Path::from(format!("{}/{name}", self.0))
    }
}

/// One part of a key, in which no two different IDs look alike: `A-Z a-z 0-9 . _ -` stand for themselves, and any other
/// byte is written `=XX`, a dot at the beginning too. What gets too long is its SHA-256 instead.
fn part(id: &str) -> String {
    let plain = |at: usize, byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte) || byte == b'.' && at > 0;
    let written: String = id
        .bytes()
        .enumerate()
        .map(|(at, byte)| if plain(at, byte) { char::from(byte).to_string() } else { format!("={byte:02X}") })
        .collect();
    if written.len() <= LONGEST_PART { written } else { format!("=sha256={}", hex::encode(Sha256::digest(id))) }
}

/// The longest description that is read, in bytes.
pub(super) const DESCRIPTION_LIMIT: u64 = 64 * 1024;

/// The longest text of others that a description keeps, in bytes. What is longer is cut, so that a description stays far below
/// what is read of one, whatever a host or the provider says.
const LONGEST_TOLD: usize = 1024;

fn told(text: &str) -> String {
    if text.len() <= LONGEST_TOLD {
        return text.to_owned();
    }
    let end = (0..=LONGEST_TOLD).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    format!("{}…", &text[..end])
}

/// What is written beside an asset's bytes, once they were read back whole: there is no backup without it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Description {
    request_id: String,
    asset_id: String,
    #[serde(flatten)]
    pub(super) backup: Backup,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_type: Option<String>,
    made_at: Timestamp,
    asset: ManifestAsset,
}

/// What the detail call said.
#[derive(Debug, Serialize, Deserialize)]
struct ManifestAsset {
    name: Option<String>,
    #[serde(rename = "type")]
    asset_type: Option<String>,
    created: Option<String>,
    status: Option<String>,
    /// Without query and fragment, which may be a signature.
    url: Option<String>,
}

impl Description {
    pub(super) fn new(wanted: &Wanted<'_>, backup: Backup, content_type: Option<&str>, made_at: Timestamp) -> Self {
        let asset = wanted.asset;
        Self {
            request_id: wanted.request_id.to_string(),
            asset_id: wanted.asset_id.to_string(),
            backup,
            content_type: content_type.map(told),
            made_at,
            asset: ManifestAsset {
                name: asset.name.as_deref().map(told),
                asset_type: asset.asset_type.as_deref().map(told),
                created: asset.created.as_deref().map(told),
                status: asset.status.as_deref().map(told),
                url: asset.url.as_ref().and_then(|url| unsigned(url.expose())).as_deref().map(told),
            },
        }
    }

    /// `None` when the text is no description of what is wanted.
    pub(super) fn read(text: &[u8], wanted: &Wanted<'_>) -> Option<Self> {
        let read: Self = serde_json::from_slice(text).ok()?;
        let meant = read.request_id == wanted.request_id.as_str() && read.asset_id == wanted.asset_id.as_str();
        meant.then_some(read)
    }

    /// # Errors
    /// When it is longer than what is read of one, and would not be found again.
    pub(super) fn to_json(&self) -> Result<Vec<u8>, String> {
        let text = serde_json::to_vec_pretty(self).map_err(|error| error.to_string())?;
        match u64::try_from(text.len()) {
            Ok(length) if length <= DESCRIPTION_LIMIT => Ok(text),
            _ => Err(format!("has {} bytes, and at most {DESCRIPTION_LIMIT} are read", text.len())),
        }
    }
}

fn unsigned(url: &str) -> Option<String> {
    let mut url = Url::parse(url).ok()?;
    url.set_query(None);
    url.set_fragment(None);
    // Fails for URLs that can have neither.
    let _ = url.set_password(None);
    let _ = url.set_username("");
    Some(url.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(request: &str) -> Place {
        let (asset, request) = (AssetId::parse("asset-1").unwrap(), RequestId::parse(request).unwrap());
        Place::of("some/prefix", "2026-11-25T23:59:59Z".parse().unwrap(), &asset, &request)
    }

    #[test]
    fn a_key_tells_the_day_the_asset_and_the_request() {
        let first = place("r-1").description(1);
        assert_eq!(first.as_ref(), "some/prefix/2026/11/25/asset-1/r-1/backup.json");
        assert_eq!(place("r-1").description(2).filename(), Some("backup-2.json"));
        let bytes = place("r-1").fresh();
        assert!(bytes.as_ref().starts_with("some/prefix/2026/11/25/asset-1/r-1/asset-"), "{bytes}");
        assert_ne!(bytes, place("r-1").fresh());
        assert_eq!(place("r-1").described(&format!("file:///old/place/{bytes}")), Some(bytes));
    }

    #[test]
    fn no_id_leads_out_of_its_folder_or_into_that_of_another() {
        let long = ["x/".repeat(64), "y/".repeat(64), "x".repeat(128)];
        let ids =
            ["a", "a/b", "a=2Fb", "..", ".", "a..b", "=sha256=aa", "A", "../../x", "a%2Fb", "a\\b", "~", "{", "\"*?"];
        let folders: std::collections::BTreeSet<String> = ids
            .iter()
            .copied()
            .chain(long.iter().map(String::as_str))
            .map(|id| place(id).fresh().to_string())
            .collect();
        assert_eq!(folders.len(), ids.len() + long.len());
        for folder in folders {
            assert_eq!(folder.split('/').count(), 8, "{folder}");
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-=".contains(&byte);
            assert!(folder.bytes().all(plain) && !folder.contains("/."), "{folder}");
            assert!(folder.split('/').all(|part| part.len() <= LONGEST_PART), "{folder}");
        }
    }

    #[test]
    fn a_location_that_is_none_of_ours_is_not_followed() {
        for location in ["", "file:///etc/passwd", "s3://b/asset-", "s3://b/asset-..", "x/asset-1234", "backup.json"] {
            assert_eq!(place("r").described(location), None, "{location}");
        }
    }

    #[test]
    fn a_signature_is_not_written_down() {
        assert_eq!(unsigned("https://u:p@h.example/a/b?sign=x#y").as_deref(), Some("https://h.example/a/b"));
        assert_eq!(unsigned("nothing"), None);
    }
}
