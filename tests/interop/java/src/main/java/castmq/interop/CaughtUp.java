package castmq.interop;

/** Waits until the logs of two brokers, whose addresses are the arguments, end at the same place, and prints it. */
public final class CaughtUp {
    private static final long PATIENCE_MS = 600_000;

    public static void main(String[] args) throws Exception {
        try (Scene scene = new Scene(System.getenv("NAMESRV_ADDR"))) {
            Expect.within(PATIENCE_MS, "the slave has what its master has", () -> end(scene, args[0]) == end(scene, args[1]));
            System.out.println(end(scene, args[1]));
        }
        System.exit(0);
    }

    private static long end(Scene scene, String broker) throws Exception {
        return Long.parseLong(scene.admin().fetchBrokerRuntimeStats(broker).getTable().get("commitLogMaxOffset"));
    }

    private CaughtUp() {
    }
}
