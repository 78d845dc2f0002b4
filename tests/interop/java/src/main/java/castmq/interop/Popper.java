package castmq.interop;

import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import org.apache.rocketmq.client.consumer.AckCallback;
import org.apache.rocketmq.client.consumer.AckResult;
import org.apache.rocketmq.client.consumer.PopCallback;
import org.apache.rocketmq.client.consumer.PopResult;
import org.apache.rocketmq.client.consumer.PopStatus;
import org.apache.rocketmq.client.impl.MQClientAPIImpl;
import org.apache.rocketmq.common.constant.ConsumeInitMode;
import org.apache.rocketmq.common.filter.ExpressionType;
import org.apache.rocketmq.common.message.MessageConst;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.remoting.protocol.header.AckMessageRequestHeader;
import org.apache.rocketmq.remoting.protocol.header.ChangeInvisibleTimeRequestHeader;
import org.apache.rocketmq.remoting.protocol.header.ExtraInfoUtil;
import org.apache.rocketmq.remoting.protocol.header.PopMessageRequestHeader;
import org.apache.rocketmq.remoting.protocol.subscription.SubscriptionGroupConfig;

/** Pops, acknowledges and hides by hand, for one group and the one queue of a topic. */
final class Popper {
    private final MQClientAPIImpl api;
    private final String broker;
    private final String brokerName;
    private final String topic;
    private final String group;
    boolean order;
    int initMode = ConsumeInitMode.MIN;
    String expressionType = ExpressionType.TAG;
    String expression = "*";

    Popper(Scene scene, String topic) throws Exception {
        this(scene, topic, scene.group());
        SubscriptionGroupConfig config = new SubscriptionGroupConfig();
        config.setGroupName(group);
        scene.admin().createAndUpdateSubscriptionGroupConfig(broker, config);
    }

    /** For a group that is there. */
    Popper(Scene scene, String topic, String group) throws Exception {
        MessageQueue queue = scene.queues(topic).get(0);
        this.api = scene.producer().getDefaultMQProducerImpl().getMqClientFactory().getMQClientAPIImpl();
        this.broker = scene.broker();
        this.brokerName = queue.getBrokerName();
        this.topic = topic;
        this.group = group;
    }

    CompletableFuture<PopResult> pop(int most, long invisibleMs, long pollMs) throws Exception {
        PopMessageRequestHeader header = new PopMessageRequestHeader();
        header.setConsumerGroup(group);
        header.setTopic(topic);
        header.setQueueId(order ? 0 : -1);
        header.setMaxMsgNums(most);
        header.setInvisibleTime(invisibleMs);
        header.setPollTime(pollMs);
        header.setBornTime(System.currentTimeMillis());
        header.setInitMode(initMode);
        header.setExpType(expressionType);
        header.setExp(expression);
        header.setOrder(order);
        CompletableFuture<PopResult> answer = new CompletableFuture<>();
        api.popMessageAsync(brokerName, broker, header, pollMs + 10_000, new PopCallback() {
            @Override
            public void onSuccess(PopResult result) {
                answer.complete(result);
            }

            @Override
            public void onException(Throwable failure) {
                answer.completeExceptionally(failure);
            }
        });
        return answer;
    }

    /** The messages of one pop, none where the broker had none within the time. */
    List<MessageExt> popped(int most, long invisibleMs, long pollMs) throws Exception {
        PopResult result = pop(most, invisibleMs, pollMs).get(30, TimeUnit.SECONDS);
        return result.getPopStatus() == PopStatus.FOUND ? result.getMsgFoundList() : List.of();
    }

    List<String> bodies(int most, long invisibleMs, long pollMs) throws Exception {
        return popped(most, invisibleMs, pollMs).stream().map(Received::body).toList();
    }

    private AckResult answer(CompletableFuture<AckResult> answer) throws Exception {
        return answer.get(30, TimeUnit.SECONDS);
    }

    private AckCallback into(CompletableFuture<AckResult> answer) {
        return new AckCallback() {
            @Override
            public void onSuccess(AckResult result) {
                answer.complete(result);
            }

            @Override
            public void onException(Throwable failure) {
                answer.completeExceptionally(failure);
            }
        };
    }

    /** The topic that an acknowledgement names: that of retries where the message came from there. */
    private String realTopic(String handle) {
        return ExtraInfoUtil.getRealTopic(ExtraInfoUtil.split(handle), topic, group);
    }

    AckResult ack(MessageExt message) throws Exception {
        String handle = message.getProperty(MessageConst.PROPERTY_POP_CK);
        String[] parts = ExtraInfoUtil.split(handle);
        AckMessageRequestHeader header = new AckMessageRequestHeader();
        header.setConsumerGroup(group);
        header.setTopic(realTopic(handle));
        header.setQueueId(ExtraInfoUtil.getQueueId(parts));
        header.setOffset(ExtraInfoUtil.getQueueOffset(parts));
        header.setExtraInfo(handle);
        CompletableFuture<AckResult> answer = new CompletableFuture<>();
        api.ackMessageAsync(broker, 5_000, into(answer), header);
        return answer(answer);
    }

    AckResult ackAll(List<MessageExt> messages) throws Exception {
        List<String> handles = messages.stream().map(m -> m.getProperty(MessageConst.PROPERTY_POP_CK)).toList();
        CompletableFuture<AckResult> answer = new CompletableFuture<>();
        api.batchAckMessageAsync(broker, 5_000, into(answer), topic, group, handles);
        return answer(answer);
    }

    AckResult hide(MessageExt message, long invisibleMs) throws Exception {
        String handle = message.getProperty(MessageConst.PROPERTY_POP_CK);
        String[] parts = ExtraInfoUtil.split(handle);
        ChangeInvisibleTimeRequestHeader header = new ChangeInvisibleTimeRequestHeader();
        header.setConsumerGroup(group);
        header.setTopic(realTopic(handle));
        header.setQueueId(ExtraInfoUtil.getQueueId(parts));
        header.setOffset(ExtraInfoUtil.getQueueOffset(parts));
        header.setExtraInfo(handle);
        header.setInvisibleTime(invisibleMs);
        CompletableFuture<AckResult> answer = new CompletableFuture<>();
        api.changeInvisibleTimeAsync(brokerName, broker, header, 5_000, into(answer));
        return answer(answer);
    }
}
