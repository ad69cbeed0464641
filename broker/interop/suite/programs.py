"""Where the programs are: ours, and the foreign ones, installed here from the package registries if they are missing."""

import glob
import os
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ROOT = os.path.dirname(os.path.dirname(HERE))
TARGET = os.path.join(ROOT, "target", "interop")

CPP_PACKAGE = "rocketmq==0.4.4"
RUST_SERVERS = ["rocketmq-namesrv@1.0.0", "rocketmq-broker@1.0.0"]


class Unavailable(Exception):
    """Why a client cannot be used on this machine: what it is made of is not there and cannot be had."""


def run(*command, **more):
    print("   " + " ".join(command), flush=True)
    subprocess.run(command, check=True, **more)


def download(*command, **more):
    """Runs a command that does nothing but bring something from a package registry."""
    try:
        run(*command, **more)
    except subprocess.CalledProcessError as failure:
        raise Unavailable(f"the registry gave nothing ({command[0]} ended with {failure.returncode})") from failure


class Programs:
    """Our own, in the workspace's debug profile."""

    def __init__(self):
        self.target = os.path.join(ROOT, "target", "debug")
        self.broker = os.path.join(self.target, "ringmq-broker")
        self.namesrv = os.path.join(self.target, "ringmq-namesrv")
        self.cli = os.path.join(self.target, "ringmq")
        self.bench = os.path.join(self.target, "ringmq-bench")

    def build(self):
        # All members, and something that may use their development dependencies: cargo then chooses the same features as for
        # `cargo test --workspace`, and a machine that ran the tests has everything already.
        run("cargo", "build", "--quiet", "--workspace", "--bins", "--examples", cwd=ROOT)


class Clients:
    """The foreign clients and the command that starts each one's agent."""

    def __init__(self, apache=None):
        # The home of an Apache RocketMQ, for its Java client.
        self.apache = apache
        self.cpp = os.path.join(TARGET, "cpp")
        self.node = os.path.join(TARGET, "node")
        self.rust = os.path.join(TARGET, "rust")
        self.java = os.path.join(TARGET, "java")

    def install(self, client):
        """Installs what is missing of a client, or raises `Unavailable`."""
        {"cpp": self._install_cpp, "node": self._install_node, "rust": self._build_rust, "java": self._build_java}[client]()

    def _install_cpp(self):
        if not os.path.exists(os.path.join(self.cpp, "rocketmq")):
            pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            download(*pip, "--root-user-action=ignore", "--target", self.cpp, CPP_PACKAGE)

    def _build_rust(self):
        manifest = ["--locked", "--manifest-path", os.path.join(HERE, "agents", "rust", "Cargo.toml")]
        download("cargo", "fetch", "--quiet", *manifest)
        run("cargo", "build", "--quiet", "--offline", *manifest, "--target-dir", self.rust)

    def _install_node(self):
        if not shutil.which("npm"):
            raise Unavailable("there is no npm")
        os.makedirs(self.node, exist_ok=True)
        for name in ("package.json", "package-lock.json", "agent.js"):
            shutil.copy(os.path.join(HERE, "agents", "node", name), self.node)
        if not os.path.exists(os.path.join(self.node, "node_modules", "ali-ons")):
            download("npm", "ci", "--silent", "--ignore-scripts", cwd=self.node)

    def _build_java(self):
        if not self.apache:
            raise Unavailable("no Apache RocketMQ was named (--apache)")
        os.makedirs(self.java, exist_ok=True)
        sources = sorted(glob.glob(os.path.join(HERE, "agents", "java", "*.java")))
        run("javac", "-nowarn", "-Xlint:-options", "-cp", self._java_library(), "-d", self.java, *sources)

    def _java_library(self):
        return os.path.join(os.path.abspath(self.apache), "lib", "*")

    def command(self, client):
        return {
            "cpp": [sys.executable, os.path.join(HERE, "agents", "cpp.py")],
            "node": ["node", os.path.join(self.node, "agent.js")],
            "rust": [os.path.join(self.rust, "debug", "interop-rust-client")],
            "java": ["java", "-Xmx512m", "-cp", f"{self.java}:{self._java_library()}" if self.apache else "", "Agent"],
        }[client]

    def environment(self, client):
        return {"PYTHONPATH": self.cpp} if client == "cpp" else {}


def install_rust_servers():
    """The directory of the servers of rocketmq-rust, built in release if they are missing, which takes long."""
    home = os.path.join(TARGET, "rocketmq-rust")
    if not os.path.exists(os.path.join(home, "bin", "rocketmq-broker-rust")):
        run("cargo", "install", "--quiet", "--locked", "--root", home, *RUST_SERVERS, cwd=TARGET)
    return os.path.join(home, "bin")
