package castmq.interop;

import java.util.List;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.MessageExt;

/** Namespaces, old and new. */
final class NamespaceChecks {
    static List<Check> all() {
        return List.of(
                new Check("namespace: names get the namespace before them", NamespaceChecks::wrapped),
                new Check("namespace: of the second kind, in the requests", NamespaceChecks::second));
    }

    @SuppressWarnings("deprecation")
    private static void wrapped(Scene scene) throws Exception {
        String namespace = scene.fresh("INST");
        String topic = scene.fresh("topic");
        String wrapped = namespace + "%" + topic;
        DefaultMQProducer producer = new DefaultMQProducer(scene.fresh("producer"));
        producer.setNamespace(namespace);
        scene.started(producer);
        producer.send(Scene.message(topic, "in the namespace"));
        DefaultMQPushConsumer consumer = scene.pushConsumer(scene.group());
        consumer.setNamespace(namespace);
        consumer.subscribe(topic, "*");
        MessageExt seen = scene.receive(consumer).exactly(1).get(0);
        Expect.same(topic, seen.getTopic(), "topic as the consumer sees it");
        Expect.that(scene.admin().fetchAllTopicList().getTopicList().contains(wrapped), "no topic " + wrapped);
        scene.receive(wrapped).exactly(1);
    }

    /** Only a proxy understands it; a broker takes the request as if it were not there. */
    private static void second(Scene scene) throws Exception {
        String topic = scene.topic(1);
        DefaultMQProducer producer = new DefaultMQProducer(scene.fresh("producer"));
        producer.setNamespaceV2("ns");
        scene.started(producer);
        producer.send(Scene.message(topic, "second"));
        DefaultMQPushConsumer consumer = scene.pushConsumer(scene.group());
        consumer.setNamespaceV2("ns");
        consumer.subscribe(topic, "*");
        scene.receive(consumer).exactlyBodies(List.of("second"));
    }
}
