"""Graph surgery: what is cut and joined gives what its parts give, and nothing is carried along."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from otic import load_bundle
from otic_training.experiment import load_tensorflow
from otic_training.networks.tflite import scores_of, to_float
from otic_training.networks.tflite_surgery import (
    GraftError,
    cut,
    find_embedding,
    graft,
    has_8_bit_weights,
)
from tests.support.helpers import F32

pytestmark = pytest.mark.xdist_group("tensorflow")  # one process loads it

WIDTH = 8


@dataclass(frozen=True)
class Parts:
    """Two small networks as flatbuffers, a base and a head for its embedding."""

    base: bytes
    head: bytes
    x: F32
    embedding: F32
    scores: F32


@pytest.fixture(scope="module")
def parts() -> Parts:
    load_tensorflow()
    import keras
    from keras import layers

    keras.utils.set_random_seed(3)
    features = keras.Input((30,))
    maps = layers.Conv1D(5, 3, activation="relu")(layers.Reshape((30, 1))(features))
    embedding = layers.Dense(WIDTH, activation="tanh")(layers.Flatten()(maps))
    old_scores = layers.Dense(200, activation="softmax")(embedding)
    seen = keras.Input((WIDTH,))
    scores = layers.Dense(3, activation="softmax")(layers.Dense(6, activation="relu")(seen))
    base, head = keras.Model(features, old_scores), keras.Model(seen, scores)
    x = np.random.default_rng(0).standard_normal((20, 30)).astype(np.float32)
    inside = np.asarray(keras.Model(features, embedding)(x))
    return Parts(to_float(base), to_float(head), x, inside, np.asarray(head(inside)))


def sizes_of(model: bytes) -> list[int]:
    read = schema.Model.GetRootAs(model)
    return [read.Buffers(i).DataLength() for i in range(read.BuffersLength())]


def test_the_embedding_is_what_the_last_dense_layer_looks_at(parts: Parts) -> None:
    found = find_embedding(parts.base, 0)
    assert found.width == WIDTH
    inside = scores_of(cut(parts.base, found.tensor), parts.x)
    np.testing.assert_allclose(inside, parts.embedding, rtol=0, atol=1e-6)


def test_a_graft_is_its_parts_one_after_the_other(parts: Parts) -> None:
    whole = graft(parts.base, find_embedding(parts.base, 0).tensor, parts.head)
    np.testing.assert_allclose(scores_of(whole, parts.x), parts.scores, rtol=0, atol=1e-6)
    # And it can be grafted on again: its embedding is the head's hidden layer now.
    assert find_embedding(whole, 0).width == 6


def test_what_no_output_needs_is_left_out(parts: Parts) -> None:
    dropped = 4 * 200 * WIDTH
    assert dropped in sizes_of(parts.base)
    whole = graft(parts.base, find_embedding(parts.base, 0).tensor, parts.head)
    assert dropped not in sizes_of(whole)
    read = schema.ModelT.InitFromPackedBuf(whole, 0)
    assert read.signatureDefs is None
    assert read.metadata is None
    graph = read.subgraphs[0]
    used = {0} | {tensor.buffer for tensor in graph.tensors}
    assert used == set(range(len(read.buffers)))
    codes = {operator.opcodeIndex for operator in graph.operators}
    assert codes == set(range(len(read.operatorCodes)))


def test_weights_stay_aligned(parts: Parts) -> None:
    """The schema asks for 16 bytes: some kernels read several numbers at once."""
    whole = graft(parts.base, find_embedding(parts.base, 0).tensor, parts.head)
    start = np.frombuffer(whole, np.uint8).ctypes.data
    read = schema.Model.GetRootAs(whole)
    buffers = [read.Buffers(i) for i in range(read.BuffersLength())]
    places = [b.DataAsNumpy().ctypes.data - start for b in buffers if not b.DataIsNone()]
    assert len(places) > 4
    assert all(place % 16 == 0 for place in places)


def test_int8_weights_are_noticed(parts: Parts) -> None:
    assert has_8_bit_weights(load_bundle("esc10-mfcc-mlp-int8").model)
    assert not has_8_bit_weights(parts.base)


def test_what_can_not_be_grafted_is_said(parts: Parts) -> None:
    with pytest.raises(GraftError, match="looks at its input: there is no embedding"):
        find_embedding(cut(parts.head, find_embedding(parts.head, 0).tensor), 0)
    with pytest.raises(GraftError, match=r"looks at int8 \[1, 64\]: one row of float32"):
        find_embedding(load_bundle("esc10-mfcc-mlp-int8").model, 0)
    with pytest.raises(GraftError, match=r"inputs of shape \[\[1, 30\]\], the embedding's is"):
        graft(parts.base, find_embedding(parts.base, 0).tensor, parts.base)
    with pytest.raises(GraftError, match="damaged"):
        find_embedding(parts.base[:200], 0)
