"""OData batches (OData 4.0, part 1, section 11.7) printed and read: calls as parts of one body, answers as parts of another.

Law: every line ends in CRLF, the last one too. Answers are read leniently.
"""

import re
from collections.abc import Sequence
from itertools import takewhile

from connectors.sink import Answer, Call

BOUNDARY = "batch_loystream"
"""JSON bodies are one line that begins with a brace, so no part can hold a line that begins so."""
CONTENT_TYPE = f'multipart/mixed; boundary="{BOUNDARY}"'
RETRY_AFTER_MAX = 300.0
_PART = "Content-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\r\n"
_BOUNDARY = re.compile(r'boundary="?([^";,]+)"?', re.IGNORECASE)
_STATUS = re.compile(rb"HTTP/\d(?:\.\d)? +(\d{3})")


def printed(calls: Sequence[Call]) -> bytes:
    """One body for all these calls."""
    parts = b"".join(b"--%s\r\n%s\r\n" % (BOUNDARY.encode(), _part(call)) for call in calls)
    return parts + b"--%s--\r\n" % BOUNDARY.encode()


def _part(call: Call) -> bytes:
    content = call.content()
    kind = {"Content-Type": "application/json"} if content is not None else {}
    headers = "".join(f"{name}: {value}\r\n" for name, value in {**kind, **call.headers}.items())
    head = f"{_PART}{call.method} {call.path} HTTP/1.1\r\n{headers}\r\n"
    return head.encode() + (content or b"")


def answers(reply: Answer) -> list[Answer] | None:
    """The answers in a multipart body, in their order, as far as it goes; None when there is no such body."""
    found = _BOUNDARY.search(reply.headers.get("content-type", ""))
    if found is None:
        return None
    parts = re.split(rb"(?:\A|\r?\n)--" + re.escape(found.group(1).encode()), reply.body)[1:]
    read = [_answer(part) for part in parts if not part.startswith(b"--")]
    whole = [part for part in takewhile(lambda part: part is not None, read) if part is not None]
    return whole if whole or not read else None


def _answer(part: bytes) -> Answer | None:
    """From the status line on: headers to an empty line, then the body."""
    found = _STATUS.search(part)
    if found is None:
        return None
    head, _, body = part[found.start() :].replace(b"\r\n", b"\n").partition(b"\n\n")
    headers = dict(_header(line) for line in head.decode(errors="replace").split("\n")[1:])
    return Answer(int(found.group(1)), headers, body.strip(), _retry_after(headers))


def _header(line: str) -> tuple[str, str]:
    name, _, value = line.partition(":")
    return name.strip().lower(), value.strip()


def _retry_after(headers: dict[str, str]) -> float | None:
    value = headers.get("retry-after", "")
    return min(RETRY_AFTER_MAX, float(value)) if value.isdigit() else None
