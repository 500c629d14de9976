"""The sinks: one file per vendor, importing `schemas` alone. None ships yet; `loy.events` is their contract."""
