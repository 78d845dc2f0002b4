package castmq.interop;

import java.util.List;

/** What {@link Fill} leaves in a store and {@link Audit} looks for: names that both know, and how much there is of each. */
final class Taken {
    static final String BATCHED = "taken-batched";
    static final String SINGLE = "taken-single";
    static final String ORDERED = "taken-ordered";
    static final String DELAYED = "taken-delayed";
    static final String TIMED = "taken-timed";
    static final String SETTLED = "taken-settled";
    static final String FAILING = "taken-failing";
    static final String POPPED = "taken-popped";
    static final String DEAD = "taken-dead";
    static final String LONG = "taken-" + "long-".repeat(14);
    static final String LONG_GROUP = LONG + "group";
    /** More than 127 characters: only topics of retries can have them, and only RocketMQ has such for pops. */
    static final String LONG_RETRIES = "%RETRY%" + LONG_GROUP + "_" + LONG;

    /** Topics whose messages are on their way while the broker is stopped. */
    static final String UNDER_WAY_DELAYED = "taken-under-way-delayed";
    static final String UNDER_WAY_TIMED = "taken-under-way-timed";
    static final String UNDER_WAY_SETTLED = "taken-under-way-settled";

    static final String BEHIND_GROUP = "taken-behind";
    static final String FAILING_GROUP = "taken-failing-group";
    static final String DEAD_GROUP = "taken-dead-group";
    static final String POP_GROUP = "taken-pop-group";
    static final String OPEN_PRODUCER = "taken-open-transactions";

    /** Each kind of what is few. */
    static final int FEW = Integer.getInteger("few", 40);
    /** How far ahead messages are due that are under way. */
    static final long AHEAD_MS = 60_000;
    static final int AHEAD_LEVEL = 5;

    /** Topics in which nothing changes while a broker starts anew. */
    static final List<String> STILL = List.of(BATCHED, SINGLE, ORDERED, DELAYED, TIMED, SETTLED, FAILING, POPPED, DEAD, LONG, LONG_RETRIES, "%DLQ%" + DEAD_GROUP);

    private Taken() {
    }
}
