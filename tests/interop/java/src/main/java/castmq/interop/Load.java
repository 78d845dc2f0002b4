package castmq.interop;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.Semaphore;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.message.Message;

/**
 * Sends as fast as the Java client can, and prints how fast that was: {@code Load sync|async THREADS BYTES SECONDS}. Threads wait for
 * each answer, or keep {@link #UNDER_WAY} messages under way among them all. The name server is that of NAMESRV_ADDR.
 */
public final class Load {
    private static final int UNDER_WAY = 2048;
    private static final String TOPIC = "bench-java";
    /** Longest latency that is told apart, in steps of ten microseconds. */
    private static final int STEPS = 1_000_000;

    private final DefaultMQProducer producer = new DefaultMQProducer("bench-java");
    private final Semaphore room = new Semaphore(UNDER_WAY);
    private final AtomicLong[] latencies = new AtomicLong[STEPS];
    private final AtomicLong failed = new AtomicLong();
    private final byte[] body;

    private Load(int bytes) {
        body = new byte[bytes];
        Arrays.fill(body, (byte) 'x');
        Arrays.setAll(latencies, step -> new AtomicLong());
    }

    public static void main(String[] arguments) throws Exception {
        boolean isAsync = arguments[0].equals("async");
        int threads = Integer.parseInt(arguments[1]);
        double seconds = Double.parseDouble(arguments[3]);
        Load load = new Load(Integer.parseInt(arguments[2]));
        load.producer.setSendMsgTimeout(30_000);
        load.producer.setRetryTimesWhenSendFailed(0);
        load.producer.setRetryTimesWhenSendAsyncFailed(0);
        load.producer.start();
        load.run(isAsync, threads, 3);
        Arrays.stream(load.latencies).forEach(count -> count.set(0));
        load.failed.set(0);
        long began = System.nanoTime();
        load.run(isAsync, threads, seconds);
        load.print(System.nanoTime() - began);
        load.producer.shutdown();
        System.exit(load.failed.get() == 0 ? 0 : 1);
    }

    private void run(boolean isAsync, int threads, double seconds) throws InterruptedException {
        long end = System.nanoTime() + (long) (seconds * 1e9);
        List<Thread> running = new ArrayList<>();
        for (int number = 0; number < threads; number++) {
            Thread thread = new Thread(() -> {
                while (System.nanoTime() < end) {
                    if (isAsync) {
                        sendAsync();
                    } else {
                        sendSync();
                    }
                }
            });
            thread.start();
            running.add(thread);
        }
        for (Thread thread : running) {
            thread.join();
        }
        room.acquire(UNDER_WAY);
        room.release(UNDER_WAY);
    }

    private void sendSync() {
        long sent = System.nanoTime();
        try {
            note(sent, producer.send(new Message(TOPIC, body)));
        } catch (Exception error) {
            fail(error);
        }
    }

    private void sendAsync() {
        room.acquireUninterruptibly();
        long sent = System.nanoTime();
        try {
            producer.send(new Message(TOPIC, body), new SendCallback() {
                @Override
                public void onSuccess(SendResult result) {
                    note(sent, result);
                    room.release();
                }

                @Override
                public void onException(Throwable error) {
                    fail(error);
                    room.release();
                }
            });
        } catch (Exception error) {
            fail(error);
            room.release();
        }
    }

    private void note(long sent, SendResult result) {
        if (result.getSendStatus() != SendStatus.SEND_OK) {
            fail(new IllegalStateException(result.toString()));
            return;
        }
        long step = (System.nanoTime() - sent) / 10_000;
        latencies[(int) Math.min(step, STEPS - 1)].incrementAndGet();
    }

    private void fail(Throwable error) {
        if (failed.getAndIncrement() == 0) {
            error.printStackTrace();
        }
    }

    private void print(long nanos) {
        long messages = Arrays.stream(latencies).mapToLong(AtomicLong::get).sum();
        System.out.printf("java: %d messages/s, p50 %d µs, p99 %d µs, %d messages, %d failed%n", (long) (messages / (nanos / 1e9)),
            quantile(messages, 0.5), quantile(messages, 0.99), messages, failed.get());
    }

    private long quantile(long messages, double part) {
        long before = 0;
        for (int step = 0; step < STEPS; step++) {
            before += latencies[step].get();
            if (before >= messages * part) {
                return step * 10L;
            }
        }
        return STEPS * 10L;
    }
}
