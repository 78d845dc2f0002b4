package castmq.interop;

import java.util.List;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.common.MixAll;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageConst;
import org.apache.rocketmq.common.message.MessageExt;

/** Messages that their consumer could not take. */
final class RetryChecks {
    static List<Check> all() {
        return List.of(
                new Check("retry: a message given back comes again", RetryChecks::again),
                new Check("retry: a level chosen by the listener is the delay", RetryChecks::chosenLevel),
                new Check("retry: only the failed ones of several come again", RetryChecks::someOfSeveral),
                new Check("retry: after its retries a message goes to the dead letters", RetryChecks::deadLetter),
                new Check("retry: a listener can send to the dead letters at once", RetryChecks::deadLetterAtOnce));
    }

    /** The dead letters of the group are this one, with what tells where it came from. */
    static void expectDeadLetter(Scene scene, String group, String topic, String body) throws Exception {
        String deadLetters = MixAll.getDLQTopic(group);
        Expect.soon("the topic of dead letters", () -> {
            try {
                return !scene.admin().examineTopicRouteInfo(deadLetters).getQueueDatas().isEmpty();
            } catch (Exception notYet) {
                return false;
            }
        });
        // As it is made, nobody may read it.
        var config = scene.admin().examineTopicConfig(scene.broker(), deadLetters);
        config.setPerm(6);
        scene.admin().createAndUpdateTopicConfig(scene.broker(), config);
        MessageExt dead = scene.receive(deadLetters).exactly(1).get(0);
        Expect.same(body, Received.body(dead), "body");
        Expect.same(topic, dead.getProperty(MessageConst.PROPERTY_RETRY_TOPIC), "where the dead letter comes from");
    }

    private static void again(Scene scene) throws Exception {
        String topic = scene.topic(1);
        Message message = Scene.tagged(topic, "tag", "twice refused");
        message.setKeys("key");
        message.putUserProperty("colour", "red");
        String id = scene.producer().send(message).getMsgId();
        scene.send(topic, List.of("fine"));
        Received attempts = new Received();
        DefaultMQPushConsumer consumer = scene.pushConsumer(scene.group());
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            attempts.add(messages);
            boolean refuse = Received.body(messages.get(0)).equals("twice refused") && messages.get(0).getReconsumeTimes() < 2;
            return refuse ? ConsumeConcurrentlyStatus.RECONSUME_LATER : ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        scene.start(consumer);
        List<MessageExt> tries = attempts.exactly(4).stream().filter(m -> Received.body(m).equals("twice refused")).toList();
        Expect.same(3, tries.size(), "attempts");
        for (int i = 0; i < 3; i++) {
            MessageExt attempt = tries.get(i);
            Expect.same(i, attempt.getReconsumeTimes(), "reconsume times");
            Expect.same(topic, attempt.getTopic(), "topic");
            Expect.same("tag", attempt.getTags(), "tags");
            Expect.same("key", attempt.getKeys(), "keys");
            Expect.same("red", attempt.getUserProperty("colour"), "property");
            Expect.same(id, attempt.getMsgId(), "message id");
        }
        List<Long> levels = scene.delayLevels();
        for (int i = 1; i < 3; i++) {
            long gap = tries.get(i).getStoreTimestamp() - tries.get(i - 1).getStoreTimestamp();
            Expect.that(gap >= levels.get(1 + i) - 100, "attempt " + i + " came after " + gap + " ms");
        }
    }

    private static void chosenLevel(Scene scene) throws Exception {
        String topic = scene.topic(1);
        scene.send(topic, List.of("later"));
        long delay = scene.delayLevels().get(1);
        Received attempts = new Received();
        DefaultMQPushConsumer consumer = scene.pushConsumer(scene.group());
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            attempts.add(messages);
            context.setDelayLevelWhenNextConsume(2);
            return messages.get(0).getReconsumeTimes() == 0 ? ConsumeConcurrentlyStatus.RECONSUME_LATER : ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        scene.start(consumer);
        attempts.exactly(2);
        Expect.between(delay, delay + 5_000, attempts.timeOf(1) - attempts.timeOf(0), "time to the second attempt");
    }

    private static void someOfSeveral(Scene scene) throws Exception {
        String topic = scene.topic(1);
        List<String> bodies = Scene.bodies("several", 4);
        scene.send(topic, bodies);
        Received attempts = new Received();
        Received firsts = new Received();
        DefaultMQPushConsumer consumer = scene.pushConsumer(scene.group());
        consumer.setConsumeMessageBatchMaxSize(4);
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            attempts.add(messages);
            if (messages.get(0).getReconsumeTimes() == 0) {
                firsts.add(messages);
                // The first of each call is taken, the rest is given back.
                context.setAckIndex(0);
            }
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        scene.start(consumer);
        firsts.atLeast(4);
        Expect.soon("those given back", () -> attempts.messages().stream().filter(m -> m.getReconsumeTimes() == 1).count() >= 1
                || attempts.count() == 4);
        Thread.sleep(3_000);
        Expect.same(4L, attempts.messages().stream().filter(m -> m.getReconsumeTimes() == 0).count(), "first attempts");
        Expect.that(attempts.messages().stream().noneMatch(m -> m.getReconsumeTimes() > 1), "a message taken at the second attempt came again");
    }

    private static void deadLetter(Scene scene) throws Exception {
        String topic = scene.topic(1);
        String group = scene.group();
        scene.send(topic, List.of("refused"));
        Received attempts = new Received();
        DefaultMQPushConsumer consumer = scene.pushConsumer(group);
        consumer.setMaxReconsumeTimes(2);
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            attempts.add(messages);
            return ConsumeConcurrentlyStatus.RECONSUME_LATER;
        });
        scene.start(consumer);
        attempts.atLeast(3);
        expectDeadLetter(scene, group, topic, "refused");
        Expect.same(List.of(0, 1, 2), attempts.messages().stream().map(MessageExt::getReconsumeTimes).toList(), "attempts");
    }

    private static void deadLetterAtOnce(Scene scene) throws Exception {
        String topic = scene.topic(1);
        String group = scene.group();
        scene.send(topic, List.of("never again"));
        Received attempts = new Received();
        DefaultMQPushConsumer consumer = scene.pushConsumer(group);
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            attempts.add(messages);
            context.setDelayLevelWhenNextConsume(-1);
            return ConsumeConcurrentlyStatus.RECONSUME_LATER;
        });
        scene.start(consumer);
        attempts.exactly(1);
        expectDeadLetter(scene, group, topic, "never again");
    }
}
