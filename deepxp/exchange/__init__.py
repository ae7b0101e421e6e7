"""A network leaves and arrives: as an ONNX graph, as PyTorch's state dict, as Keras's weights.

    from deepxp.exchange import from_state_dict, state_dict, to_onnx

    onnx.save(to_onnx(net), "model.onnx")                     # takes rows, as they come from a table
    model.load_state_dict({name: torch.from_numpy(W) for name, W in state_dict(net).items()})
    net = from_state_dict(model.state_dict(), "relu", "softmax-cross-entropy")

graph    the xp of nodes: a definition run on it writes an ONNX graph
model    the graph of a prediction, and its comparison with what the network says
compare  how far apart two answers are, and may be
named    layers in weights that have names
states   weights to PyTorch and Keras, and from them
"""

from deepxp.exchange.model import difference, to_onnx
from deepxp.exchange.states import from_keras, from_state_dict, keras_weights, state_dict

__all__ = ["difference", "from_keras", "from_state_dict", "keras_weights", "state_dict", "to_onnx"]
