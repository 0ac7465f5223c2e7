"""Queues: expiry, dead letters, limits, life and death."""

import pika
import pytest
from conftest import bodies, consumers, depth, eventually, get, publish, pump


def gone(broker, queue):
    """Whether a queue does not exist; asked on a fresh channel each time, for the question closes it."""
    channel = broker.channel()
    try:
        channel.queue_declare(queue, passive=True)
    except pika.exceptions.ChannelClosedByBroker as error:
        assert error.reply_code == 404
        return True
    finally:
        channel.connection.close()
    return False


def dead_letter_queue(broker, channel, **arguments):
    """A queue whose dead letters arrive in another; both names."""
    dead = broker.queue(channel, durable=True)
    arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead, **arguments}
    return broker.queue(channel, durable=True, arguments=arguments), dead


def test_queue_ttl(broker, channel):
    queue = broker.queue(channel, arguments={"x-message-ttl": 100})
    publish(channel, queue, b"short")
    eventually(lambda: depth(channel, queue) == 0)


def test_message_ttl(broker, channel):
    queue = broker.queue(channel)
    publish(channel, queue, b"short", expiration="100")
    publish(channel, queue, b"long", expiration="600000")
    eventually(lambda: depth(channel, queue) == 1)
    assert bodies(channel, queue, 1) == [b"long"]


def test_the_shorter_of_both_ttls_counts(broker, channel):
    queue = broker.queue(channel, arguments={"x-message-ttl": 600000})
    publish(channel, queue, b"short", expiration="50")
    eventually(lambda: depth(channel, queue) == 0)


def test_an_expired_message_becomes_a_dead_letter(broker, channel):
    queue, dead = dead_letter_queue(broker, channel, **{"x-message-ttl": 50})
    publish(channel, queue, b"late", expiration="600000", message_id="m7", headers={"mine": "kept"})
    _, properties, body = get(channel, dead)
    assert body == b"late"
    assert properties.message_id == "m7"
    assert properties.headers["mine"] == "kept"
    assert properties.expiration is None, "else it would expire again where it went"
    (death,) = properties.headers["x-death"]
    assert death["reason"] == "expired"
    assert death["queue"] == queue
    assert death["exchange"] == ""
    assert death["routing-keys"] == [queue]
    assert death["count"] == 1
    assert death["original-expiration"] == "600000"
    assert death["time"].year >= 2024
    assert properties.headers["x-first-death-reason"] == "expired"
    assert properties.headers["x-first-death-queue"] == queue
    assert properties.headers["x-first-death-exchange"] == ""


@pytest.mark.parametrize("how", ["reject", "nack"])
def test_a_rejected_message_becomes_a_dead_letter(broker, channel, how):
    queue, dead = dead_letter_queue(broker, channel)
    publish(channel, queue, b"bad")
    method, _, _ = get(channel, queue, auto_ack=False)
    refuse = {"reject": channel.basic_reject, "nack": channel.basic_nack}[how]
    refuse(method.delivery_tag, requeue=False)
    method, properties, body = get(channel, dead)
    assert body == b"bad"
    assert method.routing_key == dead
    (death,) = properties.headers["x-death"]
    assert (death["reason"], death["count"], death["queue"]) == ("rejected", 1, queue)


def test_without_a_dead_letter_key_the_own_keys_stay(broker, channel):
    exchange, dead = broker.exchange(channel, "topic"), broker.queue(channel)
    channel.queue_bind(dead, exchange, "orders.#")
    queue = broker.queue(channel, arguments={"x-dead-letter-exchange": exchange})
    channel.queue_bind(queue, "amq.topic", "orders.#")
    channel.basic_publish("amq.topic", "orders.new", b"o")
    method, _, _ = get(channel, queue, auto_ack=False)
    channel.basic_reject(method.delivery_tag, requeue=False)
    method, properties, _ = get(channel, dead)
    assert (method.exchange, method.routing_key) == (exchange, "orders.new")
    (death,) = properties.headers["x-death"]
    assert (death["exchange"], death["routing-keys"]) == ("amq.topic", ["orders.new"])


def test_deaths_are_counted(broker, channel):
    """A retry loop: rejected, parked until it expires, back again."""
    work, park = broker.name("work"), broker.name("park")
    broker.queue(channel, work, arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": park})
    broker.queue(channel, park, arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": work,
                                           "x-message-ttl": 20})
    publish(channel, work, b"again")
    for _ in range(3):
        method, _, _ = get(channel, work, auto_ack=False)
        channel.basic_reject(method.delivery_tag, requeue=False)
    _, properties, _ = get(channel, work)
    deaths = {(d["queue"], d["reason"]): d["count"] for d in properties.headers["x-death"]}
    assert deaths == {(work, "rejected"): 3, (park, "expired"): 3}


def test_max_length_drops_the_head(broker, channel):
    queue, dead = dead_letter_queue(broker, channel, **{"x-max-length": 3})
    channel.confirm_delivery()
    publish(channel, queue, *[str(n).encode() for n in range(5)])
    assert bodies(channel, queue, 3) == [b"2", b"3", b"4"]
    dropped = [get(channel, dead) for _ in range(2)]
    assert [body for _, _, body in dropped] == [b"0", b"1"]
    assert {props.headers["x-death"][0]["reason"] for _, props, _ in dropped} == {"maxlen"}


def test_max_length_rejects_publishes(broker, channel):
    queue = broker.queue(channel, arguments={"x-max-length": 2, "x-overflow": "reject-publish"})
    channel.confirm_delivery()
    publish(channel, queue, b"0", b"1")
    with pytest.raises(pika.exceptions.NackError):
        publish(channel, queue, b"2")
    assert bodies(channel, queue, 2) == [b"0", b"1"]
    publish(channel, queue, b"3")
    assert bodies(channel, queue, 1) == [b"3"]


def test_max_length_bytes(broker, channel):
    queue = broker.queue(channel, arguments={"x-max-length-bytes": 1000})
    channel.confirm_delivery()
    publish(channel, queue, *[bytes([n]) * 400 for n in range(4)])
    assert bodies(channel, queue, 2) == [bytes([2]) * 400, bytes([3]) * 400]


def test_an_exclusive_queue_goes_with_its_connection(broker):
    owner = broker.channel()
    queue = owner.queue_declare("", exclusive=True).method.queue
    owner.connection.close()
    eventually(lambda: gone(broker, queue))


def test_an_auto_delete_queue_goes_with_its_last_consumer(broker, channel):
    queue = channel.queue_declare(broker.name(), auto_delete=True).method.queue
    assert depth(channel, queue) == 0
    tags = [channel.basic_consume(queue, lambda *_: None) for _ in range(2)]
    channel.basic_cancel(tags[0])
    assert consumers(channel, queue) == 1
    channel.basic_cancel(tags[1])
    eventually(lambda: gone(broker, queue))


def test_server_named_queues_differ_and_the_empty_name_means_the_last(channel):
    first = channel.queue_declare("", exclusive=True).method.queue
    second = channel.queue_declare("", exclusive=True).method.queue
    assert first.startswith("amq.gen-") and second.startswith("amq.gen-") and first != second
    channel.queue_bind("", "amq.direct", routing_key=second + "-key")
    channel.basic_publish("amq.direct", second + "-key", b"to the second")
    assert bodies(channel, second, 1) == [b"to the second"]


def test_declaring_again_alike_changes_nothing(broker, channel):
    arguments = {"x-max-length": 10}
    queue = broker.queue(channel, durable=True, arguments=arguments)
    channel.confirm_delivery()
    publish(channel, queue, b"stays")
    again = channel.queue_declare(queue, durable=True, arguments=arguments).method
    assert (again.queue, again.message_count, again.consumer_count) == (queue, 1, 0)


def test_purge_drops_what_is_ready_only(broker, channel):
    queue = broker.queue(channel)
    publish(channel, queue, b"0", b"1", b"2")
    held, _, _ = get(channel, queue, auto_ack=False)
    assert channel.queue_purge(queue).method.message_count == 2
    channel.basic_nack(held.delivery_tag)
    assert bodies(channel, queue, 1) == [b"0"]


def test_delete_counts_what_it_drops(broker, channel):
    queue = broker.queue(channel)
    publish(channel, queue, b"0", b"1")
    assert channel.queue_delete(queue).method.message_count == 2
    assert gone(broker, queue)


def test_deleting_what_is_not_there_is_fine(broker, channel):
    channel.queue_delete(broker.name())
    channel.exchange_delete(broker.name())


def test_delete_if_empty(broker, channel):
    queue = broker.queue(channel)
    publish(channel, queue, b"in the way")
    with pytest.raises(pika.exceptions.ChannelClosedByBroker) as error:
        channel.queue_delete(queue, if_empty=True)
    assert error.value.reply_code == 406
    again = channel.connection.channel()
    again.queue_purge(queue)
    again.queue_delete(queue, if_empty=True)
    assert gone(broker, queue)


def test_delete_if_unused(broker, channel):
    queue = broker.queue(channel)
    worker = broker.channel()
    tag = worker.basic_consume(queue, lambda *_: None)
    with pytest.raises(pika.exceptions.ChannelClosedByBroker) as error:
        channel.queue_delete(queue, if_unused=True)
    assert error.value.reply_code == 406
    worker.basic_cancel(tag)
    channel.connection.channel().queue_delete(queue, if_unused=True)
    assert gone(broker, queue)


def test_a_consumer_hears_that_its_queue_is_gone(broker, channel):
    queue = broker.queue(channel)
    worker = broker.channel()
    cancelled = []
    worker.add_on_cancel_callback(lambda frame: cancelled.append(frame.method.consumer_tag))
    tag = worker.basic_consume(queue, lambda *_: None)
    channel.queue_delete(queue)
    pump(worker.connection, lambda: cancelled)
    assert cancelled == [tag]
    worker.queue_declare("", exclusive=True)


def test_thousands_of_queues(broker, channel):
    """Declared, filled, read and deleted; bound to one exchange, so that one publish reaches all of them."""
    count = 2000
    exchange = broker.exchange(channel, "fanout")
    prefix = broker.name("many")
    names = [f"{prefix}-{n}" for n in range(count)]
    for name in names:
        channel.queue_declare(name, exclusive=True)
        channel.queue_bind(name, exchange)
    channel.confirm_delivery()
    channel.basic_publish(exchange, "", b"to all")
    for name in names:
        publish(channel, name, name)
    for name in names:
        assert bodies(channel, name, 2) == [b"to all", name.encode()]
