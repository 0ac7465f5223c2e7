"""The six classic patterns, as their tutorials write them, and the program that everybody writes first."""

import pika
from conftest import bodies, consumers, eventually, get, publish, pump


def collect(channel, queue, into, auto_ack=True):
    return channel.basic_consume(queue, lambda ch, method, props, body: into.append(body), auto_ack=auto_ack)


def test_the_basic_program(broker):
    sender = broker.connection()
    channel = sender.channel()
    queue = broker.queue(channel, durable=True)
    channel.basic_publish("", queue, b"hello", pika.BasicProperties(delivery_mode=2))
    sender.close()

    receiver = broker.connection()
    channel = receiver.channel()
    seen = []

    def on_message(ch, method, properties, body):
        seen.append((body, properties.delivery_mode, method.exchange, method.routing_key, method.redelivered))
        ch.basic_ack(method.delivery_tag)
        ch.stop_consuming()

    channel.basic_consume(queue, on_message)
    channel.start_consuming()
    assert seen == [(b"hello", 2, "", queue, False)]


def test_1_hello_world(broker, channel):
    queue = broker.queue(channel)
    channel.basic_publish(exchange="", routing_key=queue, body="Hello World!")
    received = []
    collect(channel, queue, received)
    pump(channel.connection, lambda: received)
    assert received == [b"Hello World!"]


def test_2_work_queue_dispatches_fairly(broker, channel):
    """With a prefetch of one, a worker that does not acknowledge is given one task; the other does the rest."""
    queue = broker.queue(channel, durable=True)
    slow, quick = broker.channel(), broker.channel()
    stuck, done = [], []
    slow.basic_qos(prefetch_count=1)
    slow.basic_consume(queue, lambda ch, method, props, body: stuck.append((method.delivery_tag, body)))
    quick.basic_qos(prefetch_count=1)

    def work(ch, method, props, body):
        done.append(body)
        ch.basic_ack(method.delivery_tag)

    publish(channel, queue, b"0")
    pump(slow.connection, lambda: stuck)
    quick.basic_consume(queue, work)
    publish(channel, queue, *[str(n).encode() for n in range(1, 10)], delivery_mode=2)
    pump(quick.connection, lambda: len(done) == 9)
    assert stuck == [(1, b"0")]
    assert done == [str(n).encode() for n in range(1, 10)]


def test_2_a_dead_worker_loses_no_task(broker, channel):
    queue = broker.queue(channel, durable=True)
    worker = broker.channel()
    seen = []
    worker.basic_consume(queue, lambda ch, method, props, body: seen.append(body))
    publish(channel, queue, b"a", b"b")
    pump(worker.connection, lambda: len(seen) == 2)
    worker.connection.close()
    first, second = get(channel, queue), get(channel, queue)
    assert [(m.redelivered, body) for m, _, body in (first, second)] == [(True, b"a"), (True, b"b")]


def test_3_publish_subscribe(broker, channel):
    logs = broker.exchange(channel, "fanout")
    queues = [broker.queue(channel, "", exclusive=True) for _ in range(3)]
    for queue in queues:
        channel.queue_bind(queue, logs)
    channel.basic_publish(logs, "ignored", b"info: hello")
    for queue in queues:
        assert bodies(channel, queue, 1) == [b"info: hello"]


def test_4_routing(broker, channel):
    logs = broker.exchange(channel, "direct")
    errors, everything = broker.queue(channel), broker.queue(channel)
    channel.queue_bind(errors, logs, "error")
    for severity in ("info", "warning", "error"):
        channel.queue_bind(everything, logs, severity)
    for severity in ("info", "error", "debug", "warning"):
        channel.basic_publish(logs, severity, severity)
    assert bodies(channel, errors, 1) == [b"error"]
    assert bodies(channel, everything, 3) == [b"info", b"error", b"warning"]


def test_5_topics(broker, channel):
    animals = broker.exchange(channel, "topic")
    orange, rabbits, lazy, everything = [broker.queue(channel) for _ in range(4)]
    channel.queue_bind(orange, animals, "*.orange.*")
    channel.queue_bind(rabbits, animals, "*.*.rabbit")
    channel.queue_bind(lazy, animals, "lazy.#")
    channel.queue_bind(everything, animals, "#")
    keys = ["quick.orange.rabbit", "lazy.orange.elephant", "quick.brown.fox", "lazy.pink.rabbit", "lazy", "orange",
            "quick.orange.new.rabbit", "lazy.orange.new.rabbit", ""]
    for key in keys:
        channel.basic_publish(animals, key, key)
    assert bodies(channel, orange, 2) == [b"quick.orange.rabbit", b"lazy.orange.elephant"]
    assert bodies(channel, rabbits, 2) == [b"quick.orange.rabbit", b"lazy.pink.rabbit"]
    assert bodies(channel, lazy, 4) == [b"lazy.orange.elephant", b"lazy.pink.rabbit", b"lazy", b"lazy.orange.new.rabbit"]
    assert bodies(channel, everything, len(keys)) == [key.encode() for key in keys]


def test_5_a_message_reaches_a_queue_once_however_many_bindings_match(broker, channel):
    exchange = broker.exchange(channel, "topic")
    queue = broker.queue(channel)
    for pattern in ("#", "a.*", "*.b", "a.b", "a.#.b"):
        channel.queue_bind(queue, exchange, pattern)
    channel.basic_publish(exchange, "a.b", b"once")
    assert bodies(channel, queue, 1) == [b"once"]


def test_6_rpc(broker):
    server, client = broker.channel(), broker.channel()
    requests = broker.queue(server)

    def serve(ch, method, props, body):
        answer = str(int(body) * 2)
        ch.basic_publish("", props.reply_to, answer, pika.BasicProperties(correlation_id=props.correlation_id))
        ch.basic_ack(method.delivery_tag)

    server.basic_qos(prefetch_count=1)
    server.basic_consume(requests, serve)
    replies = client.queue_declare("", exclusive=True).method.queue
    answers = {}

    def on_reply(ch, method, props, body):
        answers[props.correlation_id] = body

    client.basic_consume(replies, on_reply, auto_ack=True)
    for number in range(5):
        properties = pika.BasicProperties(reply_to=replies, correlation_id=f"call-{number}")
        client.basic_publish("", requests, str(number), properties)

    def both():
        server.connection.process_data_events(0.02)
        return len(answers) == 5

    pump(client.connection, both)
    assert answers == {f"call-{n}": str(n * 2).encode() for n in range(5)}
    assert eventually(lambda: consumers(client, requests) == 1)
