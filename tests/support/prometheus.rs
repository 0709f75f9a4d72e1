//! A Prometheus of the test's own, and `promtool`.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::process::Process;
use super::sandbox::http_get;
use super::until;

/// Installs what is missing, where that can be done.
fn installed() {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("deploy/dev/install.sh");
    let out = Command::new(script).arg("prometheus").output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
}

/// Runs `promtool`, which has to be content.
pub fn promtool(args: &[&str]) {
    installed();
    let out = Command::new("promtool").args(args).output().unwrap();
    let said = [out.stdout, out.stderr].concat();
    assert!(out.status.success(), "promtool {args:?}:\n{}", String::from_utf8_lossy(&said));
}

/// One that runs until it is dropped.
pub struct Prometheus {
    url: String,
    _process: Process,
}

impl Prometheus {
    /// With this configuration file; its data goes beside it.
    pub async fn start(config: &Path) -> Self {
        installed();
        let dir = config.parent().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let args = [
            format!("--config.file={}", config.display()),
            format!("--storage.tsdb.path={}", dir.join("prometheus-data").display()),
            format!("--web.listen-address=127.0.0.1:{port}"),
        ];
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let process = Process::spawn(dir, "prometheus", "prometheus", &args, Vec::new());
        let url = format!("http://127.0.0.1:{port}");
        until("Prometheus is ready", || async {
            (super::sandbox::try_get(&format!("{url}/-/ready")).await == Some(200)).then_some(())
        })
        .await;
        Self { url, _process: process }
    }

    /// What its API answers, which has to be a success.
    pub async fn ask(&self, path: &str, parameter: &str, value: &str) -> Value {
        let value = utf8_percent_encode(value, NON_ALPHANUMERIC);
        let (status, body) = http_get(&format!("{}/api/v1/{path}?{parameter}={value}", self.url)).await;
        assert_eq!(status, 200, "{path} {value}: {body}");
        serde_json::from_str::<Value>(&body).unwrap()["data"].take()
    }

    /// Whether a series has ever been seen that matches.
    pub async fn has(&self, selector: &str) -> bool {
        !self.ask("series", "match[]", selector).await.as_array().unwrap().is_empty()
    }
}
