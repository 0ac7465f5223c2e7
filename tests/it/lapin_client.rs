//! What a Rust program expects, through `lapin`.

use crate::server::Broker;
use futures_lite::StreamExt;
use lapin::options::*;
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, Consumer, ExchangeKind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);

fn unique(hint: &str) -> ShortString {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!(
        "lapin-{hint}-{}-{}",
        std::process::id(),
        COUNT.fetch_add(1, Ordering::Relaxed)
    )
    .into()
}

/// A connection and a channel; the broker lives at least as long as what is returned with them.
async fn connect() -> (Arc<Broker>, Connection, Channel) {
    let broker = Broker::shared();
    let connection = Connection::connect(&broker.url(), ConnectionProperties::default())
        .await
        .expect("a connection");
    let channel = connection.create_channel().await.expect("a channel");
    (broker, connection, channel)
}

async fn exclusive_queue(channel: &Channel, arguments: FieldTable) -> ShortString {
    let options = QueueDeclareOptions {
        exclusive: true,
        ..QueueDeclareOptions::default()
    };
    channel
        .queue_declare(unique("q"), options, arguments)
        .await
        .expect("a queue")
        .name()
        .clone()
}

async fn publish(channel: &Channel, queue: &ShortString, body: &[u8]) -> lapin::Confirmation {
    let properties = BasicProperties::default().with_delivery_mode(2);
    channel
        .basic_publish(
            "".into(),
            queue.clone(),
            BasicPublishOptions::default(),
            body,
            properties,
        )
        .await
        .expect("a publish is sent")
        .await
        .expect("a publish is answered")
}

async fn consume(channel: &Channel, queue: &ShortString, no_ack: bool) -> Consumer {
    let options = BasicConsumeOptions {
        no_ack,
        ..BasicConsumeOptions::default()
    };
    channel
        .basic_consume(queue.clone(), unique("tag"), options, FieldTable::default())
        .await
        .expect("a consumer")
}

async fn next(consumer: &mut Consumer) -> lapin::message::Delivery {
    let delivery = tokio::time::timeout(PATIENCE, consumer.next())
        .await
        .expect("a delivery in time");
    delivery.expect("the consumer lives").expect("a delivery")
}

#[tokio::test]
async fn a_durable_work_queue_with_confirms() {
    let (_broker, connection, channel) = connect().await;
    let queue = unique("work");
    let durable = QueueDeclareOptions {
        durable: true,
        ..QueueDeclareOptions::default()
    };
    channel
        .queue_declare(queue.clone(), durable, FieldTable::default())
        .await
        .expect("a queue");
    channel
        .confirm_select(ConfirmSelectOptions::default())
        .await
        .expect("confirm mode");
    for number in 0..100_u8 {
        assert!(publish(&channel, &queue, &[number]).await.is_ack());
    }
    let worker = connection.create_channel().await.expect("a channel");
    worker
        .basic_qos(10, BasicQosOptions::default())
        .await
        .expect("a prefetch");
    let mut consumer = consume(&worker, &queue, false).await;
    for number in 0..100_u8 {
        let delivery = next(&mut consumer).await;
        assert_eq!((delivery.data.as_slice(), delivery.redelivered), (&[number][..], false));
        delivery.ack(BasicAckOptions::default()).await.expect("an ack");
    }
    let deleted = channel
        .queue_delete(queue, QueueDeleteOptions::default())
        .await
        .expect("a deletion");
    assert_eq!(deleted, 0);
}

#[tokio::test]
async fn prefetch_bounds_what_is_unsettled() {
    let (_broker, connection, channel) = connect().await;
    let queue = exclusive_queue(&channel, FieldTable::default()).await;
    let worker = connection.create_channel().await.expect("a channel");
    worker
        .basic_qos(3, BasicQosOptions::default())
        .await
        .expect("a prefetch");
    let mut consumer = consume(&worker, &queue, false).await;
    channel
        .confirm_select(ConfirmSelectOptions::default())
        .await
        .expect("confirm mode");
    for number in 0..5_u8 {
        publish(&channel, &queue, &[number]).await;
    }
    let mut third = None;
    for number in 0..3_u8 {
        let delivery = next(&mut consumer).await;
        assert_eq!(delivery.data.as_slice(), [number]);
        third = Some(delivery);
    }
    assert!(
        tokio::time::timeout(Duration::from_millis(200), consumer.next())
            .await
            .is_err(),
        "a fourth came"
    );
    let multiple = BasicAckOptions { multiple: true };
    third.expect("three came").ack(multiple).await.expect("an ack");
    assert_eq!(next(&mut consumer).await.data.as_slice(), [3]);
    assert_eq!(next(&mut consumer).await.data.as_slice(), [4]);
}

#[tokio::test]
async fn a_nacked_message_comes_again_first_and_marked() {
    let (_broker, _connection, channel) = connect().await;
    let queue = exclusive_queue(&channel, FieldTable::default()).await;
    channel
        .confirm_select(ConfirmSelectOptions::default())
        .await
        .expect("confirm mode");
    for number in 0..3_u8 {
        publish(&channel, &queue, &[number]).await;
    }
    let get = || channel.basic_get(queue.clone(), BasicGetOptions::default());
    let first = get().await.expect("an answer").expect("a message");
    assert_eq!(first.message_count, 2);
    let requeue = BasicNackOptions {
        requeue: true,
        multiple: false,
    };
    first.delivery.nack(requeue).await.expect("a nack");
    let again = get().await.expect("an answer").expect("a message");
    assert_eq!((again.data.as_slice(), again.redelivered), (&[0][..], true));
    let second = get().await.expect("an answer").expect("a message");
    assert_eq!((second.data.as_slice(), second.redelivered), (&[1][..], false));
    let third = get().await.expect("an answer").expect("a message");
    third
        .delivery
        .ack(BasicAckOptions { multiple: true })
        .await
        .expect("an ack");
    assert!(get().await.expect("an answer").is_none());
}

#[tokio::test]
async fn a_rejected_message_becomes_a_dead_letter() {
    let (_broker, _connection, channel) = connect().await;
    let dead = exclusive_queue(&channel, FieldTable::default()).await;
    let mut arguments = FieldTable::default();
    arguments.insert("x-dead-letter-exchange".into(), AMQPValue::LongString("".into()));
    arguments.insert(
        "x-dead-letter-routing-key".into(),
        AMQPValue::LongString(dead.as_str().into()),
    );
    let queue = exclusive_queue(&channel, arguments).await;
    let mut letters = consume(&channel, &dead, true).await;
    let mut consumer = consume(&channel, &queue, false).await;
    publish(&channel, &queue, b"bad").await;
    next(&mut consumer)
        .await
        .reject(BasicRejectOptions { requeue: false })
        .await
        .expect("a reject");
    let letter = next(&mut letters).await;
    assert_eq!(letter.data.as_slice(), b"bad");
    let headers = letter.properties.headers().as_ref().expect("a dead letter has headers");
    assert!(headers.inner().contains_key("x-death"));
}

#[tokio::test]
async fn a_topic_exchange_routes() {
    let (_broker, _connection, channel) = connect().await;
    let exchange = unique("topic");
    let options = ExchangeDeclareOptions {
        auto_delete: true,
        ..ExchangeDeclareOptions::default()
    };
    let declared = channel.exchange_declare(exchange.clone(), ExchangeKind::Topic, options, FieldTable::default());
    declared.await.expect("an exchange");
    let queue = exclusive_queue(&channel, FieldTable::default()).await;
    let bound = channel.queue_bind(
        queue.clone(),
        exchange.clone(),
        "order.*.eu".into(),
        QueueBindOptions::default(),
        FieldTable::default(),
    );
    bound.await.expect("a binding");
    for key in ["order.new.eu", "order.new.us", "order.eu", "order.paid.eu"] {
        let publish = channel.basic_publish(
            exchange.clone(),
            key.into(),
            BasicPublishOptions::default(),
            key.as_bytes(),
            BasicProperties::default(),
        );
        publish.await.expect("a publish");
    }
    let mut consumer = consume(&channel, &queue, true).await;
    assert_eq!(next(&mut consumer).await.data.as_slice(), b"order.new.eu");
    assert_eq!(next(&mut consumer).await.data.as_slice(), b"order.paid.eu");
}

#[tokio::test]
async fn a_mandatory_publish_comes_back_with_its_confirm() {
    let (_broker, _connection, channel) = connect().await;
    channel
        .confirm_select(ConfirmSelectOptions::default())
        .await
        .expect("confirm mode");
    let options = BasicPublishOptions {
        mandatory: true,
        ..BasicPublishOptions::default()
    };
    let confirm = channel
        .basic_publish(
            "".into(),
            unique("nobody"),
            options,
            b"back",
            BasicProperties::default(),
        )
        .await
        .expect("a publish is sent")
        .await
        .expect("a publish is answered");
    let returned = confirm.take_message().expect("the message comes back");
    assert_eq!(
        (returned.reply_code, returned.delivery.data.as_slice()),
        (312, &b"back"[..])
    );
}

#[tokio::test]
async fn many_publishes_in_flight_are_all_confirmed_and_in_order() {
    let (_broker, _connection, channel) = connect().await;
    let queue = exclusive_queue(&channel, FieldTable::default()).await;
    channel
        .confirm_select(ConfirmSelectOptions::default())
        .await
        .expect("confirm mode");
    let mut confirms = Vec::new();
    for number in 0..5_000_u32 {
        let body = number.to_be_bytes();
        let publish = channel.basic_publish(
            "".into(),
            queue.clone(),
            BasicPublishOptions::default(),
            &body,
            BasicProperties::default(),
        );
        confirms.push(publish.await.expect("a publish is sent"));
    }
    for confirm in confirms {
        let confirm = tokio::time::timeout(PATIENCE, confirm)
            .await
            .expect("a confirm in time");
        assert!(confirm.expect("a confirm").is_ack());
    }
    let mut consumer = consume(&channel, &queue, true).await;
    for number in 0..5_000_u32 {
        assert_eq!(next(&mut consumer).await.data.as_slice(), number.to_be_bytes());
    }
}

#[tokio::test]
async fn an_error_names_its_code_and_spares_the_connection() {
    let (_broker, connection, channel) = connect().await;
    let passive = QueueDeclareOptions {
        passive: true,
        ..QueueDeclareOptions::default()
    };
    let missing = channel.queue_declare(unique("missing"), passive, FieldTable::default());
    let error = missing.await.expect_err("the queue does not exist");
    let lapin::ErrorKind::ProtocolError(amqp) = error.kind() else {
        panic!("another error: {error}");
    };
    assert_eq!(amqp.get_id(), 404);
    let other = connection.create_channel().await.expect("another channel");
    exclusive_queue(&other, FieldTable::default()).await;
}

#[tokio::test]
async fn a_transaction_is_all_or_nothing() {
    let (_broker, _connection, channel) = connect().await;
    let queue = exclusive_queue(&channel, FieldTable::default()).await;
    channel.tx_select().await.expect("transaction mode");
    publish(&channel, &queue, b"dropped").await;
    channel.tx_rollback().await.expect("a rollback");
    publish(&channel, &queue, b"kept").await;
    channel.tx_commit().await.expect("a commit");
    let get = || channel.basic_get(queue.clone(), BasicGetOptions { no_ack: true });
    assert_eq!(
        get().await.expect("an answer").expect("a message").data.as_slice(),
        b"kept"
    );
    assert!(get().await.expect("an answer").is_none());
}
