"""Bodies, properties, headers and names come out as they went in."""

import datetime
import decimal
import hashlib
import os

import pika
import pytest
from conftest import get, publish

NAMES = ["größe", "очередь", "队列", "🐇🕳️", "a b\tc", "ü" * 127, "x" * 255, "with/slash?and#hash", "'\"\\"]


@pytest.mark.parametrize("size", [0, 1, 131_064, 131_065, 300_000, 1 << 20, 10 << 20])
def test_bodies_of_every_size(broker, channel, size):
    """The sizes around 131,064 are those at which a second frame begins."""
    queue = broker.queue(channel, durable=True)
    body = os.urandom(size)
    channel.confirm_delivery()
    publish(channel, queue, body, delivery_mode=2)
    received = get(channel, queue)[2]
    assert len(received) == size
    assert hashlib.sha256(received).digest() == hashlib.sha256(body).digest()


def test_small_frames(broker):
    connection = broker.connection(frame_max=4096)
    channel = connection.channel()
    queue = broker.queue(channel)
    body = os.urandom(50_000)
    publish(channel, queue, body)
    assert get(channel, queue)[2] == body


@pytest.mark.parametrize("name", NAMES)
def test_names(broker, channel, name):
    queue = broker.queue(channel, name)
    assert queue == name
    exchange = broker.exchange(channel, "direct")
    channel.queue_bind(queue, exchange, name)
    channel.basic_publish(exchange, name, b"there")
    method, _, body = get(channel, queue)
    assert (body, method.routing_key) == (b"there", name)


def test_every_property(broker, channel):
    queue = broker.queue(channel)
    given = {
        "content_type": "application/json", "content_encoding": "gzip", "headers": {"a": "b"}, "delivery_mode": 2,
        "priority": 7, "correlation_id": "c-1", "reply_to": "somewhere", "expiration": "600000",
        "message_id": "m-ü", "timestamp": 1_700_000_000, "type": "order", "user_id": "guest", "app_id": "tests",
        "cluster_id": "old",
    }
    publish(channel, queue, b"body", **given)
    _, properties, _ = get(channel, queue)
    assert {name: getattr(properties, name) for name in given} == given


def test_no_property(broker, channel):
    queue = broker.queue(channel)
    publish(channel, queue, b"body")
    _, properties, _ = get(channel, queue)
    # pika sends no property that is not given, and the broker adds none.
    assert {name: value for name, value in vars(properties).items() if value is not None} == {}


HEADERS = {
    "text": "grüße",
    "empty text": "",
    "bytes": bytes(range(256)),
    "true": True,
    "false": False,
    "small": 1,
    "negative": -5,
    "32 bits": 2**31 - 1,
    "64 bits": 2**62,
    "negative 64 bits": -(2**62),
    "decimal": decimal.Decimal("3.14"),
    "time": datetime.datetime(2024, 2, 29, 12, 30, 15),
    "void": None,
    "list": [1, "two", b"\x00\xff", [3, [4]], {"five": 5}, None, True],
    "empty list": [],
    "table": {"inner": {"innermost": {"list": [1, 2, 3]}}, "ü": "key"},
    "empty table": {},
}


@pytest.mark.parametrize("name", HEADERS)
def test_a_header_of_every_type(broker, channel, name):
    queue = broker.queue(channel)
    publish(channel, queue, b"", headers={name: HEADERS[name]})
    _, properties, _ = get(channel, queue)
    assert comparable(properties.headers) == comparable({name: HEADERS[name]})


def test_all_headers_at_once(broker, channel):
    queue = broker.queue(channel, durable=True)
    publish(channel, queue, b"", headers=HEADERS, delivery_mode=2)
    _, properties, _ = get(channel, queue)
    assert comparable(properties.headers) == comparable(HEADERS)


def test_many_headers(broker, channel):
    queue = broker.queue(channel)
    headers = {f"header-{n}": "v" * 50 for n in range(1000)}
    publish(channel, queue, b"", headers=headers)
    assert get(channel, queue)[1].headers == headers


def comparable(value):
    """Times without their zone and integers without their width; everything else compares as it is, type included."""
    if isinstance(value, dict):
        return {key: comparable(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [comparable(inner) for inner in value]
    if isinstance(value, datetime.datetime):
        return ("time", value.replace(tzinfo=None))
    if isinstance(value, int) and not isinstance(value, bool):
        return ("int", int(value))
    return (type(value).__name__, value)
