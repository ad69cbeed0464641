"""A foreign client, driven through its agent program."""

import itertools
import json
import os
import threading
import time

from . import check, remoting
from .processes import Process


class Agent:
    """Use as a context. Commands are answered in order; received messages collect in `received`."""

    def __init__(self, clients, client, instance, namesrv, directory):
        self.client = client
        self.namesrv = namesrv
        self.made = set()
        self.condition = threading.Condition()
        self.answers = {}
        self.events = {}
        self.ids = itertools.count(1)
        self.ended = False
        home = os.path.join(directory, f"home-{instance}")
        os.makedirs(home, exist_ok=True)
        # The clients keep logs and broadcast offsets below the home directory.
        environment = {"HOME": home, "RUST_LOG": "off", **clients.environment(client)}
        command = clients.command(client) + [namesrv, instance]
        self.process = Process(f"agent-{instance}", command, directory, self._on_line, environment)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            self.process.write(json.dumps({"do": "quit"}))
            self.process.child.wait(15)
        except Exception:
            pass
        self.process.kill()

    def _on_line(self, line):
        with self.condition:
            if line is None:
                self.ended = True
            elif line.startswith("{"):
                value = json.loads(line)
                if "answer" in value:
                    self.answers[value["answer"]] = value
                else:
                    value["at"] = time.monotonic()
                    self.events.setdefault(value["consumer"], []).append(value)
            self.condition.notify_all()

    def call(self, do, seconds=60, **command):
        number = next(self.ids)
        self.process.write(json.dumps({"do": do, "id": number, **command}))
        with self.condition:
            self.condition.wait_for(lambda: number in self.answers or self.ended, seconds)
            answer = self.answers.pop(number, None)
        check.that(answer, f"{self.client} did not answer {do} within {seconds} s: {self.process.tail()}")
        if "error" in answer:
            raise check.Failed(f"{self.client} {do}: {answer['error']} {self.process.tail()[-800:]}")
        return answer["value"]

    def produce(self, topic, messages, how="sync", seconds=60, **more):
        """The results; all sends must have worked."""
        results = self.attempt(topic, messages, how, seconds, **more)
        failed = [result for result in results if "error" in result]
        check.that(not failed, f"{self.client}: {len(failed)} of {len(results)} {how} sends failed: {failed[:2]}")
        return results

    def attempt(self, topic, messages, how="sync", seconds=60, **more):
        if self.client == "node" and topic not in self.made:
            # This client never asks a broker to make a topic.
            remoting.make_topic(self.namesrv, topic)
            self.made.add(topic)
        return self.call("produce", seconds, topic=topic, how=how, messages=messages, **more)

    def consume(self, topic, group, name="consumer", **more):
        with self.condition:
            self.events.setdefault(name, [])
        return self.call("consume", topic=topic, group=group, name=name, **more)

    def stop(self, name="consumer"):
        return self.call("stop", name=name)

    def received(self, name="consumer"):
        with self.condition:
            return list(self.events.get(name, []))

    def accepted(self, name="consumer"):
        return [message for message in self.received(name) if message["accepted"]]
