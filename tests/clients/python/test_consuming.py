"""Delivery, settlement, redelivery."""

import socket

import pika
import pytest
from conftest import bodies, depth, eventually, get, publish, pump


def numbered(count):
    return [str(n).encode() for n in range(count)]


class Consumer:
    """A consumer that keeps what it is given, unsettled."""

    def __init__(self, channel, queue, **options):
        self.channel = channel
        self.seen = []
        self.tag = channel.basic_consume(queue, self._on_message, **options)

    def _on_message(self, channel, method, properties, body):
        self.seen.append((method.delivery_tag, body, method.redelivered))

    def wait(self, count):
        pump(self.channel.connection, lambda: len(self.seen) >= count)

    def settle_round(self):
        """A round trip: what the broker was going to send before it is here."""
        self.channel.basic_qos(prefetch_count=self.prefetch)
        self.channel.connection.process_data_events(0.2)

    prefetch = 0

    @property
    def bodies(self):
        return [body for _, body, _ in self.seen]


def test_get_is_empty_on_an_empty_queue(broker, channel):
    queue = broker.queue(channel)
    assert channel.basic_get(queue) == (None, None, None)


def test_get_counts_what_is_left(broker, channel):
    queue = broker.queue(channel)
    channel.confirm_delivery()
    publish(channel, queue, *numbered(3))
    found = [channel.basic_get(queue, auto_ack=True)[0] for _ in range(3)]
    assert [(m.delivery_tag, m.message_count, m.redelivered) for m in found] == [
        (1, 2, False), (2, 1, False), (3, 0, False)]


def test_prefetch_bounds_what_is_unsettled(broker, channel):
    queue = broker.queue(channel)
    worker = broker.channel()
    worker.basic_qos(prefetch_count=3)
    consumer = Consumer(worker, queue)
    consumer.prefetch = 3
    publish(channel, queue, *numbered(10))
    consumer.wait(3)
    consumer.settle_round()
    assert consumer.bodies == numbered(3)
    worker.basic_ack(2, multiple=True)
    consumer.wait(5)
    consumer.settle_round()
    assert consumer.bodies == numbered(5)
    worker.basic_ack(4)
    consumer.wait(6)
    assert [tag for tag, _, _ in consumer.seen] == [1, 2, 3, 4, 5, 6]


def test_prefetch_is_per_consumer(broker, channel):
    queue = broker.queue(channel)
    worker = broker.channel()
    worker.basic_qos(prefetch_count=2)
    one, two = Consumer(worker, queue), Consumer(worker, queue)
    one.prefetch = two.prefetch = 2
    publish(channel, queue, *numbered(10))
    pump(worker.connection, lambda: len(one.seen) == 2 and len(two.seen) == 2)
    one.settle_round()
    assert sorted(one.bodies + two.bodies) == numbered(4)


def test_global_prefetch_is_shared_by_the_channel(broker, channel):
    queue = broker.queue(channel)
    worker = broker.channel()
    worker.basic_qos(prefetch_count=3, global_qos=True)
    one, two = Consumer(worker, queue), Consumer(worker, queue)
    publish(channel, queue, *numbered(10))
    pump(worker.connection, lambda: len(one.seen) + len(two.seen) == 3)
    worker.connection.process_data_events(0.2)
    assert sorted(one.bodies + two.bodies) == numbered(3)


def test_two_consumers_share_a_queue(broker, channel):
    queue = broker.queue(channel)
    worker = broker.channel()
    one, two = Consumer(worker, queue, auto_ack=True), Consumer(worker, queue, auto_ack=True)
    publish(channel, queue, *numbered(10))
    pump(worker.connection, lambda: len(one.seen) + len(two.seen) == 10)
    assert sorted(one.bodies + two.bodies) == numbered(10)
    assert one.seen and two.seen


def test_a_requeued_message_goes_back_to_its_place(broker, channel):
    queue = broker.queue(channel)
    channel.confirm_delivery()
    publish(channel, queue, *numbered(5))
    held = [channel.basic_get(queue)[0] for _ in range(3)]
    channel.basic_reject(held[1].delivery_tag, requeue=True)
    channel.basic_nack(held[0].delivery_tag, requeue=True)
    channel.basic_nack(held[2].delivery_tag, requeue=True)
    again = [get(channel, queue) for _ in range(5)]
    assert [body for _, _, body in again] == numbered(5)
    assert [method.redelivered for method, _, _ in again] == [True, True, True, False, False]


def test_nack_multiple(broker, channel):
    queue = broker.queue(channel)
    channel.confirm_delivery()
    publish(channel, queue, *numbered(4))
    tags = [channel.basic_get(queue)[0].delivery_tag for _ in range(4)]
    channel.basic_nack(tags[2], multiple=True, requeue=True)
    assert bodies(channel, queue, 3) == numbered(3)
    channel.basic_ack(tags[3])


def test_ack_of_everything(broker):
    setup, worker = broker.channel(), broker.channel()
    queue = broker.queue(setup)
    publish(setup, queue, *numbered(5))
    for _ in range(5):
        get(worker, queue, auto_ack=False)
    worker.basic_ack(0, multiple=True)
    worker.connection.close()
    assert depth(setup, queue) == 0


def test_a_closed_channel_gives_back_in_order(broker, channel):
    queue = broker.queue(channel)
    publish(channel, queue, *numbered(6))
    worker = broker.channel()
    consumer = Consumer(worker, queue)
    consumer.wait(6)
    worker.basic_ack(2)
    worker.close()
    eventually(lambda: depth(channel, queue) == 5)
    assert bodies(channel, queue, 5) == [b"0", b"2", b"3", b"4", b"5"]


def test_a_lost_connection_gives_back(broker, channel):
    queue = broker.queue(channel, durable=True)
    publish(channel, queue, *numbered(3))
    worker = broker.channel()
    consumer = Consumer(worker, queue)
    consumer.wait(3)
    worker.connection._impl._transport._sock.shutdown(socket.SHUT_RDWR)
    with pytest.raises(pika.exceptions.AMQPConnectionError):
        pump(worker.connection, lambda: False)
    again = [get(channel, queue) for _ in range(3)]
    assert [(body, method.redelivered) for method, _, body in again] == [(body, True) for body in numbered(3)]


def test_recover_redelivers(broker, channel):
    queue = broker.queue(channel)
    publish(channel, queue, *numbered(3))
    worker = broker.channel()
    consumer = Consumer(worker, queue)
    consumer.wait(3)
    worker.basic_recover(requeue=True)
    consumer.wait(6)
    assert [(body, redelivered) for _, body, redelivered in consumer.seen[3:]] == [
        (body, True) for body in numbered(3)]
    assert [tag for tag, _, _ in consumer.seen] == [1, 2, 3, 4, 5, 6]


def test_cancel_keeps_what_is_unsettled(broker, channel):
    queue = broker.queue(channel)
    publish(channel, queue, *numbered(2))
    worker = broker.channel()
    consumer = Consumer(worker, queue)
    consumer.wait(2)
    worker.basic_cancel(consumer.tag)
    publish(channel, queue, b"later")
    eventually(lambda: depth(channel, queue) == 1)
    worker.basic_ack(1)
    worker.basic_nack(2)
    assert bodies(channel, queue, 2) == [b"1", b"later"]


def test_no_ack_settles_by_sending(broker, channel):
    queue = broker.queue(channel)
    publish(channel, queue, *numbered(3))
    worker = broker.channel()
    consumer = Consumer(worker, queue, auto_ack=True)
    consumer.wait(3)
    worker.connection.close()
    assert depth(channel, queue) == 0


def test_the_consumer_tag_is_the_client_s(broker, channel):
    queue = broker.queue(channel)
    tags = []
    assert channel.basic_consume(queue, lambda ch, m, p, b: tags.append(m.consumer_tag), True, consumer_tag="mine") == "mine"
    publish(channel, queue, b"x")
    pump(channel.connection, lambda: tags)
    assert tags == ["mine"]


@pytest.mark.parametrize("count", [1, 100, 5000])
def test_everything_published_is_consumed_in_order(broker, channel, count):
    queue = broker.queue(channel, durable=True)
    worker = broker.channel()
    worker.basic_qos(prefetch_count=100)
    seen = []

    def on_message(ch, method, props, body):
        seen.append(body)
        if len(seen) % 10 == 0 or len(seen) == count:
            ch.basic_ack(method.delivery_tag, multiple=True)

    worker.basic_consume(queue, on_message)
    publish(channel, queue, *numbered(count), delivery_mode=2)
    pump(worker.connection, lambda: len(seen) == count)
    assert seen == numbered(count)
    worker.connection.close()
    assert depth(channel, queue) == 0
