import com.alibaba.fastjson.JSONArray;
import com.alibaba.fastjson.JSONObject;
import java.util.ArrayList;
import java.util.Base64;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.stream.Collectors;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.utils.MessageUtil;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** Sends messages in the ways that the client has. */
final class Producing {
    /** The default of three seconds is short for the first send of a virtual machine that has just started. */
    private static final int SEND_TIMEOUT_MS = 10_000;

    private final DefaultMQProducer producer;

    Producing(Agent agent) throws Exception {
        producer = new DefaultMQProducer("interop-" + agent.instance);
        producer.setNamesrvAddr(agent.namesrv);
        producer.setInstanceName(agent.instance + "-producer");
        producer.setSendMsgTimeout(SEND_TIMEOUT_MS);
        producer.start();
    }

    void stop() {
        producer.shutdown();
    }

    /** One result for each message; a batch has one for all. */
    JSONArray produce(JSONObject command) throws Exception {
        List<Spec> specs = new ArrayList<>();
        for (Object spec : command.getJSONArray("messages")) {
            specs.add(new Spec(command.getString("topic"), (JSONObject) spec));
        }
        JSONArray results = new JSONArray();
        switch (command.getString("how")) {
            case "batch":
                List<Message> batch = specs.stream().map(spec -> spec.message).collect(Collectors.toList());
                results.add(attempt(() -> Output.sent(producer.send(batch))));
                break;
            case "oneway":
                for (Spec spec : specs) {
                    results.add(attempt(() -> oneway(spec)));
                }
                break;
            case "async":
                results.addAll(callbacks(specs));
                break;
            default:
                int inFlight = command.containsKey("in_flight") ? command.getIntValue("in_flight") : 1;
                results.addAll(concurrently(specs, inFlight));
        }
        return results;
    }

    /** Messages with a key, whenever they were stored. */
    JSONArray query(JSONObject command) throws Exception {
        JSONArray found = new JSONArray();
        try {
            String topic = command.getString("topic");
            for (MessageExt message : producer.queryMessage(topic, command.getString("key"), 32, 0, Long.MAX_VALUE).getMessageList()) {
                found.add(Output.message(message));
            }
        } catch (MQClientException nothing) {
            // The client's way to say that there is none.
        }
        return found;
    }

    /** The message with an id of the broker's kind. */
    JSONObject view(JSONObject command) throws Exception {
        return Output.message(producer.viewMessage(command.getString("topic"), command.getString("message")));
    }

    /** Sends a request and waits for the reply. */
    JSONObject request(JSONObject command) throws Exception {
        Message reply = producer.request(new Spec(command.getString("topic"), command).message, command.getLongValue("timeout"));
        JSONObject value = new JSONObject();
        value.put("body", Base64.getEncoder().encodeToString(reply.getBody()));
        return value;
    }

    /** Sends what a consumer answers a request with. */
    void reply(MessageExt request, byte[] body) throws Exception {
        producer.send(MessageUtil.createReplyMessage(request, body));
    }

    private JSONObject oneway(Spec spec) throws Exception {
        producer.sendOneway(spec.message);
        return new JSONObject();
    }

    private JSONArray callbacks(List<Spec> specs) throws Exception {
        List<CompletableFuture<JSONObject>> outcomes = new ArrayList<>();
        for (Spec spec : specs) {
            CompletableFuture<JSONObject> outcome = new CompletableFuture<>();
            outcomes.add(outcome);
            producer.send(spec.message, new SendCallback() {
                @Override
                public void onSuccess(SendResult result) {
                    outcome.complete(Output.sent(result));
                }

                @Override
                public void onException(Throwable error) {
                    outcome.complete(Output.error(error));
                }
            });
        }
        JSONArray results = new JSONArray();
        outcomes.forEach(outcome -> results.add(outcome.join()));
        return results;
    }

    /** Synchronous sends, a few of them at a time. */
    private JSONArray concurrently(List<Spec> specs, int inFlight) throws Exception {
        ExecutorService threads = Executors.newFixedThreadPool(inFlight);
        List<Future<JSONObject>> outcomes = new ArrayList<>();
        for (Spec spec : specs) {
            outcomes.add(threads.submit(() -> attempt(() -> synchronously(spec))));
        }
        JSONArray results = new JSONArray();
        for (Future<JSONObject> outcome : outcomes) {
            results.add(outcome.get());
        }
        threads.shutdown();
        return results;
    }

    private JSONObject synchronously(Spec spec) throws Exception {
        if (spec.queue == null) {
            return Output.sent(producer.send(spec.message));
        }
        return Output.sent(producer.send(spec.message, (queues, message, argument) -> select(queues, spec.queue), null));
    }

    /** The queue with this place among all queues of the topic, in the order of their brokers. */
    private static MessageQueue select(List<MessageQueue> queues, int place) {
        List<MessageQueue> sorted = new ArrayList<>(queues);
        sorted.sort(Comparator.comparing(MessageQueue::getBrokerName).thenComparing(MessageQueue::getQueueId));
        return sorted.get(place % sorted.size());
    }

    private interface Send {
        JSONObject send() throws Exception;
    }

    private static JSONObject attempt(Send send) {
        try {
            return send.send();
        } catch (Exception error) {
            return Output.error(error);
        }
    }

    /** A message as it is ordered, and the place of the queue that it is for. */
    private static final class Spec {
        final Message message;
        final Integer queue;

        Spec(String topic, JSONObject spec) {
            message = new Message(topic, Base64.getDecoder().decode(spec.getString("body")));
            queue = spec.getInteger("queue");
            if (spec.getString("tag") != null) {
                message.setTags(spec.getString("tag"));
            }
            if (spec.getString("keys") != null) {
                message.setKeys(spec.getString("keys"));
            }
            if (spec.containsKey("delay")) {
                message.setDelayTimeLevel(spec.getIntValue("delay"));
            }
            if (spec.containsKey("properties")) {
                for (Map.Entry<String, Object> one : spec.getJSONObject("properties").entrySet()) {
                    message.putUserProperty(one.getKey(), (String) one.getValue());
                }
            }
        }
    }
}
