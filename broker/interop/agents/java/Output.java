import com.alibaba.fastjson.JSONObject;
import java.util.Base64;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.MessageExt;

/** What every agent reports, in the same words. */
final class Output {
    private Output() {}

    /** Writes one object as one line, whole even when several threads write. */
    static synchronized void line(JSONObject value) {
        System.out.println(value.toJSONString());
        System.out.flush();
    }

    static JSONObject error(Throwable error) {
        JSONObject value = new JSONObject();
        value.put("error", error.toString());
        return value;
    }

    static JSONObject sent(SendResult result) {
        JSONObject value = new JSONObject();
        value.put("status", result.getSendStatus().name());
        value.put("msg_id", result.getMsgId());
        value.put("offset_msg_id", result.getOffsetMsgId());
        value.put("broker", result.getMessageQueue().getBrokerName());
        value.put("queue", result.getMessageQueue().getQueueId());
        value.put("offset", result.getQueueOffset());
        return value;
    }

    static JSONObject message(MessageExt message) {
        byte[] body = message.getBody() == null ? new byte[0] : message.getBody();
        JSONObject value = new JSONObject();
        value.put("topic", message.getTopic());
        value.put("body", Base64.getEncoder().encodeToString(body));
        value.put("tag", message.getTags());
        value.put("keys", message.getKeys());
        value.put("broker", message.getBrokerName());
        value.put("queue", message.getQueueId());
        value.put("offset", message.getQueueOffset());
        value.put("position", message.getCommitLogOffset());
        value.put("times", message.getReconsumeTimes());
        value.put("msg_id", message.getMsgId());
        value.put("born_host", String.valueOf(message.getBornHost()));
        value.put("born", message.getBornTimestamp());
        value.put("stored", message.getStoreTimestamp());
        value.put("properties", message.getProperties());
        return value;
    }
}
