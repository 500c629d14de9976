"""An endpoint for Standard Webhooks on loopback: it checks signature and time as a careful receiver does, and keeps ids."""

import hmac
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson
from aiohttp import web
from pydantic import SecretStr

from connectors.sandbox.base import Refusal, Sandbox, Seen, answer
from connectors.webhook import keys_of, signature

SECRET = "whsec_c2FuZGJveC1vbmx5LXNlY3JldC1vZi0zMi1ieXRlcyE="  # noqa: S105  # of the sandbox alone
TOLERANCE_SECONDS = 300
"""How far the sender's clock may be away (Standard Webhooks, "Verifying webhook authenticity")."""


class WebhookSandbox(Sandbox):
    name = "webhook"
    title = "A webhook receiver (sandbox)"
    unauthorised = 401

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.keys = keys_of(SecretStr(SECRET))
        self.profiles: dict[str, dict[str, Any]] = {}
        self.recorded: dict[str, Seen] = {}

    def routes(self) -> Iterable[web.RouteDef]:
        return [web.post("/hook", self._hook)]

    def authorised(self, request: web.Request) -> bool:
        """The signature is over the body, so it is checked there."""
        return all(request.headers.get(f"webhook-{name}") for name in ("id", "timestamp", "signature"))

    def problem(self, status: int, words: str) -> Any:
        return {"status": status, "error": words}

    def people(self) -> Mapping[str, Mapping[str, Any]]:
        return self.profiles

    def events(self) -> Sequence[Seen]:
        return list(self.recorded.values())

    async def _hook(self, request: web.Request) -> web.Response:
        body = await request.read()
        name = self._verified(request, body)
        message = self.json(body)
        if self.rejected({"id": name, **message}):
            raise Refusal(422, self.problem(422, "rejected on demand"))
        self._take(name, message)
        return answer(status=204)

    def _verified(self, request: web.Request, body: bytes) -> str:
        """The message's id. Raises Refusal for a wrong signature or a time too far away."""
        name, stamp = request.headers["webhook-id"], request.headers["webhook-timestamp"]
        if not stamp.isdigit() or abs(int(stamp) - self._wall()) > TOLERANCE_SECONDS:
            raise Refusal(400, self.problem(400, "the time is too far away"))
        marks = request.headers["webhook-signature"].split()
        wanted = [signature([key], name, int(stamp), body)["webhook-signature"] for key in self.keys]
        if not any(hmac.compare_digest(mark, good) for mark in marks for good in wanted):
            raise Refusal(401, self.problem(401, "no signature is right"))
        return name

    def _take(self, name: str, message: dict[str, Any]) -> None:
        data = message["data"]
        member = data["loyalty_id"]
        if message["type"] == "loyalty.profile":
            self.profiles[member] = data
        elif message["type"] == "loyalty.member.erased":
            self.profiles.pop(member, None)
        else:
            self.recorded.setdefault(name, Seen(name, member, message["type"], orjson.loads(orjson.dumps(data))))
