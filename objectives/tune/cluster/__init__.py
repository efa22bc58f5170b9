"""Workers beyond this machine: `--on`. Part of the composition root: imports what `tune` may."""
