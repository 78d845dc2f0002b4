package castmq.interop;

import java.util.List;
import java.util.Map;
import java.util.Set;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.remoting.protocol.ResponseCode;
import org.apache.rocketmq.remoting.protocol.body.CMResult;
import org.apache.rocketmq.remoting.protocol.body.Connection;
import org.apache.rocketmq.remoting.protocol.body.ConsumerConnection;
import org.apache.rocketmq.remoting.protocol.body.ConsumerRunningInfo;
import org.apache.rocketmq.remoting.protocol.heartbeat.ConsumeType;
import org.apache.rocketmq.remoting.protocol.heartbeat.MessageModel;
import org.apache.rocketmq.remoting.protocol.route.TopicRouteData;
import org.apache.rocketmq.remoting.protocol.subscription.SubscriptionGroupConfig;

/** The admin client, where a person's tools would not show the difference; mqadmin.sh has the rest. */
final class AdminChecks {
    static List<Check> all() {
        return List.of(
                new Check("admin: a topic made, changed and deleted", AdminChecks::topic),
                new Check("admin: an unknown topic has no route", AdminChecks::unknownTopic),
                new Check("admin: a group made, changed and deleted", AdminChecks::group),
                new Check("admin: a group that may not consume is refused", AdminChecks::groupMayNotConsume),
                new Check("admin: who is connected", AdminChecks::connections),
                new Check("admin: what a consumer says of itself", AdminChecks::runningInfo),
                new Check("admin: a consumer is handed a message directly", AdminChecks::consumeDirectly));
    }

    private static void topic(Scene scene) throws Exception {
        String topic = scene.topic(3, Map.of("+message.type", "FIFO"));
        TopicRouteData route = scene.admin().examineTopicRouteInfo(topic);
        Expect.same(3, route.getQueueDatas().get(0).getWriteQueueNums(), "write queues of the route");
        TopicConfig config = scene.admin().examineTopicConfig(scene.broker(), topic);
        Expect.same(Map.of("message.type", "FIFO"), config.getAttributes(), "attributes");
        config.setWriteQueueNums(5);
        config.setReadQueueNums(5);
        config.setAttributes(Map.of());
        scene.admin().createAndUpdateTopicConfig(scene.broker(), config);
        Expect.same(5, scene.admin().examineTopicRouteInfo(topic).getQueueDatas().get(0).getWriteQueueNums(), "write queues of the changed route");
        Expect.that(scene.admin().fetchAllTopicList().getTopicList().contains(topic), "not in the list of topics");
        scene.send(topic, List.of("lost"));
        scene.admin().deleteTopic(topic, scene.cluster());
        Expect.refused(ResponseCode.TOPIC_NOT_EXIST, () -> scene.admin().examineTopicRouteInfo(topic));
        Expect.refused(ResponseCode.TOPIC_NOT_EXIST, () -> scene.admin().examineTopicConfig(scene.broker(), topic));
    }

    private static void unknownTopic(Scene scene) throws Exception {
        Expect.refused(ResponseCode.TOPIC_NOT_EXIST, () -> scene.admin().examineTopicRouteInfo(scene.fresh("unknown")));
    }

    private static SubscriptionGroupConfig config(String group) {
        SubscriptionGroupConfig config = new SubscriptionGroupConfig();
        config.setGroupName(group);
        return config;
    }

    private static void group(Scene scene) throws Exception {
        String group = scene.group();
        SubscriptionGroupConfig config = config(group);
        config.setRetryMaxTimes(5);
        scene.admin().createAndUpdateSubscriptionGroupConfig(scene.broker(), config);
        Expect.same(5, scene.admin().examineSubscriptionGroupConfig(scene.broker(), group).getRetryMaxTimes(), "retries");
        config.setRetryMaxTimes(3);
        scene.admin().createAndUpdateSubscriptionGroupConfig(scene.broker(), config);
        Expect.same(3, scene.admin().examineSubscriptionGroupConfig(scene.broker(), group).getRetryMaxTimes(), "changed retries");
        scene.admin().deleteSubscriptionGroup(scene.broker(), group, true);
        Expect.that(!scene.admin().getAllSubscriptionGroup(scene.broker(), 5_000).getSubscriptionGroupTable().containsKey(group),
                "the deleted group is still listed");
    }

    private static void groupMayNotConsume(Scene scene) throws Exception {
        String topic = scene.topic(1);
        String group = scene.group();
        SubscriptionGroupConfig config = config(group);
        config.setConsumeEnable(false);
        scene.admin().createAndUpdateSubscriptionGroupConfig(scene.broker(), config);
        scene.send(topic, List.of("kept back"));
        DefaultMQPushConsumer consumer = scene.pushConsumer(group);
        consumer.setPullTimeDelayMillsWhenException(200);
        consumer.subscribe(topic, "*");
        Received received = scene.receive(consumer);
        Thread.sleep(2_000);
        Expect.same(0, received.count(), "messages of a group that may not consume");
        config.setConsumeEnable(true);
        scene.admin().createAndUpdateSubscriptionGroupConfig(scene.broker(), config);
        received.exactly(1);
    }

    private static void connections(Scene scene) throws Exception {
        String topic = scene.topic(1);
        String group = scene.group();
        DefaultMQPushConsumer consumer = scene.pushConsumer(group);
        consumer.subscribe(topic, "red || blue");
        scene.receive(consumer);
        scene.send(topic, List.of("n"));

        ConsumerConnection consumers = scene.admin().examineConsumerConnectionInfo(group);
        Expect.same(ConsumeType.CONSUME_PASSIVELY, consumers.getConsumeType(), "kind of consumption");
        Expect.same(MessageModel.CLUSTERING, consumers.getMessageModel(), "model");
        Expect.same("red || blue", consumers.getSubscriptionTable().get(topic).getSubString(), "subscription");
        Expect.same(1, consumers.getConnectionSet().size(), "consumers");
        Connection connection = consumers.getConnectionSet().iterator().next();
        Expect.same(consumer.getDefaultMQPushConsumerImpl().getmQClientFactory().getClientId(), connection.getClientId(), "client id");
        Expect.that(scene.admin().queryTopicConsumeByWho(topic).getGroupList().contains(group), "the topic does not know its group");
        Expect.soon("the producer's heartbeat", () -> {
            try {
                return scene.admin().examineProducerConnectionInfo(scene.producer().getProducerGroup(), topic).getConnectionSet().size() == 1;
            } catch (Exception notYet) {
                return false;
            }
        });
        consumer.shutdown();
        Expect.refused(ResponseCode.CONSUMER_NOT_ONLINE, () -> scene.admin().examineConsumerConnectionInfo(group));
    }

    private static void runningInfo(Scene scene) throws Exception {
        String topic = scene.topic(2);
        String group = scene.group();
        DefaultMQPushConsumer consumer = scene.pushConsumer(group);
        consumer.subscribe(topic, "*");
        Received received = scene.receive(consumer);
        scene.send(topic, List.of("a", "b"));
        received.exactly(2);
        String client = consumer.getDefaultMQPushConsumerImpl().getmQClientFactory().getClientId();
        ConsumerRunningInfo info = scene.admin().getConsumerRunningInfo(group, client, true);
        Expect.same(2L, info.getMqTable().keySet().stream().filter(queue -> queue.getTopic().equals(topic)).count(), "queues");
        Expect.that(info.getJstack() != null && info.getJstack().contains("castmq"), "no stack of its threads");
        Expect.same(Set.of(client), scene.admin().getConsumeStatus(topic, group, client).keySet(), "clients whose offsets were asked for");
    }

    private static void consumeDirectly(Scene scene) throws Exception {
        String topic = scene.topic(1);
        String group = scene.group();
        DefaultMQPushConsumer consumer = scene.pushConsumer(group);
        consumer.subscribe(topic, "*");
        Received received = scene.receive(consumer);
        SendResult result = scene.send(topic, List.of("twice")).get(0);
        received.exactly(1);
        String client = consumer.getDefaultMQPushConsumerImpl().getmQClientFactory().getClientId();
        var handed = scene.admin().consumeMessageDirectly(group, client, topic, result.getOffsetMsgId());
        Expect.same(CMResult.CR_SUCCESS, handed.getConsumeResult(), "result");
        Expect.same(List.of("twice", "twice"), received.bodies(), "bodies");
    }
}
