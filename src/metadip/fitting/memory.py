"""How many images are fitted together: estimate their memory, and retry if it was too low."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from metadip.fitting.plan import FitPlan, Job
from metadip.fitting.step import fit_step
from metadip.fitting.unknowns import unknowns_of
from metadip.types import FitResult, UserError

logger = logging.getLogger(__name__)
SHARE_OF_FREE = 0.8  # of a CUDA device; the rest is for workspaces, hooks and other processes
WORKING_COPIES = 5  # of the weights during an update: gradient, new weights, terms of the rule
GB = 1e9


Run = Callable[[Sequence[Job]], list[FitResult]]


def bytes_per_image(job: Job, plan: FitPlan) -> int:
    """Estimate the memory that one more image adds to a batch of fits.

    Model:
        Weights and optimiser state, twice with backtracking, plus the larger of what a step and
        what an update need: the tensors that one forward pass of one image keeps for its gradient,
        measured, and the gradient; or the gradient, new weights and state. Hooks are not included.
    """
    execution, start, problem = plan.execution, job.start(plan), job.problem
    names, rule = plan.optimizer.bind(start)
    bound = unknowns_of(
        plan.representation, [start], names, size=problem.image_shape[1:],
        autocast=execution.autocast,
    )  # fmt: skip
    params = tuple(p.detach() for p in bound.params)
    last = max(plan.steps - 1, 0)
    _, state = rule.update(params, params, rule.init(params), last)
    weight_bytes = _sum_of_bytes(params)
    state_bytes = sum(map(_sum_of_bytes, state))
    saved: dict[int, int] = {}
    own = {p.untyped_storage().data_ptr() for p in bound.params}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        fit_step(bound, [problem], plan.objective, draw=torch.zeros_like, needs_grads=False)
    kept = (weight_bytes + state_bytes) * (1 if execution.backtracking is None else 2)
    step_bytes = sum(saved.values()) + weight_bytes
    return kept + max(step_bytes, WORKING_COPIES * weight_bytes + state_bytes)


def _sum_of_bytes(tensors: Sequence[Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors)


def available_bytes(device: torch.device) -> float | None:
    """Return the memory that fits may use on a CUDA device now, None if no limit is known."""
    if device.type != "cuda":
        return None
    free, _ = torch.cuda.mem_get_info(device)
    cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return SHARE_OF_FREE * (free + cached)


def chunk_size(n_images: int, per_image: int, budget: float) -> int:
    """Return the chunk size that gives the fewest chunks, as even as possible."""
    most = max(1, int(budget // max(per_image, 1)))  # 0: no weights move, nothing is kept
    n_chunks = -(-n_images // most)
    return -(-n_images // n_chunks)


def fit_in_chunks(jobs: Sequence[Job], plan: FitPlan, run: Run) -> list[FitResult]:
    """Fit problems of one image shape, as many together as memory allows, and log the plan.

    Raises:
        UserError: See ``run_in_chunks``.
    """
    size, device = len(jobs), jobs[0].problem.y.device
    budget = plan.execution.memory_bytes or available_bytes(device)
    if size > 1 and budget is not None:
        try:
            per_image = bytes_per_image(jobs[0], plan)
        except torch.OutOfMemoryError:  # not even one fits, or only just
            return run_in_chunks(jobs, run, size=1)
        size = chunk_size(len(jobs), per_image, budget)
        need, of = f"{size * per_image / GB:.2g}", f"{budget / GB:.2g}"
        announce(len(jobs), size, jobs[0].problem.image_shape, need, of)
    return run_in_chunks(jobs, run, size=size)


@functools.cache
def announce(n_images: int, size: int, shape: tuple[int, ...], need_gb: str, of_gb: str) -> None:
    """Log the plan, once for each distinct plan."""
    n_chunks = -(-n_images // size)
    how = "together" if n_chunks == 1 else f"in {n_chunks} chunks of at most {size}"
    form = "x".join(map(str, shape))
    logger.info(
        "fitting %d images of %s %s: about %s of %s GB", n_images, form, how, need_gb, of_gb
    )


def run_in_chunks(jobs: Sequence[Job], run: Run, *, size: int) -> list[FitResult]:
    """Fit ``size`` images at a time; if memory runs out, halve ``size`` and repeat the chunk.

    Raises:
        UserError: If one image alone does not fit into memory.
    """
    results: list[FitResult] = []
    while len(results) < len(jobs):
        chunk = jobs[len(results) : len(results) + size]
        done = _run_if_it_fits(run, chunk)
        if done is not None:
            results += done
            continue
        torch.cuda.empty_cache()
        if len(chunk) == 1:
            shape = "x".join(map(str, chunk[0].problem.image_shape))
            device = chunk[0].problem.y.device
            raise UserError(
                f"one image of {shape} does not fit into the memory of {device}: take a smaller "
                "image or network, or fit.precision=bf16"
            )
        size = len(chunk) // 2
        logger.warning("out of memory with %d images: going on with %d at a time", len(chunk), size)
    return results


def _run_if_it_fits(run: Run, chunk: Sequence[Job]) -> list[FitResult] | None:
    """Return the results, or None if memory ran out; only hooks still hold what they kept."""
    try:
        return run(chunk)
    except torch.OutOfMemoryError:
        return None
