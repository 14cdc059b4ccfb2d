from hypothesis import given
from hypothesis import strategies as st

from training.fitting.parallel import ALONE, balance, joined


@given(st.lists(st.floats(0.1, 100), min_size=1, max_size=12), st.integers(1, 5))
def test_no_process_has_much_more_to_do_than_another(costs: list[float], processes: int) -> None:
    owners = balance(costs, processes)

    loads = [0.0] * processes
    for owner, cost in zip(owners, costs, strict=True):
        loads[owner] += cost
    # Longest first: even the busiest has at most one task more than the idlest.
    assert max(loads) <= min(loads) + max(costs) + 1e-9


def test_the_seven_tasks_of_msdnet_on_two_processes() -> None:
    mflops = [56.43, 101.00, 155.31, 198.10, 249.53, 298.05, 340.64]

    owners = balance(mflops, 2)

    first = sum(cost for cost, owner in zip(mflops, owners, strict=True) if owner == 0)
    assert 0.48 < first / sum(mflops) < 0.52


def test_without_torchrun_there_is_one_process() -> None:
    with joined("batches") as processes:
        assert processes is ALONE
        assert (processes.first, processes.slice, processes.any(True)) == (True, (0, 1), True)
