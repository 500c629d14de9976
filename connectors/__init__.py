"""The sinks: what leaves for marketing platforms and CRM systems. Imports `schemas` alone.

A sink is a name, its limits, a mapping file and generators that yield calls and are sent answers; `courier.py` is the only file
that does network I/O. How to add one: docs/adding-a-sink.md.
"""
