"""The policy that a bundle is served with."""

from pydantic import ValidationError

from serving.bundle.calibration import Calibration
from serving.bundle.manifest import Manifest, Named
from serving.errors import BundleError
from serving.policy.plan import PathPolicy
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


def served_policy(manifest: Manifest, calibration: Calibration, name: str | None = None) -> PathPolicy:
    """The policy that a bundle is served with, on the half of its calibration that is there for fitting.

    Args:
        manifest: of the bundle.
        calibration: of the bundle.
        name: a key of `POLICIES`; the manifest's choice where None. Its options count where the names agree.

    Raises:
        BundleError: no such policy.
    """
    named = manifest.calibration.policy
    if name is not None and name != named.name:
        named = Named(name=name)
    score, fit = calibration.score(manifest.calibration.confidence), calibration.fit
    return fit_policy(read_policy(named), score[fit], calibration.correct[fit], manifest.exit_flops)
