"""The remoting protocol in its plainest form, for requests that none of the foreign clients can send."""

import itertools
import json
import socket
import struct

from . import check

opaques = itertools.count(1)


def call(address, code, fields=None, body=b"", seconds=15, version=479):
    """(code, fields, remark, body) of the answer."""
    host, port = address.rsplit(":", 1)
    with socket.create_connection((host, int(port)), seconds) as connection:
        return exchange(connection, code, fields or {}, body, version)


def exchange(connection, code, fields, body, version):
    opaque = next(opaques)
    header = {
        "code": code,
        "language": "JAVA",
        "version": version,
        "opaque": opaque,
        "flag": 0,
        "serializeTypeCurrentRPC": "JSON",
        "extFields": {name: str(value) for name, value in fields.items()},
    }
    head = json.dumps(header).encode()
    connection.sendall(struct.pack(">II", 4 + len(head) + len(body), len(head)) + head + body)
    while True:
        (total,) = struct.unpack(">I", exactly(connection, 4))
        frame = exactly(connection, total)
        length = struct.unpack(">I", frame[:4])[0] & 0xFFFFFF
        answer = json.loads(frame[4 : 4 + length])
        if answer["flag"] & 1 and answer["opaque"] == opaque:
            return answer["code"], answer.get("extFields", {}), answer.get("remark"), frame[4 + length :]


def ok(address, code, fields=None, body=b"", **more):
    """(fields, body) of an answer that must be a success."""
    found, answered, remark, content = call(address, code, fields, body, **more)
    check.equal((found, remark if found else None), (0, None), f"request {code} {fields or ''} to {address}")
    return answered, content


def brokers(name_server):
    """Name to address of all brokers of the cluster."""
    _, body = ok(name_server, 106)
    # Java leaves out the quotes around numbers.
    table = json.loads(body.decode().replace("{0:", '{"0":'))["brokerAddrTable"]
    return {name: broker["brokerAddrs"]["0"] for name, broker in table.items()}


def queue_table(body):
    """The map of an answer whose keys are queues, which Java writes as objects: {(broker, topic, queue id): value}."""
    text = body.decode()
    decoder = json.JSONDecoder()
    at = text.index("{", text.index('"offsetTable"')) + 1
    entries = {}
    while text[at] != "}":
        key, at = decoder.raw_decode(text, at)
        check.equal(text[at], ":", f"behind a key of {text[:200]}")
        value, at = decoder.raw_decode(text, at + 1)
        entries[key["brokerName"], key["topic"], key["queueId"]] = value
        at += text[at] == ","
    return entries


def lag(address, group, topic):
    """How much of a topic, and of its own retries, a group has not read yet at one broker."""
    _, body = ok(address, 208, {"consumerGroup": group})
    ours = (topic, f"%RETRY%{group}")
    entries = [value for (_, of, _), value in queue_table(body).items() if of in ours]
    return sum(entry["brokerOffset"] - entry["consumerOffset"] for entry in entries)


def stored(address, topic):
    """How many messages of a topic one broker took, or 0 if it does not know the topic."""
    code, _, _, body = call(address, 202, {"topic": topic})
    return sum(queue["maxOffset"] for queue in queue_table(body).values()) if code == 0 else 0


def committed(name_server, group, topic):
    """Sum of the offsets that a group committed in a topic, over all brokers."""
    tables = [ok(address, 208, {"consumerGroup": group})[1] for address in brokers(name_server).values()]
    entries = [entry for table in tables for entry in queue_table(table).items()]
    return sum(value["consumerOffset"] for (_, of, _), value in entries if of == topic)


def make_topic(name_server, topic, queues=4):
    """Makes a topic on every broker. (One that a first message makes appears broker by broker, and a client that asks in
    between goes by half of it until it asks again.)"""
    settings = {"readQueueNums": queues, "writeQueueNums": queues, "perm": 6, "topicFilterType": "SINGLE_TAG"}
    for address in brokers(name_server).values():
        fields = {"topic": topic, "defaultTopic": "TBW102", **settings, "topicSysFlag": 0, "order": "false"}
        ok(address, 17, fields)


def exactly(connection, count):
    data = bytearray()
    while len(data) < count:
        part = connection.recv(count - len(data))
        check.that(part, "the broker closed the connection")
        data += part
    return bytes(data)
