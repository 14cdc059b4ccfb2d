"""Cores and memory from control groups, of both versions, in and outside of containers."""

import pytest

from serving.system.resources import Resources, resources, within

V2 = "/sys/fs/cgroup"


@pytest.mark.parametrize(
    ("files", "cores", "memory"),
    [
        ({}, 64, 1000),
        ({f"{V2}/cpu.max": "200000 100000\n", f"{V2}/memory.max": "500\n"}, 2, 500),
        ({f"{V2}/cpu.max": "max 100000", f"{V2}/memory.max": "max"}, 64, 1000),
        ({f"{V2}/cpu.max": "150000 100000"}, 2, 1000),
        ({f"{V2}/cpu.max": "1000 100000"}, 1, 1000),
        (
            {
                "/proc/self/cgroup": "0::/a/b\n",
                f"{V2}/a/cpu.max": "300000 100000",
                f"{V2}/a/b/cpu.max": "max 1",
            },
            3,
            1000,
        ),
        (
            {"/proc/self/cgroup": "0::/a/b\n", f"{V2}/a/memory.max": "300", f"{V2}/a/b/memory.max": "400"},
            64,
            300,
        ),
        ({f"{V2}/cpu/cpu.cfs_quota_us": "250000", f"{V2}/cpu/cpu.cfs_period_us": "100000"}, 3, 1000),
        ({f"{V2}/cpu/cpu.cfs_quota_us": "-1", f"{V2}/cpu/cpu.cfs_period_us": "100000"}, 64, 1000),
        (
            {
                "/proc/self/cgroup": "4:cpu,cpuacct:/docker/x\n3:memory:/docker/x\n",
                f"{V2}/cpu,cpuacct/docker/x/cpu.cfs_quota_us": "100000",
                f"{V2}/cpu,cpuacct/docker/x/cpu.cfs_period_us": "100000",
                f"{V2}/memory/docker/x/memory.limit_in_bytes": "700",
            },
            1,
            700,
        ),
        ({f"{V2}/memory/memory.limit_in_bytes": "9223372036854771712"}, 64, 1000),
        ({f"{V2}/cpu.max": "nonsense", f"{V2}/memory.max": "-5", "/proc/self/cgroup": "::\n:"}, 64, 1000),
        ({"/proc/self/cgroup": "0::/../x", f"{V2}/../x/cpu.max": "100000 100000"}, 64, 1000),
    ],
)
def test_the_least_of_all_limits_counts(files: dict[str, str], cores: int, memory: int) -> None:
    found = within(64, 1000, files.get)
    assert (found.cores, found.memory_bytes) == (cores, memory)
    assert (found.cores_from == "cgroup") == (cores != 64)
    assert (found.memory_from == "cgroup") == (memory != 1000)


def test_a_quota_above_the_affinity_changes_nothing() -> None:
    assert within(2, None, {f"{V2}/cpu.max": "800000 100000"}.get) == Resources(2, None)


def test_this_machine_has_some_of_both() -> None:
    found = resources()
    assert found.cores >= 1
    assert found.memory_bytes is None or found.memory_bytes > 2**20
