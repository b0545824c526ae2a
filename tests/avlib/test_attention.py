import pytest
import torch
import torch.nn.functional as F

from avlib.attention import (
    ConvolutionalMlp,
    CrossAttention,
    Similarity,
    TransformerBlock,
    attention_vector,
    attention_weights,
)


def test_attention_weights_reproduce_torch():
    B, H, Tq, Tk, D = 2, 3, 5, 7, 11
    query, key, value = torch.randn(B, H, Tq, D), torch.randn(B, H, Tk, D), torch.randn(B, H, Tk, D)
    weights = attention_weights(query, key)
    assert weights.shape == (B, H, Tq, Tk)
    torch.testing.assert_close(weights @ value, F.scaled_dot_product_attention(query, key, value))


def test_the_attention_vector_totals_the_number_of_queries():
    weights = torch.rand(2, 3, 5, 7).softmax(dim=-1)
    vector = attention_vector(weights)
    assert vector.shape == (2, 7)
    torch.testing.assert_close(vector.sum(dim=-1), torch.full((2,), 5.0))


@pytest.mark.parametrize("heads", [1, 2])
def test_cross_attention_agrees_with_torch_multihead_attention(heads):
    ours = CrossAttention(query_width=6, key_width=10, heads=heads)
    theirs = torch.nn.MultiheadAttention(6, heads, bias=True, kdim=10, vdim=10, batch_first=True)
    with torch.no_grad():
        theirs.q_proj_weight.copy_(ours.similarity.query.weight)
        theirs.k_proj_weight.copy_(ours.similarity.key.weight)
        theirs.v_proj_weight.copy_(ours.value.weight)
        theirs.in_proj_bias.zero_()
        theirs.out_proj.load_state_dict(ours.project.state_dict())
    query, key = torch.randn(2, 5, 6), torch.randn(2, 7, 10)
    mixed, weights = ours(query, key)
    expected, expected_weights = theirs(query, key, key, average_attn_weights=False)
    torch.testing.assert_close(mixed, expected)
    torch.testing.assert_close(weights, expected_weights)


def test_a_modality_of_zeros_is_attended_to_evenly():
    similarity = Similarity(query_width=6, key_width=10, heads=2)
    weights = similarity(torch.randn(3, 5, 6), torch.zeros(3, 7, 10))
    torch.testing.assert_close(weights, torch.full((3, 2, 5, 7), 1 / 7))


def test_a_transformer_block_without_mlp_and_values_returns_its_projection_bias():
    block = TransformerBlock(query_width=6, key_width=10, heads=1).eval()
    torch.nn.init.zeros_(block.attention.value.weight)
    torch.nn.init.zeros_(block.mlp.fc2.weight)
    torch.nn.init.zeros_(block.mlp.fc2.bias)
    mixed, _ = block(torch.randn(2, 5, 6), torch.randn(2, 7, 10))  # nothing of the query passes: no residual around it
    torch.testing.assert_close(mixed, block.attention.project.bias.expand(2, 5, 6))


def test_a_block_of_convolutions_sees_two_steps_to_either_side_in_its_mlp():
    block = TransformerBlock(6, 10, heads=1, mlp=ConvolutionalMlp)
    query, key = torch.randn(1, 9, 6, requires_grad=True), torch.randn(1, 7, 10)
    block(query, key)[0][0, 4].sum().backward()
    assert query.grad.abs().sum(dim=(0, 2)).nonzero().flatten().tolist() == [2, 3, 4, 5, 6]
