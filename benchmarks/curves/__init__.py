"""Which search needs the fewest steps where a trial is a curve: `python -m benchmarks.curves`.

From the lowest: `instance` says what a problem is, and `families` has them; `simulate` is the
clock; `entrants` and, in `peers`, the searches of others; `run` is one run, `figures` the
arithmetic on many, `tables` their text, `work` which runs there are. `make` trains and exports
what families `standin` and `short` are made of.
"""
