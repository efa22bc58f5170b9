"""Workers on an engine: processes of this machine, jobs of SLURM; knows no study and no trial.

`engine` says what an engine can do, and a further one is a file beside `processes` and `slurm`.
`supervisor` keeps its workers at a number, and `attended` is a worker far away, with a
supervisor of its own. Imports `_devices`, `_away` and `_process` of the rooms below.
"""
