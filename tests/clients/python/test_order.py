"""What is not first in, first out: priorities, delays, messages that were given back too often.

RabbitMQ has the delays with a plugin, the limit on quorum queues, and no delay of what is given back.
"""

import time

import pika
import pytest
from conftest import bodies, depth, get, publish


def test_higher_priorities_come_first(broker, channel):
    queue = broker.queue(channel, durable=True, arguments={"x-max-priority": 5})
    for body, priority in [(b"a", 0), (b"b", 3), (b"c", 9), (b"d", 3), (b"e", None), (b"f", 4)]:
        publish(channel, queue, body, priority=priority)
    assert bodies(channel, queue, 6) == [b"c", b"f", b"b", b"d", b"a", b"e"]


def test_a_returned_message_keeps_its_priority(broker, channel):
    queue = broker.queue(channel, arguments={"x-max-priority": 2})
    publish(channel, queue, b"high", priority=2)
    publish(channel, queue, b"low", priority=1)
    method, _, _ = get(channel, queue, auto_ack=False)
    channel.basic_nack(method.delivery_tag)
    assert bodies(channel, queue, 2) == [b"high", b"low"]


def delaying(broker, channel):
    """A queue, and an exchange that delays what goes to it."""
    exchange = broker.exchange(channel, "x-delayed-message", durable=True, arguments={"x-delayed-type": "direct"})
    queue = broker.queue(channel, durable=True)
    channel.queue_bind(queue, exchange, queue)
    return exchange, queue


def test_a_delayed_message_is_not_early(broker, channel):
    exchange, queue = delaying(broker, channel)
    began = time.monotonic()
    for body, delay in [(b"late", 600), (b"soon", 300), (b"now", None)]:
        headers = {} if delay is None else {"x-delay": delay}
        channel.basic_publish(exchange, queue, body, pika.BasicProperties(headers=headers))
    assert bodies(channel, queue, 1) == [b"now"]
    assert depth(channel, queue) == 0, "what is delayed is not ready"
    assert bodies(channel, queue, 2) == [b"soon", b"late"]
    assert time.monotonic() - began >= 0.6


def test_a_delay_that_is_none_is_refused(broker, channel):
    exchange, queue = delaying(broker, channel)
    channel.confirm_delivery()
    with pytest.raises(pika.exceptions.ChannelClosedByBroker) as raised:
        channel.basic_publish(exchange, queue, b"", pika.BasicProperties(headers={"x-delay": "soon"}))
    assert raised.value.reply_code == 406
    assert "x-delay" in raised.value.reply_text


def test_a_poison_message_becomes_a_dead_letter(broker, channel):
    dead = broker.queue(channel, durable=True)
    arguments = {
        "x-queue-type": "quorum",
        "x-delivery-limit": 2,
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": dead,
    }
    queue = broker.queue(channel, durable=True, arguments=arguments)
    publish(channel, queue, b"poison")
    counts = []
    for _ in range(3):
        method, properties, body = get(channel, queue, auto_ack=False)
        assert body == b"poison"
        counts.append((properties.headers or {}).get("x-delivery-count", 0))
        channel.basic_nack(method.delivery_tag)
    assert counts == [0, 1, 2]
    _, properties, body = get(channel, dead)
    assert body == b"poison"
    assert properties.headers["x-first-death-reason"] == "delivery_limit"


def test_a_message_given_back_waits_longer_each_time(broker, channel):
    queue = broker.queue(channel, durable=True, arguments={"x-retry-delay": 100, "x-retry-delay-max": 250})
    publish(channel, queue, b"again")
    for least in [0, 0.1, 0.2, 0.25]:
        method, _, _ = get(channel, queue, auto_ack=False)
        if least:
            assert time.monotonic() - returned >= least
        returned = time.monotonic()
        channel.basic_nack(method.delivery_tag)
