"""Drives the Apache C++ client, as the PyPI package `rocketmq` carries it, as told on standard input.

Takes the commands and gives the answers that `../README.md` lists. The package's Python classes reach only part of the library, so this
calls its C interface through the package's own declarations.
"""

import base64
import concurrent.futures
import ctypes
import json
import sys
import threading
import time

from rocketmq import ffi

dll = ffi.dll

# Declared by the library, missing in the package.
dll.SetProducerInstanceName.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
for name in ("Producer", "PushConsumer", "PullConsumer"):
    getattr(dll, f"Set{name}LogLevel").argtypes = [ctypes.c_void_p, ctypes.c_int]
LOG_FATAL = 1

# The library's threads lock each other out for moments, and a call that finds a lock taken fails.
ATTEMPTS = 20
PAUSE_SECONDS = 0.02

output = threading.Lock()
# Callbacks that the library may still call: Python must not free them.
callbacks = []


def line(value):
    with output:
        sys.stdout.write(json.dumps(value) + "\n")
        sys.stdout.flush()


def check(status, what):
    if int(status) != 0:
        reason = (dll.GetLatestErrorMessage() or b"").decode("utf-8", "replace")
        raise RuntimeError(f"{what}: status {int(status)} {reason}")


def text(value):
    return value.decode("utf-8") if value else None


def describe(handle):
    """A received message, as every agent reports it. Bodies end at their first zero byte: the C interface gives no length."""
    prop = lambda name: text(dll.GetMessageProperty(handle, name.encode()))
    names = ("UNIQ_KEY", "RETRY_TOPIC", "ORIGIN_MESSAGE_ID", "DELAY", "a-property", "DLQ_ORIGIN_TOPIC")
    return {
        "topic": text(dll.GetMessageTopic(handle)),
        "body": base64.b64encode(dll.GetMessageBody(handle) or b"").decode(),
        "tag": text(dll.GetMessageTags(handle)),
        "keys": text(dll.GetMessageKeys(handle)),
        "queue": dll.GetMessageQueueId(handle),
        "offset": dll.GetMessageQueueOffset(handle),
        "position": dll.GetMessageCommitLogOffset(handle),
        "times": dll.GetMessageReconsumeTimes(handle),
        "msg_id": text(dll.GetMessageId(handle)),
        "born": dll.GetMessageBornTimestamp(handle),
        "stored": dll.GetMessageStoreTimestamp(handle),
        "properties": {name: prop(name) for name in names if prop(name)},
    }


class Message:
    """A message to send; freed with this object."""

    def __init__(self, topic, spec):
        self.handle = dll.CreateMessage(topic.encode())
        body = base64.b64decode(spec["body"])
        check(dll.SetByteMessageBody(self.handle, body, len(body)), "body")
        if spec.get("tag"):
            check(dll.SetMessageTags(self.handle, spec["tag"].encode()), "tag")
        if spec.get("keys"):
            check(dll.SetMessageKeys(self.handle, spec["keys"].encode()), "keys")
        if spec.get("delay"):
            check(dll.SetDelayTimeLevel(self.handle, spec["delay"]), "delay")
        for name, value in spec.get("properties", {}).items():
            check(dll.SetMessageProperty(self.handle, name.encode(), value.encode()), "property")
        self.queue = spec.get("queue")

    def __del__(self):
        dll.DestroyMessage(self.handle)


def sent(result):
    return {"status": result.sendStatus, "msg_id": text(result.msgId), "offset": result.offset}


def attempt(send):
    """What `send(result)` came to: the result, or an error."""
    result = ffi._CSendResult()
    try:
        check(send(ctypes.pointer(result)), "send")
    except RuntimeError as error:
        return {"error": str(error)}
    return sent(result)


class Producer:
    def __init__(self, namesrv, instance):
        self.handle = dll.CreateProducer(f"interop-{instance}".encode())
        check(dll.SetProducerNameServerAddress(self.handle, namesrv.encode()), "name server")
        check(dll.SetProducerInstanceName(self.handle, f"{instance}-producer".encode()), "instance")
        dll.SetProducerLogLevel(self.handle, LOG_FATAL)
        check(dll.StartProducer(self.handle), "start")

    def produce(self, command):
        messages = [Message(command["topic"], spec) for spec in command["messages"]]
        how = command["how"]
        if how == "batch":
            return [self.batch(messages)]
        if how == "async":
            return self.asynchronously(messages)
        if how == "oneway":
            return [self.oneway(message) for message in messages]
        with concurrent.futures.ThreadPoolExecutor(command.get("in_flight", 1)) as pool:
            return list(pool.map(self.sync, messages))

    def sync(self, message):
        # Without a route nothing was sent: another thread was just asking for it.
        for _ in range(ATTEMPTS):
            result = self.sync_once(message)
            if "No route info" not in result.get("error", ""):
                break
            time.sleep(PAUSE_SECONDS)
        return result

    def sync_once(self, message):
        if message.queue is None:
            return attempt(lambda result: dll.SendMessageSync(self.handle, message.handle, result))
        select = ffi.QUEUE_SELECTOR_CALLBACK(lambda size, _message, _argument: message.queue % size)
        argument = ctypes.c_int(message.queue)
        pointer = ctypes.cast(ctypes.pointer(argument), ctypes.c_void_p)
        return attempt(lambda result: dll.SendMessageOrderly(self.handle, message.handle, select, pointer, 3, result))

    def oneway(self, message):
        try:
            check(dll.SendMessageOneway(self.handle, message.handle), "send")
        except RuntimeError as error:
            return {"error": str(error)}
        return {}

    def batch(self, messages):
        batch = dll.CreateBatchMessage()
        for message in messages:
            check(dll.AddMessage(batch, message.handle), "add")
        try:
            return attempt(lambda result: dll.SendBatchMessage(self.handle, batch, result))
        finally:
            dll.DestroyBatchMessage(batch)

    def asynchronously(self, messages):
        results = [None] * len(messages)
        done = threading.Semaphore(0)
        for index, message in enumerate(messages):
            def store(outcome, index=index):
                results[index] = outcome
                done.release()

            success = ffi.SEND_SUCCESS_CALLBACK(lambda result, store=store: store(sent(result.contents)))
            failure = ffi.SEND_EXCEPTION_CALLBACK(lambda error, store=store: store({"error": error.msg.decode()}))
            callbacks.extend((success, failure))
            check(dll.SendMessageAsync(self.handle, message.handle, success, failure), "send")
        for _ in messages:
            done.acquire()
        return results

    def stop(self):
        dll.ShutdownProducer(self.handle)


class Consumer:
    def __init__(self, namesrv, instance, command):
        self.name = command["name"]
        self.refuse = command.get("refuse", 0)
        self.refuse_body = command.get("refuse_body", "").encode()
        self.ordered = command.get("ordered", False)
        self.seen = {}
        self.handle = dll.CreatePushConsumer(command["group"].encode())
        check(dll.SetPushConsumerNameServerAddress(self.handle, namesrv.encode()), "name server")
        check(dll.SetPushConsumerInstanceName(self.handle, f"{instance}-{self.name}".encode()), "instance")
        dll.SetPushConsumerLogLevel(self.handle, LOG_FATAL)
        broadcasting = command.get("model") == "broadcasting"
        model = ffi.MessageModel.BROADCASTING if broadcasting else ffi.MessageModel.CLUSTERING
        check(dll.SetPushConsumerMessageModel(self.handle, model), "model")
        check(dll.Subscribe(self.handle, command["topic"].encode(), command.get("tags", "*").encode()), "subscribe")
        self.callback = ffi.MSG_CALLBACK_FUNC(self.take)
        callbacks.append(self.callback)
        register = dll.RegisterMessageCallbackOrderly if self.ordered else dll.RegisterMessageCallback
        check(register(self.handle, self.callback), "listener")
        check(dll.StartPushConsumer(self.handle), "start")

    def take(self, _consumer, handle):
        message = describe(handle)
        times = message["times"]
        if self.ordered:
            place = (message["queue"], message["offset"], message["msg_id"])
            times = self.seen.get(place, 0)
            self.seen[place] = times + 1
        concerned = self.refuse_body in base64.b64decode(message["body"])
        accepted = times >= self.refuse or not concerned
        line({"event": "message", "consumer": self.name, "accepted": accepted, **message})
        return 0 if accepted else 1

    def stop(self):
        dll.ShutdownPushConsumer(self.handle)


def pull_queue(consumer, queue, tags):
    found = []
    offset = 0
    attempts = 0
    while True:
        result = dll.Pull(consumer, queue, tags, offset, 32)
        status = result.pullStatus
        if status == ffi._CPullStatus.BROKER_TIMEOUT:
            # Any failure, also that another thread of the library is just opening the connection.
            attempts += 1
            if attempts > ATTEMPTS:
                raise RuntimeError(f"queue {queue.contents.queueId} cannot be pulled from {offset}")
            time.sleep(PAUSE_SECONDS)
            continue
        if status == ffi._CPullStatus.FOUND:
            found.extend(describe(result.msgFoundList[i]) for i in range(result.size))
        offset = result.nextBeginOffset
        dll.ReleasePullResult(result)
        if status == ffi._CPullStatus.NO_NEW_MSG:
            return found


def pull(namesrv, command):
    """Reads a topic from the first offset of every queue to its end."""
    consumer = dll.CreatePullConsumer(command["group"].encode())
    check(dll.SetPullConsumerNameServerAddress(consumer, namesrv.encode()), "name server")
    dll.SetPullConsumerLogLevel(consumer, LOG_FATAL)
    check(dll.StartPullConsumer(consumer), "start")
    queues = ctypes.POINTER(ffi._CMessageQueue)()
    count = ctypes.c_int()
    topic = command["topic"].encode()
    fetched = dll.FetchSubscriptionMessageQueues(consumer, topic, ctypes.pointer(queues), ctypes.pointer(count))
    check(fetched, "queues")
    found = []
    for index in range(count.value):
        found.extend(pull_queue(consumer, ctypes.pointer(queues[index]), command.get("tags", "*").encode()))
    dll.ReleaseSubscriptionMessageQueue(queues)
    dll.ShutdownPullConsumer(consumer)
    return found


class Agent:
    def __init__(self, namesrv, instance):
        self.namesrv = namesrv
        self.instance = instance
        self.producer = None
        self.consumers = {}

    def obey(self, command):
        what = command["do"]
        if what == "produce":
            if self.producer is None:
                self.producer = Producer(self.namesrv, self.instance)
            return self.producer.produce(command)
        if what == "consume":
            self.consumers[command["name"]] = Consumer(self.namesrv, self.instance, command)
            return {}
        if what == "stop":
            self.consumers.pop(command["name"]).stop()
            return {}
        if what == "pull":
            return pull(self.namesrv, command)
        raise RuntimeError(f"unknown command {what}")


def main():
    agent = Agent(sys.argv[1], sys.argv[2])
    for request in sys.stdin:
        command = json.loads(request)
        if command["do"] == "quit":
            break
        try:
            line({"answer": command["id"], "value": agent.obey(command)})
        except Exception as error:
            line({"answer": command["id"], "error": repr(error)})
    for consumer in agent.consumers.values():
        consumer.stop()
    if agent.producer:
        agent.producer.stop()
    # The library's threads may not end by themselves; everything that matters was shut down.
    sys.stdout.flush()
    import os
    os._exit(0)


if __name__ == "__main__":
    main()
