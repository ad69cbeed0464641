import com.alibaba.fastjson.JSON;
import com.alibaba.fastjson.JSONObject;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.Map;

/**
 * Drives the Java client of an Apache RocketMQ distribution as told on standard input: one JSON object a line in, answers and received
 * messages one a line out. {@code ../README.md} lists the commands; the agents of the other clients take the same ones.
 */
public final class Agent {
    final String namesrv;
    final String instance;
    private final Map<String, Consuming> consumers = new HashMap<>();
    private Producing producing;

    private Agent(String namesrv, String instance) {
        this.namesrv = namesrv;
        this.instance = instance;
    }

    public static void main(String[] arguments) throws Exception {
        // The client keeps its logs and the offsets of broadcasting consumers below the home directory, and asks Java for it.
        System.setProperty("user.home", System.getenv("HOME"));
        Agent agent = new Agent(arguments[0], arguments[1]);
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            JSONObject command = JSON.parseObject(line);
            if ("quit".equals(command.getString("do"))) {
                break;
            }
            Output.line(agent.answer(command));
        }
        agent.end();
        // Threads of the client may outlive its shutdown; the process does not wait for them.
        Runtime.getRuntime().halt(0);
    }

    private JSONObject answer(JSONObject command) {
        JSONObject answer = new JSONObject();
        answer.put("answer", command.get("id"));
        try {
            answer.put("value", obey(command));
        } catch (Exception error) {
            error.printStackTrace();
            answer.put("error", error.toString());
        }
        return answer;
    }

    private Object obey(JSONObject command) throws Exception {
        String what = command.getString("do");
        switch (what) {
            case "produce":
                return producing().produce(command);
            case "query":
                return producing().query(command);
            case "view":
                return producing().view(command);
            case "request":
                return producing().request(command);
            case "consume":
                Producing replier = command.getBooleanValue("reply") ? producing() : null;
                consumers.put(command.getString("name"), new Consuming(this, command, replier));
                return new JSONObject();
            case "stop":
                consumers.remove(command.getString("name")).stop();
                return new JSONObject();
            case "pull":
                return Pulling.pull(this, command);
            case "admin":
                return Tools.call(this, command);
            default:
                throw new IllegalArgumentException("unknown command " + what);
        }
    }

    /** The one producer, started at its first use. */
    private Producing producing() throws Exception {
        if (producing == null) {
            producing = new Producing(this);
        }
        return producing;
    }

    private void end() {
        consumers.values().forEach(Consuming::stop);
        if (producing != null) {
            producing.stop();
        }
    }
}
