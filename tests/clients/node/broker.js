'use strict';

// What the tests share: a connection to the broker at WAYSTATION_E2E_URL, names of their own, waiting for messages.

const amqplib = require('amqplib');
const { randomUUID } = require('node:crypto');

const DEADLINE_MS = 20_000;

/** Opens a connection and closes it after the test `t`. */
async function connect(t) {
  const url = process.env.WAYSTATION_E2E_URL;
  if (!url) throw new Error('WAYSTATION_E2E_URL names no broker: run `cargo xtask test --only node`, or set it');
  const connection = await amqplib.connect(url);
  connection.on('error', () => {});
  t.after(() => connection.close().catch((error) => {
    if (!/clos/i.test(error.message)) throw error;
  }));
  return connection;
}

/** A name that no other test has. */
const named = (hint) => `${hint}-${randomUUID()}`;

/** The first true value of `probe`, or a failure after the deadline. */
async function eventually(probe) {
  const end = Date.now() + DEADLINE_MS;
  for (;;) {
    const value = await probe();
    if (value) return value;
    if (Date.now() > end) throw new Error('this did not happen before the deadline');
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** The bodies of the next `count` messages, as text. */
async function bodies(channel, queue, count) {
  const found = [];
  while (found.length < count) {
    const message = await eventually(() => channel.get(queue, { noAck: true }));
    found.push(message.content.toString());
  }
  return found;
}

module.exports = { connect, named, eventually, bodies };
