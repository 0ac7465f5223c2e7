use super::wire::{Input, Template};
use super::*;
use crate::cli::tests::parse_bench;
use crate::config::{Loaded, Sources};
use crate::net::Shared;
use crate::net::amqp::{Amqp, session_config};
use crate::serve::Server;
use std::path::Path;
use waystation_core::node::Node;

pub(crate) async fn broker(dir: &Path) -> Server {
    let flag = |key, value: &str| ("test".to_owned(), key, value.to_owned());
    let flags = vec![
        flag("data_dir", &dir.display().to_string()),
        flag("listen.amqp", "127.0.0.1:0"),
        flag("listen.admin", "off"),
        flag("storage.segment", "4MiB"),
    ];
    let config = Loaded::read(&Sources {
        flags,
        ..Sources::default()
    })
    .unwrap()
    .config;
    let session = session_config(&config);
    let open_amqp = move |shared: &Shared| Amqp::new(session.clone(), shared.clock.now().mono);
    Server::start(&config, Node::open, open_amqp).await.unwrap()
}

pub(crate) async fn bench(server: &Server, flags: &str) -> Result<Report> {
    let url = format!("amqp://{}", server.amqp.unwrap());
    run(parse_bench(&format!("--url {url} {flags}"))).await
}

#[tokio::test]
async fn every_message_is_accounted_for() {
    let dir = tempfile::tempdir().unwrap();
    let server = broker(dir.path()).await;
    for flags in [
        "--count 2000",
        "--count 500 --size 0,8,16,5000,200000 --queues 3 --publishers 2 --consumers 2 --ack-batch 3 --prefetch 7",
        "--count 1000 --transient --window 0 --ack-batch 0 --publishers 3 --consumers 1 --queues 2",
        "--count 100 --rate 1000 --window 1 --ack-batch 1 --prefetch 1",
    ] {
        let report = bench(&server, flags).await.unwrap();
        let count: u64 = flags.split(' ').nth(1).unwrap().parse().unwrap();
        assert_eq!(report.mistakes, Vec::<String>::new(), "{flags}");
        assert_eq!((report.published, report.delivered), (count, count), "{flags}");
        let latency = report.end_to_end_latency_us;
        assert!(
            latency.is_some_and(|us| us.p50 > 0 && us.max >= us.p50),
            "{flags}: {latency:?}"
        );
    }
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_backlog_survives_a_restart_and_is_drained() {
    let dir = tempfile::tempdir().unwrap();
    let server = broker(dir.path()).await;
    let report = bench(&server, "--count 3000 --consumers 0 --keep --queues 2")
        .await
        .unwrap();
    assert_eq!((report.published, report.mistakes.len()), (3_000, 0));
    server.stop().await.unwrap();
    let server = broker(dir.path()).await;
    let report = bench(&server, "--publishers 0 --queues 2").await.unwrap();
    assert_eq!((report.delivered, report.mistakes), (3_000, Vec::new()));
    // The queues were deleted in the end.
    let error = bench(&server, "--publishers 0").await.unwrap_err();
    assert!(format!("{error:#}").contains("--keep"), "{error:#}");
    server.stop().await.unwrap();
}

#[tokio::test]
async fn what_the_broker_refuses_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let server = broker(dir.path()).await;
    let url = format!("amqp://guest:guest@{}/nope", server.amqp.unwrap());
    let error = run(parse_bench(&format!("--url {url} --count 1"))).await.unwrap_err();
    assert!(format!("{error:#}").contains("nope"), "{error:#}");
    server.stop().await.unwrap();
}

#[test]
fn frames_are_found_however_they_arrive() {
    let template = Template::new("q", 10_000, true, 4_096);
    let mut whole = Input::default();
    whole.room().extend(&template.bytes);
    let mut kinds = Vec::new();
    while let Some(frame) = whole.frame().unwrap() {
        kinds.push((frame.kind, frame.payload.len()));
    }
    assert_eq!(kinds, [(1, 10), (2, 15), (3, 4_088), (3, 4_088), (3, 1_824)]);
    let mut pieces = Input::default();
    let mut found = Vec::new();
    for byte in &template.bytes {
        pieces.room().push(*byte);
        if let Some(frame) = pieces.frame().unwrap() {
            found.push((frame.kind, frame.payload.len()));
        }
    }
    assert_eq!(found, kinds);
}

#[test]
fn what_is_not_a_frame_is_an_error() {
    let mut input = Input::default();
    input.room().extend([1, 0, 1, 0xff, 0xff, 0xff, 0xff, 0]);
    assert!(input.frame().is_err());
    let mut input = Input::default();
    input.room().extend([1, 0, 1, 0, 0, 0, 1, 5, 0]);
    assert!(input.frame().is_err());
}
