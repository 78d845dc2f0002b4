package castmq.interop;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeSet;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import org.apache.rocketmq.client.consumer.AckResult;
import org.apache.rocketmq.client.consumer.AckStatus;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.PopResult;
import org.apache.rocketmq.client.consumer.PopStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.common.constant.ConsumeInitMode;
import org.apache.rocketmq.common.filter.ExpressionType;
import org.apache.rocketmq.common.message.MessageConst;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.common.message.MessageRequestMode;

/** POP: messages handed out with a time to acknowledge them, by the push consumer and by the requests themselves. */
final class PopChecks {
    static List<Check> all() {
        return List.of(
                new Check("pop: a push consumer set to POP takes each message once", PopChecks::pushConsumer),
                new Check("pop: consumers of a group share one queue", PopChecks::sharedQueue),
                new Check("pop: a message that a push consumer gives back comes again", PopChecks::givenBack),
                new Check("pop: acknowledged messages stay away", PopChecks::acknowledged),
                new Check("pop: messages that are not acknowledged come again", PopChecks::notAcknowledged),
                new Check("pop: many are acknowledged in one request", PopChecks::acknowledgedTogether),
                new Check("pop: a changed invisible time is kept to", PopChecks::changedInvisibleTime),
                new Check("pop: a waiting pop is answered by the next message", PopChecks::waiting),
                new Check("pop: by tag and by SQL92", PopChecks::filtered),
                new Check("pop: in order, a queue waits for the acknowledgement", PopChecks::inOrder),
                new Check("pop: a new group of the kind 'last' begins at the end", PopChecks::fromLast));
    }

    private static DefaultMQPushConsumer popping(Scene scene, String group, String topic) throws Exception {
        scene.admin().setMessageRequestMode(scene.broker(), topic, group, MessageRequestMode.POP, 8, 5_000);
        DefaultMQPushConsumer consumer = scene.pushConsumer(group);
        consumer.setClientRebalance(false);
        consumer.subscribe(topic, "*");
        return consumer;
    }

    private static void pushConsumer(Scene scene) throws Exception {
        String topic = scene.topic(4);
        DefaultMQPushConsumer consumer = popping(scene, scene.group(), topic);
        Received received = scene.receive(consumer);
        List<String> bodies = Scene.bodies("popped", 40);
        scene.send(topic, bodies);
        received.exactlyBodies(bodies);
        for (MessageExt message : received.messages()) {
            Expect.that(message.getProperty(MessageConst.PROPERTY_POP_CK) != null, "a message that was pulled, not popped");
        }
    }

    private static void sharedQueue(Scene scene) throws Exception {
        String topic = scene.topic(1);
        String group = scene.group();
        List<Received> received = new ArrayList<>();
        for (int i = 0; i < 2; i++) {
            DefaultMQPushConsumer consumer = popping(scene, group, topic);
            consumer.setPopBatchNums(2);
            Received own = new Received();
            consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
                own.add(messages);
                try {
                    Thread.sleep(20);
                } catch (InterruptedException interrupted) {
                    Thread.currentThread().interrupt();
                }
                return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
            });
            scene.start(consumer);
            received.add(own);
        }
        TreeSet<String> sent = new TreeSet<>();
        Expect.soon("both consumers got messages of the one queue", () -> {
            List<String> bodies = Scene.bodies("shared-" + sent.size(), 20);
            sent.addAll(bodies);
            scene.send(topic, bodies);
            Thread.sleep(300);
            return received.stream().allMatch(own -> own.count() > 0);
        });
        Expect.soon("all messages", () -> received.get(0).count() + received.get(1).count() >= sent.size());
        Thread.sleep(1_000);
        Expect.same(sent.size(), received.get(0).count() + received.get(1).count(), "messages received");
        TreeSet<String> all = new TreeSet<>(received.get(0).bodies());
        all.addAll(received.get(1).bodies());
        Expect.same(sent, all, "bodies");
    }

    private static void givenBack(Scene scene) throws Exception {
        String topic = scene.topic(1);
        scene.send(topic, List.of("refused once"));
        Received attempts = new Received();
        DefaultMQPushConsumer consumer = popping(scene, scene.group(), topic);
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            attempts.add(messages);
            return messages.get(0).getReconsumeTimes() == 0 ? ConsumeConcurrentlyStatus.RECONSUME_LATER : ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        scene.start(consumer);
        List<MessageExt> seen = attempts.exactly(2);
        Expect.same(1, seen.get(1).getReconsumeTimes(), "reconsume times");
        Expect.same(topic, seen.get(1).getTopic(), "topic");
    }

    /** Sends, and waits until all can be popped: a pop takes what is there. */
    private static void sendAndIndex(Scene scene, String topic, List<String> bodies) throws Exception {
        scene.send(topic, bodies);
        MessageQueue queue = scene.queues(topic).get(0);
        Expect.soon("the messages are in their queue", () -> scene.admin().maxOffset(queue) >= bodies.size());
    }

    private static void acknowledged(Scene scene) throws Exception {
        String topic = scene.topic(1);
        Popper popper = new Popper(scene, topic);
        sendAndIndex(scene, topic, Scene.bodies("n", 3));
        List<MessageExt> messages = popper.popped(32, 3_000, 3_000);
        Expect.same(3, messages.size(), "messages");
        for (MessageExt message : messages) {
            Expect.same(AckStatus.OK, popper.ack(message).getStatus(), "status of the acknowledgement");
        }
        Expect.same(List.of(), popper.bodies(32, 3_000, 6_000), "messages after the invisible time");
    }

    private static void notAcknowledged(Scene scene) throws Exception {
        String topic = scene.topic(1);
        Popper popper = new Popper(scene, topic);
        sendAndIndex(scene, topic, List.of("kept", "acknowledged"));
        long poppedAt = System.currentTimeMillis();
        for (MessageExt message : popper.popped(32, 2_000, 3_000)) {
            if (Received.body(message).equals("acknowledged")) {
                popper.ack(message);
            }
        }
        Expect.same(List.of(), popper.bodies(32, 2_000, 500), "messages within the invisible time");
        List<MessageExt> again = new ArrayList<>();
        Expect.soon("the message again", () -> again.addAll(popper.popped(32, 60_000, 3_000)));
        Expect.that(System.currentTimeMillis() - poppedAt >= 2_000, "it came before its invisible time was over");
        Expect.same(List.of("kept"), again.stream().map(Received::body).toList(), "messages that came again");
        Expect.same(1, again.get(0).getReconsumeTimes(), "reconsume times");
        Expect.same(topic, again.get(0).getTopic(), "topic");
        Expect.same(AckStatus.OK, popper.ack(again.get(0)).getStatus(), "status of the acknowledgement");
    }

    private static void acknowledgedTogether(Scene scene) throws Exception {
        String topic = scene.topic(1);
        Popper popper = new Popper(scene, topic);
        sendAndIndex(scene, topic, Scene.bodies("n", 6));
        List<MessageExt> messages = popper.popped(32, 3_000, 3_000);
        Expect.same(6, messages.size(), "messages");
        Expect.same(AckStatus.OK, popper.ackAll(messages.subList(0, 5)).getStatus(), "status of the acknowledgement");
        List<String> again = new ArrayList<>();
        Expect.soon("the one left", () -> again.addAll(popper.bodies(32, 60_000, 3_000)));
        Expect.same(List.of("n-5"), again, "messages that came again");
    }

    private static void changedInvisibleTime(Scene scene) throws Exception {
        String topic = scene.topic(1);
        Popper popper = new Popper(scene, topic);
        sendAndIndex(scene, topic, List.of("sooner"));
        MessageExt message = popper.popped(1, 60_000, 3_000).get(0);
        long hiddenAt = System.currentTimeMillis();
        AckResult changed = popper.hide(message, 3_000);
        Expect.same(AckStatus.OK, changed.getStatus(), "status");
        Expect.that(changed.getExtraInfo() != null, "no new handle");
        List<String> again = new ArrayList<>();
        Expect.soon("the message again", () -> again.addAll(popper.bodies(32, 60_000, 3_000)));
        Expect.between(3_000, 15_000, System.currentTimeMillis() - hiddenAt, "time to the second attempt");
    }

    private static void waiting(Scene scene) throws Exception {
        String topic = scene.topic(2);
        Popper popper = new Popper(scene, topic);
        CompletableFuture<PopResult> waiting = popper.pop(32, 10_000, 10_000);
        Thread.sleep(1_000);
        Expect.that(!waiting.isDone(), "a pop of an empty topic did not wait");
        long sentAt = System.currentTimeMillis();
        scene.send(topic, List.of("at last"));
        PopResult result = waiting.get(10, TimeUnit.SECONDS);
        Expect.same(PopStatus.FOUND, result.getPopStatus(), "status");
        Expect.between(0, 1_500, System.currentTimeMillis() - sentAt, "time to the answer, in ms");
        long askedAt = System.currentTimeMillis();
        Expect.same(List.of(), popper.bodies(32, 10_000, 1_500), "messages of an empty topic");
        Expect.between(1_000, 4_000, System.currentTimeMillis() - askedAt, "time of a pop that found nothing");
    }

    private static void filtered(Scene scene) throws Exception {
        String topic = scene.topic(1);
        for (int i = 0; i < 4; i++) {
            var message = Scene.tagged(topic, i % 2 == 0 ? "even" : "odd", "n" + i);
            message.putUserProperty("n", Integer.toString(i));
            scene.producer().send(message);
        }
        MessageQueue queue = scene.queues(topic).get(0);
        Expect.soon("the messages are in their queue", () -> scene.admin().maxOffset(queue) == 4);
        Popper byTag = new Popper(scene, topic);
        byTag.expression = "odd";
        Expect.same(List.of("n1", "n3"), byTag.bodies(32, 30_000, 3_000), "by tag");
        Popper bySql = new Popper(scene, topic);
        bySql.expressionType = ExpressionType.SQL92;
        bySql.expression = "n > 1";
        Expect.same(List.of("n2", "n3"), bySql.bodies(32, 30_000, 3_000), "by SQL92");
    }

    private static void inOrder(Scene scene) throws Exception {
        String topic = scene.topic(1, Map.of("+message.type", "FIFO"));
        Popper popper = new Popper(scene, topic);
        popper.order = true;
        sendAndIndex(scene, topic, Scene.bodies("n", 4));
        List<MessageExt> first = popper.popped(2, 4_000, 3_000);
        Expect.same(List.of("n-0", "n-1"), first.stream().map(Received::body).toList(), "the first two");
        Expect.same(List.of(), popper.bodies(2, 4_000, 500), "messages while those are open");
        for (MessageExt message : first) {
            Expect.same(AckStatus.OK, popper.ack(message).getStatus(), "status of the acknowledgement");
        }
        List<MessageExt> second = popper.popped(2, 2_000, 3_000);
        Expect.same(List.of("n-2", "n-3"), second.stream().map(Received::body).toList(), "the next two");
        Thread.sleep(2_500);
        List<MessageExt> again = popper.popped(2, 10_000, 5_000);
        Expect.same(List.of("n-2", "n-3"), again.stream().map(Received::body).toList(), "the same two, after their invisible time");
        Expect.same(1, again.get(0).getReconsumeTimes(), "reconsume times");
    }

    /** Where a pull would begin at the first message, which is in memory, a pop begins with the last. */
    private static void fromLast(Scene scene) throws Exception {
        String topic = scene.topic(1);
        sendAndIndex(scene, topic, Scene.bodies("early", 3));
        Popper popper = new Popper(scene, topic);
        popper.initMode = ConsumeInitMode.MAX;
        popper.popped(32, 30_000, 1_000);
        scene.send(topic, List.of("new"));
        List<String> seen = new ArrayList<>();
        Expect.soon("the new message", () -> {
            seen.addAll(popper.bodies(32, 30_000, 1_000));
            return seen.contains("new");
        });
    }
}
