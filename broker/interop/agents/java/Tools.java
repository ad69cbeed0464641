import com.alibaba.fastjson.JSON;
import com.alibaba.fastjson.JSONObject;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;

/** What {@code mqadmin} and the dashboard ask for, through the class that both are made of. */
final class Tools {
    private Tools() {}

    static Object call(Agent agent, JSONObject command) throws Exception {
        DefaultMQAdminExt admin = new DefaultMQAdminExt();
        admin.setNamesrvAddr(agent.namesrv);
        admin.setInstanceName(agent.instance + "-admin");
        admin.start();
        try {
            return call(admin, command);
        } finally {
            admin.shutdown();
        }
    }

    private static Object call(DefaultMQAdminExt admin, JSONObject command) throws Exception {
        String topic = command.getString("topic");
        switch (command.getString("call")) {
            case "cluster":
                return JSON.toJSONString(admin.examineBrokerClusterInfo());
            case "topics":
                return JSON.toJSONString(admin.fetchAllTopicList());
            case "route":
                return JSON.toJSONString(admin.examineTopicRouteInfo(topic));
            case "runtime":
                return JSON.toJSONString(admin.fetchBrokerRuntimeStats(command.getString("address")));
            case "consumers of topic":
                return JSON.toJSONString(admin.queryTopicConsumeByWho(topic));
            case "connections":
                return JSON.toJSONString(admin.examineConsumerConnectionInfo(command.getString("group")));
            case "remove topic":
                admin.deleteTopicInBroker(
                    admin.examineBrokerClusterInfo().getBrokerAddrTable().values().stream()
                        .map(broker -> broker.getBrokerAddrs().get(0L)).collect(java.util.stream.Collectors.toSet()), topic);
                return new JSONObject();
            default:
                throw new IllegalArgumentException("unknown call " + command.getString("call"));
        }
    }
}
