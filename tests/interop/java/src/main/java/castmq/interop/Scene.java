package castmq.interop;

import java.nio.charset.StandardCharsets;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.List;
import java.util.Map;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.rocketmq.client.ClientConfig;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;

/** The universe of one check: names that nothing else uses, and clients that end with it. */
final class Scene implements AutoCloseable {
    private static final String RUN = Long.toString(System.currentTimeMillis(), 36);
    private static final AtomicInteger NAMES = new AtomicInteger();

    private final String nameServer;
    private final Deque<Runnable> endings = new ArrayDeque<>();
    private DefaultMQAdminExt admin;
    private DefaultMQProducer producer;

    Scene(String nameServer) {
        this.nameServer = nameServer;
    }

    String fresh(String kind) {
        return kind + "-" + RUN + "-" + NAMES.incrementAndGet();
    }

    String group() {
        return fresh("group");
    }

    /** A topic made for this check, of so many queues. */
    String topic(int queues) throws Exception {
        return topic(queues, Map.of());
    }

    String topic(int queues, Map<String, String> attributes) throws Exception {
        String topic = fresh("topic");
        admin().createTopic(cluster(), topic, queues, attributes);
        return topic;
    }

    /** The only cluster there is. */
    String cluster() throws Exception {
        return admin().examineBrokerClusterInfo().getClusterAddrTable().keySet().iterator().next();
    }

    /** The address of the cluster's master. */
    String broker() throws Exception {
        return admin().examineBrokerClusterInfo().getBrokerAddrTable().values().iterator().next().selectBrokerAddr();
    }

    DefaultMQAdminExt admin() throws Exception {
        if (admin == null) {
            admin = new DefaultMQAdminExt(fresh("admin"), 10_000);
            pointed(admin);
            admin.start();
            endings.push(admin::shutdown);
        }
        return admin;
    }

    /** The length of each delay level of the broker, in ms; the first has place 0. */
    List<Long> delayLevels() throws Exception {
        Map<Character, Long> units = Map.of('s', 1_000L, 'm', 60_000L, 'h', 3_600_000L, 'd', 86_400_000L);
        List<Long> levels = new ArrayList<>();
        for (String level : admin().getBrokerConfig(broker()).getProperty("messageDelayLevel").trim().split(" ")) {
            int last = level.length() - 1;
            levels.add(Long.parseLong(level.substring(0, last)) * units.get(level.charAt(last)));
        }
        return levels;
    }

    /** Has the client look for this scene's name server, as a client of its own among those of this process. */
    void pointed(ClientConfig client) {
        client.setNamesrvAddr(nameServer);
        client.setInstanceName(fresh("instance"));
        // A client that is just starting skips a heartbeat where two meet, and is then unknown to the broker until the next.
        client.setHeartbeatBrokerInterval(1_000);
        // The topic of retries is made by the first heartbeat: the client looks for it only at its next poll.
        client.setPollNameServerInterval(1_000);
    }

    /** A started producer, the same at each call. */
    DefaultMQProducer producer() throws Exception {
        if (producer == null) {
            producer = started(new DefaultMQProducer(fresh("producer")));
        }
        return producer;
    }

    <P extends DefaultMQProducer> P started(P producer) throws Exception {
        pointed(producer);
        producer.setSendMsgTimeout(10_000);
        producer.start();
        endings.push(producer::shutdown);
        return producer;
    }

    /** A push consumer, not started, that begins with the first message. */
    DefaultMQPushConsumer pushConsumer(String group) {
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(group);
        pointed(consumer);
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.setPullTimeDelayMillsWhenException(200);
        consumer.setConsumeThreadMin(4);
        consumer.setConsumeThreadMax(4);
        return consumer;
    }

    void start(DefaultMQPushConsumer consumer) throws Exception {
        consumer.start();
        endings.push(consumer::shutdown);
    }

    /** Starts the consumer with a listener that takes every message. */
    Received receive(DefaultMQPushConsumer consumer) throws Exception {
        Received received = new Received();
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            received.add(messages);
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        start(consumer);
        return received;
    }

    /** What a new group of one push consumer receives of the topic. */
    Received receive(String topic) throws Exception {
        DefaultMQPushConsumer consumer = pushConsumer(group());
        consumer.subscribe(topic, "*");
        return receive(consumer);
    }

    DefaultMQPullConsumer pullConsumer(String group) throws Exception {
        DefaultMQPullConsumer consumer = new DefaultMQPullConsumer(group);
        pointed(consumer);
        consumer.start();
        endings.push(consumer::shutdown);
        return consumer;
    }

    /** A lite pull consumer, not started, that begins with the first message and commits only when told to. */
    DefaultLitePullConsumer litePullConsumer(String group) {
        DefaultLitePullConsumer consumer = new DefaultLitePullConsumer(group);
        pointed(consumer);
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.setAutoCommit(false);
        return consumer;
    }

    void start(DefaultLitePullConsumer consumer) throws Exception {
        consumer.start();
        endings.push(consumer::shutdown);
    }

    /** Sends messages with these bodies to queues in turn. */
    List<SendResult> send(String topic, List<String> bodies) throws Exception {
        List<SendResult> results = new ArrayList<>();
        for (String body : bodies) {
            results.add(producer().send(message(topic, body)));
        }
        return results;
    }

    SendResult send(MessageQueue queue, String body) throws Exception {
        return producer().send(message(queue.getTopic(), body), queue);
    }

    /** The queues of the topic, by number. */
    List<MessageQueue> queues(String topic) throws Exception {
        return producer().fetchPublishMessageQueues(topic).stream().sorted().toList();
    }

    static Message message(String topic, String body) {
        return new Message(topic, body.getBytes(StandardCharsets.UTF_8));
    }

    static Message tagged(String topic, String tag, String body) {
        return new Message(topic, tag, body.getBytes(StandardCharsets.UTF_8));
    }

    /** Bodies PREFIX-0, PREFIX-1 and so on. */
    static List<String> bodies(String prefix, int count) {
        List<String> bodies = new ArrayList<>();
        for (int i = 0; i < count; i++) {
            bodies.add(prefix + "-" + i);
        }
        return bodies;
    }

    @Override
    public void close() {
        while (!endings.isEmpty()) {
            endings.pop().run();
        }
    }
}
