"""What every test needs: connections to the broker at WAYSTATION_E2E_URL and queues of its own.

The tests say what an AMQP 0-9-1 client may rely on. Each one holds for RabbitMQ 3.10 as well; where two correct brokers
may answer differently, the test accepts both and says why.
"""

import os
import time
import uuid

import pika
import pytest

DEADLINE_S = 20
"""Longest wait for something that must come. No test asserts that anything is fast."""


def url() -> str:
    value = os.environ.get("WAYSTATION_E2E_URL")
    if not value:
        pytest.exit("WAYSTATION_E2E_URL names no broker: run `cargo xtask test --only python`, or set it", returncode=2)
    return value


class Broker:
    """Connections, channels and names that end with the test."""

    def __init__(self):
        self._connections = []
        self._queues = []
        self._exchanges = []

    def connection(self, **overrides) -> pika.BlockingConnection:
        parameters = pika.URLParameters(url())
        for name, value in overrides.items():
            setattr(parameters, name, value)
        connection = pika.BlockingConnection(parameters)
        self._connections.append(connection)
        return connection

    def channel(self):
        """A channel on a connection of its own, so that its failure touches nothing else."""
        return self.connection().channel()

    @staticmethod
    def name(hint: str = "t") -> str:
        return f"{hint}-{uuid.uuid4().hex[:12]}"

    def queue(self, channel, name=None, **options) -> str:
        """Declares a queue and deletes it after the test."""
        declared = channel.queue_declare(name or self.name("q"), **options).method.queue
        self._queues.append(declared)
        return declared

    def exchange(self, channel, kind: str, **options) -> str:
        name = self.name(f"x-{kind}")
        channel.exchange_declare(name, kind, **options)
        self._exchanges.append(name)
        return name

    def close(self):
        for connection in self._connections:
            if connection.is_open:
                connection.close()
        with_queues = pika.BlockingConnection(pika.URLParameters(url()))
        channel = with_queues.channel()
        for queue in self._queues:
            channel.queue_delete(queue)
        for exchange in self._exchanges:
            channel.exchange_delete(exchange)
        with_queues.close()


@pytest.fixture
def broker():
    instance = Broker()
    yield instance
    instance.close()


@pytest.fixture
def channel(broker):
    return broker.channel()


def publish(channel, queue, *bodies, **properties):
    for body in bodies:
        channel.basic_publish("", queue, body, pika.BasicProperties(**properties))


def get(channel, queue, auto_ack=True):
    """The next message as (method, properties, body), waiting for it to arrive."""
    return eventually(lambda: (found := channel.basic_get(queue, auto_ack))[0] and found)


def bodies(channel, queue, count: int) -> list:
    """The bodies of the next `count` messages, and the certainty that no more are there."""
    found = [get(channel, queue)[2] for _ in range(count)]
    assert channel.basic_get(queue, True) == (None, None, None)
    return found


def depth(channel, queue) -> int:
    return channel.queue_declare(queue, passive=True).method.message_count


def consumers(channel, queue) -> int:
    return channel.queue_declare(queue, passive=True).method.consumer_count


def eventually(probe):
    """The first true value of `probe`, or a failure after the deadline."""
    end = time.monotonic() + DEADLINE_S
    while True:
        value = probe()
        if value:
            return value
        assert time.monotonic() < end, "this did not happen before the deadline"
        time.sleep(0.02)


def pump(connection, until):
    """Serves a connection's callbacks until `until()` holds."""
    end = time.monotonic() + DEADLINE_S
    while not until():
        assert time.monotonic() < end, "this did not happen before the deadline"
        connection.process_data_events(time_limit=0.1)
