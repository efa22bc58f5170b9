"""Whether a file is on a network file system; reads the table of mounts and nothing else."""

from __future__ import annotations

import os
from pathlib import Path
import re


__all__ = ["network_file_system"]

MOUNTS = Path("/proc/mounts")  # Linux; elsewhere it cannot be told
NETWORK = frozenset(  # not 9p: as often a container's own root, on one machine
    "afs beegfs beegfs_nodev ceph cifs fuse.ceph fuse.gcsfuse fuse.glusterfs fuse.juicefs "
    "fuse.rclone fuse.s3fs fuse.sshfs glusterfs gpfs lustre ncpfs nfs nfs4 orangefs pvfs2 smb3 "
    "smbfs wekafs".split()
)


def network_file_system(file: Path, mounts: str | None = None) -> str | None:
    """The kind of network file system a file is on; None where it is on none, or unknown.

    Args:
        file: It need not be there.
        mounts: The table in the form of /proc/mounts, by default this machine's.
    """
    if mounts is None:
        mounts = MOUNTS.read_text() if MOUNTS.exists() else ""
    path, deepest, kind = Path(os.path.realpath(file)), -1, None
    for line in mounts.splitlines():
        _, folder, found, *_ = line.split()
        folder = _unescaped(folder)
        depth = len(Path(folder).parts)
        if path.is_relative_to(folder) and depth >= deepest:  # of two on one folder the later
            deepest, kind = depth, found
    return kind if kind in NETWORK else None


def _unescaped(folder: str) -> str:
    r"""A space in a path stands as \040 in the table."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), folder)
