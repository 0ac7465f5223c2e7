"""Exchanges and bindings beyond the tutorials."""

import pika
import pytest
from conftest import bodies, depth


def send(channel, exchange, body, **headers):
    channel.basic_publish(exchange, "", body, pika.BasicProperties(headers=headers))


def test_headers_all(broker, channel):
    exchange, queue = broker.exchange(channel, "headers"), broker.queue(channel)
    channel.queue_bind(queue, exchange, arguments={"x-match": "all", "format": "pdf", "pages": 2})
    send(channel, exchange, b"both", format="pdf", pages=2, more="x")
    send(channel, exchange, b"one", format="pdf")
    send(channel, exchange, b"other value", format="pdf", pages=3)
    send(channel, exchange, b"none")
    assert bodies(channel, queue, 1) == [b"both"]


def test_headers_any(broker, channel):
    exchange, queue = broker.exchange(channel, "headers"), broker.queue(channel)
    channel.queue_bind(queue, exchange, arguments={"x-match": "any", "format": "pdf", "kind": "log"})
    send(channel, exchange, b"first", format="pdf", kind="report")
    send(channel, exchange, b"second", kind="log")
    send(channel, exchange, b"neither", format="zip")
    assert bodies(channel, queue, 2) == [b"first", b"second"]


def test_headers_match_all_by_default_and_nothing_matches_nothing_asked(broker, channel):
    exchange = broker.exchange(channel, "headers")
    strict, open_ = broker.queue(channel), broker.queue(channel)
    channel.queue_bind(strict, exchange, arguments={"a": "1", "b": "2"})
    channel.queue_bind(open_, exchange, arguments={"x-match": "all"})
    send(channel, exchange, b"a only", a="1")
    send(channel, exchange, b"both", a="1", b="2")
    assert bodies(channel, strict, 1) == [b"both"]
    assert bodies(channel, open_, 2) == [b"a only", b"both"]


def test_exchange_to_exchange(broker, channel):
    outer, inner = broker.exchange(channel, "topic"), broker.exchange(channel, "fanout")
    queue = broker.queue(channel)
    channel.exchange_bind(destination=inner, source=outer, routing_key="eu.#")
    channel.queue_bind(queue, inner)
    channel.basic_publish(outer, "eu.berlin", b"in")
    channel.basic_publish(outer, "us.boston", b"out")
    assert bodies(channel, queue, 1) == [b"in"]
    channel.exchange_unbind(destination=inner, source=outer, routing_key="eu.#")
    channel.basic_publish(outer, "eu.berlin", b"no more")
    assert bodies(channel, queue, 0) == []


def test_a_cycle_of_exchanges_delivers_once(broker, channel):
    one, two = broker.exchange(channel, "fanout"), broker.exchange(channel, "fanout")
    queue = broker.queue(channel)
    channel.exchange_bind(two, one)
    channel.exchange_bind(one, two)
    channel.queue_bind(queue, one)
    channel.queue_bind(queue, two)
    channel.basic_publish(one, "", b"round")
    assert bodies(channel, queue, 1) == [b"round"]


def test_alternate_exchange_takes_what_no_binding_takes(broker, channel):
    rest = broker.exchange(channel, "fanout")
    main = broker.exchange(channel, "direct", arguments={"alternate-exchange": rest})
    bound, unrouted = broker.queue(channel), broker.queue(channel)
    channel.queue_bind(bound, main, "known")
    channel.queue_bind(unrouted, rest)
    channel.confirm_delivery()
    channel.basic_publish(main, "known", b"k", mandatory=True)
    channel.basic_publish(main, "unknown", b"u", mandatory=True)
    assert bodies(channel, bound, 1) == [b"k"]
    assert bodies(channel, unrouted, 1) == [b"u"]


def test_unbind(broker, channel):
    exchange, queue = broker.exchange(channel, "direct"), broker.queue(channel)
    channel.queue_bind(queue, exchange, "a")
    channel.queue_bind(queue, exchange, "b")
    channel.queue_unbind(queue, exchange, "a")
    channel.basic_publish(exchange, "a", b"a")
    channel.basic_publish(exchange, "b", b"b")
    assert bodies(channel, queue, 1) == [b"b"]


def test_the_default_exchange_reaches_every_queue_by_name(broker, channel):
    queue = broker.queue(channel, broker.name("named.like.this"))
    channel.basic_publish("", queue, b"direct")
    assert bodies(channel, queue, 1) == [b"direct"]


@pytest.mark.parametrize("name", ["amq.direct", "amq.fanout", "amq.topic", "amq.headers", "amq.match"])
def test_the_standard_exchanges_exist(channel, name):
    channel.exchange_declare(name, passive=True)


def test_an_auto_delete_exchange_goes_with_its_last_binding(broker, channel):
    exchange = broker.exchange(channel, "fanout", auto_delete=True)
    queue = broker.queue(channel)
    channel.queue_bind(queue, exchange)
    channel.queue_unbind(queue, exchange)
    with pytest.raises(pika.exceptions.ChannelClosedByBroker) as error:
        channel.exchange_declare(exchange, passive=True)
    assert error.value.reply_code == 404


def test_delete_if_unused(broker, channel):
    exchange, queue = broker.exchange(channel, "fanout"), broker.queue(channel)
    channel.queue_bind(queue, exchange)
    with pytest.raises(pika.exceptions.ChannelClosedByBroker) as error:
        channel.exchange_delete(exchange, if_unused=True)
    assert error.value.reply_code == 406
    again = channel.connection.channel()
    again.queue_unbind(queue, exchange)
    again.exchange_delete(exchange, if_unused=True)


def test_a_deleted_queue_takes_its_bindings_along(broker, channel):
    exchange, queue = broker.exchange(channel, "fanout"), broker.queue(channel)
    channel.queue_bind(queue, exchange)
    channel.queue_delete(queue)
    broker.queue(channel, queue)
    channel.basic_publish(exchange, "", b"unbound")
    assert depth(channel, queue) == 0
    channel.exchange_delete(exchange, if_unused=True)


@pytest.mark.parametrize("missing", ["binding", "queue", "exchange"])
def test_unbinding_what_is_not_there_is_fine(broker, channel, missing):
    """RabbitMQ's choice, and clients rely on it: aio-pika unbinds after the queue went with its last consumer."""
    queue = broker.name() if missing == "queue" else broker.queue(channel)
    exchange = broker.name() if missing == "exchange" else "amq.direct"
    channel.queue_unbind(queue, exchange, "never bound")
    assert channel.is_open
