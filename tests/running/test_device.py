import pytest
import torch

from icl_lib.running.device import choose, one_thread


def pretend(monkeypatch: pytest.MonkeyPatch, *, cuda: bool, mps: bool) -> None:
    monkeypatch.delenv("ICL_DEVICE", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)


@pytest.mark.parametrize(
    ("cuda", "mps", "expected"), [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")]
)
def test_auto_takes_cuda_then_mps_then_the_cpu(
    cuda: bool, mps: bool, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, cuda=cuda, mps=mps)
    assert choose() == torch.device(expected)


def test_the_environment_overrides_auto_and_an_argument_overrides_both(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, cuda=True, mps=True)
    monkeypatch.setenv("ICL_DEVICE", "mps")
    assert choose() == torch.device("mps")
    assert choose("cpu") == torch.device("cpu")


def test_an_empty_variable_is_an_unset_one(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, cuda=True, mps=False)
    monkeypatch.setenv("ICL_DEVICE", "")
    assert choose() == torch.device("cuda")


def test_unknown_and_missing_devices_are_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, cuda=False, mps=False)
    with pytest.raises(ValueError, match="device must be one of 'auto', 'cpu', 'cuda', 'mps', got 'gpu'"):
        choose("gpu")
    with pytest.raises(ValueError, match=r"device must be one that this machine has \(\['cpu'\]\), got 'cuda'"):
        choose("cuda")
    monkeypatch.setenv("ICL_DEVICE", "gpu")
    with pytest.raises(ValueError, match=r"ICL_DEVICE must be one of .*, got 'gpu'"):
        choose()


def test_one_thread_inside_and_as_before_outside() -> None:
    before = torch.get_num_threads()
    seen = []

    def fail() -> None:
        with one_thread():
            seen.append(torch.get_num_threads())
            raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        fail()
    assert (seen, torch.get_num_threads()) == ([1], before)
