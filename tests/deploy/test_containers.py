"""Dockerfiles and compose files: what can be checked without a container engine."""

import importlib.resources
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml
from typer.main import get_command

from client.cli import app as client_app
from server.cli import app as server_app

PROGRAMS = {"client": client_app, "server": server_app}
PROBED = {"client": "127.0.0.1:9467", "server": "127.0.0.1:9465"}
FILES = ("compose.server.yaml", "compose.site.yaml", "compose.site-gpu.yaml")
SCHEMA = "builtin_schemas/vendor/compose-spec.json"


def instructions(path):
    """Return the instructions of a Dockerfile, lines joined."""
    text = re.sub(r"^#.*\n", "", path.read_text("utf-8"), flags=re.MULTILINE).replace("\\\n", " ")
    return [tuple(line.split(maxsplit=1)) for line in text.splitlines() if line.strip()]


@pytest.mark.parametrize("role", PROGRAMS)
def test_an_image_runs_as_a_user_without_a_name_to_lose_and_says_whether_it_is_well(deploy, role):
    found = instructions(deploy / f"Dockerfile.{role}")
    last = max(index for index, (word, _) in enumerate(found) if word == "FROM")
    final = dict(found[last:])
    assert final["USER"] == "10001:10001"
    probe = json.loads(final["HEALTHCHECK"].partition("CMD")[2])
    assert probe == ["python3", "-P", "-m", "common.health_probe", PROBED[role]]
    assert json.loads(final["ENTRYPOINT"]) == [f"gliofed-{role}"]
    assert parses(role, json.loads(final["CMD"]))
    assert not [word for word, _ in found if word == "ADD"]
    assert [image for word, image in found[:last] if word == "FROM"], "what builds it does not stay in it"


@pytest.mark.parametrize("role", PROGRAMS)
def test_an_image_is_built_from_files_that_exist_and_holds_no_secret(deploy, role):
    for word, rest in instructions(deploy / f"Dockerfile.{role}"):
        if word == "COPY" and not rest.startswith("--from"):
            *sources, _ = rest.split()
            assert all((deploy.parent / source).exists() for source in sources)
            assert "." not in sources


def test_the_clients_base_and_torch_are_chosen_when_it_is_built(deploy):
    found = instructions(deploy / "Dockerfile.client")
    assert ("ARG", "BASE=python:3.11-slim-bookworm") in found
    assert any(word == "ARG" and rest.startswith("TORCH_INDEX=") for word, rest in found)
    gpu = yaml.safe_load((deploy / "compose.site-gpu.yaml").read_text("utf-8"))["services"]["client"]
    assert gpu["build"]["args"]["BASE"].startswith("nvidia/cuda:")
    assert gpu["deploy"]["resources"]["reservations"]["devices"][0]["driver"] == "nvidia"


def test_a_probe_asks_where_health_is_by_default(deploy):
    from common.settings.monitoring import Monitoring
    from server.consortium.settings import Ports

    assert PROBED["client"] == f"127.0.0.1:{Monitoring().health_port}"
    assert PROBED["server"] == f"127.0.0.1:{Ports().health}"
    for role, port in (("server", Ports().metrics), ("site", Monitoring().metrics_port)):
        scraped = yaml.safe_load((deploy / "prometheus" / f"{role}.yml").read_text("utf-8"))["scrape_configs"]
        assert scraped[0]["static_configs"][0]["targets"] == [f"127.0.0.1:{port}"]


@pytest.mark.parametrize("role", PROGRAMS)
def test_hadolint_finds_nothing(deploy, role):
    program = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([program, deploy / f"Dockerfile.{role}"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


# ---- compose


def compose(deploy, name):
    return yaml.safe_load((deploy / name).read_text("utf-8"))


@pytest.mark.parametrize("name", FILES)
def test_a_compose_file_is_one_by_the_specifications_own_schema(deploy, name):
    schema = json.loads((importlib.resources.files("check_jsonschema") / SCHEMA).read_text("utf-8"))
    tree = compose(deploy, name)
    jsonschema.Draft7Validator(schema).validate(tree)
    tree["services"][next(iter(tree["services"]))]["read-only"] = True
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft7Validator(schema).validate(tree)


def services():
    for name in FILES[:2]:
        text = (Path(__file__).parents[2] / "deploy" / name).read_text("utf-8")
        for service in yaml.safe_load(text)["services"]:
            yield pytest.param(name, service, id=f"{name}: {service}")


@pytest.mark.parametrize(("name", "service"), list(services()))
def test_every_service_is_hardened(deploy, name, service):
    found = compose(deploy, name)["services"][service]
    assert found["read_only"] is True
    assert found["cap_drop"] == ["ALL"]
    assert found["ulimits"] == {"core": 0}
    assert "cap_add" not in found
    assert not found.get("privileged")
    assert found["security_opt"] == ["no-new-privileges:true"]
    assert found["user"] == ("65534:65534" if service == "prometheus" else "10001:10001")
    assert found["tmpfs"]
    assert found["pids_limit"] > 0
    assert not re.search(r":latest$|^[^:]+$", found["image"]), "a version is named"
    assert not any("docker.sock" in str(volume) for volume in found.get("volumes", ()))


def test_one_port_leads_out_of_the_host_and_none_into_a_site(deploy):
    server, site = (compose(deploy, name)["services"] for name in FILES[:2])
    ports = [port for service in server.values() for port in service.get("ports", ())]
    assert [port for port in ports if not port.startswith("127.0.0.1:")] == ["443:443"]
    assert not [port for service in site.values() for port in service.get("ports", ())]
    assert all(service.get("network_mode") == "service:server" for name, service in server.items() if name != "server")


def test_every_door_leads_from_a_published_port_to_a_program_of_ours(deploy):
    from server.consortium.settings import Ports

    doors = dict(re.findall(r"listen (\d+);\s+location / { proxy_pass http://127.0.0.1:(\d+); }", read(deploy)))
    published = compose(deploy, "compose.server.yaml")["services"]["server"]["ports"]
    loopback = {inner: outer for _, outer, inner in (port.split(":") for port in published if port.count(":") == 2)}
    assert doors == loopback, "who asks the host for a port gets the program that has this port"
    assert set(doors.values()) == {str(Ports().console), str(Ports().mlflow), "9090"}


def read(deploy):
    return (deploy / "nginx-doors.conf").read_text("utf-8")


def test_nginx_finds_nothing_wrong_with_the_doors(deploy):
    done = subprocess.run(
        ["nginx", "-t", "-c", deploy / "nginx-doors.conf"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_secrets_are_files_of_their_own_and_a_signing_key_is_none_of_them(deploy):
    for name in FILES[:2]:
        tree = compose(deploy, name)
        used = [secret["source"] for service in tree["services"].values() for secret in service.get("secrets", ())]
        assert set(used) == set(tree["secrets"])
        assert all(set(secret) == {"file"} for secret in tree["secrets"].values())
    text = "".join((deploy / name).read_text("utf-8") for name in FILES)
    assert "signing.key" not in text
    assert "environment" not in text, "no secret stands in an environment"


def test_scans_are_mounted_read_only(deploy):
    client = compose(deploy, "compose.site.yaml")["services"]["client"]
    assert sum(volume.endswith(":/data/scans:ro") for volume in client["volumes"]) == 1
    writable = [volume for volume in client["volumes"] if not volume.endswith(":ro")]
    assert [volume.rpartition(":")[2] for volume in writable] == ["/var/lib/gliofed/site/work"]


def parses(role, arguments):
    group = get_command(PROGRAMS[role])
    with group.make_context(role, list(arguments)) as context:
        verb = arguments[0]
        return group.commands[verb].make_context(verb, list(arguments[1:]), parent=context)


def test_every_service_of_ours_starts_a_command_that_exists(deploy):
    for name in FILES[:2]:
        for service in compose(deploy, name)["services"].values():
            image = re.match(r"gliofed-(client|server):", service["image"])
            if image:
                assert parses(image.group(1), service["command"]), shlex.join(service["command"])


def test_everything_that_is_mounted_beside_compose_exists(deploy):
    for name in FILES[:2]:
        for service in compose(deploy, name)["services"].values():
            for volume in service.get("volumes", ()):
                source = volume.split(":")[0]
                if source.startswith("./"):
                    assert (deploy / source).exists(), volume
