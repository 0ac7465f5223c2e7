//! Starting, ending and being asked how it is.

use crate::amqp::{BASIC_ACK, Connection};
use crate::server::{Server, Started, http_get};

#[test]
fn a_clean_stop_keeps_everything_and_exits_with_zero() {
    let folder = tempfile::tempdir().expect("a data folder");
    let server = Server::start(folder.path(), &[]).expect("the server starts");
    let mut connection = Connection::open(server.address()).expect("a connection");
    connection.declare("kept", true).expect("a queue");
    connection.declare("transient", false).expect("a queue");
    connection.confirm_select().expect("confirm mode");
    for number in 0..100 {
        connection.queue_publish("kept", &number.to_string(), b"body");
    }
    connection.queue_publish("transient", "t", b"body");
    connection.flush().expect("publishes are sent");
    while connection.count("kept").expect("a count") < 100 {}
    let ended = server.stop().expect("SIGTERM ends the server");
    assert_eq!(ended.status.code(), Some(0), "stderr: {}", ended.stderr);

    let server = Server::start(folder.path(), &[]).expect("the server starts again");
    let mut connection = Connection::open(server.address()).expect("a connection");
    assert_eq!(connection.count("kept").expect("the durable queue is there"), 100);
    for number in 0..100 {
        let message = connection.get("kept").expect("an answer").expect("a message");
        assert_eq!(
            (message.message_id, message.body),
            (number.to_string(), b"body".to_vec())
        );
    }
    let gone = connection.count("transient").expect_err("the transient queue is gone");
    assert!(gone.to_string().contains("404"), "{gone:#}");
    assert_eq!(server.stop().expect("SIGTERM ends the server").status.code(), Some(0));
}

#[test]
fn sigterm_answers_what_was_published_before() {
    let folder = tempfile::tempdir().expect("a data folder");
    let server = Server::start(folder.path(), &[]).expect("the server starts");
    let address = server.address();
    let mut connection = Connection::open(address).expect("a connection");
    connection.declare("kept", true).expect("a queue");
    connection.confirm_select().expect("confirm mode");
    connection.queue_publish("kept", "1", b"body");
    connection.flush().expect("the publish is sent");
    connection.expect(1, BASIC_ACK).expect("the confirm");
    let ended = server
        .stop()
        .expect("SIGTERM ends the server though a client is connected");
    assert_eq!(ended.status.code(), Some(0), "stderr: {}", ended.stderr);
    connection
        .wait_for_end(std::time::Duration::from_secs(20))
        .expect("the connection ended with the server");
    assert!(Connection::open(address).is_err(), "nobody listens any more");
}

#[test]
fn a_second_server_on_the_same_folder_is_refused_by_name() {
    let folder = tempfile::tempdir().expect("a data folder");
    let first = Server::start(folder.path(), &[]).expect("the server starts");
    let Started::Ended(second) = Server::try_start_default(folder.path()).expect("an answer") else {
        panic!("two servers serve one folder");
    };
    assert_ne!(second.status.code(), Some(0));
    let name = folder.path().to_str().expect("a temporary folder has a plain name");
    assert!(
        second.stderr.contains(name),
        "the folder is not named: {}",
        second.stderr
    );
    let mut connection = Connection::open(first.address()).expect("the first still serves");
    connection.declare("still", false).expect("the first still answers");
}

#[test]
fn port_zero_gives_every_server_a_port_of_its_own() {
    let folders = [0, 1].map(|_| tempfile::tempdir().expect("a data folder"));
    let servers = folders
        .each_ref()
        .map(|folder| Server::start(folder.path(), &[]).expect("the server starts"));
    let mut ports: Vec<_> = servers
        .iter()
        .flat_map(|s| [s.amqp, s.admin])
        .flatten()
        .map(|a| a.port())
        .collect();
    ports.sort_unstable();
    ports.dedup();
    assert_eq!(ports.len(), 4, "four listeners on four ports");
    assert!(!ports.contains(&0));
}

#[test]
fn a_listener_that_is_off_is_off() {
    let folder = tempfile::tempdir().expect("a data folder");
    let arguments = ["--listen", "amqp=127.0.0.1:0", "--listen", "admin=off"];
    let started = Server::try_start(folder.path(), &[], &arguments, 1).expect("an answer");
    let Started::Serving(server) = started else {
        panic!("the server does not serve");
    };
    let mut connection = Connection::open(server.address()).expect("AMQP is on");
    connection.declare("q", false).expect("a queue");
    assert_eq!(server.admin, None);
    let ended = server.stop().expect("SIGTERM ends the server");
    assert_eq!(ended.status.code(), Some(0), "stderr: {}", ended.stderr);
}

#[test]
fn a_listener_that_makes_no_sense_is_refused() {
    for listen in ["amqp=nowhere", "amqp=127.0.0.1:99999", "gopher=127.0.0.1:0", "amqp"] {
        let folder = tempfile::tempdir().expect("a data folder");
        let started = Server::try_start(folder.path(), &[], &["--listen", listen], 1).expect("an answer");
        let Started::Ended(ended) = started else {
            panic!("the server serves on {listen}");
        };
        assert_ne!(ended.status.code(), Some(0), "{listen}");
        assert!(!ended.stderr.is_empty(), "{listen} is refused without a word");
    }
}

#[test]
fn health_and_metrics_answer() {
    let folder = tempfile::tempdir().expect("a data folder");
    let server = Server::start(folder.path(), &[]).expect("the server starts");
    let admin = server.admin.expect("the admin listener is on");
    let mut connection = Connection::open(server.address()).expect("a connection");
    connection.declare("counted", true).expect("a queue");
    connection.confirm_select().expect("confirm mode");
    connection.queue_publish("counted", "1", b"body");
    connection.flush().expect("the publish is sent");
    connection.expect(1, BASIC_ACK).expect("the confirm");
    for path in ["/healthz", "/readyz"] {
        let (code, body) = http_get(admin, path).expect("an answer");
        assert_eq!(code, 200, "{path}: {body}");
    }
    let (code, metrics) = http_get(admin, "/metrics").expect("an answer");
    assert_eq!(code, 200);
    let value = |name: &str| {
        let mut figures = metrics.lines().filter_map(|line| line.split_once(' '));
        let figure = figures.find(|(label, _)| *label == format!("waystation_{name}"));
        let (_, number) = figure.unwrap_or_else(|| panic!("no metric waystation_{name} in:\n{metrics}"));
        number.parse::<f64>().expect("a metric has a number")
    };
    assert!((value("published_total") - 1.0).abs() < f64::EPSILON);
    assert!((value("messages_ready") - 1.0).abs() < f64::EPSILON);
    assert!((value("queues") - 1.0).abs() < f64::EPSILON);
    let (code, _) = http_get(admin, "/no-such-page").expect("an answer");
    assert_eq!(code, 404);
}
