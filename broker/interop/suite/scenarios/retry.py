"""Delays, retries and dead letters."""

import json

from .. import check, remoting
from ..messages import bodies, message, numbered
from ..scenario import reader, scenario

# Delay level 3, the first retry's, is ten seconds.
FIRST_RETRY_SECONDS = 10


@scenario("push")
def delay(context, client):
    """A message with delay level 2 comes five seconds after it was stored, not before."""
    with context.agent(client) as agent:
        agent.produce(context.topic, [message("at once")])
        agent.consume(context.topic, context.group)
        check.until(lambda: agent.received(), 60, "the first message")
        agent.produce(context.topic, [message("later", delay=2)])
        check.until(lambda: len(agent.received()) == 2, 30, "the delayed message")
        first, later = agent.received()
        check.equal(bodies([later]), [b"later"], "body")
        waited = later["stored"] - later["born"]
        check.that(4900 <= waited < 15000, f"stored for delivery {waited} ms after it was born")


@scenario("push")
def retry_until_success(context, client):
    """A refused message comes again after ten seconds with its count of attempts, and then no more."""
    refused, others = numbered(3, "refused", tag="TagR", keys="key-r"), numbered(20)
    with context.agent(reader(client), "writer") as writer, context.agent(client) as agent:
        writer.produce(context.topic, others + refused, in_flight=4)
        agent.consume(context.topic, context.group, refuse=1, refuse_body="refused")
        missing = lambda: set(bodies(others + refused)) - set(bodies(agent.accepted()))
        check.until(lambda: not missing(), 90, lambda: f"not accepted: {missing()}")
        deliveries = [one for one in agent.received() if b"refused" in bodies([one])[0]]
        again = [one for one in deliveries if one["accepted"]]
        check.equal(sorted(bodies(again)), sorted(bodies(refused)), "messages accepted after they were refused")
        for one in again:
            check.equal((one["times"], one["tag"], one["keys"]), (1, "TagR", "key-r"), "attempt, tag and keys")
            waited = one["stored"] - one["born"]
            check.that(waited >= 1000 * FIRST_RETRY_SECONDS, f"the second attempt was due after {waited} ms")
        # The C++ client sends back all that it pulled together with a refused message; the others that one message alone.
        if client != "cpp":
            check.equal(sorted(one["times"] for one in deliveries), [0, 0, 0, 1, 1, 1], "attempts")
            rest = [one for one in agent.received() if b"refused" not in bodies([one])[0]]
            check.equal(sorted(bodies(rest)), sorted(bodies(others)), "the others, each once")


def settings_of(group, retries):
    return json.dumps(
        {
            "groupName": group,
            "consumeEnable": True,
            "consumeFromMinEnable": True,
            "consumeBroadcastEnable": True,
            "retryQueueNums": 1,
            "retryMaxTimes": retries,
            "brokerId": 0,
            "whichBrokerWhenConsumeSlowly": 1,
            "notifyConsumerIdsChangedEnable": True,
        }
    ).encode()


@scenario("push")
def give_up_into_the_dead_letter_topic(context, client):
    """A group that allows one retry: the second refusal puts the message into `%DLQ%group`, where it can be read."""
    for address in remoting.brokers(context.namesrv).values():
        remoting.ok(address, 200, body=settings_of(context.group, 1))
    dead = f"%DLQ%{context.group}"
    with context.agent("rust", "writer") as writer, context.agent(client) as agent:
        writer.produce(context.topic, [message("poison", tag="TagP", keys="key-p")])
        agent.consume(context.topic, context.group, refuse=100, max_reconsume=1)
        check.until(lambda: len(agent.received()) >= 2, 90, lambda: f"{len(agent.received())} attempts")

        def dead_letters():
            try:
                return writer.call("pull", topic=dead, group=f"{context.group}-dead")
            except check.Failed:
                return []  # The topic is not there yet.

        found = check.until(dead_letters, 60, "a dead letter")
        check.equal(bodies(found), [b"poison"], "dead letters")
        check.equal((found[0]["tag"], found[0]["keys"]), ("TagP", "key-p"), "tag and keys of the dead letter")
        check.equal(len(agent.received()), 2, "attempts")
