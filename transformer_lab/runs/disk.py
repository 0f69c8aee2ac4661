"""What kind of disk a folder is on."""

from functools import cache
from pathlib import Path

MOUNTS = Path("/proc/mounts")
OF_SEVERAL = {  # kinds of disks that several computers write to
    "9p", "afs", "beegfs", "ceph", "cifs", "fuse.ceph", "fuse.cephfs", "fuse.glusterfs",
    "fuse.juicefs", "fuse.sshfs", "glusterfs", "gpfs", "lustre", "nfs", "nfs4", "orangefs",
    "panfs", "smb3", "smbfs", "virtiofs", "wekafs",
}  # fmt: skip


def shared_by_computers(folder: Path, mounts: Path = MOUNTS) -> bool:
    """Whether other computers may write to the same disk; False where that cannot be told."""
    kinds = _kinds(mounts)
    place = folder.absolute()
    nearest = next((one for one in (place, *place.parents) if str(one) in kinds), None)
    return nearest is not None and kinds[str(nearest)] in OF_SEVERAL


@cache
def _kinds(mounts: Path) -> dict[str, str]:
    """The kind of every disk, by the folder where it is; read once, for it is asked often."""
    try:
        lines = [line.split() for line in mounts.read_text(errors="replace").splitlines()]
    except OSError:  # not Linux
        return {}
    return {line[1].replace("\\040", " "): line[2] for line in lines if len(line) > 2}
