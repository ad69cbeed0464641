"""Brokers that end under their clients."""

import threading

from .. import check, remoting
from ..messages import bodies, message
from ..scenario import scenario


class Sender:
    """Sends numbered messages one after the other until told to stop; keeps what was acknowledged and what failed."""

    def __init__(self, agent, topic):
        self.agent = agent
        self.topic = topic
        self.acknowledged = []
        self.failed = []
        self.error = None
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        number = 0
        try:
            while not self.ended.is_set():
                batch = [f"message {number + one}" for one in range(10)]
                number += len(batch)
                results = self.agent.attempt(self.topic, [message(body) for body in batch], seconds=120)
                for body, result in zip(batch, results):
                    if "error" in result:
                        self.failed.append((body, result["error"]))
                    else:
                        self.acknowledged.append(body.encode())
        except Exception as error:
            self.error = error

    def wait_for(self, more, seconds):
        target = len(self.acknowledged) + more
        check.until(
            lambda: len(self.acknowledged) >= target or self.error,
            seconds,
            lambda: f"{len(self.acknowledged)} of {target} sends; {self.failed[-1:]}",
        )
        check.that(not self.error, f"the sender ended: {self.error}")

    def stop(self):
        self.ended.set()
        self.thread.join(150)
        check.that(not self.thread.is_alive() and not self.error, f"the sender did not end: {self.error}")


@scenario("sync", "push", ours=True)
def restart_the_broker_in_the_middle(context, client):
    """Killed and started again: no acknowledged message is lost, producer and consumer go on by themselves."""
    with context.cluster() as cluster:
        cluster.start("a", 2)
        with context.agent(client, "writer", cluster.namesrv) as writer, context.agent(
            client, "reader", cluster.namesrv
        ) as consumer:
            writer.produce(context.topic, [message("first")])
            consumer.consume(context.topic, context.group)
            check.until(lambda: consumer.received(), 60, "the first message")
            sender = Sender(writer, context.topic)
            sender.wait_for(100, 60)
            for round_ in range(2):
                cluster.kill("a") if round_ == 0 else cluster.stop("a")
                cluster.start("a", 2)
                sender.wait_for(100, 120)
            sender.stop()
            expected = set(sender.acknowledged)
            missing = lambda: expected - set(bodies(consumer.received()))
            check.until(lambda: not missing(), 120, lambda: f"{len(missing())} of {len(expected)} acknowledged messages missing")


@scenario("sync", ours=True, alone=True)
def lose_a_node_without_a_failed_send(context, client):
    """Two nodes of eight shards; one is killed under a synchronous producer. Not one send fails that the client may try again."""
    # Sixteen shards at their usual limits would want more descriptors than a test machine gives.
    with context.cluster(["limits.connections_max=256"]) as cluster:
        cluster.start("a", 8)
        cluster.start("b", 8)
        # A topic that a first message makes is on one node alone until the client asks for its route again.
        remoting.make_topic(cluster.namesrv, context.topic, 1)
        with context.agent(client, "writer", cluster.namesrv) as writer:
            for number in range(64):
                writer.produce(context.topic, [message(f"warm up {number}")])
            sender = Sender(writer, context.topic)
            sender.wait_for(200, 60)
            cluster.kill("b")
            sender.wait_for(1000, 180)
            cluster.start("b", 8)
            sender.wait_for(500, 120)
            sender.stop()
            # The Rust client never repeats a send that was written: the one that the node took with it.
            lost = [error for _, error in sender.failed if client == "rust" and "transport.response" in error][:1]
            check.equal([error for _, error in sender.failed], lost, "failed sends")
        with context.agent("rust", "reader", cluster.namesrv) as agent:
            agent.consume(context.topic, context.group)
            expected = set(sender.acknowledged)
            missing = lambda: expected - set(bodies(agent.received()))
            check.until(lambda: not missing(), 120, lambda: f"{len(missing())} of {len(expected)} messages missing")
