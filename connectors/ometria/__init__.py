"""Ometria: contacts of a collection of their own, custom events, static segments; all by the push endpoint.

`sink.py` has the flows, `records.py` what travels, `mapping.py` what an integrator may say, `setup.py` what must be there first.
"""

from connectors.ometria.config import Config
from connectors.ometria.mapping import OmetriaMapping
from connectors.ometria.records import event_id
from connectors.ometria.sink import Ometria

__all__ = ["Config", "Ometria", "OmetriaMapping", "event_id"]
