"""Renders a chart by Helm's own library: a list of values comes in as JSON, their manifests go out."""

import json
import sys

import helm_python as helm

rendered = []
with helm.Chart.load(sys.argv[1]) as chart:
    for values in json.load(sys.stdin):
        try:
            chart.validate_schema(chart.merge_values(values))
            files = chart.render(values, name="offramp", namespace="prod")
        except helm.HelmError as error:
            rendered.append({"error": str(error)})
        else:
            rendered.append({name.rpartition("/")[2]: text for name, text in files.items()})
found = helm.lint(sys.argv[1])
print(json.dumps({"found": [*found["messages"], *found["errors"]], "rendered": rendered}))
