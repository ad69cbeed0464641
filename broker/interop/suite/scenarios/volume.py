"""A hundred thousand messages, compared byte by byte."""

import os
import random

from .. import check
from ..messages import bodies, message, noise
from ..scenario import reader, scenario

MESSAGES = int(os.environ.get("INTEROP_MESSAGES", "100000"))
CHUNK = 2000
BODY_BYTES = 400


@scenario("sync", "push", ours=True, alone=True)
def a_hundred_thousand_messages(context, client):
    """Bodies of random bytes, written by one client and read by another: each arrives, once, unchanged."""
    seed = int(os.environ.get("RINGMQ_SEED", random.randrange(1 << 32)))
    print(f"   {client}: seed {seed}", flush=True)
    expected = list(noise(seed, MESSAGES, BODY_BYTES))
    with context.cluster() as cluster:
        cluster.start("a", 2)
        with context.agent(client, "writer", cluster.namesrv) as writer, context.agent(
            reader(client), "reader", cluster.namesrv
        ) as agent:
            for start in range(0, MESSAGES, CHUNK):
                chunk = [message(body) for body in expected[start : start + CHUNK]]
                writer.produce(context.topic, chunk, seconds=120, in_flight=32)
                if start == 0:
                    agent.consume(context.topic, context.group)
            count = lambda: len(agent.received())
            check.until(lambda: count() >= MESSAGES, 240, lambda: f"{count()} of {MESSAGES} messages")
            found = agent.received()
    check.equal(len(found), MESSAGES, "deliveries")
    # Each body starts with its number, so that sorting pairs what was sent with what came.
    number = lambda body: int(body.split(b":", 1)[0])
    for sent, came in zip(expected, sorted(bodies(found), key=number)):
        check.equal(came, sent, "a body")
