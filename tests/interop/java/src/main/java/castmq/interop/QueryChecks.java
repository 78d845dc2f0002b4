package castmq.interop;

import java.util.List;
import org.apache.rocketmq.client.QueryResult;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.topic.TopicValidator;
import org.apache.rocketmq.remoting.protocol.ResponseCode;

/** Finding messages, and the traces that clients leave of them. */
final class QueryChecks {
    static List<Check> all() {
        return List.of(
                new Check("query: by key", QueryChecks::byKey),
                new Check("query: by unique key", QueryChecks::byUniqueKey),
                new Check("query: by offset id", QueryChecks::byOffsetId),
                new Check("query: what is not there", QueryChecks::nothing),
                new Check("trace: what producer and consumer did with a message", QueryChecks::trace));
    }

    private static void byKey(Scene scene) throws Exception {
        String topic = scene.topic(2);
        long begin = System.currentTimeMillis() - 1_000;
        for (int i = 0; i < 3; i++) {
            Message message = Scene.message(topic, "n" + i);
            message.setKeys(List.of("all", "key-" + i));
            scene.producer().send(message);
        }
        scene.producer().send(Scene.message(topic, "without a key"));
        Expect.soon("the index has them", () -> find(scene, topic, "all", begin).size() == 3);
        List<MessageExt> one = find(scene, topic, "key-1", begin);
        Expect.same(List.of("n1"), one.stream().map(Received::body).toList(), "messages of one key");
        Expect.same(2, scene.admin().queryMessage(topic, "all", 2, begin, Long.MAX_VALUE).getMessageList().size(), "messages, two at most");
    }

    private static List<MessageExt> find(Scene scene, String topic, String key, long begin) throws Exception {
        try {
            return scene.admin().queryMessage(topic, key, 32, begin, System.currentTimeMillis() + 1_000).getMessageList();
        } catch (MQClientException failure) {
            if (failure.getResponseCode() == ResponseCode.NO_MESSAGE) {
                return List.of();
            }
            throw failure;
        }
    }

    private static void byUniqueKey(Scene scene) throws Exception {
        String topic = scene.topic(1);
        SendResult result = scene.send(topic, List.of("only")).get(0);
        Expect.soon("the index has it", () -> {
            try {
                QueryResult found = scene.admin().queryMessageByUniqKey(scene.cluster(), topic, result.getMsgId(), 32, 0, Long.MAX_VALUE);
                return found.getMessageList().size() == 1 && Received.body(found.getMessageList().get(0)).equals("only");
            } catch (MQClientException notYet) {
                return false;
            }
        });
        Expect.same("only", Received.body(scene.admin().viewMessage(topic, result.getMsgId())), "the message by its id");
    }

    private static void byOffsetId(Scene scene) throws Exception {
        String topic = scene.topic(1);
        SendResult result = scene.send(topic, Scene.bodies("n", 3)).get(1);
        MessageExt message = scene.admin().viewMessage(topic, result.getOffsetMsgId());
        Expect.same("n-1", Received.body(message), "body");
        Expect.same(result.getMsgId(), message.getMsgId(), "message id");
        Expect.same(1L, message.getQueueOffset(), "queue offset");
    }

    private static void nothing(Scene scene) throws Exception {
        String topic = scene.topic(1);
        scene.send(topic, List.of("n"));
        Expect.refused(ResponseCode.NO_MESSAGE, () -> scene.admin().queryMessage(topic, "missing", 32, 0, Long.MAX_VALUE));
    }

    private static void trace(Scene scene) throws Exception {
        String topic = scene.topic(1);
        String group = scene.group();
        DefaultMQProducer producer = scene.started(new DefaultMQProducer(scene.fresh("traced"), true, null));
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(group, true, null);
        scene.pointed(consumer);
        consumer.setConsumeFromWhere(org.apache.rocketmq.common.consumer.ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.subscribe(topic, "*");
        Message message = Scene.message(topic, "traced");
        message.setKeys("traced-key");
        SendResult result = producer.send(message);
        scene.receive(consumer).exactly(1);
        Expect.soon("traces of the sending and of the consumption", () -> {
            String all = String.join("\n", find(scene, TopicValidator.RMQ_SYS_TRACE_TOPIC, result.getMsgId(), 0).stream().map(Received::body).toList());
            return all.contains("Pub\u0001") && all.contains("SubBefore\u0001") && all.contains("SubAfter\u0001");
        });
    }
}
