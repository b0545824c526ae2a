"""A GPU that is not there: tensors on device cuda that keep their values in main memory.

    with pretend_gpu() as card:
        net.to("cuda")
    card.copies, card.waits

What CUDA refuses is refused: an operation on tensors of both devices, a CPU's random generator, numpy, and a backward
pass of batch norm without its saved moments. `card` counts the copies to the device, the times that the CPU waits for
it (a copy back, a number, a mask as index), both by the line of this project that caused it.

torch's own autograd starts a thread for each real device, so a backward pass is walked here, node by node.
"""

import hashlib
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from unittest.mock import patch

import torch
import torch._dynamo  # torch imports it within the block otherwise, where torch.Generator is another class
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from workbook import ROOT

aten = torch.ops.aten
CARD = torch.device("cuda:0")
WAITING = {aten._local_scalar_dense.default, aten.nonzero.default, aten.masked_select.default, aten.equal.default}
WAITING |= {aten.bincount.default, aten.unique_consecutive.default, aten._unique2.default}  # the CPU must know a number
INDEXING = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default, aten._index_put_impl_.default}
TensorGenerator, RealSave = torch.Generator, torch.save
RealGrad, RealBackward = torch.autograd.grad, torch.Tensor.backward


class OnCard(torch.Tensor):
    """A tensor on the device; `held` has its values."""

    @staticmethod
    def __new__(cls, held: torch.Tensor):
        layout = {"strides": held.stride(), "storage_offset": held.storage_offset(), "dtype": held.dtype}
        tensor = torch.Tensor._make_wrapper_subclass(cls, held.size(), device=CARD, **layout)
        tensor.held = held
        return tensor

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, operation, types, arguments=(), options=None):
        return Card.present._run(operation, arguments, options or {})

    def __deepcopy__(self, memo):
        twin = OnCard(self.held.clone()).requires_grad_(self.requires_grad)
        if isinstance(self, torch.nn.Parameter):
            twin = torch.nn.Parameter(twin, self.requires_grad)
        memo[id(self)] = twin
        return twin

    def __repr__(self, **_):
        return f"OnCard({self.held})"

    def tolist(self):
        Card.present.waits[line()] += 1
        return self.held.tolist()

    def __getitem__(self, index):
        if isinstance(index, list):
            index = torch.tensor(index).to(CARD)
        return super().__getitem__(index)

    def new_tensor(self, values, dtype=None):
        return torch.tensor(values, dtype=dtype or self.dtype).to(CARD)

    def numpy(self, *_, **__):
        raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first")

    __array__ = numpy

    def data_ptr(self):
        return self.held.data_ptr()


class CardGenerator(TensorGenerator):
    """Random numbers of the device; its states have 16 bytes, as CUDA's, and stand for those of a CPU's generator."""

    device, states, known = CARD, {}, set()

    def __init__(self):
        self.known.add(self._cdata)  # torch hands an operation's generator on as another object

    def get_state(self):
        state = TensorGenerator.get_state(self)
        digest = hashlib.md5(state.numpy().tobytes()).digest()
        self.states[digest] = state
        return torch.frombuffer(bytearray(digest), dtype=torch.uint8)

    def set_state(self, state):
        assert state.device.type == "cpu" and state.numel() == 16, "no state of a CUDA generator"
        TensorGenerator.set_state(self, self.states[state.numpy().tobytes()])
        return self


class Generator(TensorGenerator):
    """In place of torch.Generator."""

    def __new__(cls, device="cpu"):
        return CardGenerator() if torch.device(device).type == "cuda" else TensorGenerator(device)


def line() -> str:
    """The innermost line of this project that is being executed, such as `workbook/train/batches.py:95`."""
    frame = sys._getframe()
    while frame and (frame.f_code.co_filename == __file__ or not frame.f_code.co_filename.startswith(str(ROOT))):
        frame = frame.f_back
    return f"{frame.f_code.co_filename[len(str(ROOT)) + 1 :]}:{frame.f_lineno}" if frame else "?"


def on_card(value) -> bool:
    return isinstance(value, OnCard)


def is_cuda(device) -> bool:
    return device is not None and torch.device(device).type == "cuda"


def held(value):
    return value.held if isinstance(value, OnCard) else value


class Card(TorchDispatchMode):
    """The device, while its block is open."""

    present: "Card"

    def __init__(self):
        super().__init__()
        self.copies, self.waits = Counter(), Counter()
        self.generator = CardGenerator()
        Card.present = self

    def __torch_dispatch__(self, operation, types, arguments=(), options=None):
        return self._run(operation, arguments, options or {})

    def _run(self, operation, arguments, options):
        tensors = [leaf for leaf in tree_leaves((arguments, options)) if isinstance(leaf, torch.Tensor)]
        is_here = any(map(on_card, tensors))
        if not is_here and not is_cuda(options.get("device")):
            return operation(*arguments, **options)
        if operation.has_kernel_for_dispatch_key(torch._C.DispatchKey.CompositeImplicitAutograd):
            with self:
                return operation.decompose(*arguments, **options)
        if operation in (aten._to_copy.default, aten.copy_.default):
            return self._copy(operation, arguments, options)
        self._check(operation, arguments, options, tensors)
        if operation in WAITING or (operation is aten.index.Tensor and any(map(is_mask, arguments[1]))):
            self.waits[line()] += 1
        if "device" in options:
            is_here = (is_here and options["device"] is None) or is_cuda(options["device"])
            options = options | {"device": torch.device("cpu"), "pin_memory": None}
        by_values = {id(tensor.held): tensor for tensor in tensors if on_card(tensor)}
        result = self._drawn(operation, *tree_map(held, (arguments, options)))

        def wrap(value):
            if isinstance(value, torch.Tensor):
                return by_values[id(value)] if id(value) in by_values else OnCard(value)
            return value

        return tree_map(wrap, result) if is_here else result

    def _copy(self, operation, arguments, options):
        if operation is aten.copy_.default:
            target, source = arguments[:2]
            if on_card(target) != on_card(source):
                (self.waits if on_card(source) else self.copies)[line()] += 1
            held(target).copy_(held(source))
            return target
        source, device = arguments[0], options.get("device")
        to_card = on_card(source) if device is None else is_cuda(device)
        if to_card != on_card(source):
            (self.copies if to_card else self.waits)[line()] += 1
        options = options | {"pin_memory": None} | ({"device": torch.device("cpu")} if device is not None else {})
        values = operation(held(source), **options)
        return OnCard(values) if to_card else values

    def _check(self, operation, arguments, options, tensors):
        """Raises RuntimeError where CUDA would."""
        indexes = operation in INDEXING  # indices of a tensor on the device may lie in main memory
        if indexes and not on_card(arguments[0]):
            raise RuntimeError(f"indices should be on the same device as the indexed tensor (cpu), at {line()}")
        others = [tensor.shape for tensor in tensors if not on_card(tensor) and tensor.dim() and not indexes]
        if others and len(others) < len(tensors):
            raise RuntimeError(f"{operation.name()}: expected all tensors to be on the same device, at {line()}")
        generator = options.get("generator")
        if generator is not None and generator._cdata not in CardGenerator.known:
            raise RuntimeError(f"{operation.name()}: expected a 'cuda' device type for generator, at {line()}")
        if operation is aten.native_batch_norm_backward.default and any(a is None for a in arguments[5:7]):
            raise RuntimeError(f"save_mean should always be defined, at {line()}")

    def _drawn(self, operation, arguments, options):
        """The result, with random numbers of the device's own generator where the operation has none."""
        if torch.Tag.nondeterministic_seeded not in operation.tags or options.get("generator") is not None:
            return operation(*arguments, **options)
        before = torch.get_rng_state()
        torch.set_rng_state(TensorGenerator.get_state(self.generator))
        try:
            return operation(*arguments, **options)
        finally:
            TensorGenerator.set_state(self.generator, torch.get_rng_state())
            torch.set_rng_state(before)


def is_mask(value) -> bool:
    return value is not None and value.dtype == torch.bool and on_card(value)


def walk(outputs, gradients, inputs=None):
    """The gradients of the inputs; None = of all leaves, into their `grad`."""
    arrived, captured = {}, {}

    def add(node, place, gradient):
        if gradient is None:
            return
        shape, dtype = shape_of(node, place)
        gradient = (gradient if gradient.shape == shape else gradient.sum_to_size(shape)).to(dtype)
        places = arrived.setdefault(node, {})
        places[place] = places[place] + gradient if place in places else gradient

    for output, gradient in zip(outputs, gradients, strict=True):
        add(output.grad_fn, output.output_nr, gradient)
    with torch.no_grad():
        for node in in_order([output.grad_fn for output in outputs]):
            if node not in arrived:
                continue
            places = arrived.pop(node)
            captured |= {(node, place): gradient for place, gradient in places.items()}
            if hasattr(node, "variable"):  # of a leaf
                leaf = node.variable
                assert places[0].device == leaf.device
                if inputs is None:
                    leaf.grad = places[0] if leaf.grad is None else leaf.grad + places[0]
                captured[id(leaf)] = places[0]
                continue
            arguments = [places.get(place) for place in range(len(node._input_metadata))]
            results = (node.apply if hasattr(node, "_forward_cls") else node)(*arguments)
            results = results if isinstance(results, tuple) else (results,)
            for (after, place), gradient in zip(node.next_functions, results, strict=False):
                if after is not None:
                    add(after, place, gradient)
    if inputs is not None:
        return tuple(captured.get((t.grad_fn, t.output_nr) if t.grad_fn else id(t)) for t in inputs)


def shape_of(node, place):
    about = node.variable if hasattr(node, "variable") else node._input_metadata[place]
    return torch.Size(about.shape), about.dtype


def in_order(roots) -> list:
    """All nodes behind the roots, each before those that it leads to."""
    order, known, stack = [], set(), [(root, False) for root in roots]
    while stack:
        node, is_done = stack.pop()
        if is_done:
            order.append(node)
        elif node not in known:
            known.add(node)
            stack += [(node, True), *((after, False) for after, _ in node.next_functions if after is not None)]
    return order[::-1]


def backward(self, gradient=None, **options):
    if not on_card(self):
        return RealBackward(self, gradient, **options)
    return walk([self], [torch.ones_like(self) if gradient is None else gradient])


def grad(outputs, inputs, grad_outputs=None, **options):
    as_list = [[value] if isinstance(value, torch.Tensor) else list(value) for value in (outputs, inputs)]
    if not on_card(as_list[0][0]):
        return RealGrad(outputs, inputs, grad_outputs, **options)
    gradients = grad_outputs or [torch.ones_like(output) for output in as_list[0]]
    return walk(as_list[0], [gradients] if isinstance(gradients, torch.Tensor) else gradients, as_list[1])


def in_main_memory(values):
    return tree_map(lambda value: value.detach().held.clone() if on_card(value) else value, values)


@contextmanager
def pretend_gpu(has_bfloat16: bool = True) -> Iterator[Card]:
    """A block in which torch sees one GPU."""
    torch._C._ensureCUDADeviceGuardSet()
    card, cuda, off = Card(), torch.cuda, []  # off : open blocks without gradients
    answers = dict.fromkeys(("_lazy_init", "synchronize", "empty_cache", "reset_peak_memory_stats"))
    answers |= {"is_available": True, "is_initialized": True, "is_bf16_supported": has_bfloat16}
    answers |= {"device_count": 1, "current_device": 0, "get_device_name": "Pretend", "get_arch_list": []}
    answers |= {"get_device_capability": (9, 0) if has_bfloat16 else (7, 5)}
    answers |= {"max_memory_allocated": 0, "mem_get_info": (2**40, 2**40)}
    with ExitStack() as stack:
        for name, answer in answers.items():
            stack.enter_context(patch.object(cuda, name, lambda *_, answer=answer, **__: answer))
        others = [
            (cuda, "default_generators", (card.generator,)),
            (cuda, "manual_seed_all", card.generator.manual_seed),
            (cuda, "get_rng_state", lambda *_: card.generator.get_state()),
            (cuda, "set_rng_state", lambda state, *_: card.generator.set_state(state)),
            (cuda.amp.common, "amp_definitely_not_available", lambda: False),
            (torch, "Generator", Generator),
            (torch.inference_mode, "__enter__", lambda _: off.append(torch.no_grad()) or off[-1].__enter__()),
            (torch.inference_mode, "__exit__", lambda _, *error: off.pop().__exit__(*error)),
            (torch, "save", lambda values, *rest: RealSave(in_main_memory(values), *rest)),
            (torch.autograd, "grad", grad),
            (torch.Tensor, "backward", backward),
        ]
        for module, name, value in others:
            stack.enter_context(patch.object(module, name, value))
        stack.callback(setattr, torch.backends.cudnn, "enabled", torch.backends.cudnn.enabled)
        torch.backends.cudnn.enabled = False
        torch.__future__.set_overwrite_module_params_on_conversion(True)
        stack.callback(torch.__future__.set_overwrite_module_params_on_conversion, False)
        stack.enter_context(card)
        yield card
