'use strict';

const assert = require('node:assert/strict');
const { test } = require('node:test');
const { connect, named, eventually, bodies } = require('../broker');

test('the basic program', async (t) => {
  const connection = await connect(t);
  const channel = await connection.createChannel();
  const { queue } = await channel.assertQueue(named('basic'), { durable: true });
  channel.sendToQueue(queue, Buffer.from('hello'), { persistent: true, headers: { n: 1 } });
  const message = await new Promise((resolve) => channel.consume(queue, resolve));
  assert.equal(message.content.toString(), 'hello');
  assert.equal(message.properties.headers.n, 1);
  assert.equal(message.fields.redelivered, false);
  channel.ack(message);
  await channel.deleteQueue(queue);
});

test('a work queue is dispatched fairly', async (t) => {
  const connection = await connect(t);
  const [sender, slow, quick] = await Promise.all([1, 2, 3].map(() => connection.createChannel()));
  const { queue } = await sender.assertQueue('', { exclusive: true });
  const stuck = [];
  const done = [];
  await slow.prefetch(1);
  await slow.consume(queue, (message) => stuck.push(message.content.toString()));
  sender.sendToQueue(queue, Buffer.from('0'));
  await eventually(() => stuck.length === 1);
  await quick.prefetch(1);
  await quick.consume(queue, (message) => {
    done.push(message.content.toString());
    quick.ack(message);
  });
  for (let n = 1; n < 10; n += 1) sender.sendToQueue(queue, Buffer.from(String(n)));
  await eventually(() => done.length === 9);
  assert.deepEqual(done, ['1', '2', '3', '4', '5', '6', '7', '8', '9']);
  assert.deepEqual(stuck, ['0']);
});

test('confirms come for every publish', async (t) => {
  const connection = await connect(t);
  const channel = await connection.createConfirmChannel();
  const { queue } = await channel.assertQueue('', { exclusive: true });
  let confirmed = 0;
  for (let n = 0; n < 1000; n += 1) {
    channel.sendToQueue(queue, Buffer.from(String(n)), { persistent: true }, (error) => {
      assert.equal(error, null);
      confirmed += 1;
    });
  }
  await channel.waitForConfirms();
  assert.equal(confirmed, 1000);
  assert.equal((await channel.checkQueue(queue)).messageCount, 1000);
  assert.deepEqual(await bodies(channel, queue, 1000), Array.from({ length: 1000 }, (_, n) => String(n)));
});

test('a mandatory publish that no queue takes comes back before its confirm', async (t) => {
  const connection = await connect(t);
  const channel = await connection.createConfirmChannel();
  const order = [];
  channel.on('return', (message) => order.push(['return', message.fields.replyCode, message.content.toString()]));
  await new Promise((resolve) => channel.publish('', named('nobody'), Buffer.from('x'), { mandatory: true }, () => {
    order.push(['confirm']);
    resolve();
  }));
  assert.deepEqual(order, [['return', 312, 'x'], ['confirm']]);
});

test('publish and subscribe', async (t) => {
  const connection = await connect(t);
  const channel = await connection.createChannel();
  const { exchange } = await channel.assertExchange(named('logs'), 'fanout', { autoDelete: true, durable: false });
  const queues = [];
  for (let n = 0; n < 3; n += 1) queues.push((await channel.assertQueue('', { exclusive: true })).queue);
  for (const queue of queues) await channel.bindQueue(queue, exchange, '');
  channel.publish(exchange, '', Buffer.from('to all'));
  for (const queue of queues) assert.deepEqual(await bodies(channel, queue, 1), ['to all']);
});

test('topics', async (t) => {
  const connection = await connect(t);
  const channel = await connection.createChannel();
  const { exchange } = await channel.assertExchange(named('topics'), 'topic', { autoDelete: true, durable: false });
  const { queue } = await channel.assertQueue('', { exclusive: true });
  await channel.bindQueue(queue, exchange, '*.critical');
  for (const key of ['kern.critical', 'kern.info', 'a.b.critical', 'cron.critical']) {
    channel.publish(exchange, key, Buffer.from(key));
  }
  assert.deepEqual(await bodies(channel, queue, 2), ['kern.critical', 'cron.critical']);
  assert.equal(await channel.get(queue), false);
});

test('rpc', async (t) => {
  const connection = await connect(t);
  const server = await connection.createChannel();
  const client = await connection.createChannel();
  const requests = (await server.assertQueue('', { exclusive: true })).queue;
  await server.consume(requests, (message) => {
    const answer = Buffer.from(String(Number(message.content) * 2));
    const { replyTo, correlationId } = message.properties;
    server.sendToQueue(replyTo, answer, { correlationId });
    server.ack(message);
  });
  const replies = (await client.assertQueue('', { exclusive: true })).queue;
  const answers = new Map();
  await client.consume(replies, (message) => {
    answers.set(message.properties.correlationId, message.content.toString());
  }, { noAck: true });
  for (let n = 0; n < 5; n += 1) {
    client.sendToQueue(requests, Buffer.from(String(n)), { replyTo: replies, correlationId: `call-${n}` });
  }
  await eventually(() => answers.size === 5);
  assert.deepEqual([...answers].sort(), [0, 1, 2, 3, 4].map((n) => [`call-${n}`, String(n * 2)]));
});

test('a rejected message becomes a dead letter', async (t) => {
  const connection = await connect(t);
  const channel = await connection.createChannel();
  const dead = (await channel.assertQueue('', { exclusive: true })).queue;
  const { queue } = await channel.assertQueue('', {
    exclusive: true, deadLetterExchange: '', deadLetterRoutingKey: dead,
  });
  channel.sendToQueue(queue, Buffer.from('bad'));
  channel.nack(await eventually(() => channel.get(queue)), false, false);
  const letter = await eventually(() => channel.get(dead, { noAck: true }));
  assert.equal(letter.content.toString(), 'bad');
  const [death] = letter.properties.headers['x-death'];
  assert.deepEqual([death.reason, death.queue, death.count], ['rejected', queue, 1]);
});

test('a requeued message is first again, and marked', async (t) => {
  const connection = await connect(t);
  const channel = await connection.createChannel();
  const { queue } = await channel.assertQueue('', { exclusive: true });
  channel.sendToQueue(queue, Buffer.from('0'));
  channel.sendToQueue(queue, Buffer.from('1'));
  const first = await eventually(() => channel.get(queue));
  channel.nack(first);
  const again = await eventually(() => channel.get(queue, { noAck: true }));
  assert.deepEqual([again.content.toString(), again.fields.redelivered], ['0', true]);
  assert.deepEqual(await bodies(channel, queue, 1), ['1']);
});

test('a consumer hears that its queue is gone', async (t) => {
  const connection = await connect(t);
  const channel = await connection.createChannel();
  const { queue } = await channel.assertQueue('', { exclusive: true });
  const seen = [];
  await channel.consume(queue, (message) => seen.push(message));
  await channel.deleteQueue(queue);
  await eventually(() => seen.length === 1);
  assert.deepEqual(seen, [null]);
});

test('an error closes the channel, not the connection', async (t) => {
  const connection = await connect(t);
  const channel = await connection.createChannel();
  const failed = new Promise((resolve) => channel.on('error', resolve));
  await assert.rejects(channel.checkQueue(named('missing')), /404/);
  assert.equal((await failed).code, 404);
  const next = await connection.createChannel();
  assert.ok((await next.assertQueue('', { exclusive: true })).queue);
});

test('a large message', async (t) => {
  const connection = await connect(t);
  const channel = await connection.createConfirmChannel();
  const { queue } = await channel.assertQueue('', { exclusive: true });
  const body = Buffer.alloc(5 << 20, 'abcdefg');
  channel.sendToQueue(queue, body);
  await channel.waitForConfirms();
  const message = await channel.get(queue, { noAck: true });
  assert.ok(message.content.equals(body));
});
