"""Renders what deploy/kubernetes describes, and judges it by the schemas of those who will read it. No cluster is asked.

What belongs to Kubernetes is judged by kubernetes-validate. What belongs to Strimzi, KEDA and the Prometheus operator is judged by
the schemas of their own definitions in crds/ (their address is in each file; descriptions were left out), strictly: like the
server's `--validate=strict`, a field that the schema does not name is an error. Rules in CEL (x-kubernetes-validations) are not run.
"""

import json
import subprocess
import sys
from functools import cache
from pathlib import Path

import kubernetes_validate
import yaml
from jsonschema import Draft202012Validator

from tests.living import ROOT

KUBERNETES = ROOT / "deploy" / "kubernetes"
CRDS = Path(__file__).parent / "crds"
VERSION = "1.37"
OVERLAYS = sorted(path.name for path in (KUBERNETES / "overlays").iterdir())


@cache
def _rendered(overlay):
    command = [str(Path(sys.executable).with_name("kubectl")), "kustomize", str(KUBERNETES / "overlays" / overlay)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr  # kustomize warns of what is deprecated
    return done.stdout


def rendered(overlay):
    """Its resources, as `kubectl apply -k` would send them."""
    return list(yaml.safe_load_all(_rendered(overlay)))


def faults(resource):
    """What is wrong with a resource, in words. Raises KeyError for a kind that nobody judges."""
    group = resource["apiVersion"].rpartition("/")[0]
    if "." in group and not group.endswith(".k8s.io"):
        schema = _custom()[resource["apiVersion"], resource["kind"]]
        return [f"{error.json_path}: {error.message}" for error in Draft202012Validator(schema).iter_errors(resource)]
    try:
        kubernetes_validate.validate(resource, VERSION, strict=True)
    except kubernetes_validate.ValidationError as failure:
        return [f"{failure.path}: {failure.message}"]
    return []


@cache
def _custom():
    read = [json.loads(path.read_text()) for path in CRDS.glob("*.json")]
    return {(f"{crd['group']}/{crd['version']}", crd["kind"]): _whole(crd["schema"]) for crd in read}


def _whole(schema):
    """The definition's schema as the server reads it, with what every resource has."""
    top = _strict(schema)
    top["properties"]["metadata"] = {"type": "object", "required": ["name"]}
    return top | {"required": ["apiVersion", "kind", "metadata", "spec"]}


def _strict(schema):
    """A structural schema as JSON Schema: what it does not name is refused, whole-or-text and null are as Kubernetes means them."""
    if isinstance(schema, list):
        return [_strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    plain = {
        name: value
        for name, value in schema.items()
        if not name.startswith("x-kubernetes") and name not in ("format", "nullable")
    }
    for word in ("items", "additionalProperties", "anyOf", "allOf", "oneOf"):
        if word in plain:
            plain[word] = _strict(plain[word])
    if "properties" in plain:
        plain["properties"] = {name: _strict(value) for name, value in plain["properties"].items()}
        if "type" in plain and not schema.get("x-kubernetes-preserve-unknown-fields"):
            plain.setdefault("additionalProperties", False)
    if schema.get("nullable") and "type" in plain:
        plain["type"] = [plain["type"], "null"]
    return plain
