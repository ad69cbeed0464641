"""Sharing a cluster with servers of RocketMQ itself, and moving from one to the other under load, as the migration guide has it."""

import time

from .. import check, remoting
from ..messages import bodies, message, numbered
from ..scenario import scenario
from .survive import Sender

SHARDS = 2
OLD, NEW = "old-broker", "new"
# Clients ask for routes every thirty seconds; what they know is not older than that.
ROUTE_AGE_SECONDS = 32
ROUTES_SECONDS = 100


@scenario("sync", "push", mixed=True)
def join_their_name_server(context, client):
    """A name server of RocketMQ takes RingMQ's shards as brokers: clients work through it, and a node that stops is gone from it."""
    with context.rocketmq() as rocketmq, context.cluster() as cluster:
        namesrv = rocketmq.start_name_server()
        cluster.start(NEW, SHARDS, namesrv)
        check.equal(remoting.brokers(namesrv), cluster.addresses(), "brokers of the cluster")
        skip_if_unreadable(client, namesrv)
        with context.agent(client, namesrv=namesrv) as agent:
            agent.produce(context.topic, numbered(100), in_flight=4)
            agent.consume(context.topic, context.group)
            check.until(lambda: len(agent.received()) >= 100, 60, lambda: f"{len(agent.received())} of 100 messages")
            check.equal(sorted(bodies(agent.received())), sorted(bodies(numbered(100))), "messages, each once")
            cluster.stop(NEW)
            check.until(lambda: remoting.brokers(namesrv) == {}, 30, "the shards left the cluster")
            cluster.start(NEW, SHARDS, namesrv)
            agent.produce(context.topic, numbered(20, "again"), in_flight=4)
            again = lambda: [body for body in bodies(agent.received()) if body.startswith(b"again")]
            check.until(lambda: len(again()) >= 20, 60, lambda: f"{len(again())} of 20 messages after a restart")


@scenario("sync", "push", mixed=True, alone=True, clients=("rust", "cpp", "java"))
def move_to_ringmq_and_back(context, client):
    """Both at a name server of RocketMQ's make."""
    with context.rocketmq() as rocketmq, context.cluster() as cluster:
        move(context, client, rocketmq, cluster, rocketmq.start_name_server())


@scenario("sync", "push", mixed=True, alone=True, clients=("rust", "cpp", "java"))
def move_at_our_name_server(context, client):
    """The same with their broker registered at RingMQ's name server."""
    with context.rocketmq() as rocketmq, context.cluster() as cluster:
        move(context, client, rocketmq, cluster, cluster.namesrv)


def move(context, client, rocketmq, cluster, namesrv):
    """From their broker to RingMQ and back, a producer and a consumer at work all the time: no send fails, nothing is lost."""
    rocketmq.start_broker(OLD, namesrv)
    skip_if_unreadable(client, namesrv)
    remoting.make_topic(namesrv, context.topic)
    with context.agent(client, "writer", namesrv) as writer, context.agent(client, "reader", namesrv) as consumer:
        writer.produce(context.topic, [message("refused once"), message("late", delay=3)])
        consumer.consume(context.topic, context.group, refuse=1, refuse_body="refused")
        traffic = Traffic(context, writer, consumer)
        traffic.flows_through([rocketmq.address(OLD)])

        cluster.start(NEW, SHARDS, namesrv)
        remoting.make_topic(namesrv, context.topic)
        shards = list(cluster.addresses().values())
        traffic.flows_through([rocketmq.address(OLD), *shards])

        set_writable(namesrv, OLD, rocketmq.address(OLD), False)
        traffic.leaves([rocketmq.address(OLD)])
        rocketmq.stop_broker(OLD)
        traffic.flows_through(shards)

        rocketmq.start_broker(OLD, namesrv)
        set_writable(namesrv, OLD, rocketmq.address(OLD), True)
        traffic.flows_through([rocketmq.address(OLD), *shards])

        for name, address in cluster.addresses().items():
            set_writable(namesrv, name, address, False)
        traffic.leaves(shards)
        cluster.stop(NEW)
        traffic.flows_through([rocketmq.address(OLD)])
        traffic.end([b"refused once", b"late"])


def skip_if_unreadable(client, namesrv):
    """The Rust client reads no route without a field that name servers of RocketMQ 4 do not send."""
    field = "enableActingMaster"
    _, route = remoting.ok(namesrv, 105, {"topic": "TBW102"})
    if client == "rust" and field.encode() not in route:
        raise check.Skipped(f"routes of this name server have no {field}")


def set_writable(namesrv, name, address, writable):
    """What the guide says: the permission at the name server, and at the broker, which registers again and again."""
    remoting.ok(namesrv, 327 if writable else 205, {"brokerName": name})
    remoting.ok(address, 25, body=f"brokerPermission={6 if writable else 4}\n".encode())


class Traffic:
    """A producer that never rests, and a consumer of the same topic."""

    def __init__(self, context, writer, consumer):
        self.topic = context.topic
        self.group = context.group
        self.consumer = consumer
        self.sender = Sender(writer, context.topic)

    def flows_through(self, addresses):
        """Waits until every one of these brokers takes messages that it did not have before."""
        before = {address: remoting.stored(address, self.topic) for address in addresses}
        behind = lambda: [one for one in addresses if remoting.stored(one, self.topic) <= before[one]]
        check.until(lambda: not behind(), ROUTES_SECONDS, lambda: f"sends to {behind()}; {self.sender.failed[-1:]}")

    def leaves(self, addresses):
        """Waits until nobody sends to these brokers any more, also of those that would be refused, and the consumer has read all
        that they have. A client that goes by an old route when its broker stops may have just sent something."""
        last = {}
        began = time.monotonic()

        def quiet():
            if time.monotonic() < began + ROUTE_AGE_SECONDS:
                return False
            if any(remoting.lag(address, self.group, self.topic) for address in addresses):
                return False
            now = {address: remoting.stored(address, self.topic) for address in addresses}
            still = now == last.get("stored") and len(self.sender.acknowledged) > last.get("sent", 0) + 200
            if now != last.get("stored"):
                last.update(stored=now, sent=len(self.sender.acknowledged))
            return still

        lags = lambda: {address: remoting.lag(address, self.group, self.topic) for address in addresses}
        check.until(quiet, 2 * ROUTES_SECONDS, lambda: f"the brokers are empty and left alone; lag {lags()}")

    def end(self, more):
        self.sender.stop()
        check.equal(self.sender.failed, [], "failed sends")
        expected = set(self.sender.acknowledged) | set(more)
        missing = lambda: expected - set(bodies(self.consumer.accepted()))
        check.until(lambda: not missing(), 120, lambda: f"{len(missing())} of {len(expected)} messages missing")
