package castmq.interop;

import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.Callable;
import org.apache.rocketmq.client.QueryResult;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.impl.MQClientAPIImpl;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.producer.TransactionListener;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageConst;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.remoting.protocol.header.QueryConsumerOffsetRequestHeader;
import org.apache.rocketmq.remoting.protocol.subscription.SubscriptionGroupConfig;

/**
 * Prints what the broker of NAMESRV_ADDR has of all that {@link Fill} left: settings, offsets, a digest of each queue's messages,
 * what keys find, how far groups are; and what comes of what was under way. Two brokers with the same store print the same.
 */
public final class Audit {
    /** Of this many messages one is looked for by its key. */
    private static final int KEY_EVERY = 997;
    /** Longer than everything under way takes, in ms. */
    private static final long PATIENCE_MS = 180_000;
    /** How long is waited for what should not come, in ms. */
    private static final long QUIET_MS = 8_000;

    public static void main(String[] args) throws Exception {
        System.setProperty("rocketmq.client.rebalance.waitInterval", "1000");
        try (Scene scene = new Scene(System.getenv("NAMESRV_ADDR"))) {
            settings(scene);
            still(scene);
            progress(scene);
            settleOpen(scene);
            retries(scene);
            pops(scene);
            for (String topic : List.of(Taken.UNDER_WAY_DELAYED, Taken.UNDER_WAY_TIMED, Taken.UNDER_WAY_SETTLED)) {
                underWay(scene, topic);
            }
            goesOn(scene);
        }
        System.exit(0);
    }

    private static void settings(Scene scene) throws Exception {
        Map<String, TopicConfig> topics = new TreeMap<>(scene.admin().getAllTopicConfig(scene.broker(), 10_000).getTopicConfigTable());
        for (TopicConfig topic : topics.values()) {
            if (topic.getTopicName().contains("taken-") && !topic.getTopicName().contains(Taken.POP_GROUP)) {
                System.out.printf("topic %s: %d read, %d write, perm %d, order %s, attributes %s%n", topic.getTopicName(),
                        topic.getReadQueueNums(), topic.getWriteQueueNums(), topic.getPerm(), topic.isOrder(), topic.getAttributes());
            }
        }
        Map<String, SubscriptionGroupConfig> groups = new TreeMap<>(
                scene.admin().getAllSubscriptionGroup(scene.broker(), 10_000).getSubscriptionGroupTable());
        for (SubscriptionGroupConfig group : groups.values()) {
            if (group.getGroupName().startsWith("taken-")) {
                System.out.printf("group %s: %d retries, %d retry queues, enabled %s%n", group.getGroupName(), group.getRetryMaxTimes(),
                        group.getRetryQueueNums(), group.isConsumeEnable());
            }
        }
    }

    /** Every message of topics in which nothing changes, as it is. */
    private static void still(Scene scene) throws Exception {
        DefaultMQPullConsumer consumer = scene.pullConsumer(scene.group());
        for (String topic : Taken.STILL) {
            int seen = 0;
            for (MessageQueue queue : queues(consumer, topic)) {
                MessageDigest digest = MessageDigest.getInstance("SHA-256");
                long min = consumer.minOffset(queue);
                long max = consumer.maxOffset(queue);
                long count = 0;
                for (long offset = min; offset < max;) {
                    PullResult pulled = consumer.pull(queue, "*", offset, 1_024);
                    offset = pulled.getNextBeginOffset();
                    if (pulled.getMsgFoundList() == null) {
                        continue;
                    }
                    for (MessageExt message : pulled.getMsgFoundList()) {
                        digest.update(whole(message));
                        count++;
                        if (seen++ % KEY_EVERY == 0 && message.getKeys() != null) {
                            found(scene, topic, message.getKeys());
                        }
                    }
                }
                System.out.printf("queue %s %d: %d to %d, %d messages, %s%n", topic, queue.getQueueId(), min, max, count,
                        HexFormat.of().formatHex(digest.digest()));
            }
        }
    }

    private static Set<MessageQueue> queues(DefaultMQPullConsumer consumer, String topic) {
        try {
            return new TreeSet<>(consumer.fetchSubscribeMessageQueues(topic));
        } catch (MQClientException none) {
            System.out.printf("no topic %s%n", topic);
            return Set.of();
        }
    }

    /** All of a message that a broker keeps. */
    private static byte[] whole(MessageExt message) {
        TreeMap<String, String> properties = new TreeMap<>(message.getProperties());
        // The client adds them, from its answer.
        properties.remove(MessageConst.PROPERTY_MIN_OFFSET);
        properties.remove(MessageConst.PROPERTY_MAX_OFFSET);
        String text = String.join("|", message.getTopic(), "" + message.getQueueId(), "" + message.getQueueOffset(),
                "" + message.getCommitLogOffset(), "" + message.getFlag(), "" + message.getSysFlag(), "" + message.getBornTimestamp(),
                "" + message.getBornHost(), "" + message.getStoreTimestamp(), "" + message.getStoreHost(), "" + message.getReconsumeTimes(),
                "" + message.getPreparedTransactionOffset(), "" + message.getBodyCRC(), properties.toString(), Received.body(message));
        return text.getBytes(StandardCharsets.UTF_8);
    }

    private static void found(Scene scene, String topic, String key) throws Exception {
        TreeSet<String> ids = new TreeSet<>();
        try {
            QueryResult result = scene.admin().queryMessage(topic, key, 64, 0, Long.MAX_VALUE);
            result.getMessageList().forEach(message -> ids.add(message.getQueueId() + "/" + message.getQueueOffset()));
        } catch (MQClientException none) {
            ids.add("none");
        }
        System.out.printf("key %s %s: %s%n", topic, key, ids);
    }

    private static long offset(Scene scene, String group, String topic, int queue) throws Exception {
        MQClientAPIImpl api = scene.producer().getDefaultMQProducerImpl().getMqClientFactory().getMQClientAPIImpl();
        QueryConsumerOffsetRequestHeader header = new QueryConsumerOffsetRequestHeader();
        header.setConsumerGroup(group);
        header.setTopic(topic);
        header.setQueueId(queue);
        return api.queryConsumerOffset(scene.broker(), header, 10_000);
    }

    private static void progress(Scene scene) throws Exception {
        Map<String, String> groups = Map.of(Taken.BEHIND_GROUP, Taken.BATCHED, Taken.FAILING_GROUP, Taken.FAILING, Taken.DEAD_GROUP, Taken.DEAD);
        for (Map.Entry<String, String> group : new TreeMap<>(groups).entrySet()) {
            for (MessageQueue queue : scene.queues(group.getValue())) {
                System.out.printf("offset %s %s %d: %d%n", group.getKey(), group.getValue(), queue.getQueueId(),
                        offset(scene, group.getKey(), group.getValue(), queue.getQueueId()));
            }
        }
    }

    /** A producer that commits what it is asked about. */
    private static void settleOpen(Scene scene) throws Exception {
        TransactionMQProducer producer = new TransactionMQProducer(Taken.OPEN_PRODUCER);
        producer.setTransactionListener(new TransactionListener() {
            @Override
            public LocalTransactionState executeLocalTransaction(Message message, Object argument) {
                return LocalTransactionState.UNKNOW;
            }

            @Override
            public LocalTransactionState checkLocalTransaction(MessageExt message) {
                return LocalTransactionState.COMMIT_MESSAGE;
            }
        });
        scene.started(producer);
        // A broker knows a producer that has sent it something.
        producer.sendMessageInTransaction(new Message(Taken.SETTLED + "-hello", new byte[1]), 0);
    }

    private static void said(String what, List<String> bodies) {
        TreeSet<String> distinct = new TreeSet<>(bodies);
        System.out.printf("%s: %d messages, %d distinct, %08x%n", what, bodies.size(), distinct.size(), distinct.hashCode());
    }

    /** What a group failed to process comes to it again. */
    private static void retries(Scene scene) throws Exception {
        DefaultMQPushConsumer consumer = scene.pushConsumer(Taken.FAILING_GROUP);
        consumer.subscribe(Taken.FAILING, "*");
        Received received = scene.receive(consumer);
        await(received::count);
        said("retried", received.bodies());
        consumer.shutdown();
    }

    /** What was not acknowledged, and what was never popped. */
    private static void pops(Scene scene) throws Exception {
        Popper popper = new Popper(scene, Taken.POPPED, Taken.POP_GROUP);
        List<String> bodies = new ArrayList<>();
        long end = System.currentTimeMillis() + PATIENCE_MS;
        long quietSince = System.currentTimeMillis();
        while (System.currentTimeMillis() < end && (bodies.size() < Taken.FEW / 2 || System.currentTimeMillis() < quietSince + QUIET_MS)) {
            for (MessageExt message : popper.popped(8, 120_000, 1_000)) {
                bodies.add(Received.body(message));
                popper.ack(message);
                quietSince = System.currentTimeMillis();
            }
        }
        said("popped", bodies);
    }

    private static void await(Callable<Integer> count) throws Exception {
        long end = System.currentTimeMillis() + PATIENCE_MS;
        while (count.call() < Taken.FEW && System.currentTimeMillis() < end) {
            Thread.sleep(200);
        }
        Thread.sleep(QUIET_MS);
    }

    private static void underWay(Scene scene, String topic) throws Exception {
        Received received = scene.receive(topic);
        await(received::count);
        said("under way " + topic, received.bodies());
    }

    /** Queues go on where they end. */
    private static void goesOn(Scene scene) throws Exception {
        for (MessageQueue queue : scene.queues(Taken.SINGLE)) {
            long before = scene.producer().maxOffset(queue);
            long stored = scene.send(queue, "one more").getQueueOffset();
            System.out.printf("next %s %d: %s%n", Taken.SINGLE, queue.getQueueId(), stored == before ? "follows" : before + " then " + stored);
        }
    }
}
