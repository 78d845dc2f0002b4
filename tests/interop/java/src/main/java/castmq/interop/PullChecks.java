package castmq.interop;

import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.MessageSelector;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.remoting.protocol.ResponseCode;

/** The classic pull consumer, which asks for each batch of each queue itself. */
@SuppressWarnings("deprecation")
final class PullChecks {
    static List<Check> all() {
        return List.of(
                new Check("pull: batches by offset, and where a queue ends", PullChecks::byOffset),
                new Check("pull: by tag and by SQL92", PullChecks::filtered),
                new Check("pull: a waiting pull is answered by the next message", PullChecks::waiting),
                new Check("pull: offsets committed are offsets found", PullChecks::committed),
                new Check("pull: offsets by time", PullChecks::byTime),
                new Check("pull: an unknown topic is refused", PullChecks::unknownTopic));
    }

    private static void byOffset(Scene scene) throws Exception {
        String topic = scene.topic(2);
        MessageQueue queue = scene.queues(topic).get(1);
        for (String body : Scene.bodies("pulled", 10)) {
            scene.send(queue, body);
        }
        DefaultMQPullConsumer consumer = scene.pullConsumer(scene.group());
        Set<MessageQueue> queues = consumer.fetchSubscribeMessageQueues(topic);
        Expect.same(2, queues.size(), "queues");
        Expect.same(0L, consumer.minOffset(queue), "least offset");
        Expect.same(10L, consumer.maxOffset(queue), "greatest offset");

        PullResult first = consumer.pull(queue, "*", 0, 4);
        Expect.same(PullStatus.FOUND, first.getPullStatus(), "status");
        Expect.same(List.of("pulled-0", "pulled-1", "pulled-2", "pulled-3"), first.getMsgFoundList().stream().map(Received::body).toList(), "bodies");
        Expect.same(4L, first.getNextBeginOffset(), "next offset");
        Expect.same(0L, first.getMinOffset(), "least offset of the answer");
        Expect.same(10L, first.getMaxOffset(), "greatest offset of the answer");
        Expect.same(6, consumer.pull(queue, "*", 4, 32).getMsgFoundList().size(), "the rest");

        Expect.same(PullStatus.NO_NEW_MSG, consumer.pull(queue, "*", 10, 32).getPullStatus(), "status at the end");
        PullResult beyond = consumer.pull(queue, "*", 50, 32);
        Expect.same(PullStatus.OFFSET_ILLEGAL, beyond.getPullStatus(), "status beyond the end");
        Expect.same(10L, beyond.getNextBeginOffset(), "next offset beyond the end");
        Expect.same(PullStatus.NO_NEW_MSG, consumer.pull(scene.queues(topic).get(0), "*", 0, 32).getPullStatus(), "status of an empty queue");
    }

    private static void filtered(Scene scene) throws Exception {
        String topic = scene.topic(1);
        MessageQueue queue = scene.queues(topic).get(0);
        for (int i = 0; i < 6; i++) {
            Message message = Scene.tagged(topic, i < 3 ? "low" : "high", "n" + i);
            message.putUserProperty("n", Integer.toString(i));
            scene.producer().send(message);
        }
        DefaultMQPullConsumer consumer = scene.pullConsumer(scene.group());
        Expect.same(List.of("n3", "n4", "n5"), consumer.pull(queue, "high", 0, 32).getMsgFoundList().stream().map(Received::body).toList(), "by tag");
        List<String> bySql = new ArrayList<>();
        Expect.soon("the client learns the broker's version by a heartbeat", () -> {
            try {
                PullResult found = consumer.pull(queue, MessageSelector.bySql("n BETWEEN 2 AND 3"), 0, 32);
                return bySql.addAll(found.getMsgFoundList().stream().map(Received::body).toList());
            } catch (MQClientException notYet) {
                return false;
            }
        });
        Expect.same(List.of("n2", "n3"), bySql, "by SQL92");
        PullResult none = consumer.pull(queue, "none", 0, 32);
        Expect.same(PullStatus.NO_MATCHED_MSG, none.getPullStatus(), "status without a match");
        Expect.same(6L, none.getNextBeginOffset(), "next offset without a match");
    }

    private static void waiting(Scene scene) throws Exception {
        String topic = scene.topic(1);
        MessageQueue queue = scene.queues(topic).get(0);
        DefaultMQPullConsumer consumer = scene.pullConsumer(scene.group());
        CompletableFuture<PullResult> waiting = CompletableFuture.supplyAsync(() -> {
            try {
                return consumer.pullBlockIfNotFound(queue, "*", 0, 32);
            } catch (Exception failure) {
                throw new IllegalStateException(failure);
            }
        });
        Thread.sleep(1_500);
        Expect.that(!waiting.isDone(), "a pull of an empty queue did not wait");
        long sentAt = System.currentTimeMillis();
        scene.send(queue, "at last");
        PullResult result = waiting.get(10, TimeUnit.SECONDS);
        Expect.same(PullStatus.FOUND, result.getPullStatus(), "status");
        Expect.between(0, 1_500, System.currentTimeMillis() - sentAt, "time to the answer, in ms");
    }

    private static void committed(Scene scene) throws Exception {
        String topic = scene.topic(1);
        MessageQueue queue = scene.queues(topic).get(0);
        for (String body : Scene.bodies("committed", 5)) {
            scene.send(queue, body);
        }
        String group = scene.group();
        DefaultMQPullConsumer consumer = scene.pullConsumer(group);
        consumer.fetchSubscribeMessageQueues(topic);
        consumer.pull(queue, "*", 0, 32);
        // The broker drops offsets of a group that no heartbeat has named yet, and nobody waits for its answer.
        Expect.soon("offset 3 is committed", () -> {
            consumer.updateConsumeOffset(queue, 3);
            consumer.getDefaultMQPullConsumerImpl().getOffsetStore().persistAll(new HashSet<>(Set.of(queue)));
            return consumer.fetchConsumeOffset(queue, true) == 3;
        });
        DefaultMQPullConsumer other = scene.pullConsumer(group);
        Expect.same(3L, other.fetchConsumeOffset(queue, true), "offset seen by another member");
    }

    private static void byTime(Scene scene) throws Exception {
        String topic = scene.topic(1);
        MessageQueue queue = scene.queues(topic).get(0);
        scene.send(queue, "before-0");
        scene.send(queue, "before-1");
        Thread.sleep(50);
        long between = System.currentTimeMillis();
        Thread.sleep(50);
        scene.send(queue, "after");
        DefaultMQPullConsumer consumer = scene.pullConsumer(scene.group());
        Expect.same(0L, consumer.searchOffset(queue, between - 60_000), "offset of an earlier time");
        Expect.same(2L, consumer.searchOffset(queue, between), "offset of a time between");
        Expect.same(3L, consumer.searchOffset(queue, between + 60_000), "offset of a later time");
        long earliest = consumer.earliestMsgStoreTime(queue);
        Expect.between(between - 30_000, between, earliest, "time of the first message");
    }

    private static void unknownTopic(Scene scene) throws Exception {
        MessageQueue queue = scene.queues(scene.topic(1)).get(0);
        DefaultMQPullConsumer consumer = scene.pullConsumer(scene.group());
        consumer.pull(queue, "*", 0, 32);
        MessageQueue unknown = new MessageQueue(scene.fresh("unknown"), queue.getBrokerName(), 0);
        Expect.refused(ResponseCode.TOPIC_NOT_EXIST, () -> consumer.pull(unknown, "*", 0, 32));
    }
}
