"""Infobip People and Moments: persons by partial upsert, the loyalty tag, People events, flows where wanted.

`sink.py` has the flows, `bodies.py` what travels, `answers.py` what comes back, `setup.py` what must exist there first.
"""

from connectors.infobip.bodies import event_id
from connectors.infobip.config import Config
from connectors.infobip.sink import Infobip

__all__ = ["Config", "Infobip", "event_id"]
