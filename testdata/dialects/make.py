"""Makes the checkpoints in this folder (PyTorch 2.15, transformers 5.24, safetensors 0.8): tiny
GPT-2s of random weights, saved as their trainers save them. logits.json holds the logits after the
tokens IDS that each one's own forward pass gives in float64."""
import copy, json, math, os, types
from collections import OrderedDict
from dataclasses import dataclass
import torch
import torch.nn as nn
from safetensors.torch import save_file, save_model
from transformers import GPT2Config, GPT2LMHeadModel

torch.manual_seed(1)
IDS = [3, 1, 4, 1, 5, 9]
SIZE = dict(n_layer=2, n_head=2, n_embd=8)
expected = {}


def randomize(model):
    for name, p in model.named_parameters():
        with torch.no_grad():
            p.normal_(1.0 if "ln" in name and name.endswith("weight") else 0.0, 0.5)
    return model


def expect(path, model):
    model = copy.deepcopy(model).double().eval()
    with torch.no_grad():
        y = model(torch.tensor([IDS]))
    expected[path] = getattr(y, "logits", y)[0, -1].tolist()


def folder(name):
    os.makedirs(name, exist_ok=True)
    return name + "/"


def huggingface(**more):
    config = GPT2Config(n_positions=8, vocab_size=20, bos_token_id=0, eos_token_id=0, **SIZE, **more)
    return randomize(GPT2LMHeadModel(config))


class LayerNorm(nn.Module):
    def __init__(self, d, bias):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(d))
        self.bias = nn.Parameter(torch.zeros(d)) if bias else None

    def forward(self, x):
        return nn.functional.layer_norm(x, self.weight.shape, self.weight, self.bias, 1e-5)


class Attention(nn.Module):
    def __init__(self, c, bias, mask):
        super().__init__()
        self.c_attn = nn.Linear(c.n_embd, 3 * c.n_embd, bias=bias)
        self.c_proj = nn.Linear(c.n_embd, c.n_embd, bias=bias)
        self.heads = c.n_head
        if mask:
            T = c.block_size
            self.register_buffer("bias", torch.ones(T, T).tril().view(1, 1, T, T))

    def forward(self, x):
        B, T, d = x.shape
        q, k, v = (t.view(B, T, self.heads, -1).transpose(1, 2) for t in self.c_attn(x).split(d, 2))
        z = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.c_proj(z.transpose(1, 2).reshape(B, T, d))


class MLP(nn.Module):
    def __init__(self, c, bias, gelu):
        super().__init__()
        self.c_fc = nn.Linear(c.n_embd, 4 * c.n_embd, bias=bias)
        self.c_proj = nn.Linear(4 * c.n_embd, c.n_embd, bias=bias)
        self.gelu = gelu

    def forward(self, x):
        return self.c_proj(self.gelu(self.c_fc(x)))


class Block(nn.Module):
    def __init__(self, c, bias, gelu, mask):
        super().__init__()
        self.ln_1, self.attn = LayerNorm(c.n_embd, bias), Attention(c, bias, mask)
        self.ln_2, self.mlp = LayerNorm(c.n_embd, bias), MLP(c, bias, gelu)

    def forward(self, x):
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class GPT(nn.Module):
    """The module tree of minGPT, nanoGPT and build-nanogpt."""

    def __init__(self, c, bias, gelu, tied, mask=False):
        super().__init__()
        blocks = [Block(c, bias, gelu, mask) for _ in range(c.n_layer)]
        self.transformer = nn.ModuleDict(dict(
            wte=nn.Embedding(c.vocab_size, c.n_embd), wpe=nn.Embedding(c.block_size, c.n_embd),
            h=nn.ModuleList(blocks), ln_f=LayerNorm(c.n_embd, bias)))
        self.lm_head = nn.Linear(c.n_embd, c.vocab_size, bias=False)
        if tied:
            self.transformer.wte.weight = self.lm_head.weight
        randomize(self)

    def forward(self, ids):
        t = self.transformer
        x = t.wte(ids) + t.wpe(torch.arange(ids.shape[1]))
        for block in t.h:
            x = block(x)
        return self.lm_head(t.ln_f(x))


# Hugging Face's own save_pretrained, and what its configurations may ask for.
for name, more in {
    "huggingface": {},
    "gelu": dict(activation_function="gelu", layer_norm_epsilon=1e-2),
    "relu": dict(activation_function="relu", scale_attn_by_inverse_layer_idx=True),
    "unscaled": dict(scale_attn_weights=False, n_inner=12),
    "untied": dict(tie_word_embeddings=False),
}.items():
    model = huggingface(**more)
    model.save_pretrained(name)
    expect(name + "/model.safetensors", model)

model = huggingface()
p = folder("shards")
model.save_pretrained(p, max_shard_size="3KB")
expect(p + "model.safetensors.index.json", model)

model = huggingface()
p = folder("save_model")  # safetensors' own: of the tied names only lm_head.weight
save_model(model, p + "other.safetensors")
model.config.save_pretrained(p)
expect(p + "other.safetensors", model)

model = huggingface()
p = folder("value-head")
state = {k: v.double() for k, v in model.state_dict().items() if k != "lm_head.weight"}
save_file({**state, "v_head.summary.weight": torch.ones(1, 8)}, p + "model.safetensors")
model.config.save_pretrained(p)
expect(p + "model.safetensors", model)

model = huggingface()
p = folder("lightning")
torch.save({"epoch": 1, "pytorch-lightning_version": "2.4.0",
            "state_dict": {"model." + k: v for k, v in model.state_dict().items()},
            "optimizer_states": [torch.optim.AdamW(model.parameters()).state_dict()],
            "hyper_parameters": {"n_head": 2, "n_embd": 8, "lr": 1e-3}}, p + "last.ckpt")
expect(p + "last.ckpt", model)

# minGPT: the state dict alone, an output matrix of its own, the configuration one level down.
config = types.SimpleNamespace(vocab_size=20, block_size=8, **SIZE)
model = GPT(config, True, nn.GELU(approximate="tanh"), tied=False, mask=True)
p = folder("mingpt")
torch.save(model.state_dict(), p + "model.pt")
json.dump({"model": {"model_type": "gpt", "vocab_size": None, **SIZE}}, open(p + "config.json", "w"))
expect(p + "model.pt", model)

# nanoGPT: compiled, without biases.
model = GPT(config, False, nn.GELU(), tied=True)
p = folder("nanogpt")
torch.save({"model": OrderedDict(("_orig_mod." + k, v) for k, v in model.state_dict().items()),
            "model_args": dict(block_size=8, vocab_size=20, bias=False, dropout=0.0, **SIZE),
            "iter_num": 5, "best_val_loss": torch.tensor(1.5),
            "config": {"n_layer": 12, "n_head": 12, "n_embd": 768}}, p + "ckpt.pt")
expect(p + "ckpt.pt", model)


# build-nanogpt: an object of a class of its own.
@dataclass
class GPTConfig:
    block_size: int = 8
    vocab_size: int = 20
    n_layer: int = 2
    n_head: int = 2
    n_embd: int = 8


model = GPT(config, True, nn.GELU(approximate="tanh"), tied=True)
p = folder("build-nanogpt")
torch.save({"model": model.state_dict(), "config": GPTConfig(), "step": 5, "val_loss": 3.2},
           p + "model_00005.pt")
expect(p + "model_00005.pt", model)

# Layer norms without an epsilon, of rows so small that it would show.
model = huggingface(layer_norm_epsilon=0.0)
with torch.no_grad():
    model.transformer.wte.weight *= 0.01
    model.transformer.wpe.weight *= 0.01
model.save_pretrained("epsilon0")
expect("epsilon0/model.safetensors", model)

# A configuration two dicts down, and one as JSON in a safetensors file's metadata.
CHANGES = dict(activation_function="relu", scale_attn_by_inverse_layer_idx=True)
model = huggingface(**CHANGES)
p = folder("deep-config")
torch.save({"state_dict": model.state_dict(),
            "hyper_parameters": {"lr": 0.1, "cfg": model.config.to_dict()}}, p + "last.ckpt")
expect(p + "last.ckpt", model)

model = huggingface(**CHANGES)
p = folder("metadata")
state = {k: v for k, v in model.state_dict().items() if k != "lm_head.weight"}
save_file(state, p + "my.safetensors", metadata={"config": model.config.to_json_string()})
expect(p + "my.safetensors", model)

# Of the tied pair the output matrix alone, and no metadata that says so.
model = huggingface()
p = folder("lm-head-only")
state = {k: v for k, v in model.state_dict().items() if k != "transformer.wte.weight"}
save_file(state, p + "model.safetensors")
model.config.save_pretrained(p)
expect(p + "model.safetensors", model)

# An average of the weights, which counts the models in it.
model = huggingface()
p = folder("averaged")
torch.save({"ema": torch.optim.swa_utils.AveragedModel(model).state_dict(), "args": {"n_head": 2}},
           p + "model_ema.pt")
expect(p + "model_ema.pt", model)

# A variant in parts; and one part of one.
model = huggingface()
p = folder("variant")
model.save_pretrained(p, max_shard_size="5KB", variant="fp16")
expect(p + "model.safetensors.index.fp16.json", model)
model = huggingface()
p = folder("one-part")
model.save_pretrained(p)
os.rename(p + "model.safetensors", p + "model-00001-of-00001.safetensors")
expect(p + "model-00001-of-00001.safetensors", model)

json.dump({"ids": IDS, "logits": expected}, open("logits.json", "w"))
