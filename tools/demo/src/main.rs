//! The main job, end to end: 1,000 requests that between them hit every outcome, and a table of what was asked against
//! what was answered. Exits 0 only when the two agree to the last request.
//!
//! ```text
//! make demo                                   # a private RabbitMQ, the sandbox and the worker, all started for it
//! demo --amqp URL --sandbox URL --worker URL  # against ones that run (docker compose does this)
//! ```
//!
//! A worker that runs already has to be allowed to fetch files from the sandbox (`backup.allow_http`,
//! `backup.allow_hosts`), and to keep them in a folder that is seen here under the same name.

use std::error::Error;
use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;

mod broker;
mod plan;
mod report;
mod sandbox;
mod stage;

use broker::Broker;
use plan::Plan;
use report::Report;
use stage::Stage;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Publishes requests that hit every outcome, and checks every answer
#[derive(Parser)]
#[command(name = "demo")]
struct Args {
    /// RabbitMQ
    #[arg(long, env = "AMQP_URL", hide_env_values = true)]
    amqp: String,
    /// Address of a sandbox that runs; without it one is started
    #[arg(long, requires = "worker")]
    sandbox: Option<String>,
    /// HTTP address of a worker that runs against that sandbox; without it one is started
    #[arg(long, requires = "sandbox")]
    worker: Option<String>,
    /// `broker.prefix` of the worker that runs; a worker started here has names of its own
    #[arg(long, default_value = "asset.deletion")]
    prefix: String,
    /// Messages to publish
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(100..=50_000))]
    requests: u32,
    /// Seconds without a new answer after which the demo gives up
    #[arg(long, default_value_t = 90)]
    patience: u64,
}

#[tokio::main]
async fn main() -> ExitCode {
    match demo(&Args::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("demo: {error}");
            ExitCode::from(2)
        }
    }
}

/// True when everything was answered as it should be.
async fn demo(args: &Args) -> Result<bool> {
    // rustls needs one provider for the process, also for plain http.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let stage = match (&args.sandbox, &args.worker) {
        (Some(sandbox), Some(worker)) => Stage::running(sandbox, worker, &args.prefix),
        _ => Stage::start(&args.amqp).await?,
    };
    let agreed = play(args, &stage).await;
    if !matches!(agreed, Ok(true)) {
        stage.show_logs();
    }
    stage.stop(&args.amqp).await?;
    agreed
}

async fn play(args: &Args, stage: &Stage) -> Result<bool> {
    stage.until_ready().await?;
    let plan = Plan::new(args.requests as usize);
    stage.sandbox.prepare(&plan).await?;
    let metrics_before = stage.metrics().await?;
    let mut broker = Broker::connect(&args.amqp, &stage.prefix).await?;
    let dead_before = broker.dead().await?;
    println!("publishing {} messages to {}", plan.messages.len(), stage.prefix);
    let began = Instant::now();
    let (first, rest) = plan.messages.split_at(1);
    broker.publish(first).await?;
    broker.wait(1, Duration::from_secs(args.patience)).await;
    broker.publish(rest).await?;
    println!("published in {:.1} s; waiting for {} answers", began.elapsed().as_secs_f64(), plan.answers());

    follow(&mut broker, &plan, stage, Duration::from_secs(args.patience)).await?;
    let took = began.elapsed();
    let answers = broker.answers();
    let mut report = Report::new(&plan, &answers);
    report.dead(plan.buried(), broker.until_dead(dead_before, plan.buried()).await?);
    report.sandbox(&plan, &stage.sandbox).await?;
    report.backups(&plan, &answers, &stage.sandbox).await?;
    report.metrics(&metrics_before, stage).await?;
    report.print(took);
    Ok(report.agrees())
}

/// Shows progress until every answer is there, or none comes any more.
async fn follow(broker: &mut Broker, plan: &Plan, stage: &Stage, patience: Duration) -> Result<()> {
    let (began, all) = (Instant::now(), plan.answers());
    let (mut freed, mut last, mut last_new) = (false, 0, Instant::now());
    // A terminal sees the line change; a log gets one a second.
    let (start, end) = if std::io::stdout().is_terminal() { ("\r", "") } else { ("", "\n") };
    loop {
        let answered = broker.wait(all, Duration::from_secs(1)).await;
        let put_off = stage.metrics().await?.sum("asset_eraser_put_off_total");
        let seconds = began.elapsed().as_secs_f64();
        print!("{start}  {seconds:5.1} s  {answered:5} of {all} answered, put off {put_off} times{end}");
        std::io::Write::flush(&mut std::io::stdout())?;
        if answered > last {
            (last, last_new) = (answered, Instant::now());
        }
        // Everything else is answered by now or soon: what waits, waits for the job.
        if !freed && answered >= all / 2 {
            stage.sandbox.end_job(plan).await?;
            println!("{start}  {seconds:5.1} s  the job that used {} of the assets has ended", plan.waiting());
            freed = true;
        }
        if answered >= all || last_new.elapsed() > patience {
            println!();
            return Ok(());
        }
    }
}
