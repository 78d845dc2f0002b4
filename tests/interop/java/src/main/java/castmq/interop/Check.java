package castmq.interop;

/** One behaviour that a client can see, named by a sentence. It fails by throwing. */
record Check(String name, Body body) {
    interface Body {
        void run(Scene scene) throws Exception;
    }
}
