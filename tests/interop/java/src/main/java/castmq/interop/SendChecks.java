package castmq.interop;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.common.compression.CompressionType;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.remoting.protocol.ResponseCode;

/** Sending, and what a message carries from producer to consumer. */
final class SendChecks {
    static List<Check> all() {
        return List.of(
                new Check("send: a synchronous send says where the message lies", SendChecks::synchronous),
                new Check("send: asynchronous sends call back", SendChecks::asynchronous),
                new Check("send: one-way sends arrive", SendChecks::oneWay),
                new Check("send: a batch is stored as its messages", SendChecks::batch),
                new Check("send: a batch by callback to a chosen queue", SendChecks::batchByCallback),
                new Check("send: to a chosen queue", SendChecks::chosenQueue),
                new Check("send: to a queue that the topic does not have is refused", SendChecks::noSuchQueue),
                new Check("send: a compressed body arrives as it was", scene -> compressed(scene, CompressionType.ZLIB)),
                new Check("send: a body compressed with LZ4 arrives as it was", scene -> compressed(scene, CompressionType.LZ4)),
                new Check("send: a body compressed with zstd arrives as it was", scene -> compressed(scene, CompressionType.ZSTD)),
                new Check("send: a body of nearly 4 MiB arrives", SendChecks::big),
                new Check("send: a body over 4 MiB is refused", SendChecks::tooBig),
                new Check("send: properties with odd characters arrive", SendChecks::oddProperties),
                new Check("send: properties over 32767 bytes are refused", SendChecks::tooLongProperties),
                new Check("send: a topic that does not exist is made", SendChecks::madeTopic),
                new Check("send: a topic that a consumer waits for is made", SendChecks::madeTopicWithConsumer),
                new Check("send: a topic that may not be written to takes nothing", SendChecks::readOnlyTopic),
                new Check("send: over the VIP port, two below the broker's own", SendChecks::vipPort));
    }

    private static void synchronous(Scene scene) throws Exception {
        String topic = scene.topic(1);
        Message message = Scene.tagged(topic, "tag", "hello");
        message.setKeys(List.of("one", "two"));
        message.putUserProperty("colour", "red");
        message.setFlag(7);
        SendResult first = scene.producer().send(message);
        SendResult second = scene.producer().send(Scene.message(topic, "again"));
        Expect.same(SendStatus.SEND_OK, first.getSendStatus(), "status");
        Expect.same(0L, first.getQueueOffset(), "first queue offset");
        Expect.same(1L, second.getQueueOffset(), "second queue offset");
        Expect.same(32, first.getOffsetMsgId().length(), "length of the offset id");
        Expect.that(!first.getMsgId().equals(second.getMsgId()), "two messages with one id");

        MessageExt seen = scene.receive(topic).exactly(2).stream().filter(m -> m.getQueueOffset() == 0).findFirst().orElseThrow();
        Expect.same("hello", Received.body(seen), "body");
        Expect.same("tag", seen.getTags(), "tags");
        Expect.same("one two", seen.getKeys(), "keys");
        Expect.same("red", seen.getUserProperty("colour"), "property");
        Expect.same(7, seen.getFlag(), "flag");
        Expect.same(first.getMsgId(), seen.getMsgId(), "message id");
        Expect.same(0L, seen.getQueueOffset(), "queue offset");
        Expect.same(0, seen.getReconsumeTimes(), "reconsume times");
        Expect.that(seen.getBornTimestamp() > 0 && seen.getStoreTimestamp() > 0, "times are missing");
        Expect.same("127.0.0.1", seen.getBornHostString(), "born host");
    }

    private static void asynchronous(Scene scene) throws Exception {
        String topic = scene.topic(4);
        List<String> bodies = Scene.bodies("async", 50);
        CountDownLatch answered = new CountDownLatch(bodies.size());
        AtomicInteger failed = new AtomicInteger();
        for (String body : bodies) {
            scene.producer().send(Scene.message(topic, body), new SendCallback() {
                @Override
                public void onSuccess(SendResult result) {
                    answered.countDown();
                }

                @Override
                public void onException(Throwable failure) {
                    failed.incrementAndGet();
                    answered.countDown();
                }
            });
        }
        Expect.that(answered.await(30, TimeUnit.SECONDS), "not all sends were answered");
        Expect.same(0, failed.get(), "failed sends");
        scene.receive(topic).exactlyBodies(bodies);
    }

    private static void oneWay(Scene scene) throws Exception {
        String topic = scene.topic(2);
        List<String> bodies = Scene.bodies("one-way", 20);
        for (String body : bodies) {
            scene.producer().sendOneway(Scene.message(topic, body));
        }
        scene.receive(topic).exactlyBodies(bodies);
    }

    private static List<Message> batchOf(String topic, List<String> bodies) {
        List<Message> batch = new ArrayList<>();
        for (String body : bodies) {
            Message message = Scene.tagged(topic, "tag", body);
            message.setKeys("key-of-" + body);
            batch.add(message);
        }
        return batch;
    }

    private static void batch(Scene scene) throws Exception {
        String topic = scene.topic(1);
        List<String> bodies = Scene.bodies("batch", 10);
        SendResult result = scene.producer().send(batchOf(topic, bodies));
        Expect.same(SendStatus.SEND_OK, result.getSendStatus(), "status");
        Expect.same(0L, result.getQueueOffset(), "queue offset of the first");
        Expect.same(10, result.getMsgId().split(",").length, "message ids");
        Expect.same(10, result.getOffsetMsgId().split(",").length, "offset ids");
        Expect.same(10L, scene.send(topic, List.of("after")).get(0).getQueueOffset(), "queue offset after the batch");

        Received received = scene.receive(topic);
        List<String> all = new ArrayList<>(bodies);
        all.add("after");
        received.exactlyBodies(all);
        for (MessageExt message : received.messages()) {
            String body = Received.body(message);
            if (!body.equals("after")) {
                Expect.same("key-of-" + body, message.getKeys(), "keys");
                Expect.same("batch-" + message.getQueueOffset(), body, "body at its offset");
            }
        }
    }

    private static void batchByCallback(Scene scene) throws Exception {
        String topic = scene.topic(4);
        List<String> bodies = Scene.bodies("batch", 5);
        MessageQueue queue = scene.queues(topic).get(2);
        CountDownLatch answered = new CountDownLatch(1);
        List<SendResult> results = new ArrayList<>();
        scene.producer().send(batchOf(topic, bodies), queue, new SendCallback() {
            @Override
            public void onSuccess(SendResult result) {
                results.add(result);
                answered.countDown();
            }

            @Override
            public void onException(Throwable failure) {
                answered.countDown();
            }
        });
        Expect.that(answered.await(30, TimeUnit.SECONDS), "the batch was not answered");
        Expect.same(1, results.size(), "batches taken");
        Received received = scene.receive(topic);
        received.exactlyBodies(bodies);
        received.messages().forEach(message -> Expect.same(2, message.getQueueId(), "queue"));
    }

    private static void chosenQueue(Scene scene) throws Exception {
        String topic = scene.topic(4);
        for (MessageQueue queue : scene.queues(topic)) {
            SendResult result = scene.send(queue, "queue-" + queue.getQueueId());
            Expect.same(queue, result.getMessageQueue(), "queue of the answer");
        }
        for (MessageExt message : scene.receive(topic).exactly(4)) {
            Expect.same("queue-" + message.getQueueId(), Received.body(message), "body of the queue");
        }
    }

    private static void noSuchQueue(Scene scene) throws Exception {
        MessageQueue first = scene.queues(scene.topic(2)).get(0);
        MessageQueue missing = new MessageQueue(first.getTopic(), first.getBrokerName(), 9);
        Expect.refused(ResponseCode.INVALID_PARAMETER, () -> scene.send(missing, "nowhere"));
    }

    private static void compressed(Scene scene, CompressionType type) throws Exception {
        String topic = scene.topic(1);
        DefaultMQProducer producer = new DefaultMQProducer(scene.fresh("producer"));
        producer.setCompressType(type);
        scene.started(producer);
        String body = "compress me ".repeat(5_000);
        producer.send(Scene.message(topic, body));
        MessageExt seen = scene.receive(topic).exactly(1).get(0);
        Expect.same(body, Received.body(seen), "body");
        Expect.that(seen.getStoreSize() < 10_000, "stored in " + seen.getStoreSize() + " bytes");
    }

    private static byte[] incompressible(int length) {
        byte[] body = new byte[length];
        new Random(length).nextBytes(body);
        return body;
    }

    private static void big(Scene scene) throws Exception {
        String topic = scene.topic(1);
        byte[] body = incompressible(4 * 1024 * 1024 - 4_096);
        scene.producer().send(new Message(topic, body));
        scene.producer().send(Scene.message(topic, "small"));
        List<MessageExt> seen = scene.receive(topic).exactly(2);
        Expect.that(seen.stream().anyMatch(m -> java.util.Arrays.equals(body, m.getBody())), "the big body is another");
    }

    private static void tooBig(Scene scene) throws Exception {
        String topic = scene.topic(1);
        DefaultMQProducer producer = new DefaultMQProducer(scene.fresh("producer"));
        producer.setMaxMessageSize(16 * 1024 * 1024);
        producer.setSendMsgTimeout(10_000);
        scene.started(producer);
        Expect.refused(ResponseCode.MESSAGE_ILLEGAL, () -> producer.send(new Message(topic, incompressible(4 * 1024 * 1024 + 1))));
        producer.send(Scene.message(topic, "the connection still works"));
        scene.receive(topic).exactly(1);
    }

    private static void oddProperties(Scene scene) throws Exception {
        List<String> odd = List.of("é ü 漢字 🦀", "\"quoted\" \\ and / back", "a=b&c;d:e,f", "{\"json\":[1,null]}", "line\nfeed\ttab",
                " leading and trailing ", "%RETRY%x", "<x>&amp;</x>");
        String topic = scene.topic(1);
        Message message = Scene.message(topic, "odd");
        for (int i = 0; i < odd.size(); i++) {
            message.putUserProperty("odd" + i, odd.get(i));
        }
        message.putUserProperty("ключ 🦀", "key");
        message.setKeys("key=1 ключ");
        message.setTags("тег");
        scene.producer().send(message);
        MessageExt seen = scene.receive(topic).exactly(1).get(0);
        for (int i = 0; i < odd.size(); i++) {
            Expect.same(odd.get(i), seen.getUserProperty("odd" + i), "property " + i);
        }
        Expect.same("key", seen.getUserProperty("ключ 🦀"), "the property with the odd name");
        Expect.same("key=1 ключ", seen.getKeys(), "keys");
        Expect.same("тег", seen.getTags(), "tags");
    }

    private static void tooLongProperties(Scene scene) throws Exception {
        Message message = Scene.message(scene.topic(1), "body");
        message.putUserProperty("long", "x".repeat(33_000));
        Expect.refused(ResponseCode.MESSAGE_ILLEGAL, () -> scene.producer().send(message));
    }

    private static void madeTopic(Scene scene) throws Exception {
        String topic = scene.fresh("made");
        List<String> bodies = Scene.bodies("made", 8);
        scene.send(topic, bodies);
        scene.receive(topic).exactlyBodies(bodies);
        TopicConfig config = scene.admin().examineTopicConfig(scene.broker(), topic);
        Expect.same(4, config.getWriteQueueNums(), "write queues");
        Expect.same(4, config.getReadQueueNums(), "read queues");
        Expect.same(6, config.getPerm(), "permission");
    }

    private static void madeTopicWithConsumer(Scene scene) throws Exception {
        String topic = scene.fresh("made");
        var consumer = scene.pushConsumer(scene.group());
        consumer.subscribe(topic, "*");
        Received received = scene.receive(consumer);
        List<String> bodies = Scene.bodies("made", 8);
        scene.send(topic, bodies);
        received.exactlyBodies(bodies);
    }

    private static void readOnlyTopic(Scene scene) throws Exception {
        String topic = scene.topic(1);
        TopicConfig config = scene.admin().examineTopicConfig(scene.broker(), topic);
        config.setPerm(4);
        scene.admin().createAndUpdateTopicConfig(scene.broker(), config);
        try {
            scene.producer().send(Scene.message(topic, "no"));
        } catch (MQClientException refusal) {
            return;
        }
        throw new AssertionError("a topic of permission 4 took a message");
    }

    private static void vipPort(Scene scene) throws Exception {
        String topic = scene.topic(1);
        DefaultMQProducer producer = new DefaultMQProducer(scene.fresh("producer"));
        producer.setVipChannelEnabled(true);
        scene.started(producer);
        producer.send(new Message(topic, "vip".getBytes(StandardCharsets.UTF_8)));
        scene.receive(topic).exactly(1);
    }
}
