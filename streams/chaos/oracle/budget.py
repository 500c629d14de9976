"""A budget over all members, naive: whoever asks first is given first, until nothing is left."""

DAY = 86_400
REMEMBERED = 37 * DAY


class NaiveBudget:
    """The points of one period for everybody. Times in epoch seconds."""

    def __init__(self, cap: int, ends: int) -> None:
        self.cap = cap
        self.ends = ends
        self.charged = 0
        """Given, and not come back."""
        self.now = 0
        self._known: set[str] = set()

    def pass_time(self, now: int) -> None:
        """The clock told it how late it is."""
        self.now = max(self.now, now)

    def ask(self, name: str, points: int, now: int) -> int | None:
        """What is given to a request; None when it came before."""
        if not self._is_new(name):
            return None
        given = 0 if self._is_closed(now) else min(points, self.cap - self.charged)
        self.charged += given
        return given

    def back(self, name: str, points: int, now: int) -> None:
        """Points come back. What comes after it was closed stays spent."""
        if self._is_new(name) and not self._is_closed(now):
            self.charged -= points

    def _is_new(self, name: str) -> bool:
        new = name not in self._known
        self._known.add(name)
        return new

    def _is_closed(self, now: int) -> bool:
        """No sale of its period can come any more: it is as late as that, and stays where it is."""
        if max(self.now, now) - REMEMBERED >= self.ends:
            return True
        self.pass_time(now)
        return False
