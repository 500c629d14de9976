"""The contract: every record on every topic, as frozen pydantic models, and the catalogue of the topics themselves.

Nothing here imports anything else of ours; `streams` and `connectors` both lean on it.
"""
