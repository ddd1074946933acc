"""docs/cluster.md: its YAML is what the programs that read it take."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import ray
import yaml  # type: ignore[import-untyped] # comes with Ray
from jsonschema import validate  # type: ignore[import-untyped] # comes with Ray

PROJECT = Path(__file__).parents[1]
PAGE = (PROJECT / "docs/cluster.md").read_text()


def blocks(language: str) -> list[str]:
    """The page's blocks of code in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def documents() -> dict[str, Any]:
    """Its YAML by what it is for."""
    loaded = [yaml.safe_load(block) for block in blocks("yaml")]
    return {"kuberay" if "kind" in document else "launcher": document for document in loaded}


def test_the_launcher_takes_its_example(documents: dict[str, Any]) -> None:
    example = documents["launcher"]
    schema = json.loads((Path(ray.__file__).parent / "autoscaler/ray-schema.json").read_text())
    validate(example, schema)
    types = example["available_node_types"]
    assert example["head_node_type"] in types
    assert types["head"]["resources"]["CPU"] == 0
    assert types["gpu"]["min_workers"] <= types["gpu"]["max_workers"] <= example["max_workers"]
    starts = [example["head_start_ray_commands"][-1], example["worker_start_ray_commands"][-1]]
    assert all("RAY_AUTH_MODE=token" in start and "ray start" in start for start in starts)


def test_kuberay_finds_what_it_requires(documents: dict[str, Any]) -> None:
    cluster = documents["kuberay"]
    assert (cluster["apiVersion"], cluster["kind"]) == ("ray.io/v1", "RayCluster")
    assert cluster["metadata"]["name"]
    spec = cluster["spec"]
    assert spec["authOptions"] == {"mode": "token"}
    [workers] = spec["workerGroupSpecs"]
    assert 0 <= workers["minReplicas"] <= workers["replicas"] <= workers["maxReplicas"]
    for group in (spec["headGroupSpec"], workers):
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
        pod = group["template"]["spec"]
        volumes = {volume["name"] for volume in pod["volumes"]}
        [container] = pod["containers"]
        assert container["name"]
        assert container["image"]
        assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
        assert all(isinstance(setting["value"], str) for setting in container.get("env", []))
    pins = dict(line.split("==") for line in (PROJECT / "constraints.txt").read_text().splitlines() if "==" in line)
    assert spec["rayVersion"] == pins["ray"], "all machines have the same Ray"


def test_its_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", PAGE):
        assert target.startswith("http") or (PROJECT / "docs" / target).exists(), target
