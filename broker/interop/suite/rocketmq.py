"""Servers of RocketMQ itself, to share a cluster with: those of an Apache distribution, and those of rocketmq-rust."""

import os

from . import check, ports, remoting
from .processes import Process

# The Java virtual machine is asked for eight gigabytes by Apache's scripts; the last word wins.
JAVA_MEMORY = "-Xms512m -Xmx512m -Xmn256m -XX:MaxDirectMemorySize=512m"


class Apache:
    """An unpacked binary distribution of Apache RocketMQ: `bin/mqnamesrv`, `bin/mqbroker`, `lib/*.jar`."""

    name = "apache"

    def __init__(self, home):
        self.home = os.path.abspath(home)

    def name_server(self, directory, port):
        settings = {"listenPort": port, "kvConfigPath": f"{directory}/kv.json", "configStorePath": f"{directory}/ns.properties"}
        return ["sh", f"{self.home}/bin/mqnamesrv", "-c", write(directory, "namesrv.properties", settings)]

    def broker(self, configuration):
        return ["sh", f"{self.home}/bin/mqbroker", "-c", configuration]

    def environment(self, directory):
        return {"ROCKETMQ_HOME": self.home, "JAVA_OPT_EXT": f"{JAVA_MEMORY} -Duser.home={directory}", "HOME": directory}


class RocketMqRust:
    """The servers of the rocketmq-rust project, as `Clients` installs them."""

    name = "rocketmq-rust"

    def __init__(self, programs):
        self.programs = programs

    def name_server(self, directory, port):
        program = os.path.join(self.programs, "rocketmq-namesrv-rust")
        more = ["--kvConfigPath", f"{directory}/kv.json", "--configStorePath", f"{directory}/ns.properties"]
        return [program, "--listenPort", str(port), "--bindAddress", "127.0.0.1", "--rocketmqHome", directory, *more]

    def broker(self, configuration):
        return [os.path.join(self.programs, "rocketmq-broker-rust"), "-c", configuration]

    def environment(self, directory):
        return {"ROCKETMQ_HOME": directory, "HOME": directory, "RUST_LOG": "warn"}


class RocketMq:
    """A name server and brokers of one make. Use as a context: everything that was started is ended at its end."""

    def __init__(self, make, directory, cluster):
        self.make = make
        self.directory = directory
        self.cluster = cluster
        self.brokers = {}
        self.processes = {}
        os.makedirs(directory, exist_ok=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.processes.values():
            process.stop(30)

    def start_name_server(self):
        """Its address, once it answers."""
        port = ports.free(lambda base: [base])
        self._run("namesrv", self.make.name_server(self.directory, port))
        address = f"127.0.0.1:{port}"
        self._until("namesrv", lambda: remoting.call(address, 106)[0] == 0)
        return address

    def start_broker(self, name, namesrv):
        """Starts a broker, or starts it again at the same port and with the same data, and waits until the cluster has it."""
        if name not in self.brokers:
            # The broker takes the one two below for old clients, and the next one for its replicas.
            self.brokers[name] = ports.free(lambda base: [base - 2, base, base + 1])
        port = self.brokers[name]
        store = os.path.join(self.directory, f"store-{name}")
        settings = {
            "brokerClusterName": self.cluster,
            "brokerName": name,
            "brokerId": 0,
            "namesrvAddr": namesrv,
            "brokerIP1": "127.0.0.1",
            "listenPort": port,
            "haListenPort": port + 1,
            "storePathRootDir": store,
            "storePathCommitLog": os.path.join(store, "commitlog"),
            "mappedFileSizeCommitLog": 64 << 20,
            "flushDiskType": "SYNC_FLUSH",
        }
        self._run(name, self.make.broker(write(self.directory, f"{name}.properties", settings)))
        self._until(name, lambda: remoting.call(f"127.0.0.1:{port}", 28)[0] == 0)
        check.until(lambda: name in remoting.brokers(namesrv), 60, f"{name} is in the cluster")

    def stop_broker(self, name):
        self.processes.pop(name).stop(60)

    def address(self, name):
        return f"127.0.0.1:{self.brokers[name]}"

    def _run(self, name, command):
        self.processes[name] = Process(name, command, self.directory, lambda _: None, self.make.environment(self.directory))

    def _until(self, name, answers):
        process = self.processes[name]

        def ready():
            check.that(process.child.poll() is None, f"{self.make.name} {name} ended: {process.tail()[-800:]}")
            try:
                return answers()
            except OSError:
                return False

        check.until(ready, 60, lambda: f"{self.make.name} {name} answers: {process.tail()[-800:]}")


def write(directory, name, settings):
    path = os.path.join(directory, name)
    with open(path, "w") as out:
        out.writelines(f"{key}={value}\n" for key, value in settings.items())
    return path
