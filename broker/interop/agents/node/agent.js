'use strict';

// Drives the Node.js client `ali-ons` as told on standard input: one JSON object a line in, answers and received messages
// one a line out. `../README.md` lists the commands; this client has no one-way, batch, ordered or pull calls.

const readline = require('readline');
const { Consumer, Producer, Message } = require('ali-ons');
const consumeFromWhere = require('ali-ons/lib/consumer/consume_from_where');

const [ nameSrv, instance ] = process.argv.slice(2);
if (!instance) {
  throw new Error('usage: NAME-SERVERS INSTANCE');
}

const quiet = { info() {}, debug() {}, warn() {}, error: (...what) => console.error(...what) };
// The client insists on an HTTP client for the case that name servers are to be found by HTTP; here they are not.
const common = { nameSrv: nameSrv.split(';'), httpclient: {}, logger: quiet, clientIP: '127.0.0.1' };

const line = value => process.stdout.write(JSON.stringify(value) + '\n');

let producer = null;
const consumers = new Map();

function message(topic, spec) {
  const result = new Message(topic, spec.tag || '', Buffer.from(spec.body, 'base64'));
  if (spec.keys) {
    result.keys = spec.keys.split(' ');
  }
  if (spec.delay) {
    result.delayTimeLevel = spec.delay;
  }
  Object.assign(result.properties, spec.properties);
  return result;
}

async function send(topic, spec) {
  try {
    const result = await producer.send(message(topic, spec));
    const queue = result.messageQueue || {};
    return {
      status: result.sendStatus,
      msg_id: result.msgId,
      broker: queue.brokerName,
      queue: queue.queueId,
      offset: Number(result.queueOffset),
    };
  } catch (error) {
    return { error: error.message };
  }
}

async function produce(command) {
  if (!producer) {
    producer = new Producer({ ...common, producerGroup: `interop-${instance}`, instanceName: `${instance}-producer` });
    producer.on('error', error => console.error(error.message));
    await producer.ready();
  }
  const results = new Array(command.messages.length);
  const next = command.messages.entries();
  const sender = async () => {
    for (const [ index, spec ] of next) {
      results[index] = await send(command.topic, spec);
    }
  };
  await Promise.all(Array.from({ length: command.in_flight || 1 }, sender));
  return results;
}

function describe(name, received, accepted) {
  return {
    event: 'message',
    consumer: name,
    accepted,
    topic: received.topic,
    body: received.body ? received.body.toString('base64') : '',
    tag: received.tags,
    keys: received.properties.KEYS,
    queue: received.queueId,
    offset: received.queueOffset,
    position: received.commitLogOffset,
    times: received.reconsumeTimes,
    msg_id: received.msgId,
    born_host: received.bornHost,
    born: received.bornTimestamp,
    stored: received.storeTimestamp,
    properties: received.properties,
  };
}

async function consume(command) {
  const consumer = new Consumer({
    ...common,
    consumerGroup: command.group,
    instanceName: `${instance}-${command.name}`,
    isBroadcast: command.model === 'broadcasting',
    consumeFromWhere: consumeFromWhere.CONSUME_FROM_FIRST_OFFSET,
    parallelConsumeLimit: 16,
    maxReconsumeTimes: command.max_reconsume === undefined ? 16 : command.max_reconsume,
  });
  consumer.on('error', error => console.error(error.message));
  consumers.set(command.name, consumer);
  await consumer.ready();
  consumer.subscribe(command.topic, command.tags || '*', async received => {
    const concerned = received.body.includes(command.refuse_body || '');
    const accepted = received.reconsumeTimes >= (command.refuse || 0) || !concerned;
    line(describe(command.name, received, accepted));
    if (!accepted) {
      // Returning ACTION_RETRY is lost by the client's own handler of retried messages; an error is not.
      throw new Error('refused');
    }
  });
  return {};
}

async function obey(command) {
  switch (command.do) {
    case 'produce':
      return produce(command);
    case 'consume':
      return consume(command);
    case 'stop': {
      const consumer = consumers.get(command.name);
      consumers.delete(command.name);
      await consumer.close();
      return {};
    }
    default:
      throw new Error(`unknown command ${command.do}`);
  }
}

async function main() {
  for await (const text of readline.createInterface({ input: process.stdin })) {
    const command = JSON.parse(text);
    if (command.do === 'quit') {
      break;
    }
    try {
      line({ answer: command.id, value: await obey(command) });
    } catch (error) {
      line({ answer: command.id, error: error.message });
    }
  }
  process.exit(0);
}

main();
