"""Topics written by hand, in memory: what proofs are tested on."""

from collections import defaultdict

import orjson

from schemas.codes import Code
from schemas.topics import BACKLOG, CHECKS, COMMANDS, DEAD_LETTERS, EVENTS, REPLIES
from streams.log import Record
from streams.proof import DOORS, Proof, Violation

NOW = 1_750_000_000_000
TIME = "2025-06-15T15:06:40Z"
FEEDING = (*DOORS, BACKLOG.name, REPLIES.name, DEAD_LETTERS.name, COMMANDS.name, EVENTS.name)
ANY = object()


class Topics:
    """Eight topics in memory, and a till, an intake and a ledger that write what they are told."""

    def __init__(self):
        self.records = defaultdict(list)
        self.books = defaultdict(lambda: defaultdict(int))
        self.sequences = defaultdict(int)

    def add(self, topic, key, value, headers=(), *, at=NOW):
        raw = value if isinstance(value, bytes) else orjson.dumps(value)
        encoded = tuple((name, text.encode()) for name, text in headers)
        record = Record(topic.name, 0, len(self.records[topic.name]), at, key.encode(), raw, encoded)
        self.records[topic.name].append(record)
        return record

    def check(self, *, topic=CHECKS, at=NOW):
        return self.add(topic, "card:1", b"what the proof never reads", at=at).origin

    def put_aside(self, origin):
        return self.add(BACKLOG, "card:1", b"what the proof never reads", (("aside-from", origin),))

    def reply(self, origin, outcome="applied", *, id_="C-1", status=None, code=Code.OK, at=NOW, **fields):
        status = status or {"applied": "accepted", "repeated": "accepted"}.get(outcome, outcome)
        value = {
            "id": id_, "status": status, "code": code, "reasons": [], "outlet": "S1", "till": "T1", "member": "M1", "earned": 0,
            "burned": 0, "value_minor": 0, "hold_refund_minor": 0, "balance": None, "tier": None, "next_tier": None,
            "to_next_tier": None, "next_expiry": None, "rewards": [], "hits": [], "offers": [], "receipt": [], "program": "main@1",
            "at": TIME,
        } | fields  # fmt: skip
        return self.add(REPLIES, "S1", value, (("origin", origin), ("outcome", outcome)), at=at)

    def dead_letter(self, origin, code=Code.SCHEMA):
        headers = (("code", code), ("reason", "(root): no"), ("origin", origin), ("stage", "intake"), ("at", TIME))
        return self.add(DEAD_LETTERS, "card:1", b"\xff", headers)

    def command(self, id_="C-1", member="M1", kind="sale", origin="", *, key=None, at=NOW):
        return self.add(
            COMMANDS, key or member, {"id": id_, "account": member, "type": kind, "origin": origin, "check": {}}, at=at
        )

    def event(
        self, cause="C-1", member="M1", moves=(), *, id_=None, key=None, sequence=None, balance=None, profile=ANY, **fields
    ):
        """An event with these postings (source, target, points, lot), by default with the figures that follow from them."""
        books = self.books[member]
        for source, target, points, _ in moves:
            books[source] -= points
            books[target] += points
        self.sequences[member] += 1
        balance = self.figures(member) | (balance or {})
        value = {
            "specversion": "1.0",
            "id": id_ or f"{member}/{cause}/{self.sequences[member]}",
            "source": "/loystream/ledger",
            "type": "LOY_OPT_IN",
            "subject": member,
            "time": TIME,
            "sequence": sequence or self.sequences[member],
            "datacontenttype": "application/json",
            "dataschema": "loystream:events/LOY_OPT_IN",
            "data": {
                "cause": cause,
                "program": "main@1",
                "occurred_at": TIME,
                "postings": [dict(zip(("source", "target", "points", "lot"), move, strict=True)) for move in moves],
                "balance": balance,
                "profile": self.profile(member, balance) if profile is ANY else profile,
            },
        } | fields
        return self.add(EVENTS, key or member, value)

    def figures(self, member):
        b = self.books[member]
        return {
            "earned": -b["issued"], "reversed": b["reversed"], "adjusted": -b["adjusted"], "used": b["used"],
            "expired": b["expired"], "available": b["available"], "pending": b["pending"], "held": b["held"] + b["reserved"],
            "debt": -b["debt"],
        }  # fmt: skip

    @staticmethod
    def profile(member, balance):
        return {
            "loyalty_id": member, "active_status": True, "loyalty_anniversary_date": None, "opt_in_status": True,
            "opt_in_date": None, "available_points": balance["available"], "earned_points": balance["earned"],
            "used_points": balance["used"], "hold_points": balance["pending"] + balance["held"], "next_expiring_points": 0,
            "points_expiration_date": None, "expired_points": balance["expired"], "current_tier": "Member", "next_tier": None,
            "points_req_for_next_tier": None, "tier_achieve_date": None, "available_rewards": [],
            "points_req_for_next_reward": None, "highest_available_reward": None, "first_loyalty_activity_date": None,
            "last_loyalty_activity_date": None, "first_purchase_date": None, "last_purchase_date": None,
        }  # fmt: skip

    def proof(self, **options):
        doors = {(name, 0): (self.start(name), self.end(name)) for name in DOORS}
        return Proof(doors, **options)

    def start(self, name):
        return self.records[name][0].offset if self.records[name] else 0

    def end(self, name):
        return self.records[name][-1].offset + 1 if self.records[name] else 0

    def prove(self, **options) -> Violation | None:
        self.proven = proof = self.proof(**options)
        for name in FEEDING:
            for record in self.records[name]:
                if violation := proof.feed(record):
                    return violation
        proof.seal()
        return next(proof.outstanding(), None)
