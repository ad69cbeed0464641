import com.alibaba.fastjson.JSONObject;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyContext;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyContext;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.protocol.heartbeat.MessageModel;

/** A push consumer that reports every delivery and refuses a message until it was delivered often enough. */
final class Consuming {
    private final DefaultMQPushConsumer consumer;
    private final String name;
    /** Deliveries of a message that are refused before one is accepted. */
    private final int refuse;
    /** Only messages with this in their body are refused. */
    private final String refuseBody;
    /** Deliveries so far, by place of the message: an ordered consumer is given the same message again. */
    private final Map<String, Integer> seen = new HashMap<>();
    /** Answers every message, for request and reply; null without. */
    private final Producing replier;

    Consuming(Agent agent, JSONObject command, Producing replier) throws Exception {
        this.replier = replier;
        name = command.getString("name");
        refuse = command.getIntValue("refuse");
        refuseBody = command.containsKey("refuse_body") ? command.getString("refuse_body") : "";
        consumer = new DefaultMQPushConsumer(command.getString("group"));
        consumer.setNamesrvAddr(agent.namesrv);
        consumer.setInstanceName(agent.instance + "-" + name);
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        if ("broadcasting".equals(command.getString("model"))) {
            consumer.setMessageModel(MessageModel.BROADCASTING);
        }
        if (command.containsKey("max_reconsume")) {
            consumer.setMaxReconsumeTimes(command.getIntValue("max_reconsume"));
        }
        consumer.subscribe(command.getString("topic"), command.containsKey("tags") ? command.getString("tags") : "*");
        if (command.getBooleanValue("ordered")) {
            consumer.registerMessageListener((MessageListenerOrderly) this::inOrder);
        } else {
            consumer.registerMessageListener((MessageListenerConcurrently) this::concurrently);
        }
        consumer.start();
    }

    void stop() {
        consumer.shutdown();
    }

    private ConsumeConcurrentlyStatus concurrently(List<MessageExt> messages, ConsumeConcurrentlyContext context) {
        boolean accepted = true;
        for (MessageExt message : messages) {
            accepted &= take(message, message.getReconsumeTimes());
        }
        return accepted ? ConsumeConcurrentlyStatus.CONSUME_SUCCESS : ConsumeConcurrentlyStatus.RECONSUME_LATER;
    }

    private ConsumeOrderlyStatus inOrder(List<MessageExt> messages, ConsumeOrderlyContext context) {
        for (MessageExt message : messages) {
            if (!take(message, deliveriesBefore(message))) {
                context.setSuspendCurrentQueueTimeMillis(100);
                return ConsumeOrderlyStatus.SUSPEND_CURRENT_QUEUE_A_MOMENT;
            }
        }
        return ConsumeOrderlyStatus.SUCCESS;
    }

    private synchronized int deliveriesBefore(MessageExt message) {
        String place = message.getBrokerName() + "/" + message.getQueueId() + "/" + message.getQueueOffset();
        return seen.merge(place, 1, Integer::sum) - 1;
    }

    /** Whether the message is accepted, which was delivered so many times before. */
    private boolean take(MessageExt message, int times) {
        boolean concerned = new String(message.getBody(), StandardCharsets.UTF_8).contains(refuseBody);
        boolean accepted = times >= refuse || !concerned;
        JSONObject event = Output.message(message);
        event.put("event", "message");
        event.put("consumer", name);
        event.put("accepted", accepted);
        Output.line(event);
        if (replier != null) {
            reply(message);
        }
        return accepted;
    }

    private void reply(MessageExt message) {
        try {
            replier.reply(message, ("reply to " + new String(message.getBody(), StandardCharsets.UTF_8)).getBytes(StandardCharsets.UTF_8));
        } catch (Exception error) {
            // Also of the messages that are not requests.
            System.err.println("reply: " + error);
        }
    }
}
