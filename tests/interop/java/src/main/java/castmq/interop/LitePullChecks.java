package castmq.interop;

import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.TreeSet;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.client.consumer.MessageSelector;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** The lite pull consumer, by subscription and by queues of its own choice. */
final class LitePullChecks {
    static List<Check> all() {
        return List.of(
                new Check("lite pull: by subscription", LitePullChecks::subscribed),
                new Check("lite pull: by subscription with SQL92", LitePullChecks::subscribedBySql),
                new Check("lite pull: of queues of its own choice", LitePullChecks::assigned),
                new Check("lite pull: seek to the beginning, the end and an offset", LitePullChecks::seek),
                new Check("lite pull: from the offset of a time", LitePullChecks::byTime),
                new Check("lite pull: a group goes on where it committed", LitePullChecks::goesOn),
                new Check("lite pull: two consumers share the queues", LitePullChecks::shared));
    }

    /** Polls until so many messages came; fails after 30 s. */
    private static List<String> poll(DefaultLitePullConsumer consumer, int count) throws Exception {
        List<String> bodies = new ArrayList<>();
        Expect.soon(count + " messages", () -> {
            for (MessageExt message : consumer.poll(500)) {
                bodies.add(Received.body(message));
            }
            return bodies.size() >= count;
        });
        return bodies;
    }

    /**
     * What comes after a seek. The client interrupts the pull that is under way; when that one is just about to be sent, the client
     * takes the interrupt for a broken connection, closes it, and forgets where it was told to go. So it is told again when
     * nothing comes.
     */
    private static List<String> pollAfter(Expect.Action seek, DefaultLitePullConsumer consumer, int count) throws Exception {
        List<String> bodies = new ArrayList<>();
        Expect.soon(count + " messages after a seek", () -> {
            bodies.clear();
            try {
                seek.run();
            } catch (MQClientException connectionClosed) {
                return false;
            }
            long end = System.currentTimeMillis() + 5_000;
            while (bodies.size() < count && System.currentTimeMillis() < end) {
                for (MessageExt message : consumer.poll(500)) {
                    bodies.add(Received.body(message));
                }
            }
            return bodies.size() >= count;
        });
        return bodies;
    }

    private static void expectBodies(List<String> expected, List<String> seen) {
        Expect.same(expected.size(), seen.size(), "messages");
        Expect.same(new TreeSet<>(expected), new TreeSet<>(seen), "bodies");
    }

    private static void subscribed(Scene scene) throws Exception {
        String topic = scene.topic(4);
        List<String> bodies = Scene.bodies("lite", 40);
        scene.send(topic, bodies);
        DefaultLitePullConsumer consumer = scene.litePullConsumer(scene.group());
        consumer.subscribe(topic, "*");
        scene.start(consumer);
        expectBodies(bodies, poll(consumer, 40));
        scene.send(topic, List.of("later"));
        expectBodies(List.of("later"), poll(consumer, 1));
    }

    private static void subscribedBySql(Scene scene) throws Exception {
        String topic = scene.topic(1);
        for (int i = 0; i < 6; i++) {
            Message message = Scene.message(topic, "n" + i);
            message.putUserProperty("n", Integer.toString(i));
            scene.producer().send(message);
        }
        DefaultLitePullConsumer consumer = scene.litePullConsumer(scene.group());
        consumer.subscribe(topic, MessageSelector.bySql("n >= 4"));
        scene.start(consumer);
        expectBodies(List.of("n4", "n5"), poll(consumer, 2));
    }

    private static void assigned(Scene scene) throws Exception {
        String topic = scene.topic(3);
        List<MessageQueue> queues = scene.queues(topic);
        for (MessageQueue queue : queues) {
            scene.send(queue, "queue-" + queue.getQueueId());
        }
        DefaultLitePullConsumer consumer = scene.litePullConsumer(scene.group());
        scene.start(consumer);
        Expect.same(new HashSet<>(queues), new HashSet<>(consumer.fetchMessageQueues(topic)), "queues");
        consumer.assign(queues.subList(1, 3));
        expectBodies(List.of("queue-1", "queue-2"), poll(consumer, 2));
        consumer.assign(queues.subList(0, 1));
        expectBodies(List.of("queue-0"), poll(consumer, 1));
    }

    private static void seek(Scene scene) throws Exception {
        String topic = scene.topic(1);
        MessageQueue queue = scene.queues(topic).get(0);
        for (String body : Scene.bodies("seek", 6)) {
            scene.send(queue, body);
        }
        DefaultLitePullConsumer consumer = scene.litePullConsumer(scene.group());
        scene.start(consumer);
        consumer.assign(List.of(queue));
        Expect.same(Scene.bodies("seek", 6), poll(consumer, 6), "from the start");
        List<String> fromFour = pollAfter(() -> consumer.seek(queue, 4), consumer, 2);
        Expect.same(List.of("seek-4", "seek-5"), fromFour, "from offset 4");
        List<String> fromBeginning = pollAfter(() -> consumer.seekToBegin(queue), consumer, 6);
        Expect.same(Scene.bodies("seek", 6), fromBeginning, "from the beginning");
        List<String> fromEnd = pollAfter(
                () -> {
                    consumer.seekToEnd(queue);
                    scene.send(queue, "new");
                },
                consumer, 1);
        Expect.same(List.of("new"), fromEnd, "from the end");
    }

    private static void byTime(Scene scene) throws Exception {
        String topic = scene.topic(1);
        MessageQueue queue = scene.queues(topic).get(0);
        scene.send(queue, "before");
        Thread.sleep(50);
        long between = System.currentTimeMillis();
        Thread.sleep(50);
        scene.send(queue, "after");
        DefaultLitePullConsumer consumer = scene.litePullConsumer(scene.group());
        scene.start(consumer);
        consumer.assign(List.of(queue));
        Expect.same(1L, consumer.offsetForTimestamp(queue, between), "offset of the time");
        List<String> after = pollAfter(() -> consumer.seek(queue, 1), consumer, 1);
        Expect.same(List.of("after"), after, "messages from that time");
    }

    private static void goesOn(Scene scene) throws Exception {
        String topic = scene.topic(1);
        MessageQueue queue = scene.queues(topic).get(0);
        String group = scene.group();
        for (String body : Scene.bodies("first", 4)) {
            scene.send(queue, body);
        }
        DefaultLitePullConsumer first = scene.litePullConsumer(group);
        first.subscribe(topic, "*");
        scene.start(first);
        poll(first, 4);
        first.commitSync();
        Expect.soon("offset 4 is committed", () -> first.committed(queue) == 4);
        first.shutdown();
        scene.send(queue, "second");
        DefaultLitePullConsumer second = scene.litePullConsumer(group);
        second.subscribe(topic, "*");
        scene.start(second);
        Expect.same(List.of("second"), poll(second, 1), "messages after the commit");
    }

    private static void shared(Scene scene) throws Exception {
        String topic = scene.topic(4);
        String group = scene.group();
        List<DefaultLitePullConsumer> consumers = new ArrayList<>();
        for (int i = 0; i < 2; i++) {
            DefaultLitePullConsumer consumer = scene.litePullConsumer(group);
            consumer.subscribe(topic, "*");
            scene.start(consumer);
            consumers.add(consumer);
        }
        Expect.soon("two queues for each", () -> {
            for (DefaultLitePullConsumer consumer : consumers) {
                consumer.poll(10);
                if (consumer.assignment().size() != 2) {
                    return false;
                }
            }
            return true;
        });
        List<String> bodies = Scene.bodies("shared", 20);
        scene.send(topic, bodies);
        List<String> seen = new ArrayList<>();
        Expect.soon("all messages", () -> {
            for (DefaultLitePullConsumer consumer : consumers) {
                consumer.poll(200).forEach(message -> seen.add(Received.body(message)));
            }
            return seen.size() >= 20;
        });
        expectBodies(bodies, seen);
    }
}
