"""The asyncio client, as its own documentation uses it."""

import asyncio
import uuid

import aio_pika
import pytest
import pytest_asyncio
from aio_pika import DeliveryMode, ExchangeType, Message
from conftest import DEADLINE_S, url


@pytest_asyncio.fixture
async def connection():
    async with await aio_pika.connect(url()) as opened:
        yield opened


async def test_the_basic_program(connection):
    channel = await connection.channel()
    queue = await channel.declare_queue(f"aio-{uuid.uuid4().hex}", durable=True)
    message = Message(b"hello", delivery_mode=DeliveryMode.PERSISTENT, headers={"n": 1})
    await channel.default_exchange.publish(message, routing_key=queue.name)
    async with queue.iterator() as messages:
        async for received in messages:
            async with received.process():
                assert (received.body, received.headers, received.redelivered) == (b"hello", {"n": 1}, False)
            break
    await queue.delete()


async def test_thousands_of_confirmed_publishes_at_once(connection):
    channel = await connection.channel(publisher_confirms=True)
    queue = await channel.declare_queue(exclusive=True)
    publishes = [channel.default_exchange.publish(Message(str(n).encode()), queue.name) for n in range(2000)]
    await asyncio.wait_for(asyncio.gather(*publishes), DEADLINE_S * 3)
    received = [await queue.get(no_ack=True) for _ in range(2000)]
    assert [message.body for message in received] == [str(n).encode() for n in range(2000)]


async def test_a_mandatory_publish_fails_loudly(connection):
    channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
    with pytest.raises(aio_pika.exceptions.DeliveryError):
        await channel.default_exchange.publish(Message(b"x"), "nobody-is-here", mandatory=True)


async def test_competing_workers_do_all_the_work_once(connection):
    channel = await connection.channel()
    queue = await channel.declare_queue(exclusive=True)
    done, finished = [], asyncio.Event()

    async def work(message):
        async with message.process():
            await asyncio.sleep(0)
            done.append(message.body)
            if len(done) == 300:
                finished.set()

    workers = []
    for _ in range(3):
        worker = await connection.channel()
        await worker.set_qos(prefetch_count=5)
        workers.append(await (await worker.get_queue(queue.name, ensure=False)).consume(work))
    for number in range(300):
        await channel.default_exchange.publish(Message(str(number).encode()), queue.name)
    await asyncio.wait_for(finished.wait(), DEADLINE_S)
    assert sorted(done, key=int) == [str(n).encode() for n in range(300)]


async def test_topics(connection):
    channel = await connection.channel()
    exchange = await channel.declare_exchange(f"aio-{uuid.uuid4().hex}", ExchangeType.TOPIC, auto_delete=True)
    queue = await channel.declare_queue(exclusive=True)
    await queue.bind(exchange, "*.critical")
    for key in ("kern.critical", "kern.info", "cron.critical"):
        await exchange.publish(Message(key.encode()), key)
    assert [(await queue.get(no_ack=True)).body for _ in range(2)] == [b"kern.critical", b"cron.critical"]
    assert await queue.get(no_ack=True, fail=False) is None


async def test_a_transaction(connection):
    channel = await connection.channel(publisher_confirms=False)
    queue = await channel.declare_queue(exclusive=True)
    async with channel.transaction():
        await channel.default_exchange.publish(Message(b"kept"), queue.name)
    with pytest.raises(RuntimeError):
        async with channel.transaction():
            await channel.default_exchange.publish(Message(b"dropped"), queue.name)
            raise RuntimeError("changed my mind")
    assert (await queue.get(no_ack=True)).body == b"kept"
    assert await queue.get(no_ack=True, fail=False) is None


async def test_rpc(connection):
    from aio_pika.patterns import RPC

    channel = await connection.channel()
    rpc = await RPC.create(channel)
    name = f"multiply-{uuid.uuid4().hex}"

    async def multiply(*, x, y):
        return x * y

    await rpc.register(name, multiply, auto_delete=True)
    answers = await asyncio.gather(*[rpc.call(name, kwargs={"x": n, "y": 3}) for n in range(20)])
    assert answers == [n * 3 for n in range(20)]
    await rpc.close()


async def test_an_error_names_its_code_and_the_channel_reopens(connection):
    channel = await connection.channel()
    with pytest.raises(aio_pika.exceptions.ChannelNotFoundEntity):
        await channel.declare_queue("no-such-thing-here", passive=True)
    await channel.reopen()
    assert (await channel.declare_queue(exclusive=True)).name


async def test_the_robust_connection_works():
    async with await aio_pika.connect_robust(url()) as robust:
        channel = await robust.channel()
        queue = await channel.declare_queue(exclusive=True)
        await channel.default_exchange.publish(Message(b"x" * 1_000_000), queue.name)
        assert len((await queue.get(no_ack=True)).body) == 1_000_000


async def test_headers_that_pika_cannot_send(connection):
    """aio-pika sends floats with 32 bits, so the values are ones that 32 bits hold exactly."""
    channel = await connection.channel()
    queue = await channel.declare_queue(exclusive=True)
    headers = {"number": 2.5, "negative": -0.25, "list": [0.5, 1e10], "bytes": bytearray(b"\x00\xff")}
    await channel.default_exchange.publish(Message(b"", headers=headers), queue.name)
    assert (await queue.get(no_ack=True)).headers == headers
