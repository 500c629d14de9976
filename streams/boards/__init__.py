"""The boards of Grafana, made by code: `python -m streams.boards` writes deploy/grafana, `--check` says whether it is so already.

Law: a panel asks only for what the catalogue of metrics or the rules of Prometheus name, and says in words what it shows.
"""
