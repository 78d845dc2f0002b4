package castmq.interop;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.TreeSet;
import org.apache.rocketmq.common.message.MessageExt;

/** The messages that a consumer was given, in the order it was given them. */
final class Received {
    /** How long is waited for messages that should not come. */
    private static final long QUIET_MS = 1_500;

    private final List<MessageExt> messages = new ArrayList<>();
    private final List<Long> times = new ArrayList<>();

    synchronized void add(List<MessageExt> more) {
        for (MessageExt message : more) {
            messages.add(message);
            times.add(System.currentTimeMillis());
        }
    }

    synchronized int count() {
        return messages.size();
    }

    synchronized List<MessageExt> messages() {
        return new ArrayList<>(messages);
    }

    /** When the message at this place came. */
    synchronized long timeOf(int place) {
        return times.get(place);
    }

    List<String> bodies() {
        return messages().stream().map(Received::body).toList();
    }

    /** At least so many; fails after 30 s. */
    List<MessageExt> atLeast(int count) throws Exception {
        Object what = new Object() {
            @Override
            public String toString() {
                return "message " + count + " of " + Received.this;
            }
        };
        Expect.soon(what, () -> count() >= count);
        return messages();
    }

    /** So many, and no more of them in the next moments. */
    List<MessageExt> exactly(int count) throws Exception {
        atLeast(count);
        Thread.sleep(QUIET_MS);
        Expect.that(count() == count, count + " expected, " + this);
        return messages();
    }

    /** Each of these bodies once, in any order, and nothing else. */
    void exactlyBodies(List<String> bodies) throws Exception {
        exactly(bodies.size());
        Expect.same(new TreeSet<>(bodies), new TreeSet<>(bodies()), "bodies received");
    }

    static String body(MessageExt message) {
        return new String(message.getBody(), StandardCharsets.UTF_8);
    }

    @Override
    public String toString() {
        List<String> bodies = bodies();
        return bodies.size() + " received " + bodies.stream().limit(20).map(b -> b.length() > 40 ? b.length() + " bytes" : b).toList();
    }
}
