"""`loy bench`: the whole path measured on a real Kafka of its own, beside other engines in the same run.

CPU-microseconds a check and ratios within one run are the honest figures; wall figures stand beside them and depend on what else
the machine does. Law: what was measured is counted and proven; a benchmark that loses a record ends with an error. Nothing is
imported here: `bench.peers` also runs where the product's packages are not.
"""
