"""Holds the manifests of deploy/kserve against the models of KServe's own SDK."""

import json
import sys

import kserve
from kserve import models


def check(kind: str, found: object, place: str) -> None:
    """Raise where a manifest has a key that the SDK does not have, at any depth."""
    if kind.startswith("list["):
        assert isinstance(found, list), f"{place}: expected a list"
        for number, part in enumerate(found):
            check(kind[5:-1], part, f"{place}[{number}]")
        return
    model = getattr(models, kind, None) or getattr(kserve, kind, None)
    if model is None or not kind.startswith("V1") or not hasattr(model, "attribute_map"):
        return
    keys = {key: attribute for attribute, key in model.attribute_map.items()}
    assert isinstance(found, dict), f"{place}: expected a mapping"
    for key, value in found.items():
        assert key in keys, f"{place}.{key}: {kind} has no such field"
        check(model.openapi_types[keys[key]], value, f"{place}.{key}")


KINDS = {
    "ClusterServingRuntime": "V1alpha1ClusterServingRuntime",
    "InferenceService": "V1beta1InferenceService",
}
given = json.load(sys.stdin)
for manifest in given:
    check(KINDS[manifest["kind"]], manifest, manifest["kind"])
print(json.dumps({"checked": len(given)}))
