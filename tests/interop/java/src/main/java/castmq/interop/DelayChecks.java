package castmq.interop;

import java.util.Comparator;
import java.util.List;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageConst;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.remoting.protocol.ResponseCode;

/** Messages for later. */
final class DelayChecks {
    /** How late a message may be: the timer is exact to a second, and the machine may be busy. */
    private static final long LATE_MS = 5_000;

    static List<Check> all() {
        return List.of(
                new Check("delay: by level", DelayChecks::byLevel),
                new Check("delay: to a given time", DelayChecks::toATime),
                new Check("delay: by seconds and by milliseconds", DelayChecks::byLength),
                new Check("delay: a time that is past is now", DelayChecks::past),
                new Check("delay: a time too far away is refused", DelayChecks::tooFar),
                new Check("delay: a message recalled before its time never comes", DelayChecks::recalled));
    }

    private static void expectDelay(MessageExt message, long sentAt, long cameAt, long delayMs, long earlyMs) {
        Expect.between(delayMs - earlyMs, delayMs + LATE_MS, cameAt - sentAt, "delay of " + Received.body(message));
    }

    private static void byLevel(Scene scene) throws Exception {
        String topic = scene.topic(1);
        List<Long> levels = scene.delayLevels();
        Received received = scene.receive(topic);
        long sentAt = System.currentTimeMillis();
        for (int level : new int[] {2, 1}) {
            Message message = Scene.tagged(topic, "tag", "level " + level);
            message.setDelayTimeLevel(level);
            scene.producer().send(message);
        }
        List<MessageExt> seen = received.exactly(2);
        // In the queue: those that come with one answer are handled at once.
        List<MessageExt> stored = seen.stream().sorted(Comparator.comparing(MessageExt::getQueueOffset)).toList();
        Expect.same(List.of("level 1", "level 2"), stored.stream().map(Received::body).toList(), "order");
        for (int i = 0; i < 2; i++) {
            expectDelay(seen.get(i), sentAt, received.timeOf(i), levels.get(stored.indexOf(seen.get(i))), 0);
            Expect.same(topic, seen.get(i).getTopic(), "topic");
            Expect.same("tag", seen.get(i).getTags(), "tags");
        }
    }

    private static void toATime(Scene scene) throws Exception {
        String topic = scene.topic(1);
        Received received = scene.receive(topic);
        long sentAt = System.currentTimeMillis();
        Message message = Scene.message(topic, "at its time");
        message.setDeliverTimeMs(sentAt + 3_500);
        scene.producer().send(message);
        MessageExt seen = received.exactly(1).get(0);
        expectDelay(seen, sentAt, received.timeOf(0), 3_500, 1_500);
        Expect.same(topic, seen.getTopic(), "topic");
        Expect.that(seen.getProperty(MessageConst.PROPERTY_TIMER_DEQUEUE_MS) != null, "it did not go through the timer");
    }

    private static void byLength(Scene scene) throws Exception {
        String topic = scene.topic(1);
        Received received = scene.receive(topic);
        long sentAt = System.currentTimeMillis();
        Message seconds = Scene.message(topic, "two seconds");
        seconds.setDelayTimeSec(2);
        scene.producer().send(seconds);
        Message milliseconds = Scene.message(topic, "4000 milliseconds");
        milliseconds.setDelayTimeMs(4_000);
        scene.producer().send(milliseconds);
        List<MessageExt> seen = received.exactly(2);
        Expect.same(List.of("two seconds", "4000 milliseconds"), received.bodies(), "order");
        expectDelay(seen.get(0), sentAt, received.timeOf(0), 2_000, 1_500);
        expectDelay(seen.get(1), sentAt, received.timeOf(1), 4_000, 1_500);
    }

    private static void past(Scene scene) throws Exception {
        String topic = scene.topic(1);
        Received received = scene.receive(topic);
        Message message = Scene.message(topic, "too late already");
        message.setDeliverTimeMs(System.currentTimeMillis() - 60_000);
        long sentAt = System.currentTimeMillis();
        scene.producer().send(message);
        received.exactly(1);
        Expect.between(0, LATE_MS, received.timeOf(0) - sentAt, "delay");
    }

    private static void tooFar(Scene scene) throws Exception {
        String topic = scene.topic(1);
        Message message = Scene.message(topic, "in a month");
        message.setDeliverTimeMs(System.currentTimeMillis() + 30L * 86_400_000);
        Expect.refused(ResponseCode.MESSAGE_ILLEGAL, () -> scene.producer().send(message));
    }

    private static void recalled(Scene scene) throws Exception {
        String topic = scene.topic(1);
        Received received = scene.receive(topic);
        long at = System.currentTimeMillis() + 6_000;
        Message recalled = Scene.message(topic, "recalled");
        recalled.setDeliverTimeMs(at);
        SendResult result = scene.producer().send(recalled);
        Message kept = Scene.message(topic, "kept");
        kept.setDeliverTimeMs(at + 1_000);
        scene.producer().send(kept);
        Expect.that(result.getRecallHandle() != null, "no recall handle");
        Expect.same(result.getMsgId(), scene.producer().recallMessage(topic, result.getRecallHandle()), "recalled message");
        received.exactlyBodies(List.of("kept"));
    }
}
