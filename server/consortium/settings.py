"""`consortium.toml`: what a consortium is called, and under which names and ports its server is reached."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from common.errors import StudyError
from common.files import read_at_most
from common.identity.certificates import host_of
from common.settings.frozen import Frozen, Name
from common.settings.problems import problems_of
from common.settings.toml_text import read_toml

MAX_BYTES = 64 * 1024
Port = Annotated[int, Field(ge=1, le=65535)]


class Ports(Frozen):
    """Ports of the loopback address, on which the coordinator's own programs listen; none of them is for sites.

    Attributes:
        hub: signed bundles, for the SuperLink.
        metrics: figures for Prometheus.
        health: gRPC health.
        console: the web console.
        mlflow: MLflow's own pages.
    """

    hub: Port = 9093
    metrics: Port = 9464
    health: Port = 9465
    console: Port = 8080
    mlflow: Port = 5000


class ConsortiumSettings(Frozen):
    """One consortium.

    Attributes:
        name: lower-case letters, digits and hyphens.
        hosts: DNS names and addresses of the server; the first is the one that sites are told.
        port: the port that sites reach, nginx's.
        fleet_port: the port of the loopback address on which the SuperLink listens, behind nginx.
        ports: the coordinator's other programs.
    """

    schema_version: Literal[1] = 1
    name: Name
    hosts: Annotated[tuple[str, ...], Field(min_length=1, max_length=32)]
    port: Port = 443
    fleet_port: Port = 9092
    ports: Ports = Ports()

    @field_validator("hosts")
    @classmethod
    def _check_hosts(cls, hosts: tuple[str, ...]) -> tuple[str, ...]:
        for host in hosts:
            try:
                host_of(host)
            except StudyError as error:
                raise ValueError(str(error)) from None
        if len(set(hosts)) != len(hosts):
            raise ValueError("one is named twice")
        return hosts

    @model_validator(mode="after")
    def _check_ports(self) -> Self:
        taken = [self.fleet_port, *self.ports.model_dump().values()]
        if len(set(taken)) != len(taken):
            raise ValueError("ports: two programs have the same port; each needs its own")
        return self

    def to_toml(self) -> str:
        """Return commented text that `parse_consortium` reads back as the same settings."""
        ports = "\n".join(f"{name} = {port}" for name, port in self.ports.model_dump().items())
        return TEXT.format(**self.model_dump(), quoted=json.dumps(list(self.hosts)), listed=ports)


TEXT = """\
schema_version = {schema_version}
name = "{name}"
hosts = {quoted}  # names and addresses in the server's certificate; sites are told the first
port = {port}              # what sites reach: nginx, TLS; the one port that the firewall opens
fleet_port = {fleet_port}       # the SuperLink's, on the loopback address

[ports]                 # on the loopback address: the coordinator's own programs
{listed}
"""


def parse_consortium(text: str, origin: str = "consortium.toml") -> ConsortiumSettings:
    """Parse the text of a `consortium.toml` strictly. Raises StudyError with every problem, each with its line."""
    tree = read_toml(text, origin)
    parse = partial(ConsortiumSettings.model_validate_json, json.dumps(tree), strict=True)
    return checked(parse, text, origin)


def checked(
    make: Callable[[], ConsortiumSettings], text: str = "", origin: str = "consortium.toml"
) -> ConsortiumSettings:
    """Return what `make` returns. Raises StudyError with every problem that it finds, each with its line in `text`."""
    try:
        return make()
    except ValidationError as error:
        raise StudyError(problems_of(error, origin, text, "consortium")) from None


def load_consortium(path: Path) -> ConsortiumSettings:
    """Read and parse the `consortium.toml` at `path`. Raises StudyError where it is missing or wrong."""
    return parse_consortium(read_at_most(path, MAX_BYTES).decode("utf-8", "replace"), str(path))
