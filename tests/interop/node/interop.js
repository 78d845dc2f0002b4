'use strict';

// Checks with the npm package ali-ons, against the name server of NAMESRV_ADDR.

const assert = require('assert');
const net = require('net');
const { Consumer, Message, Producer } = require('ali-ons');

const run = Date.now().toString(36);
let names = 0;
const fresh = kind => `node-${kind}-${run}-${++names}`;
const pause = ms => new Promise(resolve => setTimeout(resolve, ms));

const quiet = { info() {}, warn() {}, debug() {}, error() {} };
const options = more => Object.assign({
  nameSrv: process.env.NAMESRV_ADDR,
  // Asked where the name server is, were that not said; without one the client tries to start for ever.
  httpclient: { request: async () => ({ status: 404 }) },
  accessKeyId: 'none',
  accessKeySecret: 'none',
  logger: quiet,
  pollNameServerInteval: 1000,
  heartbeatBrokerInterval: 1000,
  persistConsumerOffsetInterval: 1000,
  rebalanceInterval: 1000,
}, more);

/** The body of the answer to one request, in JSON. */
function ask(address, code, extFields) {
  const [host, port] = address.split(':');
  const header = Buffer.from(JSON.stringify({ code, extFields, flag: 0, language: 'OTHER', opaque: 1, version: 0 }));
  const lengths = Buffer.alloc(8);
  lengths.writeInt32BE(4 + header.length, 0);
  lengths.writeInt32BE(header.length, 4);
  return new Promise((resolve, reject) => {
    const socket = net.connect(port, host, () => socket.write(Buffer.concat([lengths, header])));
    let answer = Buffer.alloc(0);
    socket.on('error', reject);
    socket.on('data', data => {
      answer = Buffer.concat([answer, data]);
      if (answer.length >= 8 && answer.length >= 4 + answer.readInt32BE(0)) {
        socket.end();
        resolve(answer.subarray(8 + (answer.readInt32BE(4) & 0xffffff), 4 + answer.readInt32BE(0)).toString());
      }
    });
  });
}

/** A topic of four queues: this client does not send to a topic that is not there. */
async function made() {
  const topic = fresh('topic');
  const cluster = await ask(process.env.NAMESRV_ADDR, 106, {});
  // Broker ids are keys without quotes here, so this is not JSON.
  const broker = cluster.match(/brokerAddrs":\{"?0"?:"([^"]+)"/)[1];
  await ask(broker, 17, {
    topic, defaultTopic: 'TBW102', readQueueNums: '4', writeQueueNums: '4', perm: '6', topicFilterType: 'SINGLE_TAG', topicSysFlag: '0', order: 'false',
  });
  return topic;
}

async function soon(what, condition, limitMs = 60000) {
  const end = Date.now() + limitMs;
  while (!condition()) {
    assert(Date.now() < end, `not within ${limitMs / 1000} s: ${what}`);
    await pause(50);
  }
}

async function producing(body) {
  const producer = new Producer(options({ producerGroup: fresh('producer'), instanceName: fresh('instance') }));
  producer.on('error', () => {});
  await producer.ready();
  try {
    await body(producer);
  } finally {
    await producer.close();
  }
}

/** What a new push consumer is given, as { body, reconsumeTimes, at }, while `body` runs. */
async function consuming(topic, { group = fresh('group'), expression = '*', answer = () => undefined }, body) {
  const seen = [];
  const consumer = new Consumer(options({ consumerGroup: group, instanceName: fresh('instance') }));
  consumer.on('error', () => {});
  consumer.subscribe(topic, expression, async message => {
    const one = { body: message.body.toString(), reconsumeTimes: message.reconsumeTimes, at: Date.now(), message };
    seen.push(one);
    return answer(one);
  });
  await consumer.ready();
  try {
    await body(seen);
  } finally {
    await consumer.close();
  }
}

async function exactly(seen, bodies) {
  await soon(`${bodies.length} messages`, () => seen.length >= bodies.length);
  await pause(1000);
  assert.deepStrictEqual(seen.map(one => one.body).sort(), [...bodies].sort());
}

const checks = {
  'send, and a push consumer takes it': async () => {
    const topic = await made();
    const bodies = Array.from({ length: 10 }, (_, i) => `message ${i}`);
    await producing(async producer => {
      for (const body of bodies) {
        const message = new Message(topic, 'tag', body);
        message.keys = ['one', 'two'];
        const result = await producer.send(message);
        assert.strictEqual(result.sendStatus, 'SEND_OK');
        assert(result.msgId, 'no message id');
      }
      await consuming(topic, {}, async seen => {
        await exactly(seen, bodies);
        assert.strictEqual(seen[0].message.tags, 'tag');
        assert.strictEqual(seen[0].message.keys, 'one two');
      });
    });
  },

  'a message sent later comes at once': async () => {
    const topic = await made();
    await producing(async producer => {
      await producer.send(new Message(topic, 'first'));
      await consuming(topic, {}, async seen => {
        await exactly(seen, ['first']);
        const sentAt = Date.now();
        await producer.send(new Message(topic, 'second'));
        await soon('the second', () => seen.length === 2);
        assert(seen[1].at - sentAt < 2000, 'it took long');
      });
    });
  },

  'tags filter': async () => {
    const topic = await made();
    await producing(async producer => {
      for (const tag of ['red', 'green', 'blue']) {
        await producer.send(new Message(topic, tag, tag));
      }
      await consuming(topic, { expression: 'red || blue' }, seen => exactly(seen, ['red', 'blue']));
    });
  },

  'an SQL92 expression filters': async () => {
    const topic = await made();
    await producing(async producer => {
      for (const tag of ['red', 'green', 'blue']) {
        await producer.send(new Message(topic, tag, tag));
      }
      const expression = { expressionType: 'SQL92', subString: "TAGS IN ('red', 'green')" };
      await consuming(topic, { expression }, seen => exactly(seen, ['red', 'green']));
    });
  },

  'a message given back comes again': async () => {
    const topic = await made();
    await producing(async producer => {
      await producer.send(new Message(topic, 'refused once'));
      const answer = one => (one.reconsumeTimes === 0 ? Consumer.ACTION_RETRY : undefined);
      await consuming(topic, { answer }, async seen => {
        await soon('the second attempt', () => seen.length >= 2);
        await pause(1000);
        assert.deepStrictEqual(seen.map(one => [one.body, one.reconsumeTimes]), [['refused once', 0], ['refused once', 1]]);
      });
    });
  },

  'a group goes on where it left off': async () => {
    const topic = await made();
    const group = fresh('group');
    await producing(async producer => {
      await producer.send(new Message(topic, 'first'));
      await consuming(topic, { group }, async seen => {
        await exactly(seen, ['first']);
        await pause(2000);
      });
      await producer.send(new Message(topic, 'second'));
      await consuming(topic, { group }, seen => exactly(seen, ['second']));
    });
  },

  'two consumers share a topic': async () => {
    const topic = await made();
    const group = fresh('group');
    const bodies = Array.from({ length: 24 }, (_, i) => `shared ${i}`);
    await producing(async producer => {
      await producer.send(new Message(topic, 'before'));
      await consuming(topic, { group }, async one => {
        await consuming(topic, { group }, async other => {
          await soon('the first', () => one.length + other.length >= 1);
          await pause(4000);
          for (const body of bodies) {
            await producer.send(new Message(topic, body));
          }
          await soon('all messages', () => one.length + other.length >= bodies.length + 1);
          await pause(1000);
          assert.strictEqual(one.length + other.length, bodies.length + 1);
          assert(one.length > 1 && other.length > 1, `shared as ${one.length} and ${other.length}`);
        });
      });
    });
  },
};

(async () => {
  let passed = 0;
  let failed = 0;
  for (const [name, body] of Object.entries(checks)) {
    const start = Date.now();
    const took = () => `(${((Date.now() - start) / 1000).toFixed(1)} s)`;
    try {
      await body();
      passed++;
      console.log(`ok    ${name} ${took()}`);
    } catch (failure) {
      failed++;
      console.log(`FAIL  ${name} ${took()}: ${failure.message.replace(/\s+/g, ' ')}`);
    }
  }
  console.log(`interop node: ${passed} passed, ${failed} failed`);
  process.exit(failed ? 1 : 0);
})();
