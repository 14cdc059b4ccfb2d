"""The policy that a bundle is served with."""

from collections.abc import Callable, Sequence

from pydantic import ValidationError

from serving.bundle.calibration import Calibration
from serving.bundle.manifest import Manifest, Named
from serving.errors import BundleError
from serving.policy.expectation import CrossFitted, HeldOut
from serving.policy.plan import PathPolicy, Plan
from serving.policy.registry import Policy, fit_policy, policy_class

DEFAULT_POLICY = Named(name="geometric")


def read_policy(named: Named) -> Policy:
    """Build a policy from its name and its options.

    Raises:
        BundleError: no such policy, or options that it does not have.
    """
    chosen = policy_class(named.name)
    try:
        return chosen.model_validate(named.options)
    except ValidationError as error:
        problems = "; ".join(f"{problem['loc'][0]}: {problem['msg']}" for problem in error.errors())
        raise BundleError(f"the options of the policy {named.name!r} cannot be used: {problems}") from error


Judge = Callable[[Plan], Plan]
"""Says of a plan what its thresholds do to images that they were not fitted on."""


def expectation(
    manifest: Manifest,
    calibration: Calibration,
    name: str | None = None,
    costs: Sequence[int] | None = None,
) -> Judge:
    """The judge of the plans of `served_policy`: the certifying images, or cross-fitting if there are none.

    Args:
        manifest: of the bundle.
        calibration: of the bundle.
        name: as for `served_policy`.
        costs: as for `served_policy`.

    Raises:
        BundleError: no such policy.
    """
    costs = costs or manifest.exit_flops
    score, correct = calibration.score(manifest.calibration.confidence), calibration.correct
    kept = calibration.certify
    if kept.any():
        return HeldOut(score[kept], correct[kept], costs)
    return CrossFitted(read_policy(_named(manifest, name)), score, correct, costs)


def served_policy(
    manifest: Manifest,
    calibration: Calibration,
    name: str | None = None,
    costs: Sequence[int] | None = None,
) -> PathPolicy:
    """The policy that a bundle is served with, on the half of its calibration that is there for fitting.

    Args:
        manifest: of the bundle.
        calibration: of the bundle.
        name: a key of `POLICIES`; the manifest's choice where None. Its options count where the names agree.
        costs: K costs of leaving at an exit, rising; its FLOPs per image where None.

    Raises:
        BundleError: no such policy.
    """
    score, fit = calibration.score(manifest.calibration.confidence), calibration.fit
    policy = read_policy(_named(manifest, name))
    return fit_policy(policy, score[fit], calibration.correct[fit], costs or manifest.exit_flops)


def _named(manifest: Manifest, name: str | None) -> Named:
    named = manifest.calibration.policy
    return named if name is None or name == named.name else Named(name=name)
