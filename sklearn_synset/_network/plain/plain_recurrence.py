"""Recurrent layers in plain operations, which torch can vectorise over weights."""

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.rnn import PackedSequence

State = tuple[torch.Tensor, ...]


def _gru_step(inputs: torch.Tensor, state: State, weight, bias) -> State:
    (hidden,) = state
    reset, update, new = inputs.chunk(3, -1)
    own_reset, own_update, own_new = functional.linear(hidden, weight, bias).chunk(3, -1)
    reset, update = torch.sigmoid(reset + own_reset), torch.sigmoid(update + own_update)
    new = torch.tanh(new + reset * own_new)
    return (new + update * (hidden - new),)


def _lstm_step(inputs: torch.Tensor, state: State, weight, bias) -> State:
    hidden, cell = state
    gates = inputs + functional.linear(hidden, weight, bias)
    let_in, forget, new, out = gates.chunk(4, -1)
    cell = torch.sigmoid(forget) * cell + torch.sigmoid(let_in) * torch.tanh(new)
    return torch.sigmoid(out) * torch.tanh(cell), cell


def _tanh_step(inputs: torch.Tensor, state: State, weight, bias) -> State:
    return (torch.tanh(inputs + functional.linear(state[0], weight, bias)),)


def _relu_step(inputs: torch.Tensor, state: State, weight, bias) -> State:
    return (torch.relu(inputs + functional.linear(state[0], weight, bias)),)


_STEPS = {
    "GRU": _gru_step,
    "LSTM": _lstm_step,
    "RNN_TANH": _tanh_step,
    "RNN_RELU": _relu_step,
}


def _run(layer: nn.RNNBase, X: torch.Tensor, suffix: str, state: State):
    """Run one direction of a layer over X (t, b, i); return outputs (t, b, h), and the state."""

    def own(name: str) -> torch.Tensor | None:
        return getattr(layer, name + suffix, None)

    step, weight, bias = _STEPS[layer.mode], own("weight_hh"), own("bias_hh")
    projection, outputs = own("weight_hr"), []
    inputs = functional.linear(X, own("weight_ih"), own("bias_ih"))  # type: ignore[arg-type]
    for now in inputs:
        state = step(now, state, weight, bias)
        if projection is not None:
            state = (functional.linear(state[0], projection), *state[1:])
        outputs.append(state[0])
    return torch.stack(outputs), state


def _forward(layer: nn.RNNBase, X: torch.Tensor, state: State | None):
    """Return the outputs, and the last states (layers · directions, b, h) of each kind."""
    if isinstance(X, PackedSequence):
        raise TypeError("Packed sequences are not supported: pass padded rows of one length.")
    is_single, batch = X.ndim == 2, 0 if layer.batch_first else 1
    values = X.unsqueeze(batch) if is_single else X
    values = values.transpose(0, 1) if layer.batch_first else values
    n_directions = 2 if layer.bidirectional else 1
    n_states = layer.num_layers * n_directions
    if state is None:
        sizes = [layer.proj_size or layer.hidden_size, layer.hidden_size]
        sizes = sizes[: 2 if layer.mode == "LSTM" else 1]
        state = tuple(values.new_zeros(n_states, values.shape[1], size) for size in sizes)
    elif is_single:
        state = tuple(part.unsqueeze(1) for part in state)
    last = []
    for depth in range(layer.num_layers):
        found = []
        for direction in range(n_directions):
            suffix = f"_l{depth}" + ("_reverse" if direction else "")
            own = tuple(part[depth * n_directions + direction] for part in state)
            outputs, reached = _run(layer, values.flip(0) if direction else values, suffix, own)
            found.append(outputs.flip(0) if direction else outputs)
            last.append(reached)
        values = torch.cat(found, -1)
        if layer.dropout and depth < layer.num_layers - 1:
            values = functional.dropout(values, layer.dropout, layer.training)
    ends = tuple(torch.stack(part) for part in zip(*last, strict=True))
    values = values.transpose(0, 1) if layer.batch_first else values
    if is_single:
        values, ends = values.squeeze(batch), tuple(part.squeeze(1) for part in ends)
    return values, ends


class _PlainRNN(nn.RNN):
    def forward(self, input, hx=None):
        """Return outputs and the last state."""
        outputs, (last,) = _forward(self, input, None if hx is None else (hx,))
        return outputs, last


class _PlainGRU(nn.GRU):
    def forward(self, input, hx=None):
        """Return outputs and the last state."""
        outputs, (last,) = _forward(self, input, None if hx is None else (hx,))
        return outputs, last


class _PlainLSTM(nn.LSTM):
    def forward(self, input, hx=None):
        """Return outputs and the last hidden and cell state."""
        return _forward(self, input, hx)


def _cell(cell: nn.RNNCellBase, X: torch.Tensor, state: State, mode: str) -> State:
    inputs = functional.linear(X, cell.weight_ih, cell.bias_ih)
    return _STEPS[mode](inputs, state, cell.weight_hh, cell.bias_hh)


class _PlainRNNCell(nn.RNNCell):
    def forward(self, input, hx=None):
        """Return the next state."""
        state = input.new_zeros(*input.shape[:-1], self.hidden_size) if hx is None else hx
        return _cell(self, input, (state,), f"RNN_{self.nonlinearity.upper()}")[0]


class _PlainGRUCell(nn.GRUCell):
    def forward(self, input, hx=None):
        """Return the next state."""
        state = input.new_zeros(*input.shape[:-1], self.hidden_size) if hx is None else hx
        return _cell(self, input, (state,), "GRU")[0]


class _PlainLSTMCell(nn.LSTMCell):
    def forward(self, input, hx=None):
        """Return the next hidden and cell state."""
        zeros = input.new_zeros(*input.shape[:-1], self.hidden_size)
        return _cell(self, input, (zeros, zeros) if hx is None else hx, "LSTM")


PLAIN_RECURRENCE: dict[type, type] = {
    nn.RNN: _PlainRNN,
    nn.GRU: _PlainGRU,
    nn.LSTM: _PlainLSTM,
    nn.RNNCell: _PlainRNNCell,
    nn.GRUCell: _PlainGRUCell,
    nn.LSTMCell: _PlainLSTMCell,
}
