"""Administration: the requests of the tools, to every shard, with one shard gone."""

import json

from .. import check, remoting
from ..messages import message, numbered
from ..scenario import scenario
from .retry import settings_of

SHARDS = 8
# Keys that `mqadmin clusterList`, `brokerStatus` and the dashboard read.
RUNTIME_KEYS = """
    EndTransactionQueueSize EndTransactionThreadPoolQueueCapacity bootTimestamp brokerActive brokerVersion brokerVersionDesc
    commitLogDirCapacity commitLogDiskRatio commitLogMaxOffset commitLogMinOffset consumeQueueDiskRatio dispatchBehindBytes
    dispatchMaxBuffer earliestMessageTimeStamp getFoundTps getMessageEntireTimeMax getMissTps getTotalTps getTransferedTps
    getTransferredTps msgGetTotalTodayMorning msgGetTotalTodayNow msgGetTotalYesterdayMorning msgPutTotalTodayMorning
    msgPutTotalTodayNow msgPutTotalYesterdayMorning pageCacheLockTimeMills putLatency99 putLatency999 putMessageAverageSize
    putMessageDistributeTime putMessageEntireTimeMax putMessageFailedTimes putMessageSizeTotal putMessageTimesTotal putTps
    remainHowManyDataToCommit remainHowManyDataToFlush remainTransientStoreBufferNumbs runtime
    sendThreadPoolQueueCapacity sendThreadPoolQueueHeadWaitTimeMills sendThreadPoolQueueSize
    pullThreadPoolQueueCapacity pullThreadPoolQueueHeadWaitTimeMills pullThreadPoolQueueSize
    queryThreadPoolQueueCapacity queryThreadPoolQueueHeadWaitTimeMills queryThreadPoolQueueSize
    ackThreadPoolQueueCapacity ackThreadPoolQueueHeadWaitTimeMills ackThreadPoolQueueSize
    litePullThreadPoolQueueCapacity litePullThreadPoolQueueHeadWaitTimeMills litePullThreadPoolQueueSize
    startAcceptSendRequestTimeStamp timerCongestNum timerDequeueTps timerEnqueueTps timerOffsetBehind timerReadBehind
    scheduleMessageOffset_1 scheduleMessageOffset_18
""".split()


class Broker:
    """One shard, as a tool sees it."""

    def __init__(self, name, address, topic, group):
        self.name, self.address, self.topic, self.group = name, address, topic, group

    def ask(self, code, body=b"", **fields):
        return remoting.ok(self.address, code, fields, body)

    def json(self, code, **fields):
        _, body = self.ask(code, **fields)
        return json.loads(body)

    def refused(self, code, expected, body=b"", **fields):
        found, _, remark, _ = remoting.call(self.address, code, fields, body)
        check.equal(found, expected, f"code of request {code} {fields} to {self.name} ({remark})")

    def table(self, code, **fields):
        """A map whose keys are this broker's queues: {(topic, queue id): value}."""
        _, body = self.ask(code, **fields)
        entries = {}
        for (name, topic, queue), value in remoting.queue_table(body).items():
            check.equal(name, self.name, "broker of a queue")
            entries[topic, queue] = value
        return entries


def look_at_topics(broker):
    config = broker.json(351, topic=broker.topic)
    check.equal((config["topicName"], config["perm"]), (broker.topic, 6), "topic config")
    check.that(broker.topic in broker.json(21)["topicConfigTable"], "all topics have the topic")
    stats = broker.table(202, topic=broker.topic)
    check.equal(len(stats), config["readQueueNums"], "queues with statistics")
    stored = sum(queue["maxOffset"] - queue["minOffset"] for queue in stats.values())
    check.that(all(queue["lastUpdateTimestamp"] > 0 for queue in stats.values() if queue["maxOffset"]), "times of queues")
    broker.refused(202, 17, topic="there-is-no-such-topic")
    broker.refused(351, 17, topic="there-is-no-such-topic")
    system = broker.json(305)
    check.that("TBW102" in system["topicList"] and broker.topic not in system["topicList"], f"system topics {system}")
    for queue in range(config["readQueueNums"]):
        first, last = (int(broker.ask(code, topic=broker.topic, queueId=queue)[0]["offset"]) for code in (31, 30))
        check.equal((first, last), (0, stats[broker.topic, queue]["maxOffset"]), "first and last offset")
        broker.ask(32, topic=broker.topic, queueId=queue)
        found = broker.ask(29, topic=broker.topic, queueId=queue, timestamp=0)[0]["offset"]
        check.equal(int(found), 0, "offset at time 0")
        entries = broker.json(321, topic=broker.topic, queueId=queue, index=0, count=10, consumerGroup=broker.group)
        check.equal((len(entries["queueData"]), entries["maxQueueIndex"]), (min(last, 10), last), "entries of a queue")
    return stored


def look_at_groups(broker):
    other = f"{broker.group}-copy"
    broker.ask(200, settings_of(broker.group, 3))
    config = broker.json(352, group=broker.group)
    check.equal((config["groupName"], config["retryMaxTimes"]), (broker.group, 3), "group config")
    check.that(broker.group in broker.json(201)["subscriptionGroupTable"], "all groups have the group")
    broker.ask(15, consumerGroup=broker.group, topic=broker.topic, queueId=0, commitOffset=1)
    offset = broker.ask(14, consumerGroup=broker.group, topic=broker.topic, queueId=0)[0]["offset"]
    stats = broker.table(208, consumerGroup=broker.group)
    mine = stats[broker.topic, 0]
    check.equal((mine["consumerOffset"], mine["consumerOffset"]), (int(offset), 1), "committed offset")
    check.that(mine["lastTimestamp"] > 0, "time of the message consumed last")
    check.that(broker.group in broker.json(300, topic=broker.topic)["groupList"], "groups that read the topic")
    check.equal(broker.json(343, group=broker.group)["topicList"], [broker.topic], "topics of the group")
    check.equal(broker.json(345, group=broker.group, topic=broker.topic)["group"], broker.group, "subscription")
    spans = broker.json(303, topic=broker.topic, group=broker.group)["consumeTimeSpanSet"]
    check.that(spans and all(span["messageQueue"]["brokerName"] == broker.name for span in spans), f"spans {spans}")
    _, overview = broker.ask(317, isOrder=False)
    check.that(f'"{broker.group}":[' in overview.decode(), "the group in the overview of all groups")
    broker.ask(314, srcGroup=broker.group, destGroup=other, topic=broker.topic, offline=True)
    copied = broker.ask(14, consumerGroup=other, topic=broker.topic, queueId=0)[0]["offset"]
    check.equal(copied, offset, "copied offset")
    broker.ask(222, topic=broker.topic, group=broker.group, timestamp=-1, isForce=True)
    # What is not known is answered empty, or by its code.
    check.equal(broker.table(208, consumerGroup="no-such-group"), {}, "statistics of no group")
    check.equal(broker.json(300, topic="no-such-topic")["groupList"], [], "groups of no topic")
    check.equal(broker.json(343, group="no-such-group")["topicList"], [], "topics of no group")
    broker.refused(203, 206, consumerGroup="no-such-group")
    broker.refused(352, 26, group="no-such-group")
    broker.ask(207, groupName=broker.group, cleanOffset=True)
    broker.refused(352, 26, group=broker.group)


def look_at_broker(broker):
    table = broker.json(28)["table"]
    missing = [key for key in RUNTIME_KEYS if key not in table]
    check.equal(missing, [], "runtime keys that are missing")
    check.equal(len(table["putTps"].split()), 3, "rates of sends")
    fields, body = broker.ask(26)
    properties = dict(line.split("=", 1) for line in body.decode().splitlines())
    check.equal(properties["brokerName"], broker.name, "broker name in the configuration")
    check.that(json.loads(fields["version"])["timestamp"] > 0, "version of the configuration")
    broker.refused(25, 16, b"brokerConfigPath=/tmp/x\n")
    broker.refused(25, 29, b"maxMessageSize=1\n")
    broker.ask(25, f"brokerName={broker.name}\n".encode())
    put = broker.json(315, statsName="TOPIC_PUT_NUMS", statsKey=broker.topic)
    check.that(put["statsDay"]["sum"] > 0, f"messages put, {put}")
    broker.refused(315, 1, statsName="TOPIC_PUT_NUMS", statsKey="no-such-topic")
    check.that("data" in broker.json(328), "all producers")
    broker.refused(29999, 3)


@scenario("admin", ours=True, alone=True)
def administer_eight_shards_with_one_failed(context, client):
    """Eight shards on eight nodes, one killed: every request works at each of the seven, and for the cluster as a whole."""
    names = [chr(ord("a") + number) for number in range(SHARDS)]
    with context.cluster() as cluster:
        for name in names:
            cluster.start(name, 1)
        addresses = cluster.addresses()
        remoting.make_topic(cluster.namesrv, context.topic, 2)
        with context.agent(client, namesrv=cluster.namesrv) as agent:
            messages = [message(f"message {number}", queue=number) for number in range(2 * SHARDS)] * 3
            agent.produce(context.topic, messages)
            failed = f"s00-{names[3]}"
            cluster.kill(names[3])
            brokers = lambda: remoting.brokers(cluster.namesrv)
            check.until(lambda: failed not in brokers(), 30, "the failed shard left the routes")
            check.equal(len(brokers()), SHARDS - 1, "brokers of the cluster")
            stored = 0
            for name, address in addresses.items():
                if name != failed:
                    broker = Broker(name, address, context.topic, context.group)
                    stored += look_at_topics(broker)
                    look_at_groups(broker)
                    look_at_broker(broker)
            check.equal(stored, len(messages) * (SHARDS - 1) // SHARDS, "messages at the seven shards")
            through_the_client(agent, addresses, context)


def through_the_client(agent, addresses, context):
    """What the client's own tools ask of the cluster as a whole."""
    for call in ("cluster", "topics"):
        agent.call("admin", call=call)
    route = agent.call("admin", call="route", topic=context.topic)
    check.equal(sum(name in route for name in addresses), SHARDS - 1, f"shards in the route {route}")
    agent.call("admin", call="consumers of topic", topic=context.topic)
    agent.consume(context.topic, context.group)
    check.until(lambda: agent.received(), 60, "messages for a consumer")
    connections = agent.call("admin", call="connections", group=context.group)
    check.that(context.group in connections or context.topic in connections, f"connections {connections}")
    for name, address in list(addresses.items())[:2]:
        check.that("putTps" in agent.call("admin", call="runtime", address=address), f"runtime of {name}")
    agent.stop()
    agent.call("admin", call="remove topic", topic=context.topic, cluster="interop")


@scenario("admin", ours=True)
def take_and_give_write_permission(context, client):
    """The steps of a migration: wipeWritePerm sends producers elsewhere, addWritePerm brings them back."""
    with context.cluster() as cluster:
        cluster.start("a", 1)
        cluster.start("b", 1)
        remoting.make_topic(cluster.namesrv, context.topic)
        with context.agent(client, namesrv=cluster.namesrv) as agent:
            agent.produce(context.topic, numbered(8))
            remoting.ok(cluster.namesrv, 205, {"brokerName": "s00-a"})
            with context.agent(client, "late", cluster.namesrv) as late:
                sent = late.produce(context.topic, numbered(20))
                check.equal({one["broker"] for one in sent}, {"s00-b"}, "brokers that were sent to")
            remoting.ok(cluster.namesrv, 327, {"brokerName": "s00-a"})
            with context.agent(client, "later", cluster.namesrv) as later:
                sent = later.produce(context.topic, numbered(20))
                check.equal({one["broker"] for one in sent}, {"s00-a", "s00-b"}, "brokers that were sent to")
            # The broker's own permission acts on all its shards, for requests to any of them.
            remoting.ok(cluster.address("b", 0), 25, body=b"brokerPermission=4\n")
            with context.agent(client, "last", cluster.namesrv) as last:
                def only_a():
                    sent = last.attempt(context.topic, numbered(4))
                    return {one.get("broker") for one in sent} == {"s00-a"}

                check.until(only_a, 60, "the broker left the write routes")
