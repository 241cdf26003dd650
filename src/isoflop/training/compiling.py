"""Failures of `torch.compile`: how they are known, and what is said of them."""

# Dynamo, Inductor and what they call raise errors of their own, of no common class.
_ROOMS = ("torch._dynamo", "torch._inductor", "torch._functorch")


def is_compile_error(error: RuntimeError) -> bool:
    """Whether an error is the compiler's, and not the model's or its device's."""
    return any(base.__module__.startswith(_ROOMS) for base in type(error).__mro__)


def why(error: RuntimeError) -> str:
    """The error in one line: the first one of it that says something."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if not (line.startswith("backend=") and line.endswith(":"))]
    return next(iter(told or lines), type(error).__name__)
