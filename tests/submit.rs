//! `submit`, as a person or a script calls it: what is sent, and what is not.

use std::io::{Read, Write};
use std::process::ExitStatus;

use lapin::options::QueueDeleteOptions;
use serde_json::{Value, json};

use crate::support::backups::keeping_world;
use crate::support::process::Process;
use crate::support::{World, deletes, outcome, world};

/// Runs `submit` in the world's folder, with the settings of the broker and no others.
pub fn start(world: &World, name: &str, url: &str, args: &[&str]) -> Process {
    start_by(world, name, url, &[], args)
}

/// By another program, which has to become `submit`.
fn start_by(world: &World, name: &str, url: &str, launcher: &[&str], args: &[&str]) -> Process {
    let settings = [("URL", url), ("PREFIX", &world.broker.prefix)];
    let settings = settings.map(|(key, value)| (format!("ASSET_ERASER__BROKER__{key}"), value.to_owned()));
    let line = [launcher, &[env!("CARGO_BIN_EXE_asset-eraser"), "submit"], args].concat();
    Process::spawn(world.dir.path(), name, line[0], &line[1..], settings.into())
}

pub fn amqp() -> String {
    std::env::var("AMQP_URL").expect("AMQP_URL is not set: run the tests with `make test`")
}

/// Waits for the end; exit code and everything that it said.
pub async fn ended(world: &World, mut process: Process) -> (Option<i32>, String) {
    let status: ExitStatus = process.ended().await;
    let said = process.output();
    world.no_secret_in(&said);
    (status.code(), said)
}

async fn submit(world: &World, args: &[&str]) -> (Option<i32>, String) {
    ended(world, start(world, "submit", &amqp(), args)).await
}

/// With a text as its standard input.
async fn submit_text(world: &World, text: &str, args: &[&str]) -> (Option<i32>, String) {
    std::fs::write(world.dir.path().join("stdin"), text).unwrap();
    let launcher = ["sh", "-c", r#"exec "$0" "$@" < stdin"#];
    ended(world, start_by(world, "submit", &amqp(), &launcher, args)).await
}

fn file(world: &World, name: &str, text: &str) {
    std::fs::write(world.dir.path().join(name), text).unwrap();
}

/// A world with these assets, which may be deleted.
async fn world_with(assets: &[&str]) -> World {
    let mut world = world(&[]).await;
    let assets = assets.iter().map(|asset| (*asset).to_owned());
    world.sandbox.add_all(assets.clone()).await;
    world.asked_for(assets);
    world
}

/// What became of every asset, as the events say: by asset ID, the event's data.
async fn answers(world: &mut World, count: usize) -> Vec<Value> {
    world.broker.requests_answered(count).await;
    let answers = world.broker.seen().into_iter().filter(|one| one.key != "result.case_completed");
    let mut answers: Vec<Value> = answers.map(|one| one.event["data"].clone()).collect();
    answers.sort_by_key(|data| data["asset_id"].as_str().unwrap().to_owned());
    answers
}

#[tokio::test]
async fn assets_named_as_arguments_are_deleted() {
    let mut world = world_with(&["a", "b"]).await;
    let options = ["--yes", "--case", "case-7", "--requested-by", "desk", "--reason", "Art. 17"];
    let (code, said) = submit(&world, &[&["a", "b", "a"][..], &options].concat()).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("2 requests published and confirmed in "), "{said}");
    assert!(said.contains("s; duplicates left out: 1\n"), "{said}");
    for data in answers(&mut world, 2).await {
        assert_eq!(data["outcome"], "deleted");
        assert_eq!(
            (&data["case_id"], &data["requested_by"], &data["reason"]),
            (&json!("case-7"), &json!("desk"), &json!("Art. 17"))
        );
        let id = uuid::Uuid::parse_str(data["request_id"].as_str().unwrap()).unwrap();
        assert_eq!(id.get_version_num(), 5);
    }
    world.broker.completed("case-7", 1).await;
    let answered = world.broker.seen().into_iter().filter(|one| one.key != "result.case_completed");
    assert_eq!(answered.count(), 2, "no copy is asked for without --wait, and a twin is sent once");
    world.finish(0).await;
}

#[tokio::test]
async fn the_lines_of_a_file_say_otherwise_than_the_command_line() {
    let mut world = world_with(&["a", "b", "c", "d"]).await;
    world.sandbox.job("video_1", &["b"], "processing").await;
    let csv = "asset_id,request_id,reason,case_id,case_size,on_in_use,deadline,expect.name,dry_run\r\n\
        a,r-a,\"one, two\",case-a,1,,,,false\r\n\r\n\
        b,,,,,reject,2100-01-01T00:00:00+01:00,,false\r\n\
        c,r-c,,,,,,Dog,false\r\n\
        d,,,,,,,,true\r\n";
    file(&world, "list.csv", csv);
    let (code, said) = submit(&world, &["--file", "list.csv", "--yes", "--case", "case-7", "--reason", "why"]).await;
    assert_eq!(code, Some(0), "{said}");
    let seen = world.broker.completed("case-a", 1).await;
    assert_eq!(seen[0].event["data"]["outcomes"]["deleted"], 1);
    world.broker.requests_answered(4).await;
    let mut of = std::collections::BTreeMap::new();
    for one in world.broker.seen().into_iter().filter(|one| one.key != "result.case_completed") {
        let data = &one.event["data"];
        let asset = data["asset_id"].as_str().unwrap().to_owned();
        let (outcome, cause) = outcome(&one.event);
        let text = |name: &str| data[name].as_str().unwrap_or("").to_owned();
        of.insert(asset, format!("{outcome}/{cause}/{}/{}", text("reason"), text("case_id")));
        if text("case_id") == "case-a" {
            assert_eq!(data["request_id"], "r-a");
        }
    }
    let wanted = [
        ("a", "deleted//one, two/case-a"),
        ("b", "rejected/in_use/why/case-7"),
        ("c", "rejected/asset_mismatch/why/case-7"),
        ("d", "would_delete//why/case-7"),
    ];
    assert_eq!(of, wanted.map(|(asset, told)| (asset.to_owned(), told.to_owned())).into());
    world.finish(0).await;
}

#[tokio::test]
async fn requests_come_as_ndjson_and_on_standard_input_too() {
    let mut world = world_with(&["a", "b", "c", "d"]).await;
    file(&world, "list.jsonl", "{\"asset_id\":\"a\",\"request_id\":\"r-a\",\"reason\":null}\n\n{\"asset_id\":\"b\"}");
    let (code, said) = submit(&world, &["-f", "list.jsonl", "--yes", "--reason", "why"]).await;
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = submit_text(&world, "c\n", &["-", "--yes", "--reason", "why"]).await;
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = submit_text(&world, "asset_id,reason\nd,why\n", &["-f", "-", "--format", "csv", "--yes"]).await;
    assert_eq!(code, Some(0), "{said}");
    for data in answers(&mut world, 4).await {
        assert_eq!((&data["outcome"], &data["reason"]), (&json!("deleted"), &json!("why")));
    }
    world.finish(0).await;
}

#[tokio::test]
async fn nothing_is_sent_when_one_line_is_bad() {
    let world = world_with(&["a"]).await;
    let bad = "asset_id,dry_run\na,false\n../upload,false\na,maybe\na\n\"a,false\n";
    for (name, text, told) in [
        (
            "bad.csv",
            bad,
            &[
                "line 3: asset_id: may hold only A-Z a-z 0-9 . _ -",
                "line 4: dry_run: must be true or false",
                "line 5: has 1 columns, and the header 2",
                "line 6: has a quote",
                "4 of 5 requests are not valid; nothing was sent",
            ][..],
        ),
        ("column.csv", "asset_id,dryrun\na,true\n", &["column.csv: line 1: dryrun: is not a column"]),
        (
            "bad.ndjson",
            "{\"asset_id\":\"a\"}\n{\"asset_id\":\"a\",\"dryrun\":true}\n[]\n{\"asset_id\":\"a\",\"asset_id\":\"b\"}\n",
            &["line 2: dryrun: is not a field", "line 3: must be a JSON object", "line 4: asset_id: stands twice"],
        ),
        (
            "twice.ndjson",
            "{\"asset_id\":\"a\",\"request_id\":\"r\"}\n{\"asset_id\":\"b\",\"request_id\":\"r\"}\n",
            &["line 2: request_id: line 1 has the same for another request"],
        ),
        ("list.txt", "a\n{\"asset_id\":\"b\"}\n", &["line 2: is no asset ID but a JSON object; say --format ndjson"]),
        ("empty.txt", "\n\n", &["there is no request in it; nothing was sent"]),
    ] {
        file(&world, name, text);
        let (code, said) = submit(&world, &["--file", name, "--yes"]).await;
        assert_eq!(code, Some(2), "{said}");
        for told in told {
            assert!(said.contains(told), "{told}: {said}");
        }
    }
    for (args, told) in [
        (&["a", "--yes", "--case", ""][..], "--case: must not be empty"),
        (&["a", "--yes", "--deadline", "tomorrow"], "--deadline: must be an RFC 3339 time"),
        (&["--yes"], "what is to be deleted? Name asset IDs"),
        (&["--yes", "--file", "none.csv"], "none.csv: No such file"),
        (&["a", "--yes", "--wait", "--results", "no/such/folder"], "--results: no/such/folder: No such file"),
        (&["a", "--yes", "--timeout", "5s"], "--wait"),
    ] {
        let (code, said) = submit(&world, args).await;
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains(told), "{told}: {said}");
    }
    assert_eq!(world.sandbox.calls().await.len(), 0);
    world.finish(0).await;
}

#[tokio::test]
async fn a_list_that_is_not_clear_is_refused_with_its_line() {
    let world = world_with(&["a-1", "a-2", "a-3"]).await;
    for (name, text, told) in [
        ("stray.csv", "asset_id,reason\na-1,\"urgent\na-2,see \"note\na-3,z\n", "line 2: has a quote (\") that opens"),
        ("pair.csv", "asset_id,reason\na-1,\"urgent\na-2,see\"\na-3,z\n", "line 2: has a text in quotes (\") over"),
        ("cr.csv", "asset_id,reason\ra-1,x\ra-2,\"y\ra-3,z", "line 3: has a quote (\") without its other"),
        ("hidden.csv", "asset_id,case_id\n\na-1,c\u{200b}\n", "line 3: case_id: has the character U+200B"),
        (
            "hidden.txt",
            "a-1\r\na-2\u{200b}\r\n",
            "line 2: asset_id: may hold only A-Z a-z 0-9 . _ -; it is a-2<U+200B>",
        ),
        ("joined.csv", "asset_id\na-1\n\u{feff}asset_id\na-2\n", "line 3: begins with a byte order mark (U+FEFF)"),
        ("nul.csv", "asset_id\na-1\0\n", "line 2: has U+0000 as character 4"),
        ("two.ndjson", "{\"asset_id\":\"a-1\"}{\"asset_id\":\"a-2\"}\n", "line 1: is not valid JSON: trailing"),
        ("null.ndjson", "{\"asset_id\":null,\"asset_id\":\"a-1\"}\n", "line 1: asset_id: stands twice"),
    ] {
        file(&world, name, text);
        let (code, said) = submit(&world, &["--file", name, "--yes"]).await;
        assert_eq!(code, Some(2), "{name}: {said}");
        assert!(said.contains(told) && said.contains("nothing was sent"), "{name}: {said}");
    }
    assert_eq!(world.sandbox.calls().await.len(), 0);
    world.finish(0).await;
}

#[tokio::test]
async fn lists_as_spreadsheets_write_them_are_read() {
    let assets = ["a", "b", "c", "d", "e", "f"];
    let mut world = world_with(&assets).await;
    let utf16 = "\u{feff}Asset ID;Reason\r\na;\"x, y\"\r\n;\r\nb;z;;\r\n";
    let utf16: Vec<u8> = utf16.encode_utf16().flat_map(u16::to_le_bytes).collect();
    std::fs::write(world.dir.path().join("utf16.csv"), utf16).unwrap();
    file(&world, "cr.csv", "\u{feff}ASSET_ID,,\rc,,\r,,\rd\r\u{1a}");
    file(&world, "cr.txt", "e\r\rf\r");
    for name in ["utf16.csv", "cr.csv", "cr.txt"] {
        let (code, said) = submit(&world, &["--file", name, "--yes"]).await;
        assert_eq!(code, Some(0), "{name}: {said}");
        assert!(said.contains("2 requests published"), "{name}: {said}");
    }
    let answers = answers(&mut world, 6).await;
    assert!(answers.iter().all(|data| data["outcome"] == "deleted"), "{answers:?}");
    assert_eq!((&answers[0]["reason"], &answers[1]["reason"]), (&json!("x, y"), &json!("z")));
    world.finish(0).await;
}

/// The end of a case: how many requests it has, and what its one event counts.
async fn end_of(world: &mut World, case: &str, times: usize) -> (Value, Value) {
    let data = world.broker.completed(case, times).await.remove(0).event["data"].clone();
    (data["case_size"].clone(), data["outcomes"].clone())
}

#[tokio::test]
async fn a_case_ends_although_its_list_has_a_row_twice() {
    let mut world = world_with(&["a", "b", "c"]).await;
    file(&world, "list.csv", "asset_id,reason\na,x\nb,y\na,x\n");
    let args = ["--file", "list.csv", "--yes", "--case", "case-7"];
    let (code, said) = submit(&world, &args).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("Case case-7: 2 requests, case_size 2\n"), "{said}");
    let deleted =
        |count: u64| json!({"deleted": count, "already_absent": 0, "would_delete": 0, "rejected": 0, "failed": 0});
    assert_eq!(end_of(&mut world, "case-7", 1).await, (json!(2), deleted(2)));
    let calls = world.sandbox.calls().await.len();
    let (code, said) = submit(&world, &[&args[..], &["--wait", "--json"]].concat()).await;
    assert_eq!((code, world.sandbox.calls().await.len()), (Some(0), calls), "the same requests: {said}");
    assert!(said.contains(r#""cases":[{"case_id":"case-7","case_size":2,"requests":2}]"#), "{said}");
    // A later request of the case would say another size.
    let later = ["c", "--yes", "--case", "case-7", "--wait"];
    let (code, said) = submit(&world, &later).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("To add requests to a case that was sent before: --case-size none"), "{said}");
    let (code, said) = submit(&world, &[&later[..], &["--case-size", "none"]].concat()).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("Case case-7: 1 request, without a case_size\n"), "{said}");
    world.finish(0).await;
}

#[tokio::test]
async fn a_case_in_several_parts_ends_with_the_last() {
    let mut world = world_with(&["a", "b", "c"]).await;
    file(&world, "rows.csv", "asset_id,case_id,case_size\na,c,3\nb,c,3\na,c,3\n");
    let (code, said) = submit(&world, &["--file", "rows.csv", "--yes"]).await;
    assert_eq!(code, Some(2), "{said}");
    for part in ["line 2: case_size: is 3, and this list has 2 requests of the case", "nothing was sent"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let (code, said) = submit(&world, &["--file", "rows.csv", "--yes", "--case-size", "3"]).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("Case c: 2 of 3 requests (case_size 3)\n"), "{said}");
    assert!(world.broker.seen().iter().all(|one| one.key != "result.case_completed"));
    let (code, said) = submit(&world, &["c", "--yes", "--case", "c", "--case-size", "3"]).await;
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(end_of(&mut world, "c", 1).await.0, json!(3));
    file(&world, "more.csv", "asset_id,case_id,case_size\na,d,5\n");
    let (code, said) = submit(&world, &["--file", "more.csv", "--dry-run"]).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("note: line 2: case_size: is 5, and this list has 1 requests of the case"), "{said}");
    for (args, told) in [
        (&["a", "b", "--case", "e", "--case-size", "1"][..], "case_size: is 1, and this list has 2 requests"),
        (&["a", "--case-size", "1"], "--case-size: no request has a case"),
        (&["a", "--case", "e", "--case-size", "0"], "must be a whole number, 1 to 1000000, or none"),
    ] {
        let (code, said) = submit(&world, &[args, &["--yes"]].concat()).await;
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains(told), "{told}: {said}");
    }
    world.finish(0).await;
}

#[tokio::test]
async fn a_dry_run_deletes_nothing_whatever_a_line_says() {
    let mut world = world_with(&["a", "b"]).await;
    file(&world, "list.csv", "asset_id,dry_run\na,false\nb,true\n");
    let (code, said) = submit(&world, &["--file", "list.csv", "--dry-run"]).await;
    assert_eq!(code, Some(0), "a dry run needs no --yes: {said}");
    for data in answers(&mut world, 2).await {
        assert_eq!(data["outcome"], "would_delete");
    }
    assert_eq!(deletes(&world.sandbox.calls().await), 0);
    world.finish(0).await;
}

#[tokio::test]
async fn a_copy_is_kept_of_each_asset_unless_its_line_says_otherwise() {
    let mut world = keeping_world(&[]).await;
    world.sandbox.add_all(["a", "b", "c", "d"].map(str::to_owned)).await;
    world.asked_for(["a", "b", "c", "d"].map(str::to_owned));
    file(&world, "list.csv", "asset_id,backup\na,\nb,False\n");
    let (code, said) = submit(&world, &["--file", "list.csv", "--yes", "--backup"]).await;
    assert_eq!(code, Some(0), "{said}");
    // The same said by the lines alone.
    file(&world, "list.ndjson", "{\"asset_id\":\"c\",\"backup\":true}\n{\"asset_id\":\"d\"}\n");
    let (code, said) = submit(&world, &["--file", "list.ndjson", "--yes"]).await;
    assert_eq!(code, Some(0), "{said}");
    for data in answers(&mut world, 4).await {
        let asset = data["asset_id"].as_str().unwrap();
        assert_eq!(data["outcome"], "deleted", "{data}");
        let wanted = ["a", "c"].contains(&asset);
        assert_eq!(data["backup"].is_object(), wanted, "{data}");
        assert_eq!(world.downloads(asset).await, usize::from(wanted), "{asset}");
    }
    world.finish(0).await;
}

/// Runs `submit` on a terminal, and answers its question.
async fn on_a_terminal(world: &World, answer: &str, args: &[&str]) -> (Option<i32>, String) {
    let terminal = nix::pty::openpty(None, None).unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_asset-eraser"));
    command.arg("submit").args(args).current_dir(world.dir.path());
    command.env("ASSET_ERASER__BROKER__URL", amqp()).env("ASSET_ERASER__BROKER__PREFIX", &world.broker.prefix);
    command.stdin(terminal.slave.try_clone().unwrap()).stdout(terminal.slave.try_clone().unwrap());
    let mut child = command.stderr(terminal.slave).spawn().unwrap();
    drop(command);
    let (mut screen, answer) = (std::fs::File::from(terminal.master), answer.to_owned());
    let seen = tokio::task::spawn_blocking(move || {
        let (mut seen, mut answered) = (String::new(), false);
        let mut bytes = [0; 1024];
        // Reading fails once no process has the terminal open any more.
        while let Ok(length @ 1..) = screen.read(&mut bytes) {
            seen.push_str(&String::from_utf8_lossy(&bytes[..length]));
            if !answered && seen.contains("[yes/no]") {
                screen.write_all(format!("{answer}\n").as_bytes()).unwrap();
                answered = true;
            }
        }
        seen
    });
    let seen = tokio::time::timeout(crate::support::LIMIT, seen).await.unwrap().unwrap();
    world.no_secret_in(&seen);
    (child.wait().unwrap().code(), seen)
}

#[tokio::test]
async fn a_person_is_asked_first_and_has_to_say_yes() {
    let mut world = world_with(&["a"]).await;
    let (code, said) = submit(&world, &["a"]).await;
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("nothing was sent: there is no terminal to ask on; say --yes"), "{said}");
    for no in ["no", "y"] {
        let (code, said) = on_a_terminal(&world, no, &["a"]).await;
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("nothing was sent"), "{said}");
    }
    assert_eq!(world.sandbox.calls().await.len(), 0);
    let (code, said) = on_a_terminal(&world, "yes", &["a", "--case", "case-7", "--wait"]).await;
    assert_eq!(code, Some(0), "{said}");
    let exchange = format!("exchange {}, as user", world.broker.prefix);
    for part in ["To be deleted for good: 1 asset\r\n", "Case: case-7\r\n", "Broker: ", &exchange, "deleted  "] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert_eq!(answers(&mut world, 1).await[0]["outcome"], "deleted");
    world.finish(0).await;
}

#[tokio::test]
async fn a_broker_that_takes_no_requests_is_a_clear_error() {
    let mut world = world_with(&[]).await;
    let other = [("ASSET_ERASER__BROKER__URL", amqp()), ("ASSET_ERASER__BROKER__PREFIX", "t-missing".to_owned())];
    let other = other.map(|(key, value)| (key.to_owned(), value)).into();
    let line = ["submit", "a", "--yes"];
    let process = Process::spawn(world.dir.path(), "other", env!("CARGO_BIN_EXE_asset-eraser"), &line, other);
    let (code, said) = ended(&world, process).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("broker.prefix: there is no exchange t-missing on this virtual host"), "{said}");

    world.stop_worker().await;
    let queue = world.broker.queue("requests");
    world.broker.channel().queue_delete(queue.into(), QueueDeleteOptions::default()).await.unwrap();
    let (code, said) = submit(&world, &["a", "b", "--yes"]).await;
    assert_eq!(code, Some(1), "{said}");
    for part in ["0 of 2 requests are confirmed", "Run the same command again", "no queue takes requests"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    world.start_worker().await;
    world.finish(0).await;
}

/// The most memory that it has used, in KiB, when it has ended well.
async fn peak_of(world: &World, name: &str) -> u64 {
    let file = format!("{name}.txt");
    let mut process = start(world, name, &amqp(), &["--file", &file, "--yes"]);
    let mut peak = 0;
    loop {
        peak = peak.max(process.peak_memory_kib_so_far().unwrap_or_default());
        if process.has_ended() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let (code, said) = ended(world, process).await;
    assert_eq!(code, Some(0), "{said}");
    peak
}

#[tokio::test]
async fn ten_times_as_many_lines_need_no_more_memory() {
    let mut world = world_with(&[]).await;
    world.stop_worker().await;
    let mut peaks = Vec::new();
    for (name, count) in [("some", 10_000), ("many", 100_000)] {
        let lines: Vec<String> = (0..count).map(|number| format!("asset-{number}\n")).collect();
        std::fs::write(world.dir.path().join(format!("{name}.txt")), lines.concat()).unwrap();
        peaks.push(peak_of(&world, name).await);
    }
    assert_eq!(world.broker.count("requests").await, 110_000);
    assert!(peaks[1] < peaks[0] * 13 / 10, "{peaks:?} KiB");
    world.broker.clean_up().await;
}
