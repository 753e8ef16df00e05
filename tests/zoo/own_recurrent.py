"""Own recurrent nets: torch's LSTM, GRU and RNN in many arrangements, and cells in a loop."""

from __future__ import annotations

import torch
from torch import nn

from zoo.architectures import DYNAMIC, Net, net, register
from zoo.torch_tools import Apply, plain, sized, tokens

KINDS = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}


class Last(nn.Module):
    """A recurrent net and a dense layer on its last step, its last hidden state, or its mean over time."""

    def __init__(self, net: nn.RNNBase, read: str = "step") -> None:
        super().__init__()
        self.net, self.read = net, read
        self.top = nn.Linear(net.hidden_size * (2 if net.bidirectional else 1), 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y, state = self.net(x)
        if self.read == "mean":
            return self.top(y.mean(1))
        if self.read == "step":
            return self.top(y[:, -1])
        h = state[0] if isinstance(state, tuple) else state
        return self.top(torch.cat([h[-2], h[-1]], -1) if self.net.bidirectional else h[-1])


def _maker(kind: str, read: str, **options: object) -> Net:
    return plain(Last(KINDS[kind](4, 5, batch_first=True, **options), read), sized(2, 6, 4))


def _arrangements() -> None:
    for kind in KINDS:
        for both in (False, True):
            name = f"{kind}_{'both_ways' if both else 'forward'}"
            exporters = DYNAMIC if kind == "lstm" else ("dynamo", "legacy")
            options = {"bidirectional": both, "num_layers": 2}
            register(name, lambda k=kind, o=options: _maker(k, "step", **o), "recurrent", exporters=exporters)
    register("lstm_hidden", lambda: _maker("lstm", "hidden", bidirectional=True), "recurrent")
    register("lstm_mean", lambda: _maker("lstm", "mean", bidirectional=True), "recurrent")
    register("gru_hidden", lambda: _maker("gru", "hidden"), "recurrent")
    register("gru_without_bias", lambda: _maker("gru", "step", bias=False), "recurrent")
    register("rnn_relu", lambda: _maker("rnn", "step", nonlinearity="relu"), "recurrent")


_arrangements()


@net("recurrent", exporters=DYNAMIC)
def lstm_tokens() -> Net:
    return plain(nn.Sequential(nn.Embedding(50, 4), Last(nn.LSTM(4, 5, batch_first=True))), tokens())


@net("recurrent")
def cnn_gru() -> Net:
    convs = nn.Conv1d(2, 4, 3, padding=1), nn.ReLU(), nn.MaxPool1d(2), Apply(lambda h: h.transpose(1, 2))
    return plain(nn.Sequential(*convs, Last(nn.GRU(4, 5, batch_first=True))), sized(2, 2, 12))


class Attended(nn.Module):
    """A softmax over time weighs the hidden states of a two-way LSTM."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.score = nn.LSTM(4, 5, batch_first=True, bidirectional=True), nn.Linear(10, 1)
        self.top = nn.Linear(10, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y, _ = self.net(x)
        weights = torch.softmax(self.score(torch.tanh(y)), 1)
        return self.top((weights * y).sum(1))


@net("recurrent")
def lstm_attention() -> Net:
    return plain(Attended(), sized(2, 6, 4))


class Stateful(nn.Module):
    """The state comes in and goes out; time is the first axis."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.LSTM(4, 5)

    def forward(self, x: torch.Tensor, h: torch.Tensor, c: torch.Tensor) -> tuple[torch.Tensor, ...]:
        y, (h, c) = self.net(x, (h, c))
        return y, h, c


@net("recurrent")
def lstm_state() -> Net:
    return plain(Stateful(), sized(6, 2, 4), sized(1, 2, 5), sized(1, 2, 5))


class Loop(nn.Module):
    """A cell called step by step, so that the exporters unroll it."""

    def __init__(self, cell: nn.RNNCellBase) -> None:
        super().__init__()
        self.cell, self.top = cell, nn.Linear(5, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = torch.zeros(x.shape[0], 5)
        state = (h, h) if isinstance(self.cell, nn.LSTMCell) else h
        for t in range(x.shape[1]):
            state = self.cell(x[:, t], state)
        return self.top(state[0] if isinstance(state, tuple) else state)


@net("recurrent")
def lstm_cells() -> Net:
    return plain(Loop(nn.LSTMCell(4, 5)), sized(2, 4, 4))


@net("recurrent")
def gru_cells() -> Net:
    return plain(Loop(nn.GRUCell(4, 5)), sized(2, 4, 4))


class Translate(nn.Module):
    """An encoder GRU and a decoder GRU that starts from the encoder's state."""

    def __init__(self) -> None:
        super().__init__()
        self.source, self.goal = nn.Embedding(50, 4), nn.Embedding(50, 4)
        self.encoder, self.decoder = nn.GRU(4, 5, batch_first=True), nn.GRU(4, 5, batch_first=True)
        self.top = nn.Linear(5, 20)

    def forward(self, source: torch.Tensor, goal: torch.Tensor) -> torch.Tensor:
        _, state = self.encoder(self.source(source))
        return self.top(self.decoder(self.goal(goal), state)[0][:, -1])


@net("recurrent")
def encoder_decoder_gru() -> Net:
    return plain(Translate(), tokens(), tokens(length=4))
