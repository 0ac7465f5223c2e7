use super::*;
use crate::driver::Event;
use std::sync::mpsc::Receiver;
use waystation_core::node::Recovery;

struct World {
    url: String,
    state: watch::Sender<State>,
}

fn info(vhost: &str, name: &str) -> QueueInfo {
    QueueInfo {
        vhost: vhost.into(),
        name: name.into(),
        durable: true,
        exclusive: false,
        auto_delete: false,
        arguments: vec![("x-max-length".to_owned(), "5".to_owned())],
        messages_ready: 3,
        messages_unsettled: 1,
        message_bytes: 400,
        consumers: 2,
    }
}

/// A core with queue `orders` in `/` and `a/b` in `shop`.
fn answer(events: &Receiver<Event>) {
    let all = [info("/", "orders"), info("shop", "a/b")];
    let known = |vhost: &str, queue: &str| all.iter().any(|info| *info.vhost == *vhost && *info.name == *queue);
    while let Ok(event) = events.recv() {
        match event {
            Event::Ping { answer } => answer.send(()).unwrap(),
            Event::Admin { request, answer } => {
                let reply = match request {
                    AdminRequest::Stats => AdminReply::Stats(Box::new(Stats {
                        queues: 2,
                        published_total: 7,
                        ..Stats::default()
                    })),
                    AdminRequest::Queues { vhost } => {
                        let wanted = |info: &&QueueInfo| vhost.as_ref().is_none_or(|vhost| *vhost == info.vhost);
                        AdminReply::Queues(all.iter().filter(wanted).cloned().collect())
                    }
                    AdminRequest::Purge { vhost, queue } if known(&vhost, &queue) => AdminReply::Done { messages: 3 },
                    AdminRequest::Delete { vhost, queue } if known(&vhost, &queue) => AdminReply::Done { messages: 4 },
                    AdminRequest::Purge { .. } | AdminRequest::Delete { .. } => AdminReply::NotFound,
                };
                answer.send(reply).unwrap();
            }
            other => panic!("{other:?}"),
        }
    }
}

async fn world() -> World {
    let (inbox, events) = Inbox::new();
    std::thread::spawn(move || answer(&events));
    let (state, receiver) = watch::channel(State::Ready(Recovery::default()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let users = Users::new(&[]).unwrap();
    tokio::spawn(serve(
        listener,
        Api {
            inbox,
            state: receiver,
            users,
        },
    ));
    World { url, state }
}

impl World {
    async fn ask(&self, method: &str, path: &str, password: Option<&str>) -> (u16, String) {
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let mut request = ureq::http::Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.url));
        if let Some(password) = password {
            let encoded = BASE64_STANDARD.encode(format!("guest:{password}"));
            request = request.header("authorization", format!("Basic {encoded}"));
        }
        let request = request.body(()).unwrap();
        tokio::task::spawn_blocking(move || {
            let mut response = agent.run(request).unwrap();
            (
                response.status().as_u16(),
                response.body_mut().read_to_string().unwrap(),
            )
        })
        .await
        .unwrap()
    }

    async fn get(&self, path: &str) -> (u16, String) {
        self.ask("GET", path, Some("guest")).await
    }
}

#[tokio::test]
async fn health_and_readiness_are_told_apart() {
    let world = world().await;
    assert_eq!(world.ask("GET", "/healthz", None).await, (200, "ok\n".to_owned()));
    assert_eq!(world.ask("GET", "/readyz", None).await, (200, "ready\n".to_owned()));
    world.state.send_replace(State::Starting);
    assert_eq!(world.ask("GET", "/healthz", None).await.0, 200);
    assert_eq!(world.ask("GET", "/readyz", None).await.0, 503);
    assert_eq!(world.get("/api/queues").await.0, 503);
}

#[tokio::test]
async fn metrics_are_open_and_in_the_format() {
    let (status, text) = world().await.ask("GET", "/metrics", None).await;
    assert_eq!(status, 200);
    assert!(text.contains("\nwaystation_published_total 7\n"), "{text}");
    assert!(text.contains("\nwaystation_queues 2\n"), "{text}");
    assert!(text.contains("# TYPE waystation_published counter\n"), "{text}");
    assert!(text.ends_with("# EOF\n"));
}

#[tokio::test]
async fn the_api_wants_a_user() {
    let world = world().await;
    let (status, text) = world.ask("GET", "/api/queues", None).await;
    assert!(status == 401 && text.contains("Basic authentication"), "{text}");
    let (status, text) = world.ask("GET", "/api/queues", Some("wrong")).await;
    assert_eq!(
        (status, text.as_str()),
        (401, r#"{"error":"user name or password is wrong"}"#)
    );
}

#[tokio::test]
async fn queues_are_listed_and_found_by_encoded_names() {
    let world = world().await;
    let (status, text) = world.get("/api/queues").await;
    let queues: Vec<Queue> = serde_json::from_str(&text).unwrap();
    assert_eq!((status, queues.len()), (200, 2));
    assert_eq!(queues[0], Queue::from(info("/", "orders")));
    let (_, text) = world.get("/api/queues?vhost=%2F").await;
    assert_eq!(serde_json::from_str::<Vec<Queue>>(&text).unwrap().len(), 1);
    assert_eq!(world.get("/api/queues/%2F/orders").await.0, 200);
    assert_eq!(world.get("/api/queues/shop/a%2Fb").await.0, 200);
    let (status, text) = world.get("/api/queues/%2F/none").await;
    assert_eq!(
        (status, text.as_str()),
        (404, r#"{"error":"no queue 'none' in vhost '/'"}"#)
    );
    assert_eq!(world.get("/api/nothing").await.0, 404);
}

#[tokio::test]
async fn queues_are_purged_and_deleted() {
    let world = world().await;
    let purged = world.ask("POST", "/api/queues/%2F/orders/purge", Some("guest")).await;
    assert_eq!(purged, (200, r#"{"messages":3}"#.to_owned()));
    let deleted = world.ask("DELETE", "/api/queues/shop/a%2Fb", Some("guest")).await;
    assert_eq!(deleted, (200, r#"{"messages":4}"#.to_owned()));
    assert_eq!(world.ask("DELETE", "/api/queues/%2F/none", Some("guest")).await.0, 404);
    assert_eq!(world.ask("DELETE", "/api/queues/%2F/orders", None).await.0, 401);
}

#[tokio::test]
async fn the_overview_names_version_and_figures() {
    let (_, text) = world().await.get("/api/overview").await;
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(value["published_total"], 7);
}
