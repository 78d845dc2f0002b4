package castmq.interop;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.common.message.MessageExt;

/** Order: a queue's messages one after the other, to one consumer at a time. */
final class OrderChecks {
    static List<Check> all() {
        return List.of(
                new Check("order: each key's messages come in order", OrderChecks::inOrder),
                new Check("order: a suspended queue gives the same message again first", OrderChecks::suspended),
                new Check("order: two consumers never hold one queue at a time", OrderChecks::twoConsumers),
                new Check("order: a message given up after its retries goes to the dead letters", OrderChecks::givenUp));
    }

    private static DefaultMQPushConsumer orderly(Scene scene, String group, String topic) throws Exception {
        DefaultMQPushConsumer consumer = scene.pushConsumer(group);
        consumer.setSuspendCurrentQueueTimeMillis(200);
        consumer.subscribe(topic, "*");
        return consumer;
    }

    private static void sendSteps(Scene scene, String topic, int keys, int steps) throws Exception {
        for (int step = 0; step < steps; step++) {
            for (int key = 0; key < keys; key++) {
                scene.producer().send(Scene.message(topic, key + ":" + step),
                        (queues, message, argument) -> queues.get((Integer) argument % queues.size()), key);
            }
        }
    }

    private static void expectInOrder(List<MessageExt> messages, int keys, int steps) {
        Map<String, List<Integer>> seen = new TreeMap<>();
        for (MessageExt message : messages) {
            String[] parts = Received.body(message).split(":");
            seen.computeIfAbsent(parts[0], key -> new ArrayList<>()).add(Integer.valueOf(parts[1]));
        }
        Expect.same(keys, seen.size(), "keys");
        seen.forEach((key, order) -> {
            for (int step = 0; step < steps; step++) {
                Expect.same(step, order.get(step), "step of key " + key);
            }
        });
    }

    private static void inOrder(Scene scene) throws Exception {
        String topic = scene.topic(4);
        Received received = new Received();
        DefaultMQPushConsumer consumer = orderly(scene, scene.group(), topic);
        consumer.registerMessageListener((MessageListenerOrderly) (messages, context) -> {
            received.add(messages);
            return ConsumeOrderlyStatus.SUCCESS;
        });
        scene.start(consumer);
        sendSteps(scene, topic, 6, 20);
        expectInOrder(received.exactly(120), 6, 20);
    }

    private static void suspended(Scene scene) throws Exception {
        String topic = scene.topic(1);
        sendSteps(scene, topic, 1, 5);
        Received attempts = new Received();
        DefaultMQPushConsumer consumer = orderly(scene, scene.group(), topic);
        consumer.registerMessageListener((MessageListenerOrderly) (messages, context) -> {
            attempts.add(messages);
            boolean firstTry = Received.body(messages.get(0)).equals("0:2") && messages.get(0).getReconsumeTimes() < 2;
            return firstTry ? ConsumeOrderlyStatus.SUSPEND_CURRENT_QUEUE_A_MOMENT : ConsumeOrderlyStatus.SUCCESS;
        });
        scene.start(consumer);
        attempts.exactly(7);
        Expect.same(List.of("0:0", "0:1", "0:2", "0:2", "0:2", "0:3", "0:4"), attempts.bodies(), "attempts");
    }

    private static void twoConsumers(Scene scene) throws Exception {
        String topic = scene.topic(4);
        String group = scene.group();
        Received all = new Received();
        Map<Integer, String> held = new ConcurrentHashMap<>();
        List<String> overlaps = new ArrayList<>();
        List<Received> each = List.of(new Received(), new Received());
        for (int i = 0; i < 2; i++) {
            String name = "consumer-" + i;
            Received own = each.get(i);
            DefaultMQPushConsumer consumer = orderly(scene, group, topic);
            consumer.registerMessageListener((MessageListenerOrderly) (messages, context) -> {
                int queue = messages.get(0).getQueueId();
                String other = held.putIfAbsent(queue, name);
                if (other != null) {
                    overlaps.add(name + " while " + other);
                }
                own.add(messages);
                all.add(messages);
                try {
                    Thread.sleep(5);
                } catch (InterruptedException interrupted) {
                    Thread.currentThread().interrupt();
                }
                held.remove(queue, name);
                return ConsumeOrderlyStatus.SUCCESS;
            });
            scene.start(consumer);
        }
        sendSteps(scene, topic, 4, 10);
        all.atLeast(40);
        Expect.soon("both consumers have queues", () -> {
            sendSteps(scene, topic, 4, 1);
            return each.stream().allMatch(own -> own.count() > 0);
        });
        Expect.same(List.of(), overlaps, "a queue consumed twice at a time");
    }

    private static void givenUp(Scene scene) throws Exception {
        String topic = scene.topic(1);
        String group = scene.group();
        sendSteps(scene, topic, 1, 3);
        Received attempts = new Received();
        DefaultMQPushConsumer consumer = orderly(scene, group, topic);
        consumer.setMaxReconsumeTimes(2);
        consumer.registerMessageListener((MessageListenerOrderly) (messages, context) -> {
            attempts.add(messages);
            boolean bad = Received.body(messages.get(0)).equals("0:1");
            return bad ? ConsumeOrderlyStatus.SUSPEND_CURRENT_QUEUE_A_MOMENT : ConsumeOrderlyStatus.SUCCESS;
        });
        scene.start(consumer);
        Expect.soon("the message after it", () -> attempts.bodies().contains("0:2"));
        Expect.same(List.of("0:0", "0:1", "0:1", "0:1", "0:2"), attempts.bodies(), "attempts");
        RetryChecks.expectDeadLetter(scene, group, topic, "0:1");
    }
}
