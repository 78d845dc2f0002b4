package castmq.interop;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Semaphore;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.impl.MQClientAPIImpl;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.producer.SendCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.client.producer.TransactionListener;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageConst;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.remoting.protocol.header.UpdateConsumerOffsetRequestHeader;
import org.apache.rocketmq.remoting.protocol.subscription.SubscriptionGroupConfig;

/**
 * Fills the broker of NAMESRV_ADDR with about as many messages as the first argument says, of all kinds: batches, keys, tags, long
 * bodies, an order, delays and times that are over and that are not, transactions that are settled and that are not, retries,
 * dead letters, pops that are acknowledged and that are not, a group that is behind.
 *
 * <p>When it ends, what is under way is due in about a minute.
 */
public final class Fill {
    private static final int BATCH = 64;
    private static final int IN_FLIGHT = 512;

    public static void main(String[] args) throws Exception {
        int messages = Integer.parseInt(args[0]);
        System.setProperty("rocketmq.client.rebalance.waitInterval", "1000");
        try (Scene scene = new Scene(System.getenv("NAMESRV_ADDR"))) {
            create(scene);
            DefaultMQProducer producer = scene.producer();
            producer.setCompressMsgBodyOverHowmuch(4_000);
            batches(scene, Taken.BATCHED, messages / 20 * 11);
            singles(scene, messages / 20 * 5);
            ordered(scene, messages / 20 * 3);
            settled(scene, Math.min(messages / 20, 2_000));
            behind(scene);
            delayedAndOver(scene);
            dead(scene);
            longTopic(scene);
            popped(scene);
            // A broker writes consumer offsets down every 5 s, and what marks transactions after 3 s.
            failing(scene);
            Thread.sleep(8_000);
            underWay(scene);
        }
        System.out.printf("filled with about %d messages%n", messages);
        System.exit(0);
    }

    private static void create(Scene scene) throws Exception {
        for (String topic : List.of(Taken.BATCHED, Taken.SINGLE, Taken.ORDERED)) {
            scene.admin().createTopic(scene.cluster(), topic, 8, Map.of());
        }
        for (String topic : List.of(Taken.DELAYED, Taken.TIMED, Taken.SETTLED, Taken.FAILING, Taken.UNDER_WAY_DELAYED,
                Taken.UNDER_WAY_TIMED, Taken.UNDER_WAY_SETTLED)) {
            scene.admin().createTopic(scene.cluster(), topic, 2, Map.of());
        }
        scene.admin().createTopic(scene.cluster(), Taken.POPPED, 1, Map.of());
        scene.admin().createTopic(scene.cluster(), Taken.DEAD, 1, Map.of());
        scene.admin().createTopic(scene.cluster(), Taken.LONG, 1, Map.of());
        for (String group : List.of(Taken.BEHIND_GROUP, Taken.FAILING_GROUP, Taken.DEAD_GROUP, Taken.POP_GROUP, Taken.LONG_GROUP)) {
            SubscriptionGroupConfig config = new SubscriptionGroupConfig();
            config.setGroupName(group);
            config.setRetryMaxTimes(group.equals(Taken.DEAD_GROUP) ? 0 : 16);
            scene.admin().createAndUpdateSubscriptionGroupConfig(scene.broker(), config);
        }
    }

    private static Message message(String topic, int number) {
        String body = topic + " " + number + (number % 100 == 7 ? " long".repeat(1_200) : "");
        Message message = new Message(topic, "tag-" + number % 5, "key-" + number, body.getBytes(StandardCharsets.UTF_8));
        message.putUserProperty("number", Integer.toString(number));
        return message;
    }

    private static void batches(Scene scene, String topic, int count) throws Exception {
        List<MessageQueue> queues = scene.queues(topic);
        for (int from = 0, turn = 0; from < count; from += BATCH, turn++) {
            List<Message> batch = new ArrayList<>();
            for (int number = from; number < Math.min(from + BATCH, count); number++) {
                batch.add(message(topic, number));
            }
            expectStored(scene.producer().send(batch, queues.get(turn % queues.size())));
        }
    }

    private static void singles(Scene scene, int count) throws Exception {
        Semaphore room = new Semaphore(IN_FLIGHT);
        AtomicReference<Throwable> failure = new AtomicReference<>();
        List<MessageQueue> queues = scene.queues(Taken.SINGLE);
        for (int number = 0; number < count; number++) {
            room.acquire();
            scene.producer().send(message(Taken.SINGLE, number), queues.get(number % queues.size()), new SendCallback() {
                @Override
                public void onSuccess(SendResult result) {
                    room.release();
                }

                @Override
                public void onException(Throwable thrown) {
                    failure.set(thrown);
                    room.release();
                }
            }, 30_000);
        }
        room.acquire(IN_FLIGHT);
        Expect.that(failure.get() == null, "a message was not stored: " + failure.get());
    }

    private static void ordered(Scene scene, int count) throws Exception {
        List<MessageQueue> queues = scene.queues(Taken.ORDERED);
        for (int from = 0; from < count; from += BATCH) {
            int shard = from / BATCH % 21;
            List<Message> batch = new ArrayList<>();
            for (int number = from; number < Math.min(from + BATCH, count); number++) {
                Message message = message(Taken.ORDERED, number);
                message.putUserProperty(MessageConst.PROPERTY_SHARDING_KEY, "shard-" + shard);
                batch.add(message);
            }
            expectStored(scene.producer().send(batch, queues.get(shard % queues.size())));
        }
    }

    private static void expectStored(SendResult result) {
        Expect.same(SendStatus.SEND_OK, result.getSendStatus(), "status");
    }

    private static TransactionMQProducer transactions(Scene scene, String group, LocalTransactionState state) throws Exception {
        TransactionMQProducer producer = new TransactionMQProducer(group);
        producer.setTransactionListener(new TransactionListener() {
            @Override
            public LocalTransactionState executeLocalTransaction(Message message, Object number) {
                return state != null ? state
                        : (Integer) number % 3 == 0 ? LocalTransactionState.ROLLBACK_MESSAGE : LocalTransactionState.COMMIT_MESSAGE;
            }

            @Override
            public LocalTransactionState checkLocalTransaction(MessageExt message) {
                return LocalTransactionState.UNKNOW;
            }
        });
        return scene.started(producer);
    }

    private static void settled(Scene scene, int count) throws Exception {
        TransactionMQProducer producer = transactions(scene, scene.fresh("settled"), null);
        for (int number = 0; number < count; number++) {
            producer.sendMessageInTransaction(message(Taken.SETTLED, number), number);
        }
        producer.shutdown();
    }

    private static MQClientAPIImpl api(Scene scene) throws Exception {
        return scene.producer().getDefaultMQProducerImpl().getMqClientFactory().getMQClientAPIImpl();
    }

    /** Half of each queue is consumed. */
    private static void behind(Scene scene) throws Exception {
        for (MessageQueue queue : scene.queues(Taken.BATCHED)) {
            UpdateConsumerOffsetRequestHeader header = new UpdateConsumerOffsetRequestHeader();
            header.setConsumerGroup(Taken.BEHIND_GROUP);
            header.setTopic(Taken.BATCHED);
            header.setQueueId(queue.getQueueId());
            header.setCommitOffset(scene.producer().maxOffset(queue) / 2);
            api(scene).updateConsumerOffset(scene.broker(), header, 10_000);
        }
    }

    private static void delayedAndOver(Scene scene) throws Exception {
        for (int number = 0; number < Taken.FEW; number++) {
            Message delayed = message(Taken.DELAYED, number);
            delayed.setDelayTimeLevel(1);
            scene.producer().send(delayed);
            Message timed = message(Taken.TIMED, number);
            timed.setDelayTimeMs(2_000 + number * 20);
            scene.producer().send(timed);
        }
        awaitMessages(scene, Taken.DELAYED);
        awaitMessages(scene, Taken.TIMED);
    }

    private static void awaitMessages(Scene scene, String topic) throws Exception {
        long end = System.currentTimeMillis() + 60_000;
        while (true) {
            long there = 0;
            for (MessageQueue queue : scene.queues(topic)) {
                there += scene.producer().maxOffset(queue);
            }
            if (there >= Taken.FEW) {
                return;
            }
            Expect.that(System.currentTimeMillis() < end, "only " + there + " messages came to " + topic);
            Thread.sleep(100);
        }
    }

    private static DefaultMQPushConsumer failingConsumer(Scene scene, String group, String topic) throws Exception {
        DefaultMQPushConsumer consumer = scene.pushConsumer(group);
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.subscribe(topic, "*");
        return consumer;
    }

    private static Received fail(Scene scene, DefaultMQPushConsumer consumer) throws Exception {
        Received received = new Received();
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            received.add(messages);
            return ConsumeConcurrentlyStatus.RECONSUME_LATER;
        });
        scene.start(consumer);
        return received;
    }

    /** Each of them fails once, and waits for its second attempt. */
    private static void failing(Scene scene) throws Exception {
        DefaultMQPushConsumer consumer = failingConsumer(scene, Taken.FAILING_GROUP, Taken.FAILING);
        Received received = fail(scene, consumer);
        for (int number = 0; number < Taken.FEW; number++) {
            scene.producer().send(message(Taken.FAILING, number));
        }
        received.atLeast(Taken.FEW);
        Thread.sleep(1_500);
        consumer.shutdown();
    }

    private static void dead(Scene scene) throws Exception {
        DefaultMQPushConsumer consumer = failingConsumer(scene, Taken.DEAD_GROUP, Taken.DEAD);
        consumer.setMaxReconsumeTimes(0);
        Received received = fail(scene, consumer);
        for (int number = 0; number < Taken.FEW; number++) {
            scene.producer().send(message(Taken.DEAD, number));
        }
        received.atLeast(Taken.FEW);
        Thread.sleep(1_500);
        consumer.shutdown();
    }

    /** RocketMQ moves what is popped and not acknowledged to a topic of its own. */
    private static void longTopic(Scene scene) throws Exception {
        for (int number = 0; number < Taken.FEW; number++) {
            scene.producer().send(message(Taken.LONG, number));
        }
        Popper popper = new Popper(scene, Taken.LONG, Taken.LONG_GROUP);
        popper.popped(32, 1_000, 3_000);
        long end = System.currentTimeMillis() + 15_000;
        TopicConfig retries;
        do {
            Thread.sleep(500);
            retries = scene.admin().getAllTopicConfig(scene.broker(), 10_000).getTopicConfigTable().get(Taken.LONG_RETRIES);
        } while (retries == null && System.currentTimeMillis() < end);
    }

    /** Three quarters are popped, and two thirds of those acknowledged. */
    private static void popped(Scene scene) throws Exception {
        List<MessageQueue> queues = scene.queues(Taken.POPPED);
        for (int number = 0; number < Taken.FEW; number++) {
            scene.producer().send(message(Taken.POPPED, number), queues.get(0));
        }
        Popper popper = new Popper(scene, Taken.POPPED, Taken.POP_GROUP);
        List<MessageExt> got = new ArrayList<>();
        while (got.size() < Taken.FEW / 4 * 3) {
            got.addAll(popper.popped(Math.min(10, Taken.FEW / 4 * 3 - got.size()), 60_000, 3_000));
        }
        for (MessageExt message : got.subList(0, Taken.FEW / 2)) {
            popper.ack(message);
        }
    }

    private static void underWay(Scene scene) throws Exception {
        TransactionMQProducer open = transactions(scene, Taken.OPEN_PRODUCER, LocalTransactionState.UNKNOW);
        long dueMs = System.currentTimeMillis() + Taken.AHEAD_MS;
        for (int number = 0; number < Taken.FEW; number++) {
            Message delayed = message(Taken.UNDER_WAY_DELAYED, number);
            delayed.setDelayTimeLevel(Taken.AHEAD_LEVEL);
            scene.producer().send(delayed);
            Message timed = message(Taken.UNDER_WAY_TIMED, number);
            timed.setDeliverTimeMs(dueMs + number * 100);
            scene.producer().send(timed);
            open.sendMessageInTransaction(message(Taken.UNDER_WAY_SETTLED, number), number);
        }
        open.shutdown();
    }
}
