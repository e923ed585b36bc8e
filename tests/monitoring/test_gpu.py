"""GPU memory is what the driver's program prints, or unknown."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.monitoring.gpu import MIB, GpuMemory, GpuUnknownError, gpu_memory, parse_memory

TWO = b"0, 1024, 81559\n1, 4, 81559\n"


def test_two_gpus_are_read_in_bytes():
    assert parse_memory(TWO) == (GpuMemory(0, 1024 * MIB, 81559 * MIB), GpuMemory(1, 4 * MIB, 81559 * MIB))


@given(st.binary(max_size=200) | st.text(alphabet="0123456789, \n-[]NA", max_size=80).map(str.encode))
def test_anything_else_is_refused_in_one_way(answer):
    try:
        found = parse_memory(answer)
    except GpuUnknownError:
        return
    assert all(each.used >= 0 and each.total >= 0 for each in found)


@pytest.mark.parametrize("line", [b"0, [N/A], 81559", b"no devices were found", b"0, 1, 2, 3", b"0, -1, 5"])
def test_a_line_that_is_none_is_named(line):
    with pytest.raises(GpuUnknownError, match="is no line"):
        parse_memory(line)


def test_a_machine_without_the_program_has_no_gpu(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpu_memory() == ()


@pytest.mark.parametrize(("status", "said"), [(0, None), (9, "ended with 9")])
def test_the_program_is_asked(monkeypatch, tmp_path, status, said):
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\nprintf '0, 10, 20\\n'\nexit {status}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/bin")
    if said is None:
        assert gpu_memory() == (GpuMemory(0, 10 * MIB, 20 * MIB),)
    else:
        with pytest.raises(GpuUnknownError, match=said):
            gpu_memory()
