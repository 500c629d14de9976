"""OAuth 2.0 client credentials (RFC 6749, section 4.4): a token got once for all, renewed early, got anew after a 401."""

from collections.abc import Callable, Generator, Mapping
from urllib.parse import urlencode

from connectors.crm.port import Problem, verdict
from connectors.delivery import Again, Halt
from connectors.sink import Answer, Call, Reply

EARLY = 300.0
"""Renew so many seconds before the end, or at nine tenths of a short life."""
LIFE = 3600.0
"""Taken for a token that does not say how long it lives."""


class Token:
    """The token of one account. What it holds is secret: `repr` shows none of it."""

    def __init__(self, url: str, form: Mapping[str, str], clock: Callable[[], float]) -> None:
        self._url = url
        self._form = form
        self._clock = clock
        self._value = ""
        self._renew_at = 0.0
        self._ends_at = 0.0
        self.answer: Mapping[str, object] = {}
        """The token endpoint's last answer: some tell more in it than the token."""

    @property
    def bearer(self) -> str:
        """The value of an Authorization header."""
        return f"Bearer {self._value}"

    def send(self, call: Call) -> Generator[Call, Reply, Reply | Problem]:
        """Make a call with the token; a 401 gets one new token and one more try. Or say why there is no token."""
        problem = yield from self.ready()
        if problem is not None:
            return problem
        used = self._value
        reply = yield call
        if not isinstance(reply, Answer) or reply.status != 401:
            return reply
        if used == self._value:  # else somebody has got a new one meanwhile
            problem = yield from self._ask()
            if problem is not None:
                return problem
        return (yield call)

    def ready(self) -> Generator[Call, Reply, Problem | None]:
        """See to it that there is a token; the old one does while it lives and no new one can be had."""
        if self._clock() < self._renew_at:
            return None
        problem = yield from self._ask()
        return None if isinstance(problem, Again) and self._clock() < self._ends_at else problem

    def _ask(self) -> Generator[Call, Reply, Problem | None]:
        body = urlencode(self._form).encode()  # secrets contain ~ + / =
        kind = {"content-type": "application/x-www-form-urlencoded"}
        reply = yield Call("token", "POST", self._url, body=body, headers=kind, secret=True)
        told = reply.json() if isinstance(reply, Answer) else None
        if isinstance(reply, Answer) and reply.status == 200:
            return self._keep(told)
        problem = verdict(reply)
        if isinstance(problem, Again):
            return problem
        if isinstance(told, dict) and told.get("error") in ("temporarily_unavailable", "server_error"):
            return Again(_reason(told))
        return Halt(f"no token: {_reason(told)} ({getattr(reply, 'status', '')})")

    def _keep(self, told: object) -> Problem | None:
        if not isinstance(told, dict) or not isinstance(told.get("access_token"), str):
            return Again("the token endpoint answered something else")
        self._value = told["access_token"]
        self.answer = {name: value for name, value in told.items() if name != "access_token"}
        life = _seconds(told.get("expires_in"))
        self._ends_at = self._clock() + life
        self._renew_at = self._ends_at - min(EARLY, life / 10)
        return None


def _seconds(value: object) -> float:
    try:
        return float(str(value))
    except ValueError:
        return LIFE


def _reason(told: object) -> str:
    """`error` is for programs, `error_description` for people (RFC 6749, section 5.2)."""
    if not isinstance(told, dict):
        return "refused"
    return f"{told.get('error', 'refused')} {str(told.get('error_description', ''))[:300]}".strip()
