"""Makes the PyTorch files in this folder (PyTorch 1.13, Debian's python3-torch): one tiny GPT-2 with 1 layer, 2 heads and width 4,
saved in many ways. values.json holds its parameters; they are multiples of 1/16 below 8, exact in every number format."""
import json, os, random, torch
from collections import OrderedDict

random.seed(1)
D, V, C = 4, 5, 3
shapes = {"wte.weight": (V, D), "wpe.weight": (C, D)}
for ln in ("ln_1", "ln_2", "ln_f"):
    p = ln if ln == "ln_f" else "h.0." + ln
    shapes[p + ".weight"] = shapes[p + ".bias"] = (D,)
for name, i, o in (("attn.c_attn", D, 3 * D), ("attn.c_proj", D, D), ("mlp.c_fc", D, 4 * D), ("mlp.c_proj", 4 * D, D)):
    shapes[f"h.0.{name}.weight"], shapes[f"h.0.{name}.bias"] = (i, o), (o,)
P = OrderedDict((n, torch.tensor([random.randrange(-127, 128) / 16 for _ in range(torch.Size(s).numel())]).reshape(s)) for n, s in shapes.items())
json.dump({n: t.flatten().tolist() for n, t in P.items()}, open("values.json", "w"))


def tree(params, masks=True):
    """GPT2LMHeadModel's module tree, so that state_dict() is as transformers writes it."""
    root = torch.nn.Module()
    root.transformer = torch.nn.Module()
    for name, t in params.items():
        m = root.transformer
        *path, leaf = name.split(".")
        for part in path:
            if not hasattr(m, part): m.add_module(part, torch.nn.Module())
            m = getattr(m, part)
        m.register_parameter(leaf, torch.nn.Parameter(t))
    if masks:
        a = root.transformer.h._modules["0"].attn
        a.register_buffer("bias", torch.ones(C, C, dtype=torch.uint8).tril().view(1, 1, C, C))
        a.register_buffer("masked_bias", torch.tensor(-1e4))
    root.lm_head = torch.nn.Module()
    root.lm_head.weight = root.transformer.wte.weight
    return root


def save(name, x, **kw): torch.save(x, name, **kw)
old = dict(_use_new_zipfile_serialization=False)

save("module-zip.bin", tree(P).state_dict())
save("module-stream.bin", tree(P).state_dict(), **old)
save("half-zip.bin", {n: t.half() for n, t in P.items()})
save("bfloat16-stream.bin", {n: t.bfloat16() for n, t in P.items()}, **old)
mask = torch.ones(C, C, dtype=torch.bool).tril().view(1, 1, C, C)
save("mixed-zip.bin", {**{n: t.half() if i % 2 else t for i, (n, t) in enumerate(P.items())}, "h.0.attn.bias": mask})
save("parameters-zip.bin", {n: torch.nn.Parameter(t) for n, t in P.items()})
save("protocol4-zip.bin", P, pickle_protocol=4)
save("protocol5-stream.bin", P, pickle_protocol=5, **old)

flat = torch.full((7 + sum(t.numel() for t in P.values()),), 99.)
shared, at = OrderedDict(), 7
for n, t in P.items():
    shared[n] = flat[at:at + t.numel()].view(t.shape); shared[n].copy_(t); at += t.numel()
save("shared-zip.bin", shared)
save("shared-stream.bin", shared, **old)

strided = OrderedDict()
for i, (n, t) in enumerate(P.items()):
    if t.dim() == 2 and i % 2: strided[n] = t.t().contiguous().t()
    else:
        wide = torch.full((*t.shape, 3), 99.); wide[..., 1] = t; strided[n] = wide[..., 1]
save("strided-zip.bin", strided)
save("strided-stream.bin", strided, **old)

model = tree(P, masks=False)
adam = torch.optim.Adam(model.parameters())
sum(p.sum() for p in model.parameters()).backward(); g = {n: p.detach().clone() for n, p in model.named_parameters()}
adam.step()
for n, p in model.named_parameters(): p.data.copy_(g[n])
save("training-zip.bin", {"epoch": 3, "loss": 1.25, "note": "tiny", "model": model.state_dict(), "optimizer": adam.state_dict()})

# what must be refused
save("untied-zip.bin", {**P, "lm_head.weight": P["wte.weight"] + 1})
save("double-zip.bin", {n: t.double() for n, t in P.items()})
save("whole-module-zip.bin", torch.nn.Linear(2, 2))
save("whole-module-stream.bin", torch.nn.Linear(2, 2), **old)
class Evil:
    def __reduce__(self): return os.system, ("echo this must never be run",)
save("evil-zip.bin", {**P, "x": Evil()})
save("evil-stream.bin", {**P, "x": Evil()}, **old)

# Saved by PyTorch 2.15: make.py newer
import sys
if "newer" in sys.argv:
    # FSDP1's full state dict leaves an attribute on each tensor
    tagged = OrderedDict((n, t.clone()) for n, t in P.items())
    for t in tagged.values(): t.note = 1
    save("attributes-zip.bin", tagged)
    # what must be refused
    first = "h.0.attn.c_attn.weight"
    save("float8-zip.bin", {**P, first: P[first].to(torch.float8_e4m3fn)})
    save("quantized-zip.bin", {**P, first: torch.quantize_per_tensor(P[first], 0.1, 0, torch.qint8)})
    class Own(torch.Tensor): pass
    save("subclass-zip.bin", {**P, first: P[first].as_subclass(Own)})
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT="29511", RANK="0", WORLD_SIZE="1")
    torch.distributed.init_process_group("gloo", rank=0, world_size=1)
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Shard, distribute_tensor
    mesh = init_device_mesh("cpu", (1,))
    save("dtensor-zip.bin", {first: distribute_tensor(P[first], mesh, [Shard(0)])})
    program = torch.export.export(torch.nn.Linear(2, 2), (torch.ones(1, 2),))
    torch.export.save(program, "exported.bin")
