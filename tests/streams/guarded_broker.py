"""A real Kafka that lets in who proves it: SASL over TLS, with users of SCRAM and of PLAIN, beside its open listener."""

import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from streams import broker
from streams.broker import HOST, Broker, Node, free_port

USER, PASSWORD = "loy", "open-sesame"


@dataclass(frozen=True)
class Guarded(Node):
    """The node of `streams.broker`, with two more doors."""

    tls_port: int = 0
    plain_port: int = 0
    certificate: Path = Path()

    def properties(self):
        own = super().properties()
        doors = f"GUARDED://{HOST}:{self.tls_port},ASKING://{HOST}:{self.plain_port}"
        module = "org.apache.kafka.common.security"
        return own | {
            "listeners": f"{own['listeners']},{doors}",
            "advertised.listeners": f"{own['advertised.listeners']},{doors}",
            "listener.security.protocol.map": own["listener.security.protocol.map"] + ",GUARDED:SASL_SSL,ASKING:SASL_PLAINTEXT",
            "sasl.enabled.mechanisms": "SCRAM-SHA-512,PLAIN",
            "listener.name.guarded.scram-sha-512.sasl.jaas.config": f"{module}.scram.ScramLoginModule required;",
            "listener.name.asking.scram-sha-512.sasl.jaas.config": f"{module}.scram.ScramLoginModule required;",
            "listener.name.guarded.plain.sasl.jaas.config": f'{module}.plain.PlainLoginModule required user_{USER}="{PASSWORD}";',
            "listener.name.asking.plain.sasl.jaas.config": f'{module}.plain.PlainLoginModule required user_{USER}="{PASSWORD}";',
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(self.certificate),
        }


@contextmanager
def guarded_broker(folder):
    """Yields the node once it answers; its certificate is signed by itself."""
    node = Guarded(
        port=free_port(),
        controller_port=free_port(),
        tls_port=free_port(),
        plain_port=free_port(),
        certificate=_certificate(folder),
    )
    with mock.patch.object(broker, "_format", _format):
        running = Broker.launch(node, folder / "kafka")
    try:
        running.wait_ready()
        yield node
    finally:
        running.stop()


def _format(command, data, cluster):
    """As the product formats a folder, with a user in it."""
    user = f"SCRAM-SHA-512=[name={USER},password={PASSWORD}]"
    tool = [
        *command,
        "kafka.tools.StorageTool",
        "format",
        f"--cluster-id={cluster}",
        "--config=server.properties",
        "--add-scram",
        user,
    ]
    done = subprocess.run(tool, cwd=data, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def _certificate(folder):
    """One file with key and certificate of the loopback, as Kafka's PEM store wants it; `ca.pem` beside it for clients."""
    key, certificate, both = folder / "key.pem", folder / "ca.pem", folder / "store.pem"
    request = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=loopback"]
    request += ["-addext", f"subjectAltName=IP:{HOST}", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(request, check=True, capture_output=True)
    both.write_text(key.read_text() + certificate.read_text())
    return both
