from serving.events import AgreementMeasured, BudgetCorrected, DriftMeasured
from serving.monitoring.controller import BudgetController
from serving.monitoring.health import Health
from serving.monitoring.merging import merged_health, merged_states
from serving.monitoring.shadow import Agreement


def drift(score: float, limit: float = 0.2) -> DriftMeasured:
    return DriftMeasured("m", 0, score, limit, score > limit, False, "scores", 100)


def agreement(share: float, *, alarm: bool) -> AgreementMeasured:
    return AgreementMeasured("m", 0, share, 0.9, alarm, False, 100)


def health(*, alive: bool = True, factor: float = 1.0, score: float = 0.1, watched: int = 10) -> Health:
    return Health(
        alive=alive,
        corrections={"50%": BudgetCorrected("m", "50%", factor, 0.02)},
        drift={0: drift(score)},
        agreement={0: Agreement(watched, watched // 2)},
        unchecked=3,
        agreement_of_late={0: agreement(0.9 - score, alarm=score > 0.2)},
    )


def test_health_is_the_worst_of_all_processes_and_their_counts_together() -> None:
    merged = merged_health([health(factor=0.8), health(factor=1.0, score=0.3, watched=30)])
    assert merged.status == "drifting"
    assert merged.drift[0].score == 0.3
    assert merged.agreement_of_late[0].alarm
    assert merged.agreement[0] == Agreement(40, 20)
    assert merged.unchecked == 6
    assert merged.corrections == {"50%": BudgetCorrected("m", "50%", 0.9, 0.02)}
    assert merged_health([health(), health(alive=False)]).status == "dead"


def test_a_loop_that_is_off_has_no_corrections() -> None:
    off = Health(True, None, {}, {}, 0)
    assert merged_health([off, off]).corrections is None


def test_a_controller_goes_on_from_what_several_had_learned() -> None:
    flops, learned = (10, 40, 100), []
    for costs in ((10, 40), (40, 100)):
        controller = BudgetController("m", flops)
        for _ in range(100):
            controller.learn(45.0, costs)
        learned.append(controller.state())
    merged = merged_states(learned)
    controller = BudgetController("m", flops)
    controller.restore(merged)  # it is a state as learning could have left it
    (label,) = learned[0].keys() & learned[1].keys()
    ends = sorted(state[label]["log_factor"] for state in learned)
    assert ends[0] < controller.state()[label]["log_factor"] < ends[1]


def test_states_of_different_classes_stay_side_by_side() -> None:
    one, two = {"1": {"log_factor": 0.1, "images": 5.0}}, {"2": {"log_factor": 0.2, "images": 5.0}}
    assert merged_states([one, two]) == {**one, **two}
    assert merged_states([]) == {}
