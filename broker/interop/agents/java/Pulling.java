import com.alibaba.fastjson.JSONArray;
import com.alibaba.fastjson.JSONObject;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.common.message.MessageQueue;

/** Reads a topic with the pull consumer, from the first offset of every queue to its end. */
@SuppressWarnings("deprecation") // The classic pull consumer is what older programs use.
final class Pulling {
    /** Messages asked for at a time. */
    private static final int BATCH = 32;

    private Pulling() {}

    static JSONArray pull(Agent agent, JSONObject command) throws Exception {
        DefaultMQPullConsumer consumer = new DefaultMQPullConsumer(command.getString("group"));
        consumer.setNamesrvAddr(agent.namesrv);
        consumer.setInstanceName(agent.instance + "-pull");
        consumer.start();
        try {
            JSONArray found = new JSONArray();
            String tags = command.containsKey("tags") ? command.getString("tags") : "*";
            for (MessageQueue queue : consumer.fetchSubscribeMessageQueues(command.getString("topic"))) {
                read(consumer, queue, tags, found);
            }
            return found;
        } finally {
            consumer.shutdown();
        }
    }

    private static void read(DefaultMQPullConsumer consumer, MessageQueue queue, String tags, JSONArray found) throws Exception {
        long end = consumer.maxOffset(queue);
        long offset = consumer.minOffset(queue);
        while (offset < end) {
            PullResult result = consumer.pull(queue, tags, offset, BATCH);
            if (result.getPullStatus() == PullStatus.FOUND) {
                result.getMsgFoundList().forEach(message -> found.add(Output.message(message)));
            }
            offset = result.getNextBeginOffset();
        }
    }
}
