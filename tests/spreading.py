"""Which tests go to one process as a whole, when there are several: those of a file, and all that look at one living system."""

from xdist.scheduler import LoadScopeScheduling

from tests.living import LIVING


class FileByFile(LoadScopeScheduling):
    """In the order collected."""

    def _split_scope(self, nodeid):
        file = nodeid.partition("::")[0]
        return "living" if file in LIVING else file
