"""Which search needs the fewest steps where a trial is a curve: `python -m benchmarks.curves`.

From the lowest: `instance` says what a problem is; `hartmann`, `standin` and `lcbench` are
problems and `families` lists them; `simulate` is the clock; `entrants` and the files of single
peers (`dehb`, `smac`, `synetune`) search; `run` is one run, `figures` the arithmetic on many,
`tables` their text, `work` which runs there are. `make` trains and exports what `standin` is made
of.
"""
