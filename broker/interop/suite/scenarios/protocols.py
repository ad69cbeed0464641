"""One log, two protocols: what is written by either is read by the other."""

import base64
import json
import subprocess

from .. import check, remoting
from ..messages import bodies, message, numbered
from ..scenario import scenario

COUNT = 30


@scenario("sync", ours=True)
def written_by_remoting_read_natively(context, client):
    with context.agent(client) as agent:
        if client == "node":
            # It needs a topic that is there, and native clients see a topic as a whole only if it was made as one.
            context.native("topic", "create", context.topic, "--queues", "4")
            agent.made.add(context.topic)
        agent.produce(context.topic, numbered(COUNT, tag="TagA", keys="key-1", properties={"a-property": "a value"}))
    found = check.until(
        lambda: (read := context.native_messages(context.topic)) and len(read) >= COUNT and read, 30, f"{COUNT} messages"
    )
    check.equal(sorted(one["body"] for one in found), sorted(body.decode() for body in bodies(numbered(COUNT))), "bodies")
    for one in found:
        check.equal(one["tag"], "TagA", "tag")
        check.equal(one["keys"], ["key-1"], "keys")
        properties = dict(one["properties"])
        check.equal(properties.get("a-property"), "a value", "property")


@scenario("push", ours=True)
def written_natively_read_by_remoting(context, client):
    context.native("topic", "create", context.topic, "--queues", "4")
    lines = "".join(f"key-{number}|message {number}\n" for number in range(COUNT))
    context.native(
        "produce", context.topic, "-k", "|", "--tag", "TagA", "--property", "a-property=a value", stdin=lines
    )
    with context.agent(client) as agent:
        agent.consume(context.topic, context.group, tags="TagA")
        check.until(lambda: len(agent.received()) >= COUNT, 60, lambda: f"{len(agent.received())} of {COUNT} messages")
        found = agent.received()
    check.equal(sorted(bodies(found)), sorted(bodies(numbered(COUNT))), "bodies")
    for one in found:
        number = bodies([one])[0].decode().split()[1]
        described = (one["tag"], one["keys"], one["properties"].get("a-property"))
        check.equal(described, ("TagA", f"key-{number}", "a value"), "tag, key and property")


@scenario("admin")
def find_by_key_and_by_id(context, client):
    """A message's id and keys find it, through the requests that the tools send."""
    with context.agent(client) as agent:
        results = agent.produce(context.topic, [message("wanted", keys="needle other"), message("not wanted", keys="hay")])
        found = check.until(
            lambda: agent.call("query", topic=context.topic, key="needle"), 30, "the message with the key"
        )
        check.equal(bodies(found), [b"wanted"], "messages with the key")
        viewed = agent.call("view", topic=context.topic, message=results[0]["offset_msg_id"])
        check.equal(bodies([viewed]), [b"wanted"], "message with the id")
        check.equal((viewed["queue"], viewed["offset"]), (results[0]["queue"], results[0]["offset"]), "its place")


@scenario("request")
def request_and_reply(context, client):
    """A request's reply comes back to the client that asked."""
    with context.agent(client, "server") as server, context.agent(client, "asker") as asker:
        asker.produce(context.topic, [message("makes the topic")])
        server.consume(context.topic, context.group, reply=True)
        check.until(lambda: server.received(), 60, "the first message")
        reply = asker.call("request", topic=context.topic, body=message("question")["body"], timeout=15000)
        check.equal(base64.b64decode(reply["body"]), b"reply to question", "reply")


@scenario("sync", clients=("cpp",), ours=True)
def an_unknown_request_is_refused_by_number(context, client):
    """An unknown code is answered with its number, and the connection stays."""
    with context.agent(client) as agent:
        agent.produce(context.topic, numbered(1))
    _, body = remoting.ok(context.namesrv, 105, {"topic": context.topic})
    address = json.loads(body)["brokerDatas"][0]["brokerAddrs"]["0"]
    import socket

    host, port = address.split(":")
    with socket.create_connection((host, int(port)), 10) as connection:
        code, _, remark, _ = remoting.exchange(connection, 29999, {}, b"", 479)
        check.equal((code, "29999" in (remark or "")), (3, True), f"answer to an unknown code ({remark})")
        code, fields, _, _ = remoting.exchange(connection, 30, {"topic": context.topic, "queueId": 0}, b"", 479)
        check.equal(code, 0, "a further request on the same connection")


@scenario("pull", clients=("rust",))
def measure_with_the_rig(context, client):
    """`ringmq-bench --protocol remoting`: what it says it sent is there, and what it reads is all of it, whole."""

    def bench(*arguments):
        command = [context.programs.bench, *arguments, "--protocol", "remoting", "--namesrv", context.namesrv]
        done = subprocess.run([*command, "--topic", context.topic, "--json", "-"], capture_output=True, text=True, timeout=120)
        check.equal(done.returncode, 0, f"{' '.join(command)}: {done.stderr[-500:]}")
        return json.loads(done.stdout)

    load = ["--message-bytes", "100", "--batch", "5", "--duration", "1s", "--warm-up", "0s"]
    sent = bench("produce", *load)["throughput"]["messages"]
    read = bench("consume", "--verify", "--duration", "60s")["throughput"]["messages"]
    check.that(0 < sent <= read, f"{sent} messages acknowledged in time, {read} read")
    with context.agent(client) as agent:
        found = agent.call("pull", topic=context.topic, group=context.group, seconds=120)
    check.equal(len(found), read, "messages that a foreign client reads")
    latency = bench("latency", *load, "--rate", "200")
    check.equal(latency["delivered"]["count"], latency["acknowledged"]["count"], "batches delivered")
