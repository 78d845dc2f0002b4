package castmq.interop;

import java.time.Instant;
import java.time.ZoneId;
import java.time.format.DateTimeFormatter;
import java.util.ArrayList;
import java.util.List;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.MessageSelector;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.remoting.protocol.ResponseCode;
import org.apache.rocketmq.remoting.protocol.heartbeat.MessageModel;

/** Push consumers: filters, where they begin, and what they commit. */
final class PushChecks {
    static List<Check> all() {
        return List.of(
                new Check("push: a message sent later comes at once", PushChecks::longPoll),
                new Check("push: tags filter", PushChecks::tags),
                new Check("push: SQL92 filters", PushChecks::sql),
                new Check("push: a wrong SQL92 expression is refused at the start", PushChecks::wrongSql),
                new Check("push: a changed subscription takes effect", PushChecks::changedSubscription),
                new Check("push: a new group of the kind 'last' begins a topic still in memory at its first message", PushChecks::fromLast),
                new Check("push: so does a new group of the kind 'timestamp'", PushChecks::fromTimestamp),
                new Check("push: a group goes on where it left off", PushChecks::goesOn),
                new Check("push: several messages at a time", PushChecks::severalAtATime),
                new Check("push: broadcast gives every consumer all messages", PushChecks::broadcast),
                new Check("push: the second kind of heartbeat keeps the subscription", PushChecks::heartbeatV2),
                new Check("push: two topics in one group", PushChecks::twoTopics));
    }

    private static void longPoll(Scene scene) throws Exception {
        String topic = scene.topic(1);
        Received received = scene.receive(topic);
        scene.send(topic, List.of("first"));
        received.atLeast(1);
        for (int i = 0; i < 5; i++) {
            Thread.sleep(300);
            long sentAt = System.currentTimeMillis();
            scene.send(topic, List.of("later-" + i));
            received.atLeast(i + 2);
            Expect.between(0, 1_000, received.timeOf(i + 1) - sentAt, "the way of a message to a waiting consumer, in ms");
        }
    }

    private static void tags(Scene scene) throws Exception {
        String topic = scene.topic(2);
        DefaultMQPushConsumer consumer = scene.pushConsumer(scene.group());
        consumer.subscribe(topic, "red || blue");
        Received received = scene.receive(consumer);
        for (String tag : List.of("red", "green", "blue", "Red")) {
            scene.producer().send(Scene.tagged(topic, tag, tag));
        }
        scene.send(topic, List.of("untagged"));
        // The hash of this pair is one, as Java's strings go: the client tells them apart.
        scene.producer().send(Scene.tagged(topic, "AaAa", "AaAa"));
        received.exactlyBodies(List.of("red", "blue"));

        DefaultMQPushConsumer colliding = scene.pushConsumer(scene.group());
        colliding.subscribe(topic, "BBBB");
        scene.producer().send(Scene.tagged(topic, "BBBB", "BBBB"));
        scene.receive(colliding).exactlyBodies(List.of("BBBB"));
    }

    private static void sql(Scene scene) throws Exception {
        String topic = scene.topic(2);
        record Case(String expression, List<String> expected) {
        }
        List<Case> cases = List.of(
                new Case("a > 2", List.of("a3", "a4")),
                new Case("a BETWEEN 1 AND 3 AND colour = 'red'", List.of("a1", "a3")),
                new Case("colour IS NULL", List.of("plain")),
                new Case("TAGS IN ('even') OR a = 1", List.of("a0", "a1", "a2", "a4")),
                new Case("NOT (colour = 'red') AND a >= 0.5", List.of("a2", "a4")),
                new Case("colour STARTSWITH 'r' AND a <> 1", List.of("a3")));
        List<Received> received = new ArrayList<>();
        for (Case one : cases) {
            DefaultMQPushConsumer consumer = scene.pushConsumer(scene.group());
            consumer.subscribe(topic, MessageSelector.bySql(one.expression));
            received.add(scene.receive(consumer));
        }
        for (int i = 0; i < 5; i++) {
            Message message = Scene.tagged(topic, i % 2 == 0 ? "even" : "odd", "a" + i);
            message.putUserProperty("a", Integer.toString(i));
            message.putUserProperty("colour", i % 2 == 0 ? "blue" : "red");
            scene.producer().send(message);
        }
        scene.send(topic, List.of("plain"));
        for (int i = 0; i < cases.size(); i++) {
            received.get(i).atLeast(cases.get(i).expected.size());
        }
        for (int i = 0; i < cases.size(); i++) {
            received.get(i).exactlyBodies(cases.get(i).expected);
        }
    }

    private static void wrongSql(Scene scene) throws Exception {
        String topic = scene.topic(1);
        DefaultMQPushConsumer consumer = scene.pushConsumer(scene.group());
        consumer.subscribe(topic, MessageSelector.bySql("a >> 'b' AND"));
        Expect.refused(ResponseCode.SUBSCRIPTION_PARSE_FAILED, () -> scene.receive(consumer));
    }

    private static void changedSubscription(Scene scene) throws Exception {
        String topic = scene.topic(1);
        DefaultMQPushConsumer consumer = scene.pushConsumer(scene.group());
        consumer.subscribe(topic, "red");
        Received received = scene.receive(consumer);
        scene.producer().send(Scene.tagged(topic, "red", "red-1"));
        received.atLeast(1);
        changeSubscription(scene, consumer, topic, "blue");
        scene.producer().send(Scene.tagged(topic, "blue", "blue"));
        received.exactlyBodies(List.of("red-1", "blue"));
    }

    /**
     * The pull that waits at the broker keeps the old subscription, in the client at least, and skips what only the new one has;
     * so it is answered with a message of neither before the new one counts.
     */
    private static void changeSubscription(Scene scene, DefaultMQPushConsumer consumer, String topic, String tag) throws Exception {
        consumer.subscribe(topic, tag);
        Thread.sleep(2_000);
        scene.producer().send(Scene.tagged(topic, "red", "neither"));
        Thread.sleep(1_000);
    }

    private static void fromLast(Scene scene) throws Exception {
        String topic = scene.topic(2);
        List<String> bodies = Scene.bodies("early", 6);
        scene.send(topic, bodies);
        DefaultMQPushConsumer consumer = scene.pushConsumer(scene.group());
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_LAST_OFFSET);
        consumer.subscribe(topic, "*");
        scene.receive(consumer).exactlyBodies(bodies);
    }

    /** The broker's answer for a new group is 0 while the first message is in memory, so the client never asks for the time. */
    private static void fromTimestamp(Scene scene) throws Exception {
        String topic = scene.topic(1);
        scene.send(topic, List.of("before"));
        Thread.sleep(2_100);
        DefaultMQPushConsumer consumer = scene.pushConsumer(scene.group());
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_TIMESTAMP);
        consumer.setConsumeTimestamp(DateTimeFormatter.ofPattern("yyyyMMddHHmmss").withZone(ZoneId.systemDefault()).format(Instant.now()));
        consumer.subscribe(topic, "*");
        scene.send(topic, List.of("after"));
        scene.receive(consumer).exactlyBodies(List.of("before", "after"));
    }

    private static void goesOn(Scene scene) throws Exception {
        String topic = scene.topic(3);
        String group = scene.group();
        scene.send(topic, Scene.bodies("first", 9));
        DefaultMQPushConsumer first = scene.pushConsumer(group);
        first.subscribe(topic, "*");
        scene.receive(first).exactly(9);
        first.shutdown();
        List<String> later = Scene.bodies("second", 9);
        scene.send(topic, later);
        DefaultMQPushConsumer second = scene.pushConsumer(group);
        second.subscribe(topic, "*");
        scene.receive(second).exactlyBodies(later);
    }

    private static void severalAtATime(Scene scene) throws Exception {
        String topic = scene.topic(1);
        List<String> bodies = Scene.bodies("many", 500);
        scene.send(topic, bodies);
        DefaultMQPushConsumer consumer = scene.pushConsumer(scene.group());
        consumer.setConsumeMessageBatchMaxSize(16);
        consumer.setPullBatchSize(64);
        consumer.subscribe(topic, "*");
        scene.receive(consumer).exactlyBodies(bodies);
    }

    private static void broadcast(Scene scene) throws Exception {
        String topic = scene.topic(2);
        String group = scene.group();
        List<String> bodies = Scene.bodies("to all", 10);
        List<Received> received = new ArrayList<>();
        for (int i = 0; i < 2; i++) {
            DefaultMQPushConsumer consumer = scene.pushConsumer(group);
            consumer.setMessageModel(MessageModel.BROADCASTING);
            consumer.subscribe(topic, "*");
            received.add(scene.receive(consumer));
        }
        scene.send(topic, bodies);
        for (Received one : received) {
            one.exactlyBodies(bodies);
        }
    }

    private static void heartbeatV2(Scene scene) throws Exception {
        String topic = scene.topic(1);
        DefaultMQPushConsumer consumer = scene.pushConsumer(scene.group());
        consumer.setUseHeartbeatV2(true);
        consumer.setHeartbeatBrokerInterval(500);
        consumer.subscribe(topic, "red");
        Received received = scene.receive(consumer);
        Thread.sleep(3_000);
        scene.producer().send(Scene.tagged(topic, "green", "green"));
        scene.producer().send(Scene.tagged(topic, "red", "red"));
        received.exactlyBodies(List.of("red"));
        changeSubscription(scene, consumer, topic, "green");
        scene.producer().send(Scene.tagged(topic, "green", "green again"));
        received.exactlyBodies(List.of("red", "green again"));
    }

    private static void twoTopics(Scene scene) throws Exception {
        String one = scene.topic(1);
        String two = scene.topic(2);
        DefaultMQPushConsumer consumer = scene.pushConsumer(scene.group());
        consumer.subscribe(one, "red");
        consumer.subscribe(two, "*");
        Received received = scene.receive(consumer);
        scene.producer().send(Scene.tagged(one, "red", "one red"));
        scene.producer().send(Scene.tagged(one, "blue", "one blue"));
        scene.producer().send(Scene.tagged(two, "blue", "two blue"));
        received.exactlyBodies(List.of("one red", "two blue"));
    }
}
