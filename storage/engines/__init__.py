"""Workers on an engine: processes of this machine, jobs of SLURM, actors of Ray; knows no study.

`engine` says what an engine can do; a further one is a file beside `processes`, `slurm` and `ray`.
`supervisor` keeps its workers at a number, and `attended` is a worker far away, with a
supervisor of its own. Imports `_devices`, `_away` and `_process` of the rooms below.
"""
