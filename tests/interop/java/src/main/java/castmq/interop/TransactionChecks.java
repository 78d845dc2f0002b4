package castmq.interop;

import java.util.List;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.client.producer.TransactionListener;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.client.producer.TransactionSendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/** Transactions: half messages that their producer commits, rolls back, or is asked about. */
final class TransactionChecks {
    static List<Check> all() {
        return List.of(
                new Check("transaction: a committed message comes", scene -> decided(scene, LocalTransactionState.COMMIT_MESSAGE, 1)),
                new Check("transaction: one rolled back never comes", scene -> decided(scene, LocalTransactionState.ROLLBACK_MESSAGE, 0)),
                new Check("transaction: one left open comes once the check says commit",
                        scene -> checked(scene, LocalTransactionState.COMMIT_MESSAGE, 1)),
                new Check("transaction: one left open never comes once the check says roll back",
                        scene -> checked(scene, LocalTransactionState.ROLLBACK_MESSAGE, 0)),
                new Check("transaction: one that stays open is asked about again", TransactionChecks::askedAgain));
    }

    /** Says one state at the sending, and from a given check on another; counts the checks. */
    private static final class Decider implements TransactionListener {
        final AtomicInteger checks = new AtomicInteger();
        private final LocalTransactionState atSend;
        private final LocalTransactionState atCheck;
        private final int decidesAtCheck;
        volatile MessageExt lastChecked;

        Decider(LocalTransactionState atSend, LocalTransactionState atCheck, int decidesAtCheck) {
            this.atSend = atSend;
            this.atCheck = atCheck;
            this.decidesAtCheck = decidesAtCheck;
        }

        @Override
        public LocalTransactionState executeLocalTransaction(Message message, Object argument) {
            return atSend;
        }

        @Override
        public LocalTransactionState checkLocalTransaction(MessageExt message) {
            lastChecked = message;
            return checks.incrementAndGet() >= decidesAtCheck ? atCheck : LocalTransactionState.UNKNOW;
        }
    }

    private static TransactionMQProducer producer(Scene scene, Decider decider) throws Exception {
        TransactionMQProducer producer = new TransactionMQProducer(scene.fresh("transactions"));
        producer.setTransactionListener(decider);
        return scene.started(producer);
    }

    private static TransactionSendResult send(TransactionMQProducer producer, String topic) throws Exception {
        Message message = Scene.tagged(topic, "tag", "in a transaction");
        message.setKeys("the-key");
        TransactionSendResult result = producer.sendMessageInTransaction(message, null);
        Expect.same(SendStatus.SEND_OK, result.getSendStatus(), "status");
        Expect.that(result.getTransactionId() != null, "no transaction id");
        return result;
    }

    private static void decided(Scene scene, LocalTransactionState state, int expected) throws Exception {
        String topic = scene.topic(1);
        Received received = scene.receive(topic);
        Decider decider = new Decider(state, LocalTransactionState.UNKNOW, Integer.MAX_VALUE);
        TransactionSendResult result = send(producer(scene, decider), topic);
        List<MessageExt> seen = received.exactly(expected);
        Expect.same(state, result.getLocalTransactionState(), "state of the answer");
        Expect.same(0, decider.checks.get(), "checks");
        if (expected == 1) {
            Expect.same(topic, seen.get(0).getTopic(), "topic");
            Expect.same("the-key", seen.get(0).getKeys(), "keys");
            Expect.same("tag", seen.get(0).getTags(), "tags");
            Expect.same(result.getTransactionId(), seen.get(0).getTransactionId(), "transaction id");
            Expect.that(seen.get(0).getPreparedTransactionOffset() > 0, "no offset of the half message");
        }
    }

    private static void checked(Scene scene, LocalTransactionState state, int expected) throws Exception {
        String topic = scene.topic(1);
        Received received = scene.receive(topic);
        Decider decider = new Decider(LocalTransactionState.UNKNOW, state, 1);
        TransactionMQProducer producer = producer(scene, decider);
        send(producer, topic);
        Expect.same(0, received.count(), "messages before the check");
        Expect.soon("the broker asks", () -> decider.checks.get() > 0);
        received.exactly(expected);
        Expect.same(topic, decider.lastChecked.getTopic(), "topic of the check");
        Expect.same("the-key", decider.lastChecked.getKeys(), "keys of the check");
        Thread.sleep(4_000);
        Expect.same(1, decider.checks.get(), "checks of a decided transaction");
    }

    private static void askedAgain(Scene scene) throws Exception {
        String topic = scene.topic(1);
        Received received = scene.receive(topic);
        Decider decider = new Decider(LocalTransactionState.UNKNOW, LocalTransactionState.COMMIT_MESSAGE, 3);
        send(producer(scene, decider), topic);
        MessageExt seen = received.exactly(1).get(0);
        Expect.same(3, decider.checks.get(), "checks");
        Expect.same("in a transaction", Received.body(seen), "body");
    }
}
