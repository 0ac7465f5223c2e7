"""Confirms, returns, transactions."""

import pika
import pytest
from conftest import bodies, depth, publish, pump


def test_a_confirmed_publish_is_in_the_queue(broker, channel):
    queue = broker.queue(channel, durable=True)
    channel.confirm_delivery()
    for number in range(50):
        publish(channel, queue, str(number), delivery_mode=2)
    assert depth(channel, queue) == 50
    assert bodies(channel, queue, 50) == [str(n).encode() for n in range(50)]


def test_a_publish_that_no_queue_takes_is_confirmed(channel):
    channel.confirm_delivery()
    channel.basic_publish("amq.direct", "nobody", b"gone")


def test_a_mandatory_publish_that_no_queue_takes_comes_back(channel):
    channel.confirm_delivery()
    with pytest.raises(pika.exceptions.UnroutableError) as error:
        channel.basic_publish("amq.direct", "nobody", b"back", pika.BasicProperties(message_id="m1"), mandatory=True)
    (returned,) = error.value.messages
    assert returned.body == b"back"
    assert returned.properties.message_id == "m1"
    assert returned.method.reply_code == 312
    assert (returned.method.exchange, returned.method.routing_key) == ("amq.direct", "nobody")


def test_a_return_without_confirms(channel):
    returned = []
    channel.add_on_return_callback(lambda ch, method, props, body: returned.append((method.reply_code, body)))
    channel.basic_publish("", "no-such-queue-" + "x" * 20, b"back", mandatory=True)
    pump(channel.connection, lambda: returned)
    assert returned == [(312, b"back")]


def test_a_mandatory_publish_that_a_queue_takes_does_not_come_back(broker, channel):
    queue = broker.queue(channel)
    channel.confirm_delivery()
    channel.basic_publish("", queue, b"in", mandatory=True)
    assert bodies(channel, queue, 1) == [b"in"]


def test_commit_publishes_and_rollback_does_not(broker, channel):
    queue = broker.queue(channel, durable=True)
    other = broker.channel()
    channel.tx_select()
    publish(channel, queue, b"one", b"two")
    assert depth(other, queue) == 0
    channel.tx_commit()
    assert depth(other, queue) == 2
    publish(channel, queue, b"never")
    channel.tx_rollback()
    channel.tx_commit()
    assert bodies(other, queue, 2) == [b"one", b"two"]


def test_commit_settles_and_rollback_does_not(broker):
    setup = broker.channel()
    queue = broker.queue(setup, durable=True)
    publish(setup, queue, b"a", b"b")
    worker = broker.channel()
    worker.tx_select()
    first, _, _ = worker.basic_get(queue)
    worker.basic_ack(first.delivery_tag)
    worker.tx_commit()
    second, _, _ = worker.basic_get(queue)
    worker.basic_ack(second.delivery_tag)
    worker.tx_rollback()
    worker.connection.close()
    assert bodies(setup, queue, 1) == [b"b"]


def test_a_transaction_spans_queues(broker, channel):
    source, left, right = [broker.queue(channel, durable=True) for _ in range(3)]
    publish(channel, source, b"work")
    worker = broker.channel()
    worker.tx_select()
    method, _, body = worker.basic_get(source)
    publish(worker, left, body)
    publish(worker, right, body)
    worker.basic_ack(method.delivery_tag)
    worker.connection.close()
    assert [depth(channel, queue) for queue in (source, left, right)] == [1, 0, 0]


@pytest.mark.parametrize("order", [("confirm", "tx"), ("tx", "confirm")])
def test_confirms_and_transactions_exclude_each_other(broker, order):
    channel = broker.channel()
    steps = {"confirm": channel.confirm_delivery, "tx": channel.tx_select}
    steps[order[0]]()
    with pytest.raises(pika.exceptions.ChannelClosedByBroker) as error:
        steps[order[1]]()
    assert error.value.reply_code == 406


def test_publish_order_of_one_channel_is_kept(broker, channel):
    queue = broker.queue(channel)
    expected = [str(n).encode() for n in range(2000)]
    publish(channel, queue, *expected)
    assert bodies(channel, queue, 2000) == expected
