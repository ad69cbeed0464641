"""Where the programs are: ours, and the foreign clients, installed here from the package registries if they are missing."""

import os
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ROOT = os.path.dirname(os.path.dirname(HERE))
TARGET = os.path.join(ROOT, "target", "interop")

CPP_PACKAGE = "rocketmq==0.4.4"


def run(*command, **more):
    print("   " + " ".join(command), flush=True)
    subprocess.run(command, check=True, **more)


class Programs:
    """Our own, built by cargo in the workspace's debug profile, so that `cargo test` has built them already."""

    def __init__(self):
        self.target = os.path.join(ROOT, "target", "debug")
        self.broker = os.path.join(self.target, "ringmq-broker")
        self.namesrv = os.path.join(self.target, "ringmq-namesrv")
        self.cli = os.path.join(self.target, "ringmq")
        self.bench = os.path.join(self.target, "ringmq-bench")

    def build(self):
        packages = ["ringmq-broker", "ringmq-namesrv", "ringmq-cli", "ringmq-bench"]
        run("cargo", "build", "--quiet", *(word for package in packages for word in ("-p", package)), "--bins", cwd=ROOT)


class Clients:
    """The foreign clients and the command that starts each one's agent."""

    def __init__(self):
        self.cpp = os.path.join(TARGET, "cpp")
        self.node = os.path.join(TARGET, "node")
        self.rust = os.path.join(TARGET, "rust")

    def install(self, client):
        """Installs what is missing; None, or why the client cannot be used here."""
        if client == "cpp" and not os.path.exists(os.path.join(self.cpp, "rocketmq")):
            pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            run(*pip, "--root-user-action=ignore", "--target", self.cpp, CPP_PACKAGE)
        if client == "node":
            if not shutil.which("npm"):
                return "there is no npm"
            self._install_node()
        if client == "rust":
            manifest = os.path.join(HERE, "agents", "rust", "Cargo.toml")
            run("cargo", "build", "--quiet", "--locked", "--manifest-path", manifest, "--target-dir", self.rust)
        return None

    def _install_node(self):
        os.makedirs(self.node, exist_ok=True)
        for name in ("package.json", "package-lock.json", "agent.js"):
            shutil.copy(os.path.join(HERE, "agents", "node", name), self.node)
        if not os.path.exists(os.path.join(self.node, "node_modules", "ali-ons")):
            run("npm", "ci", "--silent", "--ignore-scripts", cwd=self.node)

    def command(self, client):
        return {
            "cpp": [sys.executable, os.path.join(HERE, "agents", "cpp.py")],
            "node": ["node", os.path.join(self.node, "agent.js")],
            "rust": [os.path.join(self.rust, "debug", "interop-rust-client")],
        }[client]

    def environment(self, client):
        return {"PYTHONPATH": self.cpp} if client == "cpp" else {}
