//! From what a line says to the request that is sent: what the command line adds, the request's ID, and the worker's own
//! decoder as the judge.

use clap::Args;
use serde::Serialize;
use uuid::Uuid;

use crate::contract::message::fields::Fields;
use crate::contract::message::request::{FIELDS, MAX_CASE_SIZE};
use crate::contract::message::{CaseId, Envelope, Expect, OnInUse, Request, RequestId, Unreadable};
use crate::platform::text::{code_point, is_hidden, quoted};

/// Name space of the request IDs (RFC 9562, version 5). Changing it would make every request that is submitted again
/// another one.
const NAMESPACE: Uuid = Uuid::from_u128(0x8d0b_51f4_3c2e_4f7a_a1d6_70c9_4be8_2f35);

/// What every line has unless it says otherwise.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "What every request says, unless its line says otherwise")]
pub struct Defaults {
    /// The erasure case.
    #[arg(long, value_name = "CASE")]
    case: Option<String>,
    /// How many requests the case has in all [default: as many as the list has of it].
    ///
    /// For a case whose requests are sent in several parts: give the same number with each part. `none` says no size,
    /// where more requests of the case are to follow and their number is not known yet.
    #[arg(long, value_name = "N|none", value_parser = case_size)]
    case_size: Option<CaseSize>,
    /// Why; passed through to the result.
    #[arg(long)]
    reason: Option<String>,
    /// Who asks; passed through to the result.
    #[arg(long, value_name = "WHO")]
    requested_by: Option<String>,
    /// The type that the asset must have, exactly as the provider says it.
    #[arg(long, value_name = "TYPE")]
    expect_type: Option<String>,
    /// The name that the asset must have, exactly as the provider says it.
    #[arg(long, value_name = "NAME")]
    expect_name: Option<String>,
    /// What to do while a job in progress uses the asset [default: wait].
    #[arg(long, value_name = "WHAT", value_parser = ["wait", "reject"])]
    on_in_use: Option<String>,
    /// Never delete after this: a time with an offset, such as 2026-11-24T10:00:00Z.
    #[arg(long, value_name = "TIME")]
    deadline: Option<String>,
    /// Do everything but the deletion. No line can undo this.
    #[arg(long)]
    dry_run: bool,
    /// Delete an asset only once a copy of it is kept. A line may say that its asset needs none.
    #[arg(long)]
    backup: bool,
}

/// What `--case-size` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CaseSize {
    /// Every case has so many requests.
    Of(u32),
    /// Only what the lines say is said.
    AsWritten,
}

fn case_size(text: &str) -> Result<CaseSize, String> {
    match text.parse() {
        Ok(size) if (1..=MAX_CASE_SIZE).contains(&size) => Ok(CaseSize::Of(size)),
        Err(_) if text == "none" => Ok(CaseSize::AsWritten),
        _ => Err(format!("must be a whole number, 1 to {MAX_CASE_SIZE}, or none")),
    }
}

/// The fields of `expect`.
const EXPECTED: [&str; 2] = ["asset_type", "name"];

/// What a line says: names of fields, each with its value as JSON text, as it was written.
pub(super) type Said = Vec<(String, String)>;

/// Takes one line.
pub(super) type Take<'a> = dyn FnMut(u64, Result<Said, String>) -> Result<(), String> + 'a;

/// A request that the worker will accept.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Checked {
    pub(super) request: Request,
    pub(super) body: Vec<u8>,
    /// Whether its ID was the line's own.
    pub(super) own_id: bool,
}

/// A request as it is sent: only what it says, always in this order. The ID is made of this text, so what a request can
/// say besides, one day, must be left out while it is not said.
#[derive(Serialize)]
struct Body<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
    asset_id: &'a str,
    #[serde(flatten)]
    labels: &'a crate::contract::message::request::Labels,
    #[serde(skip_serializing_if = "is_default")]
    on_in_use: OnInUse,
    #[serde(skip_serializing_if = "Option::is_none")]
    deadline: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expect: &'a Option<Expect>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    dry_run: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    backup: Option<bool>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "what serde asks for")]
fn is_default(on_in_use: &OnInUse) -> bool {
    *on_in_use == OnInUse::default()
}

impl Defaults {
    /// Refuses an option that no request could say, by the option's name.
    pub(super) fn check(&self) -> Result<(), String> {
        let said = vec![("asset_id".to_owned(), json("any"))];
        let names = [("case_id", "--case"), ("deadline", "--deadline"), ("expect", "--expect-name")];
        self.complete(said, "").map(drop).map_err(|problem| {
            let (field, rule) = problem.split_once(": ").unwrap_or(("", &problem));
            let option = names.iter().find(|(name, _)| *name == field).map(|(_, option)| *option);
            option.map_or_else(|| problem.clone(), |option| format!("{option}: {rule}"))
        })
    }

    /// Whether the command line says which requests of a case there are beside those of the list.
    pub(super) fn case_size(&self) -> Option<CaseSize> {
        self.case_size
    }

    /// The request that a line makes.
    ///
    /// # Errors
    /// The field that breaks a rule of the contract, the rule, and what the field is.
    pub(super) fn complete(&self, said: Said, batch: &str) -> Result<Checked, String> {
        let own_id = said.iter().any(|(name, _)| name == "request_id");
        let said = self.added(said);
        let mut request =
            decode(object(&said).as_bytes(), Some("made-below")).map_err(|problem| with_value(problem, &said))?;
        request.labels.case_id.as_ref().map_or(Ok(()), seen)?;
        // Not to be undone by a line.
        request.dry_run |= self.dry_run;
        request.backup = request.backup.or(self.backup.then_some(true));
        finished(request, own_id, batch)
    }

    fn added(&self, mut said: Said) -> Said {
        // `null` counts as absent, but for the fields about which the decoder thinks otherwise, and those it refuses.
        let absent = FIELDS.iter().filter(|name| !["dry_run", "on_in_use", "backup"].contains(name));
        said.retain(|(name, value)| value != "null" || !absent.clone().any(|absent| name == absent));
        for (name, value) in [
            ("case_id", &self.case),
            ("reason", &self.reason),
            ("requested_by", &self.requested_by),
            ("on_in_use", &self.on_in_use),
            ("deadline", &self.deadline),
        ] {
            if let Some(value) = value
                && !said.iter().any(|(other, _)| other == name)
            {
                said.push((name.to_owned(), json(value)));
            }
        }
        self.add_case_size(&mut said);
        self.add_expect(&mut said);
        said
    }

    fn add_case_size(&self, said: &mut Said) {
        let says = |name: &str| said.iter().any(|(other, _)| other == name);
        if let Some(CaseSize::Of(size)) = self.case_size
            && says("case_id")
            && !says("case_size")
        {
            said.push(("case_size".to_owned(), size.to_string()));
        }
    }

    /// A line may say one half of what is expected, and the command line the other.
    fn add_expect(&self, said: &mut Said) {
        let options = [("asset_type", &self.expect_type), ("name", &self.expect_name)];
        if options.iter().all(|(_, value)| value.is_none()) {
            return;
        }
        let own = said.iter().position(|(name, _)| name == "expect");
        let mut parts: Said = match own.map(|at| Fields::read(&said[at].1)) {
            None => Vec::new(),
            // The decoder says what is wrong with it.
            Some(Ok(fields)) if fields.duplicate().is_some() || fields.unknown(&EXPECTED).is_some() => return,
            Some(Ok(fields)) => fields.written().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            Some(Err(_)) => return,
        };
        parts.retain(|(_, value)| value != "null");
        for (name, value) in options {
            if let Some(value) = value
                && !parts.iter().any(|(other, _)| other == name)
            {
                parts.push((name.to_owned(), json(value)));
            }
        }
        let expect = ("expect".to_owned(), object(&parts));
        match own {
            Some(at) => said[at] = expect,
            None => said.push(expect),
        }
    }
}

/// The request that is sent: it has an ID, and the worker accepts it.
fn finished(mut request: Request, own_id: bool, batch: &str) -> Result<Checked, String> {
    if !own_id {
        request.request_id = derived(&request, batch)?;
    }
    let body = body(&request, true)?;
    // The judge's word about what is really sent.
    let sent = decode(&body, None)?;
    if sent != request {
        return Err("asset_id: what would be sent is not what was asked; please report this".to_owned());
    }
    Ok(Checked { request, body, own_id })
}

/// A checked request that says in addition how many requests its case has, if a size is given.
///
/// # Errors
/// It says more than a request may.
pub(super) fn with_case_size(body: &[u8], own_id: bool, size: Option<u32>, batch: &str) -> Result<Checked, String> {
    let mut request = decode(body, None)?;
    request.labels.case_size = request.labels.case_size.or(size);
    finished(request, own_id, batch)
}

/// A case is found by its exact name, so it has nothing in it that cannot be seen.
fn seen(case: &CaseId) -> Result<(), String> {
    let case = case.as_str();
    if let Some(hidden) = case.chars().find(|character| is_hidden(*character)) {
        return Err(format!(
            "case_id: has the character {}, which cannot be seen; it is {}",
            code_point(hidden),
            quoted(case)
        ));
    }
    if case.trim() != case {
        return Err(format!("case_id: begins or ends with a space; it is {}", quoted(case)));
    }
    Ok(())
}

/// The problem of a field, with what the line says there.
fn with_value(problem: String, said: &Said) -> String {
    let field = problem.split(':').next().unwrap_or_default();
    let value = said.iter().find(|(name, _)| name == field).map(|(_, value)| value);
    match value.and_then(|value| serde_json::from_str::<String>(value).ok()) {
        Some(text) if !text.is_empty() => format!("{problem}; it is {}", quoted(&text)),
        _ => problem,
    }
}

/// The same for the same request, however often and wherever it is submitted.
fn derived(request: &Request, batch: &str) -> Result<RequestId, String> {
    // The length keeps a batch's name apart from what follows.
    let mut name = format!("{}:{batch}", batch.len()).into_bytes();
    name.extend(body(request, false)?);
    RequestId::parse(&Uuid::new_v5(&NAMESPACE, &name).to_string())
}

fn body(request: &Request, with_id: bool) -> Result<Vec<u8>, String> {
    let body = Body {
        request_id: with_id.then_some(request.request_id.as_str()),
        asset_id: request.asset_id.as_str(),
        labels: &request.labels,
        on_in_use: request.on_in_use,
        deadline: request.deadline.map(|deadline| deadline.to_string()),
        expect: &request.expect,
        dry_run: request.dry_run,
        backup: request.backup,
    };
    serde_json::to_vec(&body).map_err(|error| error.to_string())
}

fn decode(body: &[u8], message_id: Option<&str>) -> Result<Request, String> {
    Request::decode(Envelope { body, message_id, ..Envelope::default() }).map_err(|bad: Box<Unreadable>| bad.problem)
}

pub(super) fn object(said: &Said) -> String {
    let fields: Vec<String> = said.iter().map(|(name, value)| format!("{}:{value}", json(name))).collect();
    format!("{{{}}}", fields.join(","))
}

pub(super) fn json(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> Said {
        let fields = Fields::read(text).unwrap();
        fields.written().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    fn sent(defaults: &Defaults, text: &str) -> String {
        let mut checked = defaults.complete(said(text), "").unwrap();
        checked.request.request_id = RequestId::parse("r").unwrap();
        String::from_utf8(body(&checked.request, true).unwrap()).unwrap()
    }

    #[test]
    fn a_line_says_otherwise_than_the_command_line() {
        let defaults = Defaults {
            case: Some("c".into()),
            reason: Some("why".into()),
            on_in_use: Some("reject".into()),
            expect_type: Some("Image".into()),
            ..Defaults::default()
        };
        let all = r#"{"request_id":"r","asset_id":"a","reason":"why","case_id":"c","on_in_use":"reject","expect":{"asset_type":"Image"}}"#;
        assert_eq!(sent(&defaults, r#"{"asset_id":"a"}"#), all);
        assert_eq!(sent(&defaults, r#"{"asset_id":"a","reason":null,"expect":null}"#), all);
        assert_eq!(
            sent(
                &defaults,
                r#"{"asset_id":"a","reason":"x","case_id":"d","case_size":3,"on_in_use":"wait","expect":{"name":"n"}}"#
            ),
            r#"{"request_id":"r","asset_id":"a","reason":"x","case_id":"d","case_size":3,"expect":{"asset_type":"Image","name":"n"}}"#
        );
    }

    #[test]
    fn a_dry_run_can_only_be_asked_for() {
        let dry = Defaults { dry_run: true, ..Defaults::default() };
        let is_dry = |defaults: &Defaults, text| defaults.complete(said(text), "").unwrap().request.dry_run;
        assert!(is_dry(&dry, r#"{"asset_id":"a","dry_run":false}"#));
        assert!(is_dry(&Defaults::default(), r#"{"asset_id":"a","dry_run":true}"#));
        assert!(!is_dry(&Defaults::default(), r#"{"asset_id":"a"}"#));
        let problem = dry.complete(said(r#"{"asset_id":"a","dry_run":null}"#), "").unwrap_err();
        assert!(problem.starts_with("dry_run: must be"), "{problem}");
    }

    #[test]
    fn a_backup_is_asked_for_where_a_line_does_not_say_otherwise() {
        let backups = Defaults { backup: true, ..Defaults::default() };
        let asked = |defaults: &Defaults, text| defaults.complete(said(text), "").unwrap().request.backup;
        assert_eq!(asked(&backups, r#"{"asset_id":"a"}"#), Some(true));
        assert_eq!(asked(&backups, r#"{"asset_id":"a","backup":false}"#), Some(false));
        assert_eq!(asked(&Defaults::default(), r#"{"asset_id":"a","backup":true}"#), Some(true));
        assert_eq!(asked(&Defaults::default(), r#"{"asset_id":"a"}"#), None);
        let problem = backups.complete(said(r#"{"asset_id":"a","backup":null}"#), "").unwrap_err();
        assert!(problem.starts_with("backup: must be"), "{problem}");
    }

    #[test]
    fn an_id_follows_from_all_that_is_said_and_never_changes() {
        let id = |text: &str, batch: &str| {
            let checked = Defaults::default().complete(said(text), batch).unwrap();
            checked.request.request_id.as_str().to_owned()
        };
        let first = id(r#"{"asset_id":"a","deadline":"2026-11-24T11:00:00+01:00","dry_run":false}"#, "");
        assert_eq!(first, id(r#"{"deadline":"2026-11-24T10:00:00Z","asset_id":"a"}"#, ""));
        let plain = id(r#"{"asset_id":"a"}"#, "");
        assert_eq!(
            plain, "1b7b8a46-8bd2-5954-a14d-c3c9f51ea6f7",
            "an interrupted submission is run again: this must never change"
        );
        let mut others = vec![first, plain, id(r#"{"asset_id":"a"}"#, "again"), id(r#"{"asset_id":"b"}"#, "")];
        for more in [
            r#""requested_by":"x""#,
            r#""reason":"x""#,
            r#""case_id":"x""#,
            r#""case_id":"x","case_size":2"#,
            r#""on_in_use":"reject""#,
            r#""expect":{"name":"x"}"#,
            r#""expect":{"asset_type":"x"}"#,
            r#""dry_run":true"#,
            r#""backup":true"#,
            r#""backup":false"#,
        ] {
            others.push(id(&format!(r#"{{"asset_id":"a",{more}}}"#), ""));
        }
        let count = others.len();
        others.sort();
        others.dedup();
        assert_eq!(others.len(), count);
        assert_eq!(id(r#"{"asset_id":"a","request_id":"mine"}"#, "again"), "mine");
    }

    #[test]
    fn what_the_worker_would_refuse_is_refused_with_its_words() {
        for (text, starts) in [
            (r#"{"asset_id":"a/b"}"#, "asset_id: may hold only"),
            (r#"{"asset_id":"a","asset_id":"b"}"#, "asset_id: stands twice"),
            (r#"{"asset_id":"a","dryrun":true}"#, "dryrun: is not a field of a request; the fields are"),
            (r#"{"reason":"x"}"#, "asset_id: is missing"),
            (r#"{"asset_id":"a","case_size":2}"#, "case_size: needs a case_id"),
            (r#"{"asset_id":"a","request_id":"a b"}"#, "request_id: may hold only"),
            (&format!(r#"{{"asset_id":"a","reason":"{}"}}"#, "x".repeat(65_510)), "body: is "),
        ] {
            let problem = Defaults::default().complete(said(text), "").unwrap_err();
            assert!(problem.starts_with(starts), "{problem}");
        }
    }

    #[test]
    fn a_value_that_is_refused_is_shown_with_what_cannot_be_seen() {
        for (text, ends) in [
            (r#"{"asset_id":"a-1\u200b"}"#, "asset_id: may hold only A-Z a-z 0-9 . _ -; it is a-1<U+200B>"),
            (r#"{"asset_id":"a","request_id":"r\u00a0"}"#, "visible ASCII characters; it is r<U+00A0>"),
            (
                r#"{"asset_id":"a","case_id":"c\u00ad7"}"#,
                "case_id: has the character U+00AD, which cannot be seen; it is c<U+00AD>7",
            ),
            (r#"{"asset_id":"a","case_id":" c"}"#, "case_id: begins or ends with a space; it is \" c\""),
        ] {
            let problem = Defaults::default().complete(said(text), "").unwrap_err();
            assert!(problem.ends_with(ends), "{problem}");
        }
    }

    #[test]
    fn a_null_hides_no_name_that_is_wrong() {
        let named = Defaults { expect_name: Some("x".into()), ..Defaults::default() };
        for (text, starts) in [
            (r#"{"asset_id":"a","dryrun":null}"#, "dryrun: is not a field"),
            (r#"{"asset_id":"a","expect":{"nam":null}}"#, "expect.nam: is not a field"),
            (r#"{"asset_id":"a","expect":{"asset_type":null,"asset_type":"x"}}"#, "expect.asset_type: stands twice"),
        ] {
            let problem = named.complete(said(text), "").unwrap_err();
            assert!(problem.starts_with(starts), "{problem}");
        }
    }

    #[test]
    fn a_case_size_is_said_of_a_case_where_the_line_says_none() {
        let sized = |text| Defaults { case_size: Some(case_size(text).unwrap()), ..Defaults::default() };
        let case = r#"{"asset_id":"a","case_id":"c"}"#;
        assert_eq!(sent(&sized("3"), case), r#"{"request_id":"r","asset_id":"a","case_id":"c","case_size":3}"#);
        assert!(sent(&sized("3"), r#"{"asset_id":"a","case_id":"c","case_size":2}"#).contains(r#""case_size":2"#));
        for (size, text) in [("none", case), ("3", r#"{"asset_id":"a"}"#)] {
            assert!(!sent(&sized(size), text).contains("case_size"));
        }
        for bad in ["0", "1000001", "all", "-1"] {
            assert_eq!(case_size(bad), Err("must be a whole number, 1 to 1000000, or none".to_owned()));
        }
    }

    #[test]
    fn a_size_that_is_added_is_part_of_what_is_said() {
        let id = |text: &str| Defaults::default().complete(said(text), "b").unwrap();
        let (plain, sized) = (r#"{"asset_id":"a","case_id":"c"}"#, r#"{"asset_id":"a","case_id":"c","case_size":2}"#);
        assert_eq!(with_case_size(&id(plain).body, false, Some(2), "b"), Ok(id(sized)));
        let own = id(r#"{"request_id":"mine","asset_id":"a","case_id":"c"}"#);
        let own = with_case_size(&own.body, true, Some(2), "b").unwrap();
        assert_eq!(own.request.request_id.as_str(), "mine");
    }

    #[test]
    fn a_bad_option_is_named() {
        for (defaults, starts) in [
            (Defaults { case: Some(String::new()), ..Defaults::default() }, "--case: must not be empty"),
            (Defaults { deadline: Some("tomorrow".into()), ..Defaults::default() }, "--deadline: must be an RFC 3339"),
        ] {
            let problem = defaults.check().unwrap_err();
            assert!(problem.starts_with(starts), "{problem}");
        }
        assert_eq!(Defaults { reason: Some("x".into()), ..Defaults::default() }.check(), Ok(()));
    }
}
