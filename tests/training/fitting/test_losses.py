import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from tests.training.fitting.test_problem import ALL, FakeImages, make
from training.fitting.losses import LossRecipe, distillation_loss
from training.fitting.problem import Progress
from training.methods.interface import Phase


def logits(model: torch.nn.Module, images: Tensor) -> list[Tensor]:
    """What the model says in evaluation mode."""
    with torch.no_grad():
        return model.eval()(images)  # type: ignore[no-any-return]


def teaching(**recipe: object) -> LossRecipe:
    return LossRecipe(**{"distil": 0.5, "temperature": 2.0, **recipe})  # type: ignore[arg-type]


def test_distillation_is_the_softened_divergence() -> None:
    student, teacher = torch.tensor([[0.0, 1.0], [2.0, 0.0]]), torch.tensor([[3.0, 1.0], [0.0, 0.0]])

    p, q = (teacher / 4).softmax(-1), (student / 4).softmax(-1)
    by_hand = 16 * (p * (p / q).log()).sum(-1).mean()

    torch.testing.assert_close(distillation_loss(student, teacher, temperature=4.0), by_hand)


def test_smoothing_spreads_a_share_of_the_target_over_all_classes() -> None:
    model, problem = make(loss=LossRecipe(label_smoothing=0.2))
    model.eval()
    batch = FakeImages().all[0]

    log_probabilities = logits(model, batch.images)[0].log_softmax(-1)
    true = log_probabilities.gather(1, batch.labels[:, None]).mean()

    torch.testing.assert_close(
        problem.losses(batch, [0])[0].detach(), -(0.8 * true + 0.2 * log_probabilities.mean())
    )


def test_early_exits_learn_from_the_last_which_learns_from_labels_alone() -> None:
    untaught, plain = make()
    model, problem = make(loss=teaching())
    model.eval()
    untaught.eval()
    batch = FakeImages().all[0]

    losses, without = problem.losses(batch, range(3)), plain.losses(batch, range(3))

    every = logits(model, batch.images)
    for own, loss, alone in zip(every[:2], losses, without, strict=False):
        torch.testing.assert_close(loss, alone + 0.5 * distillation_loss(own, every[2], 2.0))
    assert torch.equal(losses[2], without[2])
    # The teacher is not taught: what only it uses gets no gradient from the exits that learn from it.
    taught = torch.autograd.grad(losses[0] + losses[1], list(problem.parameters), allow_unused=True)
    early = problem.reach[:2].any(0)
    assert [gradient is not None for gradient in taught] == early.tolist()


def test_losses_are_reported_without_smoothing_and_distillation() -> None:
    heard: list[list[Progress]] = []
    for recipe in (LossRecipe(), teaching(label_smoothing=0.1)):
        _, problem = make(loss=recipe)
        seen: list[Progress] = []
        problem.on_progress = seen.append
        for batch in problem.batches(ALL):
            problem.losses(batch, range(3))
        heard.append(seen)

    assert heard[0][-1].losses == pytest.approx(heard[1][-1].losses)


def test_a_frozen_teacher_is_the_net_as_the_epoch_began() -> None:
    model, problem = make(loss=teaching(frozen_teacher=True))
    batch = FakeImages().all[0]
    start = logits(model, batch.images)[2]
    problem.epoch = 1

    def taught() -> float:
        """What distillation adds to the loss of exit 1, in a task that ends there."""
        model.eval()
        (loss,) = problem.losses(batch, [0])
        return float(loss.detach() - cross_entropy(logits(model, batch.images)[0], batch.labels))

    def expected(teacher: Tensor) -> float:
        return 0.5 * float(distillation_loss(logits(model, batch.images)[0], teacher, 2.0))

    with torch.no_grad():  # nothing was asked yet, as by a process that trains the last exit's task alone
        for parameter in problem.parameters:
            parameter.mul_(1.1)
    now = logits(model, batch.images)[2]
    assert taught() == pytest.approx(expected(start), rel=1e-4)
    problem.epoch = 2
    assert taught() == pytest.approx(expected(now), rel=1e-4)
    assert expected(start) != pytest.approx(expected(now), rel=1e-2)


def test_a_frozen_teacher_leaves_no_trace_in_the_net() -> None:
    model, problem = make(loss=teaching(frozen_teacher=True))
    untaught, other = make()
    for trained in (problem, other):
        for batch in trained.batches(Phase("exit 1")):
            trained.losses(batch, [0])

    # BatchNorm saw the same images once: the teacher's pass is another net's.
    expected = untaught.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(("epoch", "taught"), [(0, False), (1, True)])
def test_a_teacher_that_knows_nothing_yet_is_not_asked(epoch: int, taught: bool) -> None:
    model, problem = make(loss=teaching(frozen_teacher=True, untaught_epochs=1))
    model.eval()
    problem.epoch = epoch
    batch = FakeImages().all[0]

    (loss,) = problem.losses(batch, [0])

    plain = cross_entropy(logits(model, batch.images)[0], batch.labels)
    assert (float(loss.detach()) > float(plain) * (1 + 1e-6)) is taught


def test_without_the_last_exit_the_net_itself_teaches_a_step_method() -> None:
    model, problem = make(loss=teaching())
    model.eval()
    batch = FakeImages().all[0]

    # As when the expected gradients of a joint run are measured.
    torch.testing.assert_close(problem.losses(batch, [0])[0], problem.losses(batch, range(3))[0])
