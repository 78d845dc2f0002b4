package castmq.interop;

import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.exception.RequestTimeoutException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.RequestCallback;
import org.apache.rocketmq.client.utils.MessageUtil;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/** A request in a message, and its reply in another. */
final class RequestReplyChecks {
    static List<Check> all() {
        return List.of(
                new Check("request: a reply comes back", RequestReplyChecks::replied),
                new Check("request: a reply comes back by callback", RequestReplyChecks::repliedByCallback),
                new Check("request: nobody replies", RequestReplyChecks::noReply));
    }

    /** Replies to each request of the topic with its body in capitals. */
    private static void startResponder(Scene scene, String topic) throws Exception {
        DefaultMQProducer replies = scene.started(new DefaultMQProducer(scene.fresh("replies")));
        DefaultMQPushConsumer consumer = scene.pushConsumer(scene.group());
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            for (MessageExt message : messages) {
                try {
                    Message reply = MessageUtil.createReplyMessage(message, Received.body(message).toUpperCase().getBytes());
                    replies.send(reply, 5_000);
                } catch (Exception failure) {
                    return ConsumeConcurrentlyStatus.RECONSUME_LATER;
                }
            }
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        scene.start(consumer);
    }

    private static void replied(Scene scene) throws Exception {
        String topic = scene.topic(1);
        startResponder(scene, topic);
        for (String body : List.of("first", "second")) {
            Message reply = scene.producer().request(Scene.message(topic, body), 15_000);
            Expect.same(body.toUpperCase(), new String(reply.getBody()), "reply");
        }
    }

    private static void repliedByCallback(Scene scene) throws Exception {
        String topic = scene.topic(1);
        startResponder(scene, topic);
        CompletableFuture<Message> reply = new CompletableFuture<>();
        scene.producer().request(Scene.message(topic, "asked"), new RequestCallback() {
            @Override
            public void onSuccess(Message message) {
                // The client calls once without a message when the request is sent, and again with the reply.
                if (message != null) {
                    reply.complete(message);
                }
            }

            @Override
            public void onException(Throwable failure) {
                reply.completeExceptionally(failure);
            }
        }, 15_000);
        Expect.same("ASKED", new String(reply.get(20, TimeUnit.SECONDS).getBody()), "reply");
    }

    private static void noReply(Scene scene) throws Exception {
        String topic = scene.topic(1);
        try {
            scene.producer().request(Scene.message(topic, "anyone?"), 2_000);
        } catch (RequestTimeoutException expected) {
            return;
        }
        throw new AssertionError("a reply from nobody");
    }
}
