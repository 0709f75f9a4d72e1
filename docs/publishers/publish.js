#!/usr/bin/env node
// Asks asset-eraser to delete one asset for good, waits for the result, and prints it.
//
//   npm install amqplib
//   AMQP_URL=amqps://USER:PASSWORD@HOST:5671/%2F node publish.js ASSET_ID REQUEST_ID
//
// With amqps:// the broker's certificate is checked against Node's CAs (more of them: NODE_EXTRA_CA_CERTS=file.pem).
// Choose the REQUEST_ID yourself, and keep it: one that was answered is answered the same for ever, and never deletes twice.
'use strict';
const amqplib = require('amqplib');

// RabbitMQ's direct reply-to: the answers to what this channel asks, without a queue or a permission for one.
const REPLIES = 'amq.rabbitmq.reply-to';
const EXCHANGE = process.env.ASSET_ERASER_EXCHANGE || 'asset.deletion';
const URL_ = process.env.AMQP_URL || 'amqp://guest:guest@127.0.0.1:5672/%2F';

// What no second try mends.
class Refused extends Error {}

// Publishes the request and gives its result, over one connection.
async function ask(request) {
  const connection = await amqplib.connect(URL_);
  try {
    return await new Promise((resolve, reject) => {
      connection.on('error', reject);
      connection.on('close', () => reject(new Error('the connection was closed')));
      publishAndWait(connection, request, resolve, reject).catch(reject);
    });
  } finally {
    await connection.close().catch(() => {}); // it may be closed already
  }
}

async function publishAndWait(connection, request, resolve, reject) {
  const channel = await connection.createConfirmChannel();
  channel.on('error', (error) => reject(new Refused(error.message)));
  channel.on('return', () => reject(new Refused(
    `nobody takes requests from exchange ${EXCHANGE}: has asset-eraser ever been started?`)));
  await channel.consume(REPLIES, (message) => {
    if (message) resolve(JSON.parse(message.content.toString()));
    else reject(new Error('the broker ended the consumer'));
  }, { noAck: true });
  channel.publish(EXCHANGE, 'request', Buffer.from(JSON.stringify(request)), {
    contentType: 'application/json',
    persistent: true, // survives a restart of the broker
    mandatory: true,
    messageId: request.request_id,
    userId: decodeURIComponent(new URL(URL_).username), // checked by the broker; who may ask is known by it
    replyTo: REPLIES,
  });
  await channel.waitForConfirms(); // the broker has it
}

async function main(assetId, requestId) {
  const request = { request_id: requestId, asset_id: assetId, requested_by: 'publish.js' };
  for (let pause = 1; ; pause = Math.min(2 * pause, 60)) {
    try {
      const result = await ask(request);
      console.log(JSON.stringify(result, null, 2));
      return ['deleted', 'already_absent'].includes(result.data.outcome) ? 0 : 1;
    } catch (error) {
      if (error instanceof Refused) throw error;
      // Whether the request arrived is not known: ask again. The same request_id makes that safe, and is answered with
      // the recorded result when there is one already.
      console.error(`connection lost (${error.message}); again in ${pause} s`);
      await new Promise((done) => setTimeout(done, pause * 1000));
    }
  }
}

if (process.argv.length !== 4) {
  console.error('publish.js ASSET_ID REQUEST_ID');
  process.exit(2);
}
main(...process.argv.slice(2)).then(
  (code) => { process.exitCode = code; },
  (error) => { console.error(error.message); process.exitCode = 1; });
