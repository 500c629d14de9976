"""A real Tryton server for tests: a process of its own in an environment of its own, spoken to over HTTP and never imported.

Installed once from hashed versions into the cache (as Kafka's jars are); each run gets a fresh copy of a prepared database.
"""

import base64
import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
import venv
from pathlib import Path

import httpx

from streams.broker import free_port

LOCK = Path(__file__).parent / "tryton.lock"
DATABASE = "loy"
PASSWORD = "only-for-tests"  # noqa: S105  # of a server on loopback that holds nothing
DEADLINE = 60.0


class Tryton:
    """The server on one port, with one folder; it can be killed and started again."""

    def __init__(self, environment, folder):
        self._bin = environment / "bin"
        self._folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._process = None
        self._client = httpx.Client(timeout=30, limits=httpx.Limits(max_keepalive_connections=0))
        self._configuration = folder / "trytond.conf"
        self._configuration.write_text(
            f"[web]\nlisten = 127.0.0.1:{self.port}\n[database]\nuri = sqlite://\npath = {folder / 'data'}\n"
        )

    @property
    def key(self):
        return (self._folder / "key").read_text()

    def start(self):
        with (self._folder / "server.log").open("ab") as out:
            self._process = subprocess.Popen(self._command("trytond"), stdout=out, stderr=out)
        self._wait()
        return self

    def _wait(self):
        end = time.monotonic() + DEADLINE
        while time.monotonic() < end and self._process.poll() is None:
            with contextlib.suppress(httpx.TransportError):
                self._client.get(self.url)
                return
            time.sleep(0.05)
        raise AssertionError(f"Tryton does not answer:\n{self.said()}")

    def kill(self):
        """As a crash does."""
        self._process.kill()
        self._process.wait()

    def stop(self):
        self._process.terminate()
        self._process.wait(DEADLINE)

    def said(self):
        return (self._folder / "server.log").read_text(errors="replace")[-3000:]

    def prepare(self):
        """Make the database, and a key for REST."""
        (self._folder / "data").mkdir()
        (self._folder / "data" / f"{DATABASE}.sqlite").touch()  # it must be there
        (self._folder / "password").write_text(PASSWORD)
        environment = os.environ | {"TRYTONPASSFILE": str(self._folder / "password")}
        modules = ("-u", "ir", "party", "--activate-dependencies")
        _run(self._command("trytond-admin", *modules, "--email", "admin@example.org", "-l", "en"), env=environment)
        self.start()
        try:
            (self._folder / "key").write_text(self._new_key())
        finally:
            self.stop()

    def _command(self, program, *words):
        return [self._bin / program, "-c", self._configuration, "-d", DATABASE, *words]

    def key_of_a_user(self, login, group):
        """The key of a new user who is in that group and no more."""
        _, token = self._login()
        groups = self._rpc(token, "model.res.group.search", [["name", "=", group]], 0, None, None, {})
        values = {"name": login, "login": login, "password": f"{PASSWORD}-{login}", "groups": [["add", groups]]}
        (user,) = self._rpc(token, "model.res.user.create", [values], {})
        return self._key_for(token, user)

    def _new_key(self):
        user, token = self._login()
        return self._key_for(token, user)

    def _login(self):
        user, session, *_ = self._rpc("", "common.db.login", "admin", {"password": PASSWORD})
        return user, base64.b64encode(f"admin:{user}:{session}".encode()).decode()

    def _key_for(self, token, user):
        application = {"user": user, "application": "rest"}
        numbers = self._rpc(token, "model.res.user.application.create", [application], {})
        return self._rpc(token, "model.res.user.application.read", numbers, ["key"], {})[0]["key"]

    def _rpc(self, token, method, *params):
        headers = {"authorization": f"Session {token}"} if token else {}
        body = {"id": 1, "method": method, "params": params}
        answer = self._client.post(f"{self.url}/{DATABASE}/rpc/", json=body, headers=headers).json()
        assert "error" not in answer, answer
        return answer["result"]

    # -- looking, as people do who do not trust the connector

    def ask(self, method, path, values=None, **query):
        headers = {"authorization": f"Bearer {self.key}", "content-type": "application/json"}
        address = f"{self.url}/{DATABASE}/rest/model/{path}"
        answer = self._client.request(method, address, params=query, json=values, headers=headers)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    def find(self, model, domain, *fields):
        """Records in the order of their making, archived ones too where the domain says so."""
        coded = base64.urlsafe_b64encode(json.dumps(domain).encode()).decode()
        return sorted(self.ask("GET", model, d=coded, f=fields), key=lambda one: one["id"])


@contextlib.contextmanager
def running(folder):
    """A server with an empty database in that folder, ended with the block."""
    ready = _installed()
    shutil.copytree(ready / "database", folder, dirs_exist_ok=True)
    server = Tryton(ready / "environment", folder).start()
    try:
        yield server
    finally:
        server.stop()


def _installed():
    """The folder of the environment and the prepared database: made once, also when several ask at once."""
    key = hashlib.sha256(LOCK.read_bytes() + Path(__file__).read_bytes() + sys.version.encode()).hexdigest()[:12]
    folder = _cache() / f"tryton-{key}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "ready").exists() or not (folder / "environment" / "bin" / "python").exists():
            shutil.rmtree(folder, ignore_errors=True)
            _install(folder)
    return folder


def _install(folder):
    environment, database = folder / "environment", folder / "database"
    venv.create(environment, with_pip=True)
    pip = [
        environment / "bin" / "python",
        "-m",
        "pip",
        "install",
        "-q",
        "--disable-pip-version-check",
        "--no-compile",
        "--no-deps",
    ]
    _run([*pip, "--require-hashes", "-r", LOCK])
    database.mkdir()
    Tryton(environment, database).prepare()
    (folder / "ready").touch()


def _cache():
    named = os.environ.get("LOY_CACHE")
    return Path(named) if named else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "loystream"


def _run(command, **options):
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}"
