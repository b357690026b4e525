"""Two gloo processes do what one process does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.multiprocessing as mp

import pushforward as pf
from pushforward.run import Run
from pushforward.world import World

STEPS = 4


def small_critic() -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Linear(3, 16), torch.nn.Softplus(), torch.nn.Linear(16, 1))


def regression_loss(net: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    return (net(x)[:, 0] - x.sum(1)).square().mean()


def penalty_loss(net: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Nothing but a gradient penalty: all of it is a double backward."""
    x = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(net(x).sum(), x, create_graph=True)
    return (gradient.norm(dim=1) - 1).square().mean()


LOSSES = {"regression": regression_loss, "penalty": penalty_loss}


def train(loss_name: str) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Gradients of every step and the final weights, with whatever processes the environment describes."""
    run = Run(progress=False, device="cpu")
    net = run.build("net", small_critic)
    optimizer = run.track("sgd", torch.optim.SGD(net.parameters(), lr=0.1))
    x = torch.randn(64, 3, generator=torch.Generator().manual_seed(0))
    batches, gradients = run.batches(x, 16), []
    with run.session("data"):
        for _ in run.loop("train", default=f"{STEPS} steps"):
            run.step(optimizer, LOSSES[loss_name](net, next(batches)))
            parts = [p.grad.flatten() if p.grad is not None else torch.zeros(p.numel()) for p in net.parameters()]
            gradients.append(torch.cat(parts).clone())
    return gradients, torch.cat([p.detach().flatten() for p in net.parameters()])


def worker(rank: int, port: int, loss_name: str, folder: str) -> None:
    os.environ.update(
        RANK=str(rank), WORLD_SIZE="2", LOCAL_RANK=str(rank), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port)
    )
    torch.set_num_threads(1)
    torch.save(train(loss_name), f"{folder}/{rank}.pt")


def free_port() -> int:
    import socket

    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port: int = s.getsockname()[1]
    return port


@pytest.mark.parametrize("loss_name", sorted(LOSSES))
def test_two_processes_have_the_gradients_of_one(loss_name: str, tmp_path: Path) -> None:
    alone, weights = train(loss_name)
    mp.spawn(worker, args=(free_port(), loss_name, str(tmp_path)), nprocs=2)
    for rank in (0, 1):
        together, their_weights = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        for one, two in zip(alone, together, strict=True):
            assert (one - two).norm() <= 1e-5 * one.norm()
        assert (weights - their_weights).abs().max() < 1e-5


@pytest.mark.parametrize(("n", "size"), [(30, 15), (15, 64), (9, 4)])
def test_shares_are_equal_and_generators_stay_in_step(n: int, size: int) -> None:
    """Otherwise one process draws more noise than the other, and their next passes over the rows are no longer the same."""
    shares, states = [], []
    for rank in (0, 1):
        run = Run(progress=False, device="cpu")
        run.world = World(rank, 2)
        rows = run.rows(n, size)
        found = []
        for _ in range(9):
            found.append(next(rows))
            torch.randn(len(found[-1]), generator=run.generator)
        shares.append(found)
        states.append(run.generator.get_state())
    assert torch.equal(*states)
    for one, two in zip(*shares, strict=True):
        assert len(one) == len(two) > 0
        assert not set(one.tolist()) & set(two.tolist())


THREADS = Path("/proc/self/task")


@pytest.mark.skipif(not THREADS.exists(), reason="needs /proc to list the threads of a process")
def test_no_thread_of_gloo_outlives_the_interpreter() -> None:
    """One that lets go of a tensor too late aborts a process that has done all its work."""
    program = f"""
import atexit, pathlib, torch
from pushforward.world import World
def gloo():
    return [name for t in pathlib.Path({str(THREADS)!r}).iterdir() if "gloo" in (name := (t / "comm").read_text())]
atexit.register(lambda: print(len(gloo())))
assert World.join().size == 2 and World.join().size == 2
World.join().average([torch.ones(3)])
torch.optim.SGD([torch.nn.Parameter(torch.ones(1))])
assert gloo()
"""
    shared = {**os.environ, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    both = [
        subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env={**shared, "RANK": r})
        for r in "01"
    ]
    for process in both:
        printed, _ = process.communicate(timeout=120)
        assert (process.returncode, printed.strip()) == (0, "0")


def test_torchrun_gives_a_usable_model(tmp_path: Path) -> None:
    out = tmp_path / "run"
    arguments = [
        "fit",
        "neurosql",
        "digits",
        "--out",
        str(out),
        "--budget",
        "40 steps",
        "--latent-dim",
        "4",
        "--width",
        "16",
    ]
    launcher = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc_per_node",
        "2",
        "--master_port",
        str(free_port()),
    ]
    done = subprocess.run(
        [*launcher, "-m", "pushforward", *arguments],
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert pf.load(out).sample(3, seed=0).shape == (3, 8, 8)
    assert (out / "report.html").exists()
