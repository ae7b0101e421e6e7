"""PyTorch: Linear and ReLU modules, cross_entropy, and Adam with fused=True; eager, or with the model and its loss
compiled. On a GPU torch.compile uses mode="reduce-overhead", which records CUDA graphs."""

from itertools import pairwise

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from contenders import Case
from nets import LR, Start


def wait_for(device):
    """Wait for the GPU; the CPU is never ahead."""
    return (lambda last: torch.cuda.synchronize()) if device == "cuda" else (lambda last: None)


def place(device, threads):
    """The device's name in PyTorch; sets threads and float32 products in float32."""
    torch.set_num_threads(threads)
    torch.set_float32_matmul_precision("highest")
    if device == "gpu" and not torch.cuda.is_available():
        raise RuntimeError("this PyTorch sees no GPU")
    return "cuda" if device == "gpu" else "cpu"


def model_of(start, device):
    """The net with the weights given."""
    layers = []
    for W, b in zip(start.W, start.b, strict=True):
        layer = nn.Linear(W.shape[1], W.shape[0])
        layer.weight.data, layer.bias.data = torch.from_numpy(W.copy()), torch.from_numpy(b.copy())
        layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers[:-1]).to(device)


def stepper(model, device, compiled, lr=LR):
    """step(X, y) -> J"""
    optimizer = torch.optim.Adam(model.parameters(), lr=lr, fused=True)

    def loss_of(X, y):
        return cross_entropy(model(X), y)

    if compiled:
        mode = "reduce-overhead" if device == "cuda" else "default"
        loss_of = torch.compile(loss_of, mode=mode)

    def step(X, y):
        optimizer.zero_grad(set_to_none=True)
        J = loss_of(X, y)
        J.backward()
        optimizer.step()
        return J.detach()

    return step


def step(threads, compiled, data, device):
    start, device = Start.read(data), place(device, threads)
    model = model_of(start, device)
    train = stepper(model, device, compiled, start.lr)
    batches = [
        (torch.from_numpy(X).to(device), torch.from_numpy(y).to(device)) for X, y in zip(start.X, start.y, strict=True)
    ]

    def read(X, y):
        return float(train(torch.from_numpy(X).to(device), torch.from_numpy(y).to(device)))

    given = list(zip(start.X, start.y, strict=True))
    cases = {"step": Case(train, batches, wait_for(device)), "read": Case(read, given)}
    if not compiled:
        cases["products"] = Case(products_of(start, device), wait=wait_for(device))
    return cases


def products_of(start, device):
    """The products of a step through PyTorch's own BLAS, samples in rows, into memory that exists."""
    m, W = start.X.shape[1], [torch.from_numpy(W).to(device) for W in start.W]
    A = [torch.full((m, n), 0.5, device=device) for n in start.sizes]
    dZ = [torch.full((m, n), 0.5, device=device) for n in start.sizes]
    dW = [torch.empty_like(w) for w in W]

    def products():
        for l, w in enumerate(W, start=1):
            torch.mm(A[l - 1], w.T, out=A[l])
        for l in range(len(W), 0, -1):
            torch.mm(dZ[l].T, A[l - 1], out=dW[l - 1])
            if l > 1:
                torch.mm(dZ[l], W[l - 1], out=dZ[l - 1])

    return products


def softmax(threads, compiled, C, m, device):
    """softmax of C numbers for m samples, over the last axis and over the first; the loss with its gradient."""
    device = place(device, threads)
    Z = torch.from_numpy(np.random.default_rng(0).standard_normal((C, m), dtype=np.float32)).to(device)
    rows = Z.T.contiguous()
    y = torch.from_numpy(np.random.default_rng(0).integers(0, C, m)).to(device)
    logits = rows.clone().requires_grad_()

    def loss():
        logits.grad = None
        cross_entropy(logits, y, reduction="sum").backward()

    wait = wait_for(device)
    return {
        "columns": Case(lambda: torch.softmax(Z, 0), wait=wait),
        "rows": Case(lambda: torch.softmax(rows, 1), wait=wait),
        "loss": Case(loss, wait=wait),
    }


def adam(threads, compiled, size, device):
    device = place(device, threads)
    rng = np.random.default_rng(0)
    theta = nn.Parameter(torch.from_numpy(rng.standard_normal(size, dtype=np.float32)).to(device))
    theta.grad = torch.from_numpy(rng.standard_normal(size, dtype=np.float32)).to(device)
    optimizer = torch.optim.Adam([theta], lr=LR, fused=True)
    return {"adam": Case(optimizer.step, wait=wait_for(device))}


def epoch(threads, compiled, data, sizes, m, device):
    """A plain loop: a permutation, rows gathered by index, the loss summed without reading it."""
    device = place(device, threads)
    with np.load(data) as file:
        X, y = torch.from_numpy(file["X"]).to(device), torch.from_numpy(file["y"].astype(np.int64)).to(device)
    layers = [module for n_prev, n in pairwise(sizes) for module in (nn.Linear(n_prev, n), nn.ReLU())]
    model = nn.Sequential(*layers[:-1])
    with torch.no_grad():
        for layer in model[::2]:
            nn.init.kaiming_normal_(layer.weight)
            layer.bias.zero_()
    model.to(device)
    train = stepper(model, device, compiled)

    def call():
        order, total = torch.randperm(len(X), device=device), torch.zeros((), device=device)
        for rows in order.split(m):
            total += train(X[rows], y[rows]) * len(rows)
        return float(total) / len(X)

    return {"epoch": Case(call, wait=wait_for(device))}


TASKS = {"step": step, "softmax": softmax, "adam": adam, "epoch": epoch}
