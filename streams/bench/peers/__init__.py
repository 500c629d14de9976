"""Engines that do the reference job, each a process of its own: `python -m streams.bench.peers.NAME BOOTSTRAP FOLDER`."""
