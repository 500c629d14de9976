"""Chaos: a cluster and workers under faults, judged to the point; and a million broken records through parse and decide."""
