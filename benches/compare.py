#!/usr/bin/env python3
"""Waystation and RabbitMQ, measured by one load generator in one run on one machine.

    cargo build --release && python3 benches/compare.py [--backlog 1000000] [--quick]

Needs Debian's `rabbitmq-server`. Starts each broker by itself, on loopback, with its data in a temporary folder and its
defaults otherwise; ends both by process id. Durable queues, persistent messages, confirms: both brokers write and sync
before they confirm. Prints Markdown.
"""

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WAYSTATION = ROOT / "target" / "release" / "waystation"
TICKS = os.sysconf("SC_CLK_TCK")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def answers(port):
    """Whether an AMQP server answers the protocol header on the port."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as peer:
            peer.settimeout(1)
            peer.sendall(b"AMQP\x00\x00\x09\x01")
            return bool(peer.recv(1))
    except OSError:
        return False


class Broker:
    """A broker in a folder of its own."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="compare-"))
        self.port = free_port()
        self.process = None

    @property
    def url(self):
        return f"amqp://guest:guest@127.0.0.1:{self.port}/%2f"

    def start(self):
        """Starts it; seconds until it answers."""
        began = time.monotonic()
        self.process = subprocess.Popen(
            self.command(),
            env=os.environ | self.environment(),
            stdout=open(self.folder / "out", "ab"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        while not answers(self.port):
            if self.process.poll() is not None or time.monotonic() - began > 600:
                sys.exit(f"{self.name} did not start: see {self.folder}/out")
            time.sleep(0.002)
        return time.monotonic() - began

    def stop(self):
        if self.process.poll() is None:
            os.kill(self.pid(), signal.SIGTERM)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def end(self):
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def rss_mib(self):
        text = Path(f"/proc/{self.pid()}/status").read_text()
        return int(text.split("VmRSS:")[1].split()[0]) / 1024

    def cpu(self):
        """Seconds of processor time so far."""
        fields = Path(f"/proc/{self.pid()}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def bench(self, *options):
        """Runs the load generator; its report, with the broker's CPU seconds."""
        before = self.cpu()
        command = [WAYSTATION, "bench", "--url", self.url, "--json", *map(str, options)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            sys.exit(f"{self.name}: {' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
        return json.loads(done.stdout) | {"cpu": self.cpu() - before}


def percentiles(latency):
    """`p50 / p99` in milliseconds."""
    return f"{latency['p50'] / 1000:.2f} / {latency['p99'] / 1000:.2f}"


class Waystation(Broker):
    name = "Waystation"

    def command(self):
        listen = ["--listen", f"amqp=127.0.0.1:{self.port}", "--listen", "admin=off"]
        return [WAYSTATION, "serve", "--data-dir", self.folder / "data", *listen]

    def environment(self):
        return {}

    def pid(self):
        return self.process.pid


class RabbitMQ(Broker):
    name = "RabbitMQ"

    def command(self):
        # Debian's wrapper in the path changes to a user of its own, who cannot write into our folder.
        return ["/usr/lib/rabbitmq/bin/rabbitmq-server"]

    def environment(self):
        (self.folder / "enabled_plugins").write_text("[].\n")
        (self.folder / "rabbitmq.conf").write_text("listeners.tcp.local = 127.0.0.1:%d\n" % self.port)
        return {
            "RABBITMQ_NODENAME": f"compare{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(free_port()),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_MNESIA_BASE": str(self.folder),
            "RABBITMQ_LOG_BASE": str(self.folder),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "enabled_plugins"),
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq"),
            "RABBITMQ_PID_FILE": str(self.folder / "pid"),
            "HOME": str(self.folder),
            "RUNNING_UNDER_SYSTEMD": "",
        }

    def pid(self):
        """The virtual machine's: the scripts before it leave a shell in front. All are of one session."""
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                name, fields = stat.read_text().rsplit(")", 1)
            except OSError:
                continue
            if name.endswith("(beam.smp") and int(fields.split()[3]) == self.process.pid:
                return int(stat.parent.name)
        return self.process.pid


def table(title, head, rows):
    print(f"\n### {title}\n\n| {' | '.join(head)} |\n|{'---|' * len(head)}")
    for row in rows:
        print(f"| {' | '.join(row)} |", flush=True)


def throughput(brokers, quick):
    rows = []
    for size, count in [(16, 400_000), (100, 400_000), (1024, 200_000), (65536, 8_000)]:
        for queues in [1, 100]:
            cells, figures = [], []
            for broker in brokers:
                share = count if broker.name == "Waystation" else count // 4
                share = share // 8 if quick else share
                clients = 1 if queues == 1 else 4
                options = ["--size", size, "--queues", queues, "--publishers", clients, "--consumers", max(clients, queues)]
                report = broker.bench(*options, "--count", share)
                published = report["publish_per_second"]
                figures.append(published)
                micros = report["cpu"] / share * 1e6
                cells += [f"{published:,.0f}", percentiles(report["confirm_latency_us"]), f"{micros:.1f}"]
            rows.append([f"{size:,} B", str(queues), *cells, f"{figures[0] / figures[1]:.1f}"])
    head = ["body", "queues"]
    for broker in brokers:
        head += [f"{broker.name} msg/s", "confirm p50 / p99 ms", "CPU us/msg"]
    table("Publish, confirm, deliver, acknowledge: throughput", [*head, "times"], rows)


def latency(brokers, quick):
    rows = []
    for messages in [100, 1000, 5000]:
        cells = []
        for broker in brokers:
            report = broker.bench("--rate", messages, "--time", 3 if quick else 10, "--window", 1000)
            cells += [percentiles(report["confirm_latency_us"]), percentiles(report["end_to_end_latency_us"])]
        rows.append([f"{messages:,}/s", *cells])
    head = ["rate"]
    for broker in brokers:
        head += [f"{broker.name} confirm p50 / p99 ms", "end to end p50 / p99 ms"]
    table("Latency at low rates, 100-byte bodies", head, rows)


def backlog(brokers, count):
    rows = []
    for broker in brokers:
        filled = broker.bench("--consumers", 0, "--count", count, "--keep")
        memory = broker.rss_mib()
        broker.stop()
        restart = broker.start()
        after = broker.rss_mib()
        drained = broker.bench("--publishers", 0, "--count", count)
        fill, drain = filled["publish_per_second"], drained["deliver_per_second"]
        rows.append([broker.name, f"{fill:,.0f}", f"{memory:,.0f}", f"{restart * 1000:,.0f}", f"{after:,.0f}", f"{drain:,.0f}"])
    head = ["broker", "fill msg/s", "memory MiB", "restart ms", "memory after MiB", "drain msg/s"]
    table(f"A backlog of {count:,} durable 100-byte messages", head, rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backlog", type=int, action="append", help="measure a backlog of so many messages; repeatable")
    parser.add_argument("--quick", action="store_true", help="an eighth of the messages, to see that it works")
    parser.add_argument("--skip-throughput", action="store_true", help="only start, memory and backlogs")
    options = parser.parse_args()
    brokers = [Waystation(), RabbitMQ()]
    try:
        rows = []
        for broker in brokers:
            empty = broker.start()
            time.sleep(5)
            idle = broker.rss_mib()
            rows.append([broker.name, f"{empty * 1000:,.0f}", f"{idle:,.0f}"])
        table("Start and rest", ["broker", "start, empty, ms", "idle memory MiB"], rows)
        if not options.skip_throughput:
            throughput(brokers, options.quick)
            latency(brokers, options.quick)
        for count in options.backlog or []:
            backlog(brokers, count)
    finally:
        for broker in brokers:
            if broker.process is not None:
                broker.end()


if __name__ == "__main__":
    main()
