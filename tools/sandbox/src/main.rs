//! The sandbox as a program; the library says what it stands in for.
//!
//! The first line on standard output is `listening on http://ADDRESS`. SIGTERM or SIGINT stops it with exit code 0.
//!
//! ```text
//! cargo run --bin sandbox -- --listen 127.0.0.1:8088
//! curl -X PUT localhost:8088/control/assets/asset-1 -d '{"name":"Cat","assetType":"Image"}'
//! curl -X POST localhost:8088/control/faults -d '{"operation":"delete","times":1,"do":{"cut":"after"}}'
//! curl -X DELETE -H 'Authorization: Bearer sandbox-token' localhost:8088/kyyReactApiServer/kyyVideo2/asset/asset-1
//! curl 'localhost:8088/control/calls?asset=asset-1'
//! ```

use std::{io::Write as _, net::SocketAddr};

use clap::Parser;
use sandbox::Settings;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

/// A stand-in for the provider and a job registry, with faults on demand
#[derive(Parser)]
struct Args {
    /// Address to listen on; port 0 picks a free one, which the first line of output names
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Key that provider calls must carry as `Authorization: Bearer KEY`; anything else is answered 401
    #[arg(long, default_value = "sandbox-token")]
    token: String,
    /// Key that `GET /jobs/{asset_id}` must carry; without it the registry is open
    #[arg(long)]
    jobs_token: Option<String>,
    /// An asset that exists from the start; may be given more than once
    #[arg(long = "asset", value_name = "ID")]
    assets: Vec<String>,
    /// Keep no log of calls, as after `PUT /control/log {"keep":false}`: for measurements
    #[arg(long)]
    no_log: bool,
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let args = Args::parse();
    // Installed before the address is announced: a reader of the line may stop us right away.
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let listener = TcpListener::bind(args.listen).await?;

    let mut stdout = std::io::stdout();
    writeln!(stdout, "listening on http://{}", listener.local_addr()?)?;
    stdout.flush()?;

    let Args { token, jobs_token, assets, no_log, .. } = args;
    let settings = Settings { token, jobs_token, assets, keep_log: !no_log };
    let stop = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    sandbox::serve(listener, &settings, stop).await;
    Ok(())
}
