//! The pages for people, as a person uses them: in a browser.

use std::time::Instant;

use fantoccini::{Client, Locator};
use lapin::BasicProperties;
use reqwest::{Method, StatusCode, header};
use serde_json::json;

use crate::support::browser::{browse, picture};
use crate::support::sandbox::http_get;
use crate::support::{World, deletes, outcome, until, world};

const PASSWORD: &str = "a-long-password-for-the-console";

const SETTINGS: [(&str, &str); 2] = [("CONSOLE__ENABLED", "true"), ("CONSOLE__PASSWORD", PASSWORD)];

/// The console's address, with or without the login in it.
async fn console(world: &mut World, login: &str) -> String {
    world.worker().address().await.replace("http://", &format!("http://{login}"))
}

async fn text(browser: &Client) -> String {
    // While one page goes and the next comes, there is none.
    until("there is a page", || async { browser.find(Locator::Css("body")).await.ok()?.text().await.ok() }).await
}

async fn click(browser: &Client, css: &str) {
    browser.find(Locator::Css(css)).await.unwrap().click().await.unwrap();
}

/// Requests that end in several ways, one that waits, and three dead letters: one of a user who may ask now.
async fn busy(world: &mut World) {
    world.sandbox.add("withheld-1").await;
    world.ask(json!({"request_id": "case-7-withheld", "asset_id": "withheld-1", "case_id": "case-7"})).await;
    world.broker.result("case-7-withheld").await;
    world.stop_worker().await;
    world.set("PUBLISHERS__ALLOW", "unset");
    world.start_worker().await;
    for n in 0..12 {
        let asset = format!("video-{n}");
        world.sandbox.add(&asset).await;
        world.ask(json!({"request_id": format!("r-{n}"), "asset_id": asset, "case_id": "case-7"})).await;
        assert_eq!(outcome(&world.broker.result(&format!("r-{n}")).await).0, "deleted");
    }
    world.ask(json!({"request_id": "r-gone", "asset_id": "gone-1"})).await;
    world.broker.result("r-gone").await;
    let worker = world.worker().address().await;
    world.sandbox.add("used-1").await;
    world.sandbox.job("job-9", &["used-1"], "processing").await;
    world.ask(json!({"request_id": "r-used", "asset_id": "used-1", "requested_by": "product"})).await;
    until("it waits", || async {
        // Before the page is looked at: what it shows is kept for some seconds.
        let said = http_get(&format!("{worker}/v1/requests/r-used")).await.1;
        said.contains("\"waiting\"").then_some(())
    })
    .await;
    for body in [r#"{"request_id":"r-bad","asset_id":"<b>a/b</b>"}"#, "<script>alert(1)</script>"] {
        world.broker.publish_request(body.as_bytes(), BasicProperties::default()).await;
    }
    until("three are dead", || async { (world.broker.count("dead").await == 3).then_some(()) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_finds_an_asset_and_replays_and_drops_dead_letters() {
    let mut world = world(&[&SETTINGS[..], &[("PUBLISHERS__ALLOW", "desk"), ("GUARD__POLL", "2s")]].concat()).await;
    busy(&mut world).await;
    let url = console(&mut world, &format!("operator:{PASSWORD}@")).await;
    browse(world.dir.path(), &url, async |browser| {
        let overview = text(browser).await;
        for wanted in ["working", "already_absent", "deleted", "circuit of the provider", "used-1", "in_use"] {
            assert!(overview.contains(wanted), "{wanted}: {overview}");
        }
        assert!(!browser.find_all(Locator::Css("svg.chart rect.deleted")).await.unwrap().is_empty());
        picture(browser, "overview").await;

        // Find an asset.
        let search = browser.find(Locator::Css("header input")).await.unwrap();
        search.send_keys("video-3").await.unwrap();
        click(browser, "header button").await;
        let found = text(browser).await;
        assert!(found.contains("r-3") && found.contains("case-7") && found.contains("deleting"), "{found}");
        picture(browser, "asset").await;
        // Its case.
        browser.find(Locator::LinkText("case-7")).await.unwrap().click().await.unwrap();
        assert_eq!(browser.find_all(Locator::Css("section.request")).await.unwrap().len(), 12);
        picture(browser, "case").await;

        // Replay a letter, and see the result.
        browser.find(Locator::LinkText("Dead letters")).await.unwrap().click().await.unwrap();
        let letters = text(browser).await;
        assert!(letters.contains("publisher_not_allowed") && letters.contains("r-bad"), "{letters}");
        picture(browser, "letters").await;
        browser.find(Locator::LinkText("publisher_not_allowed")).await.unwrap().click().await.unwrap();
        picture(browser, "letter").await;
        click(browser, "form[action$=replay] button").await;
        assert!(browser.current_url().await.unwrap().path().starts_with("/dead/"), "not without the tick");
        click(browser, "form[action$=replay] input[type=checkbox]").await;
        click(browser, "form[action$=replay] button").await;
        let there = Some("q=case%2D7%2Dwithheld");
        until("the request is shown", || async {
            (browser.current_url().await.unwrap().query() == there).then_some(())
        })
        .await;
        until("the result is shown", || async {
            browser.refresh().await.unwrap();
            text(browser).await.contains("deleted").then_some(())
        })
        .await;
        picture(browser, "replayed").await;

        // Drop one; what it says is shown as text.
        browser.find(Locator::LinkText("Dead letters")).await.unwrap().click().await.unwrap();
        let hostile = Locator::XPath("//td[contains(., 'must be a JSON object')]/a");
        browser.find(hostile).await.unwrap().click().await.unwrap();
        assert!(text(browser).await.contains("<script>alert(1)</script>"));
        click(browser, "form[action$=drop] input[type=checkbox]").await;
        click(browser, "form[action$=drop] button").await;
        until("it is dropped", || async { text(browser).await.contains("Done with 1.").then_some(()) }).await;
        // As on a phone.
        browser.set_window_size(390, 844).await.unwrap();
        browser.goto(&url).await.unwrap();
        let width = browser.execute("return document.documentElement.scrollWidth", Vec::new()).await.unwrap();
        assert!(width.as_u64().unwrap() <= 500, "it is {width} wide");
        picture(browser, "phone").await;
    })
    .await;
    until("one is dead", || async { (world.broker.count("dead").await == 1).then_some(()) }).await;
    world.sandbox.job("job-9", &["used-1"], "completed").await;
    world.broker.result("r-used").await;
    assert_eq!(deletes(&world.sandbox.calls().await), 14);
    world.finish(1).await;
}

#[tokio::test]
async fn no_one_gets_in_without_the_login_and_no_other_site_can_use_it() {
    let mut world = world(&SETTINGS).await;
    world.broker.publish_request(b"no JSON", BasicProperties::default()).await;
    until("it is dead", || async { (world.broker.count("dead").await == 1).then_some(()) }).await;
    let url = console(&mut world, "").await;
    let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    for path in ["/", "/find?q=a", "/dead", "/dead/0123456789ab"] {
        for wrong in [None, Some("wrong")] {
            let request = client.get(format!("{url}{path}"));
            let request =
                wrong.map_or(request.try_clone().unwrap(), |wrong| request.basic_auth("operator", Some(wrong)));
            let answer = request.send().await.unwrap();
            assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{path}");
            assert!(answer.headers()[header::WWW_AUTHENTICATE].to_str().unwrap().starts_with("Basic"), "{path}");
        }
    }
    let page = client.get(format!("{url}/dead")).bearer_auth(PASSWORD).send().await.unwrap();
    assert_eq!(page.headers()[header::X_FRAME_OPTIONS], "DENY");
    let page = page.text().await.unwrap();
    let token = page.split_once("name=\"token\" value=\"").unwrap().1.split_once('"').unwrap().0.to_owned();
    let id = page.split_once("href=\"/dead/").unwrap().1.split_once('"').unwrap().0.to_owned();
    let drop = |token: &str, sure: &str, site: &str| {
        let form = format!("token={token}&sure={sure}");
        let request =
            client.request(Method::POST, format!("{url}/dead/{id}/drop")).basic_auth("operator", Some(PASSWORD));
        let request = request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded").body(form);
        request.header("sec-fetch-site", site).send()
    };
    assert_eq!(drop("wrong", "yes", "same-origin").await.unwrap().status(), StatusCode::FORBIDDEN);
    assert_eq!(drop(&token, "yes", "cross-site").await.unwrap().status(), StatusCode::FORBIDDEN);
    assert_eq!(drop(&token, "", "same-origin").await.unwrap().status(), StatusCode::BAD_REQUEST);
    assert_eq!(world.broker.count("dead").await, 1);
    assert_eq!(drop(&token, "yes", "same-origin").await.unwrap().status(), StatusCode::SEE_OTHER);
    assert_eq!(drop(&token, "yes", "same-origin").await.unwrap().status(), StatusCode::NOT_FOUND);
    // The others need no login of the console's.
    assert_eq!(client.get(format!("{url}/livez")).send().await.unwrap().status(), StatusCode::OK);
    world.finish(0).await;
}

/// That a client which goes away tries no password sooner is a unit test of `tries`.
#[tokio::test(flavor = "multi_thread")]
async fn passwords_are_tried_slowly_by_all_clients_together() {
    let mut world = world(&SETTINGS).await;
    let url = console(&mut world, "").await;
    let began = Instant::now();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let guesses = (0..60).map(|n| client.get(&url).basic_auth("operator", Some(format!("wrong-{n}"))).send());
    futures_util::future::join_all(guesses).await;
    until("the right password gets in again", || async {
        let page = reqwest::Client::builder().no_proxy().build().unwrap().get(&url).bearer_auth(PASSWORD).send().await;
        page.unwrap().status().is_success().then_some(())
    })
    .await;
    let wrong = world.sample(0, r#"asset_eraser_console_logins_refused_total{reason="wrong"}"#).await;
    let refused = world.sample(0, r#"asset_eraser_console_logins_refused_total{reason="not_looked_at"}"#).await;
    assert!(wrong >= 1.0 && refused >= 1.0, "{wrong} {refused}");
    assert!(began.elapsed().as_secs_f64() >= wrong / 2.0, "{wrong} in {:?}", began.elapsed());
    world.finish(0).await;
}

#[tokio::test]
async fn pages_with_an_address_of_their_own_are_not_beside_the_rest() {
    let mut world = world(&[&SETTINGS[..], &[("CONSOLE__LISTEN", "127.0.0.1:0")]].concat()).await;
    let pages = world.worker().said("console on ").await;
    let rest = console(&mut world, "").await;
    let status = async |url: String| {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        client.get(url).bearer_auth(PASSWORD).send().await.unwrap().status().as_u16()
    };
    for (path, at_pages, at_rest) in
        [("/", 200, 404), ("/dead", 200, 404), ("/livez", 404, 200), ("/metrics", 404, 200), ("/readyz", 404, 200)]
    {
        assert_eq!(status(format!("{pages}{path}")).await, at_pages, "{path}");
        assert_eq!(status(format!("{rest}{path}")).await, at_rest, "{path}");
    }
    world.finish(0).await;
}

#[tokio::test]
async fn without_the_setting_there_is_no_page() {
    let mut world = world(&[]).await;
    for path in ["/", "/dead", "/find", "/console.css"] {
        assert_eq!(world.get(path).await.0, 404, "{path}");
    }
    world.finish(0).await;
}

#[tokio::test]
async fn what_cannot_be_asked_is_said_and_hides_nothing_else() {
    let mut world = world(&SETTINGS).await;
    world.delete("a-1").await;
    // Not the worker's connection: the queue that the page counts is gone.
    let queue = world.broker.queue("results");
    let options = lapin::options::QueueDeleteOptions::default();
    world.broker.channel().queue_delete(queue.into(), options).await.unwrap();
    let url = console(&mut world, "").await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let page = client.get(url).bearer_auth(PASSWORD).send().await.unwrap().text().await.unwrap();
    assert!(page.contains("The broker did not answer") && page.contains("1 deleted"), "{page}");
    world.stop_worker().await;
    world.start_worker().await;
    world.finish(0).await;
}
