package castmq.interop;

import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.stream.Stream;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.remoting.protocol.admin.ConsumeStats;
import org.apache.rocketmq.tools.command.MQAdminStartup;

/**
 * Runs the commands of a file as mqadmin would, over topics, groups, messages and clients made here with the same names each time,
 * and writes the normalised output of each into a folder. The servers are those of NAMESRV_ADDR, which should hold nothing else.
 *
 * <p>A line of the file: {@code NAME [FLAG…]: COMMAND ARGUMENT…}, see there.
 */
public final class Mqadmin {
    private static final long COMMAND_LIMIT_MS = 30_000;
    private static final int TOPIC_QUEUES = 2;

    private record Command(String name, Set<String> flags, List<String> arguments) {
    }

    /** What a command does in place of ending this program. */
    private static final class Exit extends SecurityException {
        Exit(int status) {
            super("exit " + status);
        }
    }

    @SuppressWarnings("removal")
    public static void main(String[] args) throws Exception {
        Path commands = Path.of(args[0]);
        Path output = Path.of(args[1]);
        String nameServer = System.getenv("NAMESRV_ADDR");
        System.setProperty("rocketmq.client.rebalance.waitInterval", "2000");
        System.setSecurityManager(new SecurityManager() {
            @Override
            public void checkExit(int status) {
                for (StackTraceElement frame : Thread.currentThread().getStackTrace()) {
                    if (frame.getClassName().startsWith("org.apache.rocketmq")) {
                        throw new Exit(status);
                    }
                }
            }

            @Override
            public void checkPermission(java.security.Permission permission) {
            }
        });

        PrintStream ownOutput = System.out;
        int run = 0;
        try (Scene scene = new Scene(nameServer)) {
            Map<String, String> variables = stage(scene);
            variables.put("namesrv", nameServer);
            variables.put("work", Path.of("").toAbsolutePath().toString());
            for (String line : Files.readAllLines(commands)) {
                if (line.isBlank() || line.startsWith("#")) {
                    continue;
                }
                Command command = parsed(line, variables);
                String printed = run(command, nameServer);
                String normal = Normal.text(printed, named(variables), command.flags);
                Files.writeString(output.resolve(command.name + ".txt"), "$ mqadmin " + line.substring(line.indexOf(':') + 1).strip() + "\n" + normal);
                if (command.flags.contains("taken")) {
                    committed(scene, "admin-online", TOPIC_QUEUES);
                }
                run++;
            }
        }
        ownOutput.printf("interop mqadmin: %d commands run%n", run);
        System.exit(0);
    }

    /** Those of the variables that are chosen anew in each run; the rest are plain words. */
    private static Map<String, String> named(Map<String, String> variables) {
        Map<String, String> named = new LinkedHashMap<>(variables);
        named.keySet().removeAll(List.of("cluster", "brokerName"));
        return named;
    }

    /** Topics, groups, messages and clients, and what commands may name. */
    private static Map<String, String> stage(Scene scene) throws Exception {
        scene.admin().createTopic(scene.cluster(), "admin-topic", TOPIC_QUEUES, Map.of());
        scene.admin().createTopic(scene.cluster(), "admin-empty", 1, Map.of());
        long begin = System.currentTimeMillis() - 1_000;
        DefaultMQProducer producer = new DefaultMQProducer("admin-producer", true, null);
        scene.pointed(producer);
        producer.setInstanceName("producer");
        producer.setClientIP("127.0.0.1");
        producer.start();
        List<MessageQueue> queues = producer.fetchPublishMessageQueues("admin-topic").stream().sorted().toList();
        List<SendResult> sent = new ArrayList<>();
        for (int i = 0; i < 6; i++) {
            Message message = Scene.tagged("admin-topic", i % 2 == 0 ? "even" : "odd", "message " + i);
            message.setKeys("key-" + i);
            message.putUserProperty("n", Integer.toString(i));
            sent.add(producer.send(message, queues.get(i % 2)));
        }

        DefaultMQPushConsumer gone = consumer(scene, "admin-offline");
        scene.receive(gone).atLeast(6);
        committed(scene, "admin-offline", TOPIC_QUEUES);
        gone.shutdown();
        for (int i = 6; i < 8; i++) {
            sent.add(producer.send(Scene.message("admin-topic", "message " + i), queues.get(i % 2)));
        }
        DefaultMQPushConsumer online = consumer(scene, "admin-online");
        scene.receive(online).atLeast(8);
        committed(scene, "admin-online", TOPIC_QUEUES);
        // Heartbeats are sent each second.
        Thread.sleep(2_500);

        Map<String, String> variables = new LinkedHashMap<>();
        variables.put("uniqueId", sent.get(0).getMsgId());
        variables.put("offsetId", sent.get(0).getOffsetMsgId());
        variables.put("broker", scene.broker());
        variables.put("client", online.getDefaultMQPushConsumerImpl().getmQClientFactory().getClientId());
        variables.put("begin", Long.toString(begin));
        variables.put("end", Long.toString(System.currentTimeMillis()));
        variables.put("cluster", scene.cluster());
        variables.put("brokerName", queues.get(0).getBrokerName());
        return variables;
    }

    private static DefaultMQPushConsumer consumer(Scene scene, String group) throws Exception {
        DefaultMQPushConsumer consumer = scene.pushConsumer(group);
        consumer.setInstanceName(group);
        consumer.setClientIP("127.0.0.1");
        consumer.setPersistConsumerOffsetInterval(1_000);
        consumer.subscribe("admin-topic", "*");
        return consumer;
    }

    /** Waits until the group has committed the ends of all its queues: that of its retry topic comes in a later rebalance. */
    private static void committed(Scene scene, String group, int queues) throws Exception {
        Expect.soon(group + " has committed all it took", () -> {
            ConsumeStats stats = scene.admin().examineConsumeStats(group);
            return stats.getOffsetTable().size() == queues + 1 && stats.computeTotalDiff() == 0;
        });
    }

    private static Command parsed(String line, Map<String, String> variables) {
        int colon = line.indexOf(':');
        List<String> words = Arrays.asList(line.substring(0, colon).split(" "));
        List<String> arguments = new ArrayList<>();
        for (String argument : line.substring(colon + 1).strip().split(" ")) {
            for (Map.Entry<String, String> variable : variables.entrySet()) {
                argument = argument.replace("${" + variable.getKey() + "}", variable.getValue());
            }
            arguments.add(argument.replace('_', ' ').replace("\\ ", "_"));
        }
        return new Command(words.get(0), new LinkedHashSet<>(words.subList(1, words.size())), arguments);
    }

    private static String run(Command command, String nameServer) throws Exception {
        ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        PrintStream printed = new PrintStream(bytes, true, StandardCharsets.UTF_8);
        PrintStream out = System.out;
        PrintStream err = System.err;
        List<String> arguments = new ArrayList<>(command.arguments);
        arguments.add("-n");
        arguments.add(nameServer);
        Thread thread = new Thread(() -> {
            try {
                MQAdminStartup.main0(arguments.toArray(new String[0]), null);
            } catch (Exit exit) {
                printed.println(exit.getMessage());
            } catch (Throwable failure) {
                printed.println(failure);
            }
        });
        System.setOut(printed);
        System.setErr(printed);
        try {
            thread.start();
            thread.join(COMMAND_LIMIT_MS);
            if (thread.isAlive()) {
                thread.interrupt();
                printed.println("ended after " + COMMAND_LIMIT_MS / 1_000 + " s");
            }
        } finally {
            System.setOut(out);
            System.setErr(err);
        }
        String text = bytes.toString(StandardCharsets.UTF_8);
        if (command.flags.contains("files")) {
            text += written();
        }
        return text;
    }

    /** What the command wrote into the working folder, which is emptied for the next. */
    private static String written() throws Exception {
        StringBuilder text = new StringBuilder();
        Path work = Path.of("").toAbsolutePath();
        try (Stream<Path> files = Files.walk(work)) {
            for (Path file : files.filter(Files::isRegularFile).sorted().toList()) {
                text.append("--- ").append(work.relativize(file)).append('\n').append(Files.readString(file)).append('\n');
                Files.delete(file);
            }
        }
        return text.toString();
    }
}
