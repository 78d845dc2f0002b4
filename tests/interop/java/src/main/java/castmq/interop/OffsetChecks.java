package castmq.interop;

import java.util.List;
import java.util.Map;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.remoting.protocol.admin.ConsumeStats;

/** What an administrator does with the offsets of a group. */
final class OffsetChecks {
    static List<Check> all() {
        return List.of(
                new Check("offsets: a group that is online goes back in time", OffsetChecks::online),
                new Check("offsets: a group that is offline goes back in time", OffsetChecks::offline),
                new Check("offsets: a group skips all it has not consumed", OffsetChecks::skip),
                new Check("offsets: progress counts what is left", OffsetChecks::progress),
                new Check("offsets: of one group are copied to another", OffsetChecks::copied));
    }

    private static DefaultMQPushConsumer consumer(Scene scene, String group, String topic) throws Exception {
        DefaultMQPushConsumer consumer = scene.pushConsumer(group);
        consumer.setPersistConsumerOffsetInterval(1_000);
        consumer.subscribe(topic, "*");
        return consumer;
    }

    private static long offsetOf(Scene scene, String group, String topic, MessageQueue queue) throws Exception {
        return scene.admin().examineConsumeStats(group, topic).getOffsetTable().get(queue).getConsumerOffset();
    }

    private static void online(Scene scene) throws Exception {
        String topic = scene.topic(1);
        String group = scene.group();
        MessageQueue queue = scene.queues(topic).get(0);
        scene.send(topic, List.of("before"));
        Thread.sleep(100);
        long between = System.currentTimeMillis();
        Thread.sleep(100);
        scene.send(topic, List.of("after"));
        Received received = scene.receive(consumer(scene, group, topic));
        received.exactlyBodies(List.of("before", "after"));
        Expect.soon("the offset is committed", () -> offsetOf(scene, group, topic, queue) == 2);

        Map<MessageQueue, Long> reset = scene.admin().resetOffsetByTimestamp(topic, group, between, true);
        Expect.same(Map.of(queue, 1L), reset, "offsets of the answer");
        // The client waits 10 s before it gives up a queue whose offset was moved, and takes it anew after that.
        Expect.within(60_000, "the second message again", () -> received.bodies().stream().filter("after"::equals).count() >= 2);
        Expect.same(1L, received.bodies().stream().filter("before"::equals).count(), "times that the first came");
    }

    private static void offline(Scene scene) throws Exception {
        String topic = scene.topic(2);
        String group = scene.group();
        List<String> bodies = Scene.bodies("again", 6);
        long begin = System.currentTimeMillis() - 1_000;
        scene.send(topic, bodies);
        DefaultMQPushConsumer first = consumer(scene, group, topic);
        scene.receive(first).exactlyBodies(bodies);
        first.shutdown();
        Expect.same(2, scene.admin().resetOffsetByTimestamp(topic, group, begin, true).size(), "queues of the answer");
        scene.receive(consumer(scene, group, topic)).exactlyBodies(bodies);
    }

    private static void skip(Scene scene) throws Exception {
        String topic = scene.topic(1);
        String group = scene.group();
        DefaultMQPushConsumer first = consumer(scene, group, topic);
        scene.send(topic, List.of("taken"));
        scene.receive(first).exactly(1);
        first.shutdown();
        scene.send(topic, Scene.bodies("skipped", 5));
        scene.admin().resetOffsetByTimestamp(topic, group, -1, true);
        Received later = scene.receive(consumer(scene, group, topic));
        // The first pull after a reset is answered with the new offset alone, and the client takes its queues anew.
        Thread.sleep(5_000);
        scene.send(topic, List.of("new"));
        later.exactlyBodies(List.of("new"));
    }

    private static void progress(Scene scene) throws Exception {
        String topic = scene.topic(2);
        String group = scene.group();
        DefaultMQPushConsumer first = consumer(scene, group, topic);
        scene.send(topic, Scene.bodies("taken", 4));
        scene.receive(first).exactly(4);
        first.shutdown();
        scene.send(topic, Scene.bodies("left", 6));
        ConsumeStats stats = scene.admin().examineConsumeStats(group, topic);
        Expect.same(2, stats.getOffsetTable().size(), "queues");
        Expect.same(6L, stats.computeTotalDiff(), "messages left");
        stats.getOffsetTable().values().forEach(offset -> Expect.that(offset.getLastTimestamp() > 0, "no time of the last message taken"));
    }

    private static void copied(Scene scene) throws Exception {
        String topic = scene.topic(1);
        String group = scene.group();
        String other = scene.group();
        MessageQueue queue = scene.queues(topic).get(0);
        DefaultMQPushConsumer first = consumer(scene, group, topic);
        scene.send(topic, Scene.bodies("taken", 3));
        scene.receive(first).exactly(3);
        first.shutdown();
        scene.admin().cloneGroupOffset(group, other, topic, true);
        Expect.same(3L, scene.admin().examineConsumeStats(group, topic).getOffsetTable().get(queue).getConsumerOffset(), "offset of the group");
        scene.send(topic, List.of("new"));
        scene.receive(consumer(scene, other, topic)).exactlyBodies(List.of("new"));
    }
}
