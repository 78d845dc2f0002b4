package castmq.interop;

import java.util.Objects;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.exception.MQClientException;

/** What checks say about what they saw. */
final class Expect {
    interface Condition {
        boolean holds() throws Exception;
    }

    interface Action {
        void run() throws Exception;
    }

    static void that(boolean holds, String what) {
        if (!holds) {
            throw new AssertionError(what);
        }
    }

    static void same(Object expected, Object seen, String what) {
        if (!Objects.equals(expected, seen)) {
            throw new AssertionError(what + ": expected " + expected + ", saw " + seen);
        }
    }

    static void between(long least, long most, long seen, String what) {
        that(least <= seen && seen <= most, what + ": expected " + least + " to " + most + ", saw " + seen);
    }

    /** Until the condition holds; fails after 30 s. */
    static void soon(Object what, Condition condition) throws Exception {
        within(30_000, what, condition);
    }

    /** Until the condition holds; fails after so long. */
    static void within(long limitMs, Object what, Condition condition) throws Exception {
        long end = System.currentTimeMillis() + limitMs;
        while (!condition.holds()) {
            that(System.currentTimeMillis() < end, "not within " + limitMs / 1_000 + " s: " + what);
            Thread.sleep(50);
        }
    }

    /** That the action is refused with this response code. */
    static void refused(int code, Action action) throws Exception {
        try {
            action.run();
        } catch (MQBrokerException refusal) {
            same(code, refusal.getResponseCode(), "the code of the refusal (" + refusal.getErrorMessage() + ")");
            return;
        } catch (MQClientException refusal) {
            same(code, codeOf(refusal), "the code of the refusal (" + refusal.getErrorMessage() + ")");
            return;
        }
        throw new AssertionError("taken, where code " + code + " was expected");
    }

    /** A client hides the broker's code as a cause where it tried more than once. */
    private static int codeOf(MQClientException refusal) {
        return refusal.getCause() instanceof MQBrokerException cause ? cause.getResponseCode() : refusal.getResponseCode();
    }
}
