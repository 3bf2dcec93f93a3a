"""Prompts are tokenized as by the official tokenizers, as far as this can be tested without the vocabularies; the other tests are marked
`weights`."""

import json

import pytest
import regex
from tiny_rewards import FIXTURES
from transformers import BertTokenizer, CLIPTokenizer

from tta_plugins.rewards import open_clip_text
from tta_plugins.rewards.open_clip_text import clean

TOKENS = json.loads((FIXTURES / "tokens" / "tokens.json").read_text())
LITERAL_TOKEN = "<|endoftext|> injected"
MOJIBAKE = next(prompt for prompt in TOKENS["prompts"] if prompt.startswith("mojibake"))
WORDS = regex.compile(r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+")
ROWS = dict(zip(TOKENS["prompts"], TOKENS["open_clip"], strict=True))
ENC = "[SEP] [ENC] injected"


def test_known_cases():
    assert clean("  leading   and\tinner \n whitespace ") == "leading and inner whitespace"
    assert clean("salt &amp; pepper &lt;b&gt;") == "salt & pepper <b>"
    assert clean("&amp;amp;amp;") == "&"
    assert clean("\u201csmart quotes\u201d \u2014 it\u2019s") == '"smart quotes" \u2014 it\'s'
    assert clean("\ufb01 ligature \ufb02") == "fi ligature fl"
    assert clean("\uff11\uff12\uff13 \uff21\uff22\uff23") == "123 abc"
    assert clean("e\u0301 UPPER") == "\u00e9 upper"
    assert clean("") == ""


@pytest.mark.skipif(open_clip_text.fix_text is not None, reason="ftfy is installed and mends it")
def test_mojibake_needs_ftfy():
    assert clean("it\u00e2\u20ac\u2122s") == "it\u00e2\u20ac\u2122s"


@pytest.mark.parametrize("prompt", [prompt for prompt in ROWS if prompt not in (LITERAL_TOKEN, MOJIBAKE)])
def test_single_characters_of_a_cleaned_prompt_have_open_clips_ids(prompt):
    """A word of one printable ASCII character is token 256 + its rank among these characters; these ids are known without the
    vocabulary."""
    ids = [number for number in ROWS[prompt] if number][1:-1]
    words = WORDS.findall(clean(prompt))
    singles = [256 + ord(word) - 33 for word in words if len(word) == 1 and 33 <= ord(word) <= 126]
    following = iter(ids)
    assert all(single in following for single in singles)
    assert len(ids) >= len(words) or len(ids) == 75


def test_cleaning_is_needed_for_the_recorded_ids():
    quotes = next(prompt for prompt in ROWS if "smart quotes" in prompt)
    assert 256 + ord('"') - 33 in ROWS[quotes]
    assert '"' not in quotes


@pytest.mark.weights
def test_clip_ids_with_the_real_vocabulary(weights_dir):
    folder = weights_dir / "openai" / "clip-vit-large-patch14"
    if not (folder / "merges.txt").is_file():
        pytest.skip(f"needs vocab.json and merges.txt in {folder}")
    tokenizer = CLIPTokenizer.from_pretrained(folder)
    for prompt, ids in ROWS.items():
        if prompt == LITERAL_TOKEN or (prompt == MOJIBAKE and open_clip_text.fix_text is None):
            continue
        mine = tokenizer(clean(prompt), truncation=True, max_length=77).input_ids
        assert mine == ids[: ids.index(49407) + 1], prompt


@pytest.mark.weights
def test_bert_ids_with_the_real_vocabulary(weights_dir):
    folder = weights_dir / "google-bert" / "bert-base-uncased"
    if not (folder / "vocab.txt").is_file():
        pytest.skip(f"needs vocab.txt in {folder}")
    tokenizer = BertTokenizer.from_pretrained(folder)
    for prompt, ids, mask in zip(TOKENS["prompts"], TOKENS["bert"], TOKENS["bert_mask"], strict=True):
        if prompt == ENC:
            continue
        mine = tokenizer(prompt, padding="max_length", truncation=True, max_length=35)
        assert (mine.input_ids, mine.attention_mask) == (ids, mask), prompt
