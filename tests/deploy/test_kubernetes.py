"""deploy/kubernetes: every overlay renders, is what Kubernetes and the operators take, and agrees with the code."""

import copy

import pytest
import yaml

from connectors.registry import SINKS
from schemas.topics import CHECKS, COMMANDS, REPLIES, TOPICS
from streams import broker, manifests
from streams.app import changelogs, sink_group
from streams.runtime import Config
from streams.settings import PREFIX, Access, Settings
from streams.topic_admin import acknowledged
from tests.commands import require_command
from tests.deploy.judges import KUBERNETES, OVERLAYS, faults, rendered
from tests.living import ROOT

POD_OWNERS = ("StatefulSet", "Deployment", "Job")
SECRETS = {"LOY_KAFKA_USERNAME": "somebody", "LOY_KAFKA_PASSWORD": "secret"}


def of_kind(overlay, *kinds):
    return [resource for resource in rendered(overlay) if resource["kind"] in kinds]


def named(resource):
    return f"{resource['kind']}/{resource['metadata']['name']}"


def containers(overlay):
    return [(named(owner), owner["spec"]["template"]["spec"]["containers"][0]) for owner in of_kind(overlay, *POD_OWNERS)]


def variables(overlay):
    (settings,) = of_kind(overlay, "ConfigMap")
    return settings["data"]


# ---------------------------------------------------------------- what those take who read it


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_resource_is_one_that_its_reader_takes(overlay):
    assert {named(resource): found for resource in rendered(overlay) if (found := faults(resource))} == {}


@pytest.mark.parametrize(
    ("kind", "path", "wrong"),
    [
        ("StatefulSet", ("spec", "replicas"), "three"),
        ("StatefulSet", ("spec", "replicaz"), 3),
        ("KafkaTopic", ("spec", "partitions"), "twelve"),
        ("KafkaTopic", ("spec", "partitionz"), 12),
        ("Kafka", ("spec", "kafka", "listener"), []),
        ("KafkaNodePool", ("spec", "roles"), ["boss"]),
        ("KafkaUser", ("spec", "authentication", "kind"), "tls"),
        ("ScaledObject", ("spec", "maxReplicas"), 3),
        ("ScaledObject", ("spec", "scaleTargetRef"), {}),
        ("TriggerAuthentication", ("spec", "secretTargetRef"), [{"name": "x"}]),
        ("ServiceMonitor", ("spec", "endpoints"), [{"interval": "soon"}]),
        ("NetworkPolicy", ("spec", "egres"), []),
    ],
)
def test_the_judges_refuse_what_is_wrong(kind, path, wrong):
    resource = copy.deepcopy(of_kind("prod", kind)[0])
    place = resource
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = wrong
    assert faults(resource)


def test_a_kind_that_nobody_judges_is_noticed():
    with pytest.raises(KeyError):
        faults({"apiVersion": "example.com/v1", "kind": "Surprise", "metadata": {"name": "x"}})


# ---------------------------------------------------------------- the settings


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_variable_is_a_setting_and_together_they_are_whole(overlay, tmp_path, monkeypatch):
    given = variables(overlay)
    known = {PREFIX + name.upper() for model in (Settings, Access) for name in model.model_fields}
    assert {name.removesuffix("_FILE") for name in given} <= known
    mounted = {name: value for name, value in given.items() if value.startswith("/etc/loystream/")}
    for name in mounted:
        (tmp_path / name).write_text("a secret of some length")
    environment = {**SECRETS, **given, **{name: str(tmp_path / name) for name in mounted}}
    settings = Settings.load(environment)
    assert settings.identity_key.get_secret_value() != Settings.model_fields["identity_key"].default.get_secret_value()
    assert Access.load(environment).kafka_protocol == "SASL_SSL"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_no_secret_is_written_down_and_each_one_used_is_documented(overlay):
    assert not of_kind(overlay, "Secret")
    text = yaml.safe_dump_all(rendered(overlay))
    page = (ROOT / "docs" / "deploying.md").read_text()
    of_strimzi = {"loystream", "loystream-cluster-ca-cert"}
    used = {line.split(": ")[1] for line in text.splitlines() if "secretName: " in line}
    for _, container in containers(overlay):
        used |= {source["secretRef"]["name"] for source in container["envFrom"] if "secretRef" in source}
    assert {name for name in used - of_strimzi if name not in page} == set()


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_file_that_a_variable_names_is_mounted(overlay):
    folders = {value.rpartition("/")[0] for value in variables(overlay).values() if value.startswith("/etc/loystream/")}
    for owner, container in containers(overlay):
        assert folders <= {mount["mountPath"] for mount in container["volumeMounts"]}, owner


# ---------------------------------------------------------------- the processes


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_process_runs_a_command_that_exists_as_nobody_and_may_finish_its_work(overlay):
    for owner in of_kind(overlay, *POD_OWNERS):
        pod = owner["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        require_command(container["args"])
        assert pod["securityContext"]["runAsNonRoot"]
        assert container["securityContext"]["readOnlyRootFilesystem"]
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        if owner["kind"] != "Job":
            assert pod["terminationGracePeriodSeconds"] > Config.stop_timeout
            probes = [container[f"{probe}Probe"]["httpGet"] for probe in ("startup", "liveness", "readiness")]
            assert [probe["path"] for probe in probes] == ["/healthz", "/healthz", "/readyz"]


def test_a_worker_keeps_its_name_and_its_disk():
    (worker,) = of_kind("prod", "StatefulSet")
    (container,) = worker["spec"]["template"]["spec"]["containers"]
    identity = next(entry for entry in container["env"] if entry["name"] == "LOY_INSTANCE_ID")
    assert identity["valueFrom"]["fieldRef"]["fieldPath"] == "metadata.name"
    (claim,) = worker["spec"]["volumeClaimTemplates"]
    mounted = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounted[claim["metadata"]["name"]] == "/var/lib/loystream"
    assert "LOY_DATA=/var/lib/loystream" in (ROOT / "deploy" / "Dockerfile").read_text()


def test_every_sink_of_production_is_one_that_exists_with_its_own_secret_and_may_call_out():
    sinks = of_kind("prod", "Deployment")
    names = {sink["spec"]["template"]["spec"]["containers"][0]["args"][1] for sink in sinks}
    assert names <= set(SINKS)
    assert {named(policy) for policy in of_kind("prod", "NetworkPolicy")} == {
        "NetworkPolicy/loystream",
        *(f"NetworkPolicy/loystream-sink-{name}" for name in names),
    }
    for sink in sinks:
        (container,) = sink["spec"]["template"]["spec"]["containers"]
        assert {"secretRef": {"name": f"loystream-sink-{container['args'][1]}"}} in container["envFrom"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_process_is_guarded_against_disruption_and_seen_by_its_own_selector(overlay):
    labels = {
        named(owner): owner["spec"]["template"]["metadata"]["labels"] for owner in of_kind(overlay, "StatefulSet", "Deployment")
    }
    for kind in ("PodDisruptionBudget", "Service"):
        for name, own in labels.items():
            selectors = [_selector(resource) for resource in of_kind(overlay, kind)]
            assert sum(selector.items() <= own.items() for selector in selectors) == 1, f"{name}: {kind}"


def _selector(resource):
    selector = resource["spec"]["selector"]
    return selector.get("matchLabels", selector)


# ---------------------------------------------------------------- scaling


@pytest.mark.parametrize("overlay", [name for name in OVERLAYS if name != "dev"])
def test_scaling_follows_topics_and_a_group_that_exist_and_never_exceeds_the_partitions(overlay):
    (scaled,) = of_kind(overlay, "ScaledObject")
    settings = Settings.load({name: value for name, value in variables(overlay).items() if not name.endswith("_FILE")})
    assert scaled["spec"]["maxReplicaCount"] <= settings.partitions
    (worker,) = of_kind(overlay, "StatefulSet")
    assert scaled["spec"]["scaleTargetRef"]["name"] == worker["metadata"]["name"]
    assert "replicas" not in worker["spec"], "KEDA decides"
    triggers = [trigger["metadata"] for trigger in scaled["spec"]["triggers"]]
    assert {trigger["topic"] for trigger in triggers} == {CHECKS.name, COMMANDS.name}
    for trigger in triggers:
        assert trigger["consumerGroup"] == settings.group
        assert trigger["bootstrapServers"].replace(".loystream:", ":") == settings.kafka_bootstrap


# ---------------------------------------------------------------- Strimzi


def test_the_topics_are_those_of_the_catalogue():
    assert manifests.stale() == [], "run `make manifests`"
    settings = Settings.load({})
    wanted = {topic.name: topic for topic in (*TOPICS, *changelogs(settings))}
    for overlay, partitions, copies in (("prod", 12, 3), ("dev", 4, 1)):
        made = {topic["metadata"]["name"]: topic["spec"] for topic in of_kind(overlay, "KafkaTopic")}
        assert set(made) == set(wanted)
        for name, topic in wanted.items():
            assert made[name]["partitions"] == (topic.partitions or partitions), name
            assert made[name]["replicas"] == copies, name
            assert made[name]["config"] == topic.settings() | acknowledged(copies), name
        assert variables(overlay)["LOY_PARTITIONS"] == str(partitions)


def test_strimzis_brokers_have_the_settings_that_matter():
    (kafka,) = of_kind("prod", "Kafka")
    set_there = kafka["spec"]["kafka"]["config"]
    for name in ("auto.create.topics.enable", "message.max.bytes", "log.message.timestamp.before.max.ms"):
        assert str(set_there[name]).lower() == broker.SETTINGS[name]
    largest = max(topic.bytes_max for topic in TOPICS)
    assert set_there["replica.fetch.max.bytes"] >= largest
    assert set_there["min.insync.replicas"] == set_there["default.replication.factor"] - 1


def test_the_user_may_do_what_the_processes_do_and_no_more():
    users = {user["metadata"]["name"]: user["spec"]["authorization"]["acls"] for user in of_kind("prod", "KafkaUser")}
    settings = Settings.load({})

    def may(user, operation, kind, name):
        return any(
            rule["resource"]["type"] == kind
            and operation in rule["operations"]
            and (
                name.startswith(rule["resource"]["name"])
                if rule["resource"].get("patternType") == "prefix"
                else rule["resource"]["name"] == name
            )
            for rule in users[user]
            if "name" in rule["resource"]
        )

    for topic in (*TOPICS, *changelogs(settings)):
        assert may("loystream", "Read", "topic", topic.name)
        assert may("loystream", "Write", "topic", topic.name)
    for group in (settings.group, *(sink_group(settings, name) for name in SINKS)):
        assert may("loystream", "Read", "group", group)
    assert {topic.name for topic in TOPICS if may("tills", "Write", "topic", topic.name)} == {"pos.checks", "pos.redemptions"}
    assert {topic.name for topic in TOPICS if may("tills", "Read", "topic", topic.name)} == {REPLIES.name}


def test_every_folder_is_part_of_an_overlay():
    used = "".join(path.read_text() for path in KUBERNETES.rglob("kustomization.yaml"))
    for folder in KUBERNETES.iterdir():
        assert folder.name == "overlays" or f"../{folder.name}" in used
