"""All topics, in the order in which they are looked at: what costs nothing first, what reads every scan last."""

from __future__ import annotations

from client.doctor.check import Topic
from client.doctor.topics import data, enrolment, folders, installation, machine, network, policy, records, training

TOPICS: tuple[Topic, ...] = tuple(
    module.TOPIC for module in (enrolment, network, folders, machine, installation, policy, records, training, data)
)
