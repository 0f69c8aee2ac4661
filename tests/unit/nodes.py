"""A Ray cluster of two nodes on this computer, and how one of them is lost."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

THREADS = Path(__file__).parent / "threads_for_ray"


@pytest.fixture(params=["shared", "away"])
def scratch(request, tmp_path_factory, monkeypatch):
    """Where computers train that do not see the home; None where they do."""
    if request.param == "shared":
        return None
    folder = tmp_path_factory.mktemp("scratch")
    monkeypatch.setenv("TRANSFORMER_LAB_SCRATCH", str(folder))
    return folder


@pytest.fixture
def computers(scratch, monkeypatch) -> Iterator[tuple]:
    """A Ray cluster of a head and one more computer, with two CPUs each: (it, the other one)."""
    utils = pytest.importorskip("ray.cluster_utils", reason="the extra `cluster` is not installed")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    small = {"num_cpus": 2, "object_store_memory": 80_000_000}
    cluster = utils.Cluster(
        initialize_head=True, head_node_args=small | {"include_dashboard": False}
    )
    try:
        yield cluster, cluster.add_node(**small)
    finally:
        for node in [*cluster.list_all_nodes()]:
            node.kill_all_processes(check_alive=False, allow_graceful=False)


def kill(node) -> None:
    """End everything on a computer at once, as a power failure does."""
    (raylet,) = node.all_processes["raylet"]
    everything = psutil.Process(raylet.process.pid).children(recursive=True)
    raylet.process.kill()
    for process in everything:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


@pytest.fixture
def quick_nodes(tmp_path_factory, monkeypatch):
    """A folder of two nodes, a and b, with two CPUs each, which threads in place of Ray have."""
    folder = tmp_path_factory.mktemp("nodes")
    for name in ("a", "b"):
        (folder / name).write_text("2")
    monkeypatch.setenv("NODES_OF_A_TEST", str(folder))
    before = os.environ.get("PYTHONPATH", "")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(THREADS), before]))
    return folder
