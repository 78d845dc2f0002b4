package castmq.interop;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;

/**
 * Runs every check against the name server of NAMESRV_ADDR, or those whose names contain the first argument. Prints a line for
 * each and a closing line, and exits with 1 when any failed.
 */
public final class Interop {
    /** So that the waiting of one check is the work of another, on a machine of two cores. */
    private static final int CHECKS_AT_ONCE = 4;

    private record Outcome(Check check, Throwable failure, long tookMs) {
    }

    public static void main(String[] args) throws Exception {
        String nameServer = System.getenv("NAMESRV_ADDR");
        if (nameServer == null) {
            System.err.println("NAMESRV_ADDR says where the name server is, as 127.0.0.1:9876");
            System.exit(2);
        }
        // A consumer looks 20 s after its last look for queues to take, unless the broker tells it to.
        System.setProperty("rocketmq.client.rebalance.waitInterval", "2000");
        String wanted = args.length > 0 ? args[0] : "";

        List<Check> checks = new ArrayList<>();
        for (List<Check> theme : List.of(SendChecks.all(), OrderChecks.all(), TransactionChecks.all(), DelayChecks.all(),
                PushChecks.all(), RetryChecks.all(), RebalanceChecks.all(), PullChecks.all(), LitePullChecks.all(),
                PopChecks.all(), RequestReplyChecks.all(), QueryChecks.all(), OffsetChecks.all(), AdminChecks.all(),
                NamespaceChecks.all())) {
            theme.stream().filter(check -> check.name().contains(wanted)).forEach(checks::add);
        }

        ExecutorService pool = Executors.newFixedThreadPool(CHECKS_AT_ONCE);
        List<Future<Outcome>> running = checks.stream().map(check -> pool.submit(() -> run(check, nameServer))).toList();
        int passed = 0;
        int failed = 0;
        for (Future<Outcome> future : running) {
            Outcome outcome = future.get();
            if (outcome.failure == null) {
                passed++;
                System.out.printf("ok    %s (%.1f s)%n", outcome.check.name(), outcome.tookMs / 1000.0);
            } else {
                failed++;
                System.out.printf("FAIL  %s (%.1f s): %s%n", outcome.check.name(), outcome.tookMs / 1000.0, said(outcome.failure));
            }
        }
        System.out.printf("interop java: %d passed, %d failed%n", passed, failed);
        System.exit(failed == 0 ? 0 : 1);
    }

    private static Outcome run(Check check, String nameServer) {
        long start = System.currentTimeMillis();
        Throwable failure = null;
        try (Scene scene = new Scene(nameServer)) {
            check.body().run(scene);
        } catch (Throwable thrown) {
            failure = thrown;
        }
        return new Outcome(check, failure, System.currentTimeMillis() - start);
    }

    /** The failure in one line, with the line of the check that saw it. */
    private static String said(Throwable failure) {
        String at = "";
        for (StackTraceElement frame : failure.getStackTrace()) {
            if (frame.getFileName() != null && frame.getFileName().endsWith("Checks.java")) {
                at = " at " + frame.getFileName() + ":" + frame.getLineNumber();
                break;
            }
        }
        return failure.toString().replaceAll("\\s+", " ") + at;
    }
}
