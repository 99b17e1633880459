from __future__ import annotations

import numpy as np
import pytest
import torch

from histosam_core.clicks import Click
from histosam_core.errors import ConfigError, OutOfMemoryError
from histosam_core.model import SamModel, build_network, describe_network
from histosam_core.model.device import naming_a_full_memory

CPU, GPU = torch.device("cpu"), torch.device("cuda:0")


@pytest.mark.parametrize(
    "error",
    [
        torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"),
    ],
)
def test_a_full_gpu_says_what_to_choose(error: RuntimeError) -> None:
    with (
        pytest.raises(OutOfMemoryError, match="choose the CPU or a smaller model"),
        naming_a_full_memory(GPU),
    ):
        raise error


def test_torchs_own_error_on_the_cpu_is_known() -> None:
    with pytest.raises(OutOfMemoryError, match="smaller model"), naming_a_full_memory(CPU):
        torch.empty(2**50)


def test_numpys_own_error_is_known() -> None:
    with pytest.raises(OutOfMemoryError, match="smaller model"), naming_a_full_memory(CPU):
        np.empty(2**60, np.uint8)


@pytest.mark.parametrize("error", [RuntimeError("shapes differ"), ConfigError("no memory of it")])
def test_other_errors_pass(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, naming_a_full_memory(GPU):
        raise error
    assert caught.value is error


def test_encoding_and_decoding_are_guarded(monkeypatch: pytest.MonkeyPatch) -> None:
    network = build_network("histosam_tiny", image_size=32)
    model = SamModel(network, describe_network(network, name="tiny"), "cpu")
    image = np.zeros((32, 32, 3), np.uint8)
    embedding = model.encode(image)

    def too_large(*_: object) -> None:
        torch.empty(2**50)

    monkeypatch.setattr(network, "encode", too_large)
    monkeypatch.setattr(network, "decode", too_large)
    with pytest.raises(OutOfMemoryError):
        model.encode(image)
    with pytest.raises(OutOfMemoryError):
        model.decode(embedding, [Click((3, 3))])
