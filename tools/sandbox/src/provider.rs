//! The provider's API, and the registry's one call, as documented; and the files that the detail call points at.

use std::{borrow::Cow, sync::Arc};

use axum::{
    Router,
    body::Bytes,
    extract::{Path, Request, State},
    http::{StatusCode, header, request::Parts},
    response::Response,
    routing::{get, post},
};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    call::{Sandbox, Subject, text},
    fault::Operation,
    file::Content,
    work::{Bent, Done},
    world::{Asset, Job, World},
};

type Shared = State<Arc<Sandbox>>;

const ASSET_TYPES: [&str; 4] = ["Image", "Video", "Audio", "Document"];

/// Fields of a video order that name assets, as a string or a list of strings.
const REFERENCES: [&str; 5] = ["first_image", "last_image", "referenceImages", "referenceVideos", "referenceAudios"];

pub fn routes() -> Router<Arc<Sandbox>> {
    Router::new()
        .route("/kyyReactApiServer/kyyVideo2/asset/upload", post(upload).get(detail_of_upload).delete(delete_of_upload))
        .route("/kyyReactApiServer/kyyVideo2/asset/{id}", get(detail).delete(delete))
        .route("/kyyReactApiServer/v1/kyyvideo2/videos", post(video))
        .route("/kyyReactApiServer/v1/result/{id}", get(result))
        .route("/kyyReactApiServer/v2/model-center/tasks/{id}", get(task))
        .route("/jobs/{asset_id}", get(jobs))
        .route("/files/{asset_id}", get(file))
}

/// Any route there is none for.
pub async fn no_handler(State(sandbox): Shared, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let message = format!("No handler found for {} {}", parts.method, parts.uri.path());
    let body = json!({ "message": message });
    let missing = |_: &mut World, _| Done::refused(StatusCode::NOT_FOUND, body);
    sandbox.call(Operation::Other, Subject::Nothing, &parts, missing).await
}

async fn detail(sandbox: Shared, Path(id): Path<String>, parts: Parts) -> Response {
    asset_detail(sandbox, id, parts).await
}

async fn delete(sandbox: Shared, Path(id): Path<String>, parts: Parts) -> Response {
    delete_asset(sandbox, id, parts).await
}

/// `upload` is a valid asset ID: only POST means the upload call.
async fn detail_of_upload(sandbox: Shared, parts: Parts) -> Response {
    asset_detail(sandbox, "upload".into(), parts).await
}

async fn delete_of_upload(sandbox: Shared, parts: Parts) -> Response {
    delete_asset(sandbox, "upload".into(), parts).await
}

async fn asset_detail(State(sandbox): Shared, id: String, parts: Parts) -> Response {
    let subject = Subject::Asset(id.clone());
    let here = here(&parts, &id);
    let work = |world: &mut World, bent| {
        Done::told(match seen(world, &id, bent) {
            None => json!({"code": -1, "msg": "素材不存在", "data": null}),
            Some(asset) => json!({"code": 0, "msg": null, "data": {
                "name": asset.name, "assetId": id, "status": asset.status, "assetType": asset.kind,
                "url": asset.url(here), "createTime": asset.create_time(),
            }}),
        })
    };
    sandbox.call(Operation::Detail, subject, &parts, work).await
}

/// What a detail call sees of an asset.
fn seen(world: &World, id: &str, bent: Bent) -> Option<Asset> {
    let was = || world.deleted_asset(id).map(Cow::into_owned);
    let is = || world.asset(id).map(Cow::into_owned);
    match bent {
        Bent::Blind => None,
        Bent::Stale => is().or_else(was).or_else(|| Some(Asset::new(None, None))),
        Bent::Remembering => is().or_else(|| Some(Asset { status: "DELETED".into(), ..was()? })),
        Bent::No | Bent::Pretend | Bent::Delayed { .. } => is(),
    }
}

/// Here `code` is a string. What the provider answers for a missing asset is not known; this is a guess.
async fn delete_asset(State(sandbox): Shared, id: String, parts: Parts) -> Response {
    let subject = Subject::Asset(id.clone());
    let work = |world: &mut World, bent| {
        let deleted = json!({"code": "0", "msg": "删除成功", "data": null});
        let missing = json!({"code": "-1", "msg": "素材不存在", "data": null});
        match bent {
            Bent::Pretend => Done::told(deleted),
            Bent::Blind => Done::told(missing),
            Bent::Delayed { ms } if world.asset(&id).is_some() => {
                if world.leaves(&id) {
                    Done::promised(deleted, ms)
                } else {
                    Done::told(deleted)
                }
            }
            _ if world.delete_asset(&id) => Done::changed(deleted),
            _ => Done::told(missing),
        }
    };
    sandbox.call(Operation::Delete, subject, &parts, work).await
}

async fn upload(State(sandbox): Shared, parts: Parts, body: Bytes) -> Response {
    let work = |world: &mut World, _| {
        let order: Value = serde_json::from_slice(&body).unwrap_or_default();
        let field = |name: &str| order[name].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        let asset_type = field("assetType").filter(|kind| ASSET_TYPES.contains(&kind.as_str()));
        let (Some(asset_type), Some(_), Some(name)) = (asset_type, field("url"), field("name")) else {
            return Done::told(json!({"code": 1001, "msg": "assetType, url and name are required", "data": null}));
        };
        let id = world.new_asset_id();
        // Where it came from is forgotten: the provider keeps a copy of its own.
        world.add_asset(id.clone(), Asset::new(Some(name), Some(asset_type)));
        Done::changed(json!({"code": 0, "msg": null, "data": {"assetId": id}}))
    };
    sandbox.call(Operation::Upload, Subject::Nothing, &parts, work).await
}

/// The job stays `queued` until `PUT /control/jobs/{id}` moves it: tests own the clock.
async fn video(State(sandbox): Shared, parts: Parts, body: Bytes) -> Response {
    let work = |world: &mut World, _| {
        let order: Value = serde_json::from_slice(&body).unwrap_or_default();
        let assets = referenced(&order);
        if let Some(missing) = assets.iter().find(|id| world.asset(id).is_none()) {
            return Done::told(json!({"code": -1, "msg": format!("素材不存在: {missing}"), "data": null}));
        }
        let job = Job { assets, status: "queued".into(), registry_status: None, created: Timestamp::now() };
        let id = world.new_job_id();
        let created = job.created.as_second();
        world.jobs.insert(id.clone(), job);
        Done::changed(json!({
            "id": id, "object": "video", "created": created, "model": "kyyvideo2_fast", "status": "queued", "error": null,
        }))
    };
    sandbox.call(Operation::Video, Subject::Nothing, &parts, work).await
}

fn referenced(order: &Value) -> Vec<String> {
    let texts = REFERENCES.iter().flat_map(|field| match &order[*field] {
        Value::Array(list) => list.iter().filter_map(Value::as_str).collect(),
        one => Vec::from_iter(one.as_str()),
    });
    texts.filter_map(|text| text.strip_prefix("asset://")).map(str::to_owned).collect()
}

async fn result(State(sandbox): Shared, Path(id): Path<String>, parts: Parts) -> Response {
    let subject = Subject::Job(id.clone());
    let work = |world: &mut World, bent| {
        let Some(job) = known(world, &id, bent) else { return unknown_job() };
        let completed = job.status == "completed";
        Done::told(json!({
            "id": id, "object": "video", "created": job.created.as_second(), "model": "kyyvideo2_fast",
            "status": job.status,
            "video_url": completed.then(|| format!("https://sandbox.invalid/video/{id}.mp4")),
            "error": (job.status == "failed").then_some("generation failed"),
        }))
    };
    sandbox.call(Operation::Job, subject, &parts, work).await
}

/// The same job as [`result`], as the model centre shows it.
async fn task(State(sandbox): Shared, Path(id): Path<String>, parts: Parts) -> Response {
    let subject = Subject::Job(id.clone());
    let work = |world: &mut World, bent| {
        let Some(job) = known(world, &id, bent) else { return unknown_job() };
        Done::told(json!({"code": 0, "msg": null, "data": {"id": id, "status": job.status}}))
    };
    sandbox.call(Operation::Job, subject, &parts, work).await
}

fn known<'a>(world: &'a World, id: &str, bent: Bent) -> Option<&'a Job> {
    world.jobs.get(id).filter(|_| bent != Bent::Blind)
}

/// What the provider answers for a job it does not know is not documented; this copies the asset's detail call.
fn unknown_job() -> Done {
    Done::told(json!({"code": -1, "msg": "任务不存在", "data": null}))
}

/// The registry: every job that ever used the asset, finished ones too.
async fn jobs(State(sandbox): Shared, Path(asset): Path<String>, parts: Parts) -> Response {
    let subject = Subject::Asset(asset.clone());
    let work = |world: &mut World, _| {
        let using = world.jobs.iter().filter(|(_, job)| job.uses(&asset));
        let told = |(id, job): (&String, &Job)| json!({"id": id, "status": job.registry_status.as_ref().unwrap_or(&job.status)});
        Done::told(json!({"jobs": using.map(told).collect::<Vec<_>>()}))
    };
    sandbox.call(Operation::Jobs, subject, &parts, work).await
}

/// What an asset's URL is here, for a client that calls this sandbox by the name that `parts` tell.
fn here(parts: &Parts, id: &str) -> String {
    let host = text(&parts.headers, header::HOST.as_str()).unwrap_or("localhost");
    format!("http://{host}/files/{id}")
}

/// The bytes of an asset, as long as it exists or is remembered.
async fn file(State(sandbox): Shared, Path(id): Path<String>, parts: Parts) -> Response {
    let subject = Subject::Asset(id.clone());
    let work = |world: &mut World, bent| match seen(world, &id, bent) {
        Some(asset) => Done::file(Content::of(&id, &asset)),
        None => Done::refused(StatusCode::NOT_FOUND, json!({ "message": "no such file" })),
    };
    sandbox.call(Operation::File, subject, &parts, work).await
}
