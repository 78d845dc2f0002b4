package castmq.interop;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.regex.Pattern;

/** Output of a command as it would be at another time, on other ports and with other ids. */
final class Normal {
    private record Rule(Pattern pattern, String replacement) {
        Rule(String pattern, String replacement) {
            this(Pattern.compile(pattern), replacement);
        }
    }

    /** In this order: what comes first takes what later rules would break. */
    private static final List<Rule> RULES = List.of(
            new Rule("\\d{4}-\\d\\d-\\d\\d[ T_]\\d\\d:\\d\\d:\\d\\d([.,:#]\\d+)?", "TIME"),
            new Rule("(?<!\\.)\\b20\\d{12,15}\\b", "TIME"),
            new Rule("(?<!\\.)\\b1[5-9]\\d{11}\\b", "TIME"),
            new Rule("\\b[A-Z][a-z]{2} [A-Z][a-z]{2} \\d\\d \\d\\d:\\d\\d:\\d\\d [A-Z]+ \\d{4}\\b", "TIME"),
            new Rule("\\b[0-9A-F]{32,64}\\b", "ID"),
            new Rule("127\\.0\\.0\\.1[@:]\\d+(#\\d+)?", "127.0.0.1:PORT"),
            new Rule("\\bV\\d_\\d_\\d[A-Z_]*", "VERSION"),
            new Rule("(?<![\\d.])\\d+\\.\\d+([eE]-?\\d+)?(?![\\d.])", "DECIMAL"),
            new Rule("\\b\\d+ ?ms\\b", "N ms"),
            new Rule("spentTimeMills=\\d+", "spentTimeMills=N"),
            new Rule("\\b(\\d+|DECIMAL) (B|KiB|MiB|GiB)\\b", "SIZE"),
            new Rule("(\\$\\$Lambda\\S*)?@[0-9a-f]{5,8}\\b", "@HASH"),
            new Rule("(storeSize|commitLogOffset|bodyCRC|CommitLog Offset|physicOffset|physicSize|msgStoreTime|counter|stateVersion)(\"?[=:] *)-?\\d+", "$1$2N"),
            // Where servers keep what they have.
            new Rule("(/[\\w.+-]+)+/(broker|namesrv)\\b", "DIR/$2"),
            new Rule("(storePath\\w+ += +|commitLogDiskRatio_)[^\\s:]+", "$1PATH"),
            // Some servers say it, and the client says it for those that do not.
            new Rule("(For more information, please visit the url, |See )https://rocketmq\\.apache\\.org/docs/bestPractice/06FAQ( for further details\\.)?", "FAQ"),
            new Rule("(?m)[ \\t]+$", ""));

    /** A stack in the output of a command: that of a failure, which is another in each implementation and release. */
    private static final Pattern STACK = Pattern.compile("(?m)^\\s+(at |\\.\\.\\. )\\S+.*\\R?");

    /** The names are those of variables of the scene: what it chose stands in the output as its name. */
    static String text(String output, Map<String, String> variables, Set<String> flags) {
        String text = STACK.matcher(output).replaceAll("");
        for (Map.Entry<String, String> variable : variables.entrySet()) {
            text = text.replace(variable.getValue(), "${" + variable.getKey() + "}");
        }
        for (Rule rule : RULES) {
            text = rule.pattern.matcher(text).replaceAll(rule.replacement);
        }
        if (flags.contains("numbers")) {
            text = text.replaceAll("-?\\d+", "N");
        }
        List<String> lines = new ArrayList<>(Arrays.asList(text.split("\\R")));
        // Columns are as wide as what they hold.
        lines.replaceAll(line -> line.replaceAll(" {2,}", "  ").replaceAll("\\t+", "  ").stripTrailing());
        lines.removeIf(line -> line.contains("|-") || line.startsWith("RocketMQLog"));
        if (flags.contains("sorted")) {
            lines.sort(null);
        }
        return String.join("\n", lines).strip() + "\n";
    }
}
