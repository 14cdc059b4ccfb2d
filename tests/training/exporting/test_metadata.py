import json

import onnx

from tests.bundles import CLASSES, tiny_manifest, tiny_segments
from training.exporting.metadata import described


def test_a_file_says_what_it_is_and_its_graph_stays() -> None:
    manifest = tiny_manifest().model_copy(update={"licence": "apache-2.0", "versions": {"offramp": "1.2"}})
    before = onnx.load_from_string(tiny_segments()[1])
    after = onnx.load_from_string(described(tiny_segments()[1], manifest, "pets", 2))
    props = {prop.key: prop.value for prop in after.metadata_props}
    assert (after.producer_name, after.producer_version) == ("offramp", "1.2")
    assert after.doc_string.startswith("Exit 2 of 3 of pets:")
    assert (props["model_license"], props["data_set"]) == ("apache-2.0", "synthetic")
    assert tuple(json.loads(props["classes"])) == CLASSES
    assert after.graph == before.graph


def test_a_file_that_is_described_again_has_each_fact_once() -> None:
    once = described(tiny_segments()[0], tiny_manifest(), "pets", 1)
    assert described(once, tiny_manifest(), "pets", 1) == once
