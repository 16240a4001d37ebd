"""A second device where there is none, to find tensors that the package leaves on the CPU.

`on_another_device()` takes the place of a machine with a GPU. Tensors that come from the caller,
such as the module's weights, count as on the GPU. Those that the package makes without saying where
count as on the CPU, and as on the GPU after `.to(device)` or `.to(tensor)`. As on a machine with a
GPU, an operation on both is an error, but that a tensor on the GPU may be indexed by one on the
CPU, and that single numbers mix; so is `numpy()` of a tensor on the GPU.
"""

import sys
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import torch
from torch._C._functorch import get_unwrapped, is_functorch_wrapped_tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import sklearn_synset

_PACKAGE = str(Path(sklearn_synset.__file__).parent)
_CPU = torch.device("cpu", 1)  # torch takes it for the CPU, and it differs from "cpu"
_DEVICE = torch.Tensor.device.__get__  # type: ignore[attr-defined]
_MAKERS = {
    *(torch.arange, torch.as_tensor, torch.empty, torch.eye, torch.full),
    *(torch.linspace, torch.ones, torch.rand, torch.randint, torch.randn, torch.randperm),
    *(torch.tensor, torch.zeros),
}
_TO_ARRAY = {torch.Tensor.numpy, torch.Tensor.__array__}
_INDEXED = ("aten::index", "aten::index_put", "aten::index_put_", "aten::_unsafe_index")


class OtherDeviceError(RuntimeError):
    """Tensors on both devices meet."""


class _Places:
    """Which tensors are on the CPU, by their storage."""

    def __init__(self):
        self._on_cpu = {}
        self.makes_on_cpu = False  # what an operation on tensors of the CPU makes by itself

    def on_cpu(self, tensor):
        while is_functorch_wrapped_tensor(tensor):
            tensor = get_unwrapped(tensor)
        return tensor.untyped_storage()._cdata in self._on_cpu

    def put_on_cpu(self, value):
        for each in _tensors(value):
            # A storage that is kept alive keeps its address.
            while is_functorch_wrapped_tensor(each):
                each = get_unwrapped(each)
            storage = each.untyped_storage()
            self._on_cpu[storage._cdata] = storage

    def put_on_device(self, tensor):
        while is_functorch_wrapped_tensor(tensor):
            tensor = get_unwrapped(tensor)
        self._on_cpu.pop(tensor.untyped_storage()._cdata, None)


class _Calls(TorchFunctionMode):
    """Sees where tensors are made, and moved."""

    def __init__(self, places):
        super().__init__()
        self.places = places

    def __torch_function__(self, func, types, args=(), kwargs=None):
        """Run a function, and note where its result is."""
        kwargs = kwargs or {}
        if func == _DEVICE:
            return _CPU if self.places.on_cpu(args[0]) else func(*args)
        if func is torch.Tensor.to and self._is_to_device(args[1:], kwargs):
            result = func(*args, **kwargs).clone()
            self.places.put_on_device(result)
            return result
        if func is torch.Tensor.cpu:
            result = args[0].clone()
            self.places.put_on_cpu(result)
            return result
        if func in _TO_ARRAY and not self.places.on_cpu(args[0]):
            if self._is_called_by_package():
                raise OtherDeviceError("numpy() of a tensor on the device.")
        given = _tensors((args, kwargs))
        outside = self.places.makes_on_cpu
        self.places.makes_on_cpu = bool(given) and all(map(self.places.on_cpu, given))
        try:
            result = func(*args, **kwargs)
        finally:
            self.places.makes_on_cpu = outside
        if func in _MAKERS:
            if kwargs.get("device") in (None, _CPU):
                self.places.put_on_cpu(result)
            elif kwargs.get("generator") is not None:
                raise OtherDeviceError(f"{func.__name__} on the device by a generator on the CPU.")
        return result

    def _is_to_device(self, args, kwargs):
        for each in (*args, *kwargs.values()):
            if isinstance(each, (torch.device, str)) and each != _CPU:
                return True
            if isinstance(each, torch.Tensor) and not self.places.on_cpu(each):
                return True
        return False

    @staticmethod
    def _is_called_by_package():
        return sys._getframe(2).f_code.co_filename.startswith(_PACKAGE)


class _Operations(TorchDispatchMode):
    """Refuses operations on tensors of both devices."""

    def __init__(self, places):
        super().__init__()
        self.places = places

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        """Run an operation, and note where its result is."""
        kwargs = kwargs or {}
        name = func._schema.name
        checked = (args[0], *args[2:]) if name in _INDEXED else args
        found = _tensors((checked, kwargs))
        on_cpu = {self.places.on_cpu(each) for each in found if each.ndim}
        if len(on_cpu) > 1 and name != "aten::copy_":
            raise OtherDeviceError(f"{name} of tensors on both devices.")
        result = func(*args, **kwargs)
        on_cpu = on_cpu or {self.places.on_cpu(each) for each in found}
        if on_cpu == {True} or (not found and self.places.makes_on_cpu):
            self.places.put_on_cpu(result)
        return result


def _tensors(value):
    return [each for each in tree_leaves(value) if isinstance(each, torch.Tensor)]


@contextmanager
def on_another_device():
    """Tell tensors that the package makes and leaves on the CPU from those of the caller."""
    places, from_numpy = _Places(), torch.from_numpy

    def put_on_cpu(array):
        tensor = from_numpy(array)
        places.put_on_cpu(tensor)
        return tensor

    # Modes do not see from_numpy.
    with patch("torch.from_numpy", put_on_cpu), _Operations(places), _Calls(places):
        yield
