"""Sending, in each way that a client has, read back by another client."""

from .. import check
from ..messages import bodies, message, numbered
from ..scenario import reader, scenario

COUNT = 40


def written(context, client, expected):
    """All messages of the topic, as another client pulls them; waits until there are as many as expected."""
    other = reader(client)
    with context.agent(other, "reader") as agent:
        def all_of_them():
            found = agent.call("pull", topic=context.topic, group=f"{context.group}-reader")
            return found if len(found) >= expected else None

        return check.until(all_of_them, 30, f"{expected} messages in {context.topic}")


def send_and_compare(context, client, how):
    messages = numbered(COUNT, tag="TagA", keys="key-1 key-2", properties={"a-property": "a value"})
    with context.agent(client) as agent:
        results = agent.produce(context.topic, messages, how)
    found = written(context, client, COUNT)
    check.equal(sorted(bodies(found)), sorted(bodies(messages)), "bodies")
    for one in found:
        described = (one["tag"], one["keys"], one["properties"].get("a-property"))
        check.equal(described, ("TagA", "key-1 key-2", "a value"), "tag, keys and property")
    return results


@scenario("sync", "pull")
def send_sync(context, client):
    results = send_and_compare(context, client, "sync")
    check.equal(len({result["msg_id"] for result in results}), COUNT, "message ids, all different")


@scenario("sync", clients=("node",))
def send_from_node(context, client):
    messages = numbered(COUNT, tag="TagA", keys="key-1", properties={"a-property": "a value"})
    with context.agent(client) as agent:
        agent.produce(context.topic, messages, in_flight=4)
    found = written(context, client, COUNT)
    check.equal(sorted(bodies(found)), sorted(bodies(messages)), "bodies")
    for one in found:
        described = (one["tag"], one["keys"], one["properties"].get("a-property"))
        check.equal(described, ("TagA", "key-1", "a value"), "tag, keys and property")


@scenario("async")
def send_async(context, client):
    send_and_compare(context, client, "async")


@scenario("oneway")
def send_oneway(context, client):
    # The route must be known: a one-way send to a topic that is only being made may be lost, as documented.
    with context.agent(client) as agent:
        agent.produce(context.topic, numbered(1, "first"))
        agent.produce(context.topic, numbered(COUNT), "oneway")
        # Counted while the producer lives: its last requests may still be under way.
        found = written(context, client, COUNT + 1)
    check.equal(sorted(bodies(found)), sorted(bodies(numbered(1, "first") + numbered(COUNT))), "bodies")


@scenario("batch")
def send_batch(context, client):
    send_and_compare(context, client, "batch")


@scenario("sync", "pull")
def send_compressed(context, client):
    """Bodies that the client compresses before it sends them."""
    text = "a line that compresses well; " * 1000
    with context.agent(client) as agent:
        agent.produce(context.topic, [message(text)])
    check.equal(bodies(written(context, client, 1)), [text.encode()], "body")


@scenario("pull")
def pull(context, client):
    """The pull consumer reads every queue from start to end, with and without a tag filter."""
    with context.agent(reader(client), "writer") as agent:
        for tag in ("TagA", "TagB"):
            agent.produce(context.topic, numbered(COUNT, tag, tag=tag))
    with context.agent(client) as agent:
        everything = agent.call("pull", topic=context.topic, group=context.group)
        check.equal(sorted(bodies(everything)), sorted(bodies(numbered(COUNT, "TagA") + numbered(COUNT, "TagB"))), "messages, each once")
        filtered = agent.call("pull", topic=context.topic, group=context.group, tags="TagB")
    check.equal(sorted(bodies(filtered)), sorted(bodies(numbered(COUNT, "TagB"))), "messages with the tag")
