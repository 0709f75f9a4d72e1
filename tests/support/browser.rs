//! A headless browser, driven over WebDriver, to see pages as a person does.

use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::process::Command;

use fantoccini::{Client, ClientBuilder};
use futures_util::FutureExt;
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::json;

use super::process::Process;
use super::until;

/// What a browser needs to run as root, and to look up no host on its own.
const ARGUMENTS: [&str; 7] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
];

/// Opens a page and looks at it; the browser is gone afterwards, also when what was looked for is not there.
pub async fn browse(dir: &Path, url: &str, look: impl AsyncFnOnce(&Client)) {
    let driver = match std::env::var("WEBDRIVER_URL") {
        Ok(url) => Driver { url, _process: None },
        Err(_) => Driver::start(dir).await,
    };
    let profile = format!("--user-data-dir={}", dir.join("browser").display());
    let arguments: Vec<&str> = ARGUMENTS.into_iter().chain([profile.as_str()]).collect();
    let options = json!({"goog:chromeOptions": {"args": arguments}});
    let mut builder = ClientBuilder::new(HttpConnector::new());
    builder.capabilities(options.as_object().unwrap().clone());
    let client = builder.connect(&driver.url).await.unwrap();
    let looked = AssertUnwindSafe(async {
        client.goto(url).await.unwrap();
        look(&client).await;
    });
    let looked = looked.catch_unwind().await;
    // Ends the browser; the driver alone would leave it behind.
    let closed = client.close().await;
    if let Err(panic) = looked {
        std::panic::resume_unwind(panic);
    }
    closed.unwrap();
}

struct Driver {
    url: String,
    /// Ends with the test.
    _process: Option<Process>,
}

impl Driver {
    async fn start(dir: &Path) -> Self {
        let install = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("deploy/dev/install.sh");
        let out = Command::new(install).arg("browser").output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        let process = Process::spawn(dir, "chromedriver", "chromedriver", &["--port=0"], Vec::new());
        let port = until("chromedriver listens", || async {
            let said = process.output();
            let rest = said.split_once("started successfully on port ")?.1;
            rest.split_once('.').map(|(port, _)| port.to_owned())
        })
        .await;
        Self { url: format!("http://127.0.0.1:{port}"), _process: Some(process) }
    }
}

/// For a person to look at, where `SCREENSHOTS` names a folder.
pub async fn picture(browser: &Client, name: &str) {
    if let Ok(folder) = std::env::var("SCREENSHOTS") {
        let picture = browser.screenshot().await.unwrap();
        std::fs::write(Path::new(&folder).join(format!("{name}.png")), picture).unwrap();
    }
}
