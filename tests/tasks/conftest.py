"""Prepared data of these tests lies in a folder of their own, not in the user's cache."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from transformers import PreTrainedTokenizerBase

from tasks.text.encoding import trained_tokenizer
from tasks.text.english import english_documents
from tests.tasks.glue.glue_runs import write_rows


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    before = os.environ.get("METAFORMER_CACHE")
    os.environ["METAFORMER_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    yield
    if before is None:
        del os.environ["METAFORMER_CACHE"]
    else:
        os.environ["METAFORMER_CACHE"] = before


@pytest.fixture(scope="session")
def tokenizer(_own_cache: None) -> PreTrainedTokenizerBase:
    """A small tokenizer of the embedded English."""
    return trained_tokenizer([document.text for document in english_documents()[:60]], 700)


@pytest.fixture(scope="session")
def words(tokenizer: PreTrainedTokenizerBase, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of that tokenizer."""
    folder = tmp_path_factory.mktemp("tokenizer")
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="session")
def glue_root(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A few made-up rows of RTE and MNLI."""
    folder = tmp_path_factory.mktemp("glue")
    write_rows(folder)
    return str(folder)
