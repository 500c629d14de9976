"""The real Tryton by the words of the bench: how the CRM sink reaches it, and what arrived there."""

from connectors.sandbox import base
from tests.connectors.ground import Bench
from tests.connectors.tryton_server import DATABASE


class Seen:
    """What arrived at the server, by the words of the sandboxes."""

    def __init__(self, server):
        self._server = server

    def people(self):
        """Parties by their code."""
        return {one["code"]: one for one in self._server.find("party.party", [["code", "!=", None]], "code", "name")}

    def events(self):
        """Notes."""
        parties = {f"party.party,{one['id']}": code for code, one in self.people().items()}
        notes = self._server.find("ir.note", [["resource", "in", list(parties)]], "message", "resource")
        return [_note(parties[note["resource"]], *note["message"].splitlines()) for note in notes]


def _note(member, name, *lines):
    """The last line is the mark by which it is told."""
    return base.Seen(lines[-1], member, name, {"lines": lines[:-1]})


def bench(server):
    """The CRM sink beside it."""
    settings = {"ADAPTER": "tryton", "DATABASE": DATABASE, "KEY": server.key, "RATE": "1000"}
    own = {f"LOY_CRM_{name}": value for name, value in settings.items()}
    return Bench(sink="crm", sandbox="tryton", environment=lambda url: {**own, "LOY_CRM_BASE_URL": url})
