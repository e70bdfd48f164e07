"""make.py TEXT…: makes the files beside it with Hugging Face's tokenizers (0.23.3) from some text.

vocab.json, merges.txt and tokenizer.json are one small byte-level BPE, special tokens first.
golden.json holds variants of tokenizer.json, each with texts and their ids: "patch" replaces parts
of the file, "model" parts of its model. Special tokens in a text are plain text here."""
import json, os, sys
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

here = os.path.dirname(os.path.abspath(__file__))
tokenizer = Tokenizer(models.BPE())
tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
tokenizer.decoder = decoders.ByteLevel()
tokenizer.train(sys.argv[1:], trainers.BpeTrainer(
    vocab_size=420, special_tokens=["<s>", "<pad>", "</s>"], show_progress=False,
    initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
tokenizer.model.save(here)
whole = json.loads(tokenizer.to_str())
with open(f"{here}/tokenizer.json", "w") as f:
    json.dump(whole, f, ensure_ascii=False, separators=(",", ":"))

texts = [
    "", " ", "a", " a", "\n", "  \n\t x", "Der Mann sah den Hund.", " El niño comió una manzana.",
    "Straßenbahnhaltestellenüberdachung", "äöüß ÄÖÜ ñ ¿qué? ¡sí! «así» „so“", "it's 'll 's", "x\u00a0\u3000y",
    "1234567 ½²Ⅻ ١٢٣", "你好 👍🏽\u200d e\u0301", "<s> hallo </s>", "<|user|>Straße und Straßen<|user|>", "\r\n\x00\x7f",
    "donaudampfschifffahrtsgesellschaftskapitaensmuetzenabzeichen" * 3, "a" * 100, "en en  en   en",
]
added = dict(single_word=False, lstrip=False, rstrip=False, special=False)
byte_level = dict(type="ByteLevel", trim_offsets=True)
merges = whole["model"]["merges"]
variants = {
    "plain": {},
    "prefix": {"patch": {"pre_tokenizer": dict(byte_level, add_prefix_space=True, use_regex=True)}},
    "one word": {"patch": {"pre_tokenizer": dict(byte_level, add_prefix_space=False, use_regex=False)}},
    "one of a sequence": {"patch": {"normalizer": dict(type="Sequence", normalizers=[]), "pre_tokenizer": dict(
        type="Sequence", pretokenizers=[dict(byte_level, add_prefix_space=False, use_regex=True)])}},
    "begins with <s>": {"patch": {"post_processor": dict(
        type="TemplateProcessing", pair=[{"Sequence": dict(id="A", type_id=0)}, {"Sequence": dict(id="B", type_id=0)}],
        single=[{"SpecialToken": dict(id="<s>", type_id=0)}, {"Sequence": dict(id="A", type_id=0)}],
        special_tokens={"<s>": dict(id="<s>", ids=[0], tokens=["<s>"])})}},
    "added tokens": {"patch": {"added_tokens": whole["added_tokens"] + [
        dict(added, id=420, content="Straße", normalized=True), dict(added, id=421, content="Straßen", normalized=True),
        dict(added, id=422, content="<|user|>", normalized=False)]}},
    "added tokens, prefix": {"patch": {
        "pre_tokenizer": dict(byte_level, add_prefix_space=True, use_regex=True),
        "added_tokens": whole["added_tokens"] + [dict(added, id=420, content="Straße", normalized=True)]}},
    "words before merges": {"model": {"ignore_merges": True}},
    "merges in another order": {"model": {"merges": merges[1::2] + merges[::2]}},
    "merges as lines": {"model": {"merges": [" ".join(m) for m in merges]}},
    "merges twice": {"model": {"merges": merges[:60] + merges}},
}
with open(f"{here}/golden.json", "w") as f:
    f.write("[")
    for i, (name, v) in enumerate(variants.items()):
        t = json.loads(tokenizer.to_str())
        t.update(v.get("patch", {}))
        t["model"].update(v.get("model", {}))
        t = Tokenizer.from_str(json.dumps(t))
        t.encode_special_tokens = True
        golden = dict(name=name, patch=v.get("patch", {}), model=v.get("model", {}),
                      texts=[dict(text=x, ids=t.encode(x).ids) for x in texts])
        f.write(",\n" * (i > 0) + json.dumps(golden, ensure_ascii=False, separators=(",", ":")))
    f.write("]\n")
