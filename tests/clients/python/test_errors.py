"""What is refused, with which code, and that the rest goes on."""

import pika
import pytest
from conftest import bodies, get, publish
from pika.exceptions import ChannelClosedByBroker, ConnectionClosedByBroker


def refused(code, action):
    """Runs `action` on a fresh channel of `action`'s connection and expects the channel to close with `code`."""
    with pytest.raises(ChannelClosedByBroker) as error:
        action()
    codes = code if isinstance(code, tuple) else (code,)
    assert error.value.reply_code in codes, error.value.reply_text
    assert error.value.reply_text
    return error.value


def works(broker, connection):
    """The connection is usable: a new channel publishes and gets."""
    channel = connection.channel()
    queue = broker.queue(channel)
    publish(channel, queue, b"fine")
    assert bodies(channel, queue, 1) == [b"fine"]


def sync(channel):
    channel.basic_qos(prefetch_count=0)


NOT_FOUND = {
    "passive queue": lambda ch, name: ch.queue_declare(name, passive=True),
    "passive exchange": lambda ch, name: ch.exchange_declare(name, passive=True),
    "consume": lambda ch, name: ch.basic_consume(name, lambda *_: None),
    "get": lambda ch, name: ch.basic_get(name),
    "purge": lambda ch, name: ch.queue_purge(name),
    "bind queue": lambda ch, name: ch.queue_bind(name, "amq.direct", "k"),
    "bind to exchange": lambda ch, name: ch.exchange_bind("amq.fanout", name),
    "publish": lambda ch, name: (ch.basic_publish(name, "k", b""), sync(ch)),
}


@pytest.mark.parametrize("what", NOT_FOUND)
def test_404(broker, what):
    connection = broker.connection()
    error = refused(404, lambda: NOT_FOUND[what](connection.channel(), "no-such-thing-here"))
    assert "no-such-thing-here" in error.reply_text
    works(broker, connection)


EXCLUSIVE = {
    "declare": lambda ch, name: ch.queue_declare(name),
    "passive": lambda ch, name: ch.queue_declare(name, passive=True),
    "consume": lambda ch, name: ch.basic_consume(name, lambda *_: None),
    "get": lambda ch, name: ch.basic_get(name),
    "purge": lambda ch, name: ch.queue_purge(name),
    "delete": lambda ch, name: ch.queue_delete(name),
    "bind": lambda ch, name: ch.queue_bind(name, "amq.direct", "k"),
}


@pytest.mark.parametrize("what", EXCLUSIVE)
def test_405_for_the_exclusive_queue_of_another(broker, channel, what):
    queue = channel.queue_declare("", exclusive=True).method.queue
    # A server-made name may not be declared by a client (403), so the declaring case uses a name of its own.
    if what == "declare":
        queue = channel.queue_declare(broker.name(), exclusive=True).method.queue
    connection = broker.connection()
    refused(405, lambda: EXCLUSIVE[what](connection.channel(), queue))
    works(broker, connection)
    publish(channel, queue, b"still mine")
    assert bodies(channel, queue, 1) == [b"still mine"]


def test_exclusive_consumers(broker, channel):
    """RabbitMQ answers 403, the specification's text allows 405: a client has to expect either."""
    queue = broker.queue(channel)
    tag = channel.basic_consume(queue, lambda *_: None, exclusive=True)
    connection = broker.connection()
    refused((403, 405), lambda: connection.channel().basic_consume(queue, lambda *_: None))
    channel.basic_cancel(tag)
    tag = channel.basic_consume(queue, lambda *_: None)
    refused((403, 405), lambda: connection.channel().basic_consume(queue, lambda *_: None, exclusive=True))


@pytest.mark.parametrize("other", [
    {"durable": False},
    {"auto_delete": True},
    {"arguments": {"x-max-length": 7}},
    {"arguments": {"x-message-ttl": 7}},
    {"arguments": {"x-dead-letter-exchange": "amq.fanout"}},
])
def test_406_for_a_queue_declared_otherwise(broker, channel, other):
    queue = broker.queue(channel, durable=True)
    refused(406, lambda: channel.queue_declare(queue, **{"durable": True, **other}))
    works(broker, channel.connection)


@pytest.mark.parametrize("other", [{"exchange_type": "fanout"}, {"durable": True}, {"auto_delete": True}])
def test_406_for_an_exchange_declared_otherwise(broker, channel, other):
    exchange = broker.exchange(channel, "direct")
    refused(406, lambda: channel.exchange_declare(exchange, **{"exchange_type": "direct", **other}))


@pytest.mark.parametrize("arguments", [
    {"x-message-ttl": -1},
    {"x-message-ttl": "soon"},
    {"x-max-length": -1},
    {"x-max-length": "many"},
    {"x-overflow": "explode"},
    {"x-dead-letter-exchange": 5},
])
def test_406_for_arguments_that_mean_nothing(broker, channel, arguments):
    refused(406, lambda: channel.queue_declare(broker.name(), arguments=arguments))
    works(broker, channel.connection)


def test_406_for_an_unknown_delivery(broker):
    connection = broker.connection()
    for settle in ("basic_ack", "basic_nack", "basic_reject"):
        channel = connection.channel()
        refused(406, lambda channel=channel, settle=settle: (getattr(channel, settle)(77), sync(channel)))
    works(broker, connection)


def test_406_for_settling_twice(broker, channel):
    queue = broker.queue(channel)
    publish(channel, queue, b"x")
    method, _, _ = get(channel, queue, auto_ack=False)
    channel.basic_ack(method.delivery_tag)
    refused(406, lambda: (channel.basic_ack(method.delivery_tag), sync(channel)))


def test_406_for_an_expiration_that_is_no_number(broker, channel):
    queue = broker.queue(channel)
    refused(406, lambda: (publish(channel, queue, b"x", expiration="soon"), sync(channel)))


@pytest.mark.parametrize("what", ["declare exchange", "declare queue", "delete exchange", "delete default"])
def test_403_for_reserved_names(broker, what):
    actions = {
        "declare exchange": lambda ch: ch.exchange_declare("amq.mine", "direct"),
        "declare queue": lambda ch: ch.queue_declare("amq.mine"),
        "delete exchange": lambda ch: ch.exchange_delete("amq.direct"),
        "delete default": lambda ch: ch.exchange_delete(""),
    }
    connection = broker.connection()
    refused(403, lambda: actions[what](connection.channel()))
    works(broker, connection)


def test_403_for_publishing_to_an_internal_exchange(broker, channel):
    exchange = broker.exchange(channel, "fanout", internal=True)
    refused(403, lambda: (channel.basic_publish(exchange, "", b""), sync(channel)))


def test_403_for_binding_to_the_default_exchange(broker, channel):
    queue = broker.queue(channel)
    refused(403, lambda: channel.queue_bind(queue, "", "k"))


def test_a_failed_channel_gives_back_its_deliveries(broker, channel):
    queue = broker.queue(channel)
    publish(channel, queue, b"held")
    worker = broker.channel()
    get(worker, queue, auto_ack=False)
    refused(404, lambda: worker.queue_declare("no-such-thing-here", passive=True))
    assert get(channel, queue)[2] == b"held"


def test_the_other_channels_of_a_connection_go_on(broker):
    connection = broker.connection()
    bad, good = connection.channel(), connection.channel()
    queue = broker.queue(good)
    refused(404, lambda: bad.queue_declare("no-such-thing-here", passive=True))
    publish(good, queue, b"fine")
    assert bodies(good, queue, 1) == [b"fine"]
    assert connection.channel(bad.channel_number).is_open


def test_503_for_an_unknown_exchange_type(broker):
    connection = broker.connection()
    with pytest.raises(ConnectionClosedByBroker) as error:
        connection.channel().exchange_declare(broker.name(), "no-such-type")
    assert error.value.reply_code == 503
    works(broker, broker.connection())


def test_a_wrong_password_is_refused(broker):
    with pytest.raises((pika.exceptions.ProbableAuthenticationError, pika.exceptions.AuthenticationError)):
        broker.connection(credentials=pika.PlainCredentials("guest", "wrong"))


def test_an_unknown_user_is_refused(broker):
    with pytest.raises((pika.exceptions.ProbableAuthenticationError, pika.exceptions.AuthenticationError)):
        broker.connection(credentials=pika.PlainCredentials("nobody", "guest"))


def test_an_unknown_vhost_is_refused(broker):
    with pytest.raises((ConnectionClosedByBroker, pika.exceptions.ProbableAccessDeniedError)) as error:
        broker.connection(virtual_host="no-such-vhost")
    if isinstance(error.value, ConnectionClosedByBroker):
        assert error.value.reply_code == 530
