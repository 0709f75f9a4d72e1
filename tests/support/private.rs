//! Servers of the test's own, to be stopped and killed.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

pub struct PrivateBroker {
    dir: TempDir,
    pub url: String,
}

fn script(verb: &str, args: &[&str]) -> String {
    run("private-rabbitmq.sh", verb, args)
}

fn run(script: &str, verb: &str, args: &[&str]) -> String {
    tried(script, verb, args).unwrap_or_else(|error| panic!("{script} {verb}: {error}"))
}

/// What a script prints, or what it complains of.
fn tried(script: &str, verb: &str, args: &[&str]) -> Result<String, String> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("deploy/dev").join(script);
    let out = Command::new(path).arg(verb).args(args).output().unwrap();
    if out.status.success() {
        Ok(String::from_utf8(out.stdout).unwrap().trim().to_owned())
    } else {
        Err(String::from_utf8_lossy(&out.stderr).into_owned())
    }
}

impl PrivateBroker {
    pub fn start() -> Self {
        Self::start_with(|_| String::new())
    }

    /// With one more piece of configuration, which may name files in the folder given.
    pub fn start_with(configure: impl FnOnce(&Path) -> String) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let more = dir.path().join("conf.d");
        std::fs::create_dir(&more).unwrap();
        std::fs::write(more.join("test.conf"), configure(dir.path())).unwrap();
        let url = script("start", &[dir.path().to_str().unwrap()]);
        Self { dir, url }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// `rabbitmqctl`.
    pub fn ctl(&self, args: &[&str]) {
        script("ctl", &[&[self.dir.path().to_str().unwrap()], args].concat());
    }

    /// Closes every connection of a user. The command fails when one of them closes by itself meanwhile: then it is given again.
    pub fn close_connections(&self, user: &str, why: &str) {
        let args = [self.dir.path().to_str().unwrap(), "close_all_user_connections", user, why];
        let closed = || tried("private-rabbitmq.sh", "ctl", &args);
        closed().or_else(|_| closed()).or_else(|_| closed()).unwrap();
    }

    fn call(&self, verb: &str) {
        script(verb, &[self.dir.path().to_str().unwrap()]);
    }

    /// Waits until every queue is old enough to survive a kill.
    pub fn settle(&self) {
        self.call("settle");
    }

    pub fn stop(&self) {
        self.call("stop");
    }

    pub fn kill(&self) {
        self.call("kill");
    }

    /// Again, with the same data, at the same address.
    pub fn start_again(&self) {
        let port = url::Url::parse(&self.url).unwrap().port().unwrap().to_string();
        assert_eq!(script("start", &[self.dir.path().to_str().unwrap(), &port]), self.url);
    }
}

impl Drop for PrivateBroker {
    fn drop(&mut self) {
        self.call("kill");
    }
}

/// Three brokers that are one cluster. Nodes have the numbers 1 to 3.
pub struct PrivateCluster {
    dir: TempDir,
    urls: Vec<String>,
}

impl PrivateCluster {
    pub fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let urls = run("private-cluster.sh", "start", &[dir.path().to_str().unwrap()]);
        Self { dir, urls: urls.lines().map(str::to_owned).collect() }
    }

    fn call(&self, verb: &str, args: &[&str]) -> String {
        run("private-cluster.sh", verb, &[&[self.dir.path().to_str().unwrap()], args].concat())
    }

    /// Every node's, as one setting.
    pub fn url(&self) -> String {
        self.urls.join(",")
    }

    pub fn url_of(&self, node: usize) -> &str {
        &self.urls[node - 1]
    }

    /// Does a verb of the script to a node, such as `kill-node`.
    pub fn node(&self, verb: &str, node: usize) {
        self.call(verb, &[&node.to_string()]);
    }

    /// The node that leads a quorum queue.
    pub fn leader(&self, queue: &str) -> usize {
        self.call("leader", &["/", queue]).parse().unwrap()
    }

    /// Waits until every queue is old enough to survive a kill.
    pub fn settle(&self) {
        self.call("settle", &[]);
    }
}

impl Drop for PrivateCluster {
    fn drop(&mut self) {
        self.call("kill", &[]);
    }
}

/// A database server; the worker's ledger.
pub struct PrivatePostgres {
    dir: TempDir,
    pub url: String,
}

impl PrivatePostgres {
    pub fn start() -> Self {
        Self::start_with(|_| String::new())
    }

    /// With more settings, which may name files in the folder given.
    pub fn start_with(configure: impl FnOnce(&Path) -> String) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("more.conf"), configure(dir.path())).unwrap();
        let url = run("private-postgres.sh", "start", &[dir.path().to_str().unwrap()]);
        Self { dir, url }
    }

    /// A server that follows this one. With `sync` this one answers a commit only when the standby has it too.
    pub fn standby(&self, sync: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let folders = [dir.path().to_str().unwrap(), self.dir.path().to_str().unwrap()];
        let how: &[&str] = if sync { &["sync"] } else { &[] };
        let url = run("private-postgres.sh", "standby", &[&folders, how].concat());
        Self { dir, url }
    }

    /// Makes a primary of a standby.
    pub fn promote(&self) {
        self.call("promote");
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    fn call(&self, verb: &str) -> String {
        run("private-postgres.sh", verb, &[self.dir.path().to_str().unwrap()])
    }

    pub fn stop(&self) {
        self.call("stop");
    }

    pub fn kill(&self) {
        self.call("kill");
    }

    /// Again, with the same data, at the same address.
    pub fn start_again(&self) {
        assert_eq!(self.call("start"), self.url);
    }
}

impl Drop for PrivatePostgres {
    fn drop(&mut self) {
        self.call("kill");
    }
}

/// A pooler in front of a database server.
pub struct PrivatePooler {
    dir: TempDir,
    pub url: String,
}

impl PrivatePooler {
    /// In front of the server of `url`, in the mode `session`, `transaction` or `statement`.
    pub fn start(url: &str, mode: &str) -> Self {
        Self::start_with(url, mode, "")
    }

    /// With more settings.
    pub fn start_with(url: &str, mode: &str, settings: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("more.ini"), settings).unwrap();
        let url = run("private-pgbouncer.sh", "start", &[dir.path().to_str().unwrap(), url, mode]);
        Self { dir, url }
    }

    fn call(&self, verb: &str, args: &[&str]) {
        run("private-pgbouncer.sh", verb, &[&[self.dir.path().to_str().unwrap()], args].concat());
    }

    /// Changes the mode while it runs; from then on for each new connection of a client.
    pub fn mode(&self, mode: &str) {
        self.call("mode", &[mode]);
    }

    pub fn kill(&self) {
        self.call("kill", &[]);
    }

    /// Again, at the same address.
    pub fn start_again(&self, url: &str, mode: &str) {
        assert_eq!(run("private-pgbouncer.sh", "start", &[self.dir.path().to_str().unwrap(), url, mode]), self.url);
    }
}

impl Drop for PrivatePooler {
    fn drop(&mut self) {
        self.call("kill", &[]);
    }
}
