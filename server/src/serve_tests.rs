use super::*;
use crate::config::{Loaded, Sources};
use crate::driver::scripted::Scripted;
use crate::net::amqp::{Amqp, session_config};
use std::path::Path;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use waystation_protocols::amqp::{Client, ClientConfig, Event as ClientEvent, Secret};

fn config(dir: &Path) -> Config {
    let flag = |key, value: &str| ("test".to_owned(), key, value.to_owned());
    let flags = vec![
        flag("data_dir", &dir.display().to_string()),
        flag("listen.amqp", "127.0.0.1:0"),
        flag("listen.admin", "127.0.0.1:0"),
        flag("connections.shutdown_timeout", "2s"),
    ];
    Loaded::read(&Sources {
        flags,
        ..Sources::default()
    })
    .unwrap()
    .config
}

async fn start(dir: &Path) -> Result<Server, ServeError> {
    let config = config(dir);
    let session = session_config(&config);
    let open_amqp = move |shared: &Shared| Amqp::new(session.clone(), shared.clock.now().mono);
    Server::start(&config, |_, _, _| Scripted::open(), open_amqp).await
}

/// A client and its socket.
struct Peer {
    client: Client,
    stream: TcpStream,
}

impl Peer {
    async fn connect(server: &Server, password: &str) -> Self {
        let client = Client::new(ClientConfig {
            password: Secret(password.to_owned()),
            ..ClientConfig::default()
        });
        let stream = TcpStream::connect(server.amqp.unwrap()).await.unwrap();
        Self { client, stream }
    }

    async fn next(&mut self) -> Option<ClientEvent> {
        loop {
            if let Some(event) = self.client.poll() {
                return Some(event);
            }
            self.stream.write_all(&self.client.take_output()).await.unwrap();
            let mut bytes = vec![0; 4096];
            let read = tokio::time::timeout(Duration::from_secs(20), self.stream.read(&mut bytes));
            match read.await.unwrap().unwrap() {
                0 => return None,
                count => self.client.receive(&bytes[..count]),
            }
        }
    }
}

#[tokio::test]
async fn a_client_connects_and_learns_of_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path()).await.unwrap();
    let mut peer = Peer::connect(&server, "guest").await;
    assert!(matches!(peer.next().await, Some(ClientEvent::Connected { .. })));
    let stopping = tokio::spawn(server.stop());
    match peer.next().await {
        Some(ClientEvent::Closed { code: 320, .. }) => {}
        other => panic!("{other:?}"),
    }
    // The client's close-ok.
    assert_eq!(peer.next().await, None);
    stopping.await.unwrap().unwrap();
    // The folder is free again.
    start(dir.path()).await.unwrap().stop().await.unwrap();
}

#[tokio::test]
async fn a_wrong_password_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path()).await.unwrap();
    let mut peer = Peer::connect(&server, "wrong").await;
    match peer.next().await {
        Some(ClientEvent::Closed { code: 403, .. }) => {}
        other => panic!("{other:?}"),
    }
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_folder_in_use_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path()).await.unwrap();
    let error = start(dir.path()).await.err().unwrap().to_string();
    assert!(error.contains("is in use by process"), "{error}");
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_halt_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = start(dir.path()).await.unwrap();
    std::fs::remove_file(dir.path().join("0000000000000001.seg")).unwrap();
    let mut peer = Peer::connect(&server, "guest").await;
    let lost = tokio::spawn(async move { peer.next().await });
    let error = tokio::time::timeout(Duration::from_secs(20), server.failed())
        .await
        .unwrap();
    assert!(matches!(error, ServeError::Halted(_)), "{error}");
    assert!(error.to_string().contains("0000000000000001.seg failed"), "{error}");
    lost.abort();
}

#[tokio::test]
async fn a_panic_of_the_core_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let open = |_, _, _| -> Scripted { panic!("on purpose") };
    let session = session_config(&config);
    let open_amqp = move |shared: &Shared| Amqp::new(session.clone(), shared.clock.now().mono);
    let error = Server::start(&config, open, open_amqp).await.err().unwrap();
    assert!(matches!(error, ServeError::Panicked), "{error}");
}
