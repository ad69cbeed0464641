"""Push consumers: sharing, broadcasting, filtering, order."""

from .. import check, remoting
from ..messages import bodies, message, numbered
from ..scenario import reader, scenario

COUNT = 200


@scenario("push")
def consume_in_clustering_mode(context, client):
    """A new group gets what was stored before it came, and everything after, each message once."""
    with context.agent(reader(client), "writer") as writer, context.agent(client) as agent:
        writer.produce(context.topic, numbered(COUNT, "before"), in_flight=8)
        agent.consume(context.topic, context.group)
        check.until(lambda: len(agent.received()) >= COUNT, 60, lambda: f"{len(agent.received())} of {COUNT} messages")
        writer.produce(context.topic, numbered(COUNT, "after"), in_flight=8)
        check.until(lambda: len(agent.received()) >= 2 * COUNT, 30, lambda: f"{len(agent.received())} messages")
        expected = bodies(numbered(COUNT, "before") + numbered(COUNT, "after"))
        check.equal(sorted(bodies(agent.received())), sorted(expected), "messages, each once")


@scenario("push")
def go_on_where_the_group_was(context, client):
    """What was consumed and committed is not delivered to the group's next member, and nothing is left out."""
    with context.agent(reader(client), "writer") as writer:
        writer.produce(context.topic, numbered(COUNT, "first"), in_flight=8)
        with context.agent(client, "one") as one:
            one.consume(context.topic, context.group)
            committed = lambda: remoting.committed(context.namesrv, context.group, context.topic)
            check.until(lambda: committed() == COUNT, 60, lambda: f"{committed()} of {COUNT} committed")
            one.stop()
        writer.produce(context.topic, numbered(COUNT, "second"), in_flight=8)
        with context.agent(client, "two") as two:
            two.consume(context.topic, context.group)
            # A client that is given messages faster than it can hand them out sends some back: those come ten seconds later.
            both = lambda: bodies(one.received() + two.received())
            check.until(lambda: len(both()) >= 2 * COUNT, 60, lambda: f"{len(both())} of {2 * COUNT}")
            expected = bodies(numbered(COUNT, "first") + numbered(COUNT, "second"))
            check.equal(sorted(both()), sorted(expected), "messages, each once")


class Probes:
    """Sends one message to every queue again and again, to see who reads which queue."""

    def __init__(self, writer, topic):
        remoting.make_topic(writer.namesrv, topic)
        self.writer = writer
        self.topic = topic
        self.rounds = 0
        first = writer.produce(topic, [message(f"probe {queue}", queue=queue) for queue in range(64)])
        self.queues = len({(result["broker"], result["queue"]) for result in first})

    def send(self):
        self.rounds += 1
        self.writer.produce(self.topic, [message(f"round {self.rounds} {queue}", queue=queue) for queue in range(self.queues)])
        return f"round {self.rounds} "

    def of_round(self, agent, start):
        return sorted(body for body in bodies(agent.received()) if body.startswith(start.encode()))


def is_complete(probes, round_, agents):
    return sum(len(probes.of_round(agent, round_)) for agent in agents) >= probes.queues


def settle(probes, agents, split):
    """Sends rounds until one comes as it should: `split(counts of the round, one for each agent)`."""

    history = []

    def settled():
        round_ = probes.send()
        try:
            check.until(lambda: is_complete(probes, round_, agents), 10, "a round")
        except check.Failed:
            pass
        history.append([len(probes.of_round(agent, round_)) for agent in agents])
        return split(history[-1])

    check.until(settled, 90, lambda: f"the {probes.queues} queues settled; read of each round by each: {history}")


@scenario("push")
def share_queues_and_take_over(context, client):
    """Two members share the queues; when one leaves, the other has them all. Nothing is lost, and nothing comes twice once settled."""
    with context.agent("rust", "writer") as writer:
        probes = Probes(writer, context.topic)
        with context.agent(client, "one") as one, context.agent(client, "two") as two:
            one.consume(context.topic, context.group)
            two.consume(context.topic, context.group)
            half = probes.queues // 2
            settle(probes, [one, two], lambda counts: counts == [half, half])
            writer.produce(context.topic, numbered(COUNT, "shared"), in_flight=8)
            both = lambda: [body for agent in (one, two) for body in bodies(agent.received()) if body.startswith(b"shared")]
            check.until(lambda: len(both()) >= COUNT, 30, lambda: f"{len(both())} of {COUNT} shared messages")
            check.equal(sorted(both()), sorted(bodies(numbered(COUNT, "shared"))), "shared messages, each once")
            two.stop()
            settle(probes, [one, two], lambda counts: counts == [probes.queues, 0])
            writer.produce(context.topic, numbered(COUNT, "alone"), in_flight=8)
            left = lambda: [body for body in bodies(one.received()) if body.startswith(b"alone")]
            check.until(lambda: len(left()) >= COUNT, 30, lambda: f"{len(left())} of {COUNT} messages after one left")
            check.equal(sorted(left()), sorted(bodies(numbered(COUNT, "alone"))), "messages after one left, each once")
            seen = set(bodies(one.received()) + bodies(two.received()))
            for number in range(1, probes.rounds + 1):
                lost = [queue for queue in range(probes.queues) if f"round {number} {queue}".encode() not in seen]
                check.that(not lost, f"round {number} lost its messages {lost}")


@scenario("push")
def broadcast(context, client):
    """Every member gets every message."""
    with context.agent("rust", "writer") as writer:
        probes = Probes(writer, context.topic)
        with context.agent(client, "one") as one, context.agent(client, "two") as two:
            for agent in (one, two):
                agent.consume(context.topic, context.group, model="broadcasting")
            # A new broadcasting member may start at the end of its queues: send once both read all of them.
            settle(probes, [one, two], lambda counts: counts == [probes.queues] * 2)
            writer.produce(context.topic, numbered(COUNT), in_flight=8)
            for agent in (one, two):
                mine = lambda: [body for body in bodies(agent.received()) if body.startswith(b"message")]
                check.until(lambda: len(mine()) >= COUNT, 30, lambda: f"{len(mine())} of {COUNT} messages")
                check.equal(sorted(mine()), sorted(bodies(numbered(COUNT))), "messages, each once")


@scenario("push")
def filter_by_tag(context, client):
    with context.agent(reader(client), "writer") as writer, context.agent(client) as agent:
        for tag in ("TagA", "TagB", "TagC"):
            writer.produce(context.topic, numbered(COUNT // 4, tag, tag=tag), in_flight=8)
        agent.consume(context.topic, context.group, tags="TagA || TagC")
        expected = bodies(numbered(COUNT // 4, "TagA") + numbered(COUNT // 4, "TagC"))
        check.until(lambda: len(agent.received()) >= len(expected), 60, lambda: f"{len(agent.received())} messages")
        # The end of the topic was passed: what must not come would have come before this.
        writer.produce(context.topic, numbered(8, "last", tag="TagA"))
        check.until(lambda: len(agent.received()) >= len(expected) + 8, 30, "the last messages")
        check.equal(sorted(bodies(agent.received())), sorted(expected + bodies(numbered(8, "last"))), "messages with the tags")


@scenario("push", "ordered")
def keep_order(context, client):
    """Ordered consumption: each queue in the order of sending, and a refused message holds its queue up."""
    queues = 4
    remoting.make_topic(context.namesrv, context.topic)
    with context.agent("rust", "writer") as writer, context.agent(client) as agent:
        for number in range(COUNT // 4):
            writer.produce(context.topic, [message(f"{queue}/{number}", queue=queue) for queue in range(queues)])
        agent.consume(context.topic, context.group, ordered=True, refuse=2, refuse_body="/7")
        accepted = lambda: agent.accepted()
        check.until(lambda: len(accepted()) >= COUNT, 90, lambda: f"{len(accepted())} of {COUNT} messages")
        lines = {}
        for delivery in agent.received():
            queue, number = bodies([delivery])[0].decode().split("/")
            lines.setdefault(queue, []).append(int(number))
        expected = [number for number in range(COUNT // 4) for _ in range(3 if number == 7 else 1)]
        for queue, numbers in lines.items():
            check.equal(numbers, expected, f"deliveries of queue {queue}")
        check.equal(len(lines), queues, "queues")


@scenario("push", "ordered")
def move_an_ordered_queue(context, client):
    """When the owner of locked queues leaves, the next member gets the locks and goes on in order."""
    queues = 4
    remoting.make_topic(context.namesrv, context.topic)
    with context.agent("rust", "writer") as writer, context.agent(client, "one") as one, context.agent(client, "two") as two:
        def send(numbers):
            for number in numbers:
                writer.produce(context.topic, [message(f"{queue}/{number:03}", queue=queue) for queue in range(queues)])

        send(range(20))
        one.consume(context.topic, context.group, ordered=True)
        check.until(lambda: len(one.received()) >= 20 * queues, 60, lambda: f"{len(one.received())} messages")
        one.stop()
        send(range(20, 40))
        two.consume(context.topic, context.group, ordered=True)
        check.until(lambda: len(two.received()) >= 20 * queues, 90, lambda: f"{len(two.received())} messages")
        for queue in range(queues):
            mine = [body.decode() for body in bodies(two.received()) if body.startswith(f"{queue}/".encode())]
            check.equal(mine, [f"{queue}/{number:03}" for number in range(20, 40)], f"queue {queue}")
