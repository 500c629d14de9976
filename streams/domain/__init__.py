"""The pure core: no I/O, no clock, no randomness, no environment. Time comes in as data; ids derive from causes."""
