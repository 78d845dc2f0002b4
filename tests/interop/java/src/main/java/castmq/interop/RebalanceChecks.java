package castmq.interop;

import java.util.ArrayList;
import java.util.List;
import java.util.TreeSet;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.common.message.MessageExt;

/** How the consumers of a group share its queues. */
final class RebalanceChecks {
    static List<Check> all() {
        return List.of(
                new Check("rebalance: two consumers share all queues and take each message once", RebalanceChecks::two),
                new Check("rebalance: a consumer that joins and one that leaves move queues", RebalanceChecks::joinAndLeave),
                new Check("rebalance: the broker assigns queues where the client asks it to", RebalanceChecks::byBroker));
    }

    private static TreeSet<Integer> queuesOf(Received received) {
        TreeSet<Integer> queues = new TreeSet<>();
        for (MessageExt message : received.messages()) {
            queues.add(message.getQueueId());
        }
        return queues;
    }

    /** Two consumers of one group, and how many queues each client says it was given. */
    private static void share(Scene scene, boolean clientRebalance) throws Exception {
        String topic = scene.topic(8);
        String group = scene.group();
        List<DefaultMQPushConsumer> consumers = new ArrayList<>();
        List<Received> received = new ArrayList<>();
        for (int i = 0; i < 2; i++) {
            DefaultMQPushConsumer consumer = scene.pushConsumer(group);
            consumer.setClientRebalance(clientRebalance);
            consumer.subscribe(topic, "*");
            received.add(scene.receive(consumer));
            consumers.add(consumer);
        }
        for (DefaultMQPushConsumer consumer : consumers) {
            Expect.soon("4 queues for each", () -> consumer.getDefaultMQPushConsumerImpl().getRebalanceImpl().getProcessQueueTable()
                    .keySet().stream().filter(queue -> queue.getTopic().equals(topic)).count() == 4);
        }
        List<String> bodies = Scene.bodies("shared", 80);
        scene.send(topic, bodies);
        Expect.soon("all messages", () -> received.get(0).count() + received.get(1).count() >= 80);
        Thread.sleep(1_000);
        Expect.same(80, received.get(0).count() + received.get(1).count(), "messages received");
        TreeSet<String> all = new TreeSet<>(received.get(0).bodies());
        all.addAll(received.get(1).bodies());
        Expect.same(new TreeSet<>(bodies), all, "bodies");
        TreeSet<Integer> both = queuesOf(received.get(0));
        both.retainAll(queuesOf(received.get(1)));
        Expect.same(new TreeSet<>(), both, "queues of both");
        Expect.same(4, queuesOf(received.get(0)).size(), "queues of the first");
    }

    private static void two(Scene scene) throws Exception {
        share(scene, true);
    }

    private static void byBroker(Scene scene) throws Exception {
        share(scene, false);
    }

    private static void joinAndLeave(Scene scene) throws Exception {
        String topic = scene.topic(4);
        String group = scene.group();
        DefaultMQPushConsumer first = scene.pushConsumer(group);
        first.subscribe(topic, "*");
        Received all = scene.receive(first);
        scene.send(topic, Scene.bodies("alone", 8));
        all.exactly(8);
        DefaultMQPushConsumer second = scene.pushConsumer(group);
        second.subscribe(topic, "*");
        Received others = scene.receive(second);
        Expect.soon("the second consumer takes part", () -> {
            scene.send(topic, Scene.bodies("probe", 4));
            return others.count() > 0;
        });
        second.shutdown();
        List<String> bodies = Scene.bodies("alone again", 8);
        scene.send(topic, bodies);
        Expect.soon("all messages after the second left", () -> all.bodies().containsAll(bodies));
    }
}
