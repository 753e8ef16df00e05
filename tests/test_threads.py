"""Many threads at once: caches that evict under them, one model for several explainers, the same bits as alone."""

import ast
import gc
import os
import sys
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np
import pytest
from models import draw, ints, model
from nets import RESNET, build
from PIL import Image

import reflrp
from reflrp.composites.texts import read_rules
from reflrp.ground.caches import Cache, Kept
from reflrp.ground.quiet import quiet

THREADS = 8


@pytest.fixture(autouse=True)
def hasty():
    """Threads take turns as often as Python lets them."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


def at_once(work, count=THREADS):
    """Run work(k) in so many threads, which start together; their results."""
    barrier = threading.Barrier(count)

    def start(k):
        barrier.wait()
        return work(k)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(start, range(count)))


def test_graphs_and_programs_under_threads():
    """Eleven shapes, of which a model keeps four graphs and an explainer two programs."""
    explainer = reflrp.Explainer(model("y = Relu(x)"), "gradient")
    xs = [draw(n, 4, seed=n) for n in range(1, 12)]
    alone = [explainer(x).relevance.tobytes() for x in xs]

    def work(k):
        order = [(t * (k + 1)) % len(xs) for t in range(150)]
        return [explainer(xs[i]).relevance.tobytes() == alone[i] for i in order]

    assert all(map(all, at_once(work)))
    assert len(explainer._programs.kept) == 2
    assert len(explainer.model._graphs) == 4


MIXED = {
    "images": (build(RESNET), [draw(n, 2, 6, 6, seed=n) for n in range(1, 6)]),
    "tokens": (
        model("c = Cast <to = 7>(i) e = Gather(w, c) y = ReduceMean <axes = [1]>(e)", "int32[N,T] i", w=(7, 4)),
        [np.arange(n * t, dtype=np.int32).reshape(n, t) % 7 for n in (1, 2) for t in (2, 3, 4)],
    ),
    "largest": (model("v, i = TopK(x, k) c = Cast <to = 1>(i) y = Add(v, c)", k=ints(2)), [draw(n, 4) for n in (1, 2)]),
}


@pytest.mark.parametrize("case", MIXED)
def test_several_explainers_of_one_model(case):
    """Each thread begins with nothing kept, so that all of them derive the same weights and evaluators at once."""
    proto, xs = MIXED[case]
    presets = ("epsilon_plus_flat", "epsilon_gamma_box", "epsilon_alpha2_beta1", "zennit.EpsilonGammaBox")
    rules = [reflrp.composites.preset(p, **({"low": -1, "high": 1} if "zennit" in p else {})) for p in presets]
    alone = [[reflrp.explain(proto, x, r).relevance.tobytes() for x in xs] for r in rules]
    for _ in range(3):
        shared = reflrp.load(proto)
        explainers = [reflrp.Explainer(shared, r) for r in rules]

        def work(k, explainers=explainers):
            pairs = [((t + k) % len(rules), (t * (k + 1)) % len(xs)) for t in range(12)]
            return [explainers[r](xs[i]).relevance.tobytes() == alone[r][i] for r, i in pairs]

        assert all(map(all, at_once(work)))


def test_presets_while_others_register(monkeypatch):
    """A near name is looked for among the presets while they become more."""
    registry = reflrp.composites.REGISTRY
    monkeypatch.setattr(registry, "presets", dict(registry.presets))

    def work(k):
        for i in range(40):
            reflrp.composites.register(f"mine_{k}_{i}")(reflrp.composites.uniform)
            with pytest.raises(reflrp.RuleError, match="did you mean 'epsilon_plus'"):
                reflrp.composites.preset("epsilon_pluss")

    at_once(work)


def test_bars_of_several_threads():
    explainer = reflrp.Explainer(model("y = Relu(x)"), "gradient")
    at_once(lambda k: explainer(draw(k + 1, 4), progress=True))


# ---------------------------------------------------------------- the cache


def test_a_value_is_made_once_while_others_wait():
    cache, made = Cache(), []

    def make():
        made.append(1)
        time.sleep(0.01)
        return object()

    assert len(set(at_once(lambda k: cache.made("key", make)))) == 1
    assert len(made) == 1


def test_other_keys_do_not_wait():
    """Two values that need one another's threads: each is made while the other is."""
    cache, barrier = Cache(), threading.Barrier(2, timeout=20)
    assert sorted(at_once(lambda k: cache.made(k, lambda: barrier.wait() is not None), 2)) == [True, True]


def test_eviction_under_threads():
    cache = Cache(2)
    found = at_once(lambda k: [cache.made(i % 5, lambda i=i: i % 5) == i % 5 for i in range(k, 2000 + k)])
    assert all(map(all, found))
    assert len(cache) == 2


def test_the_last_used_are_kept():
    cache = Cache(2)
    for key in (1, 2, 1, 3):
        cache.made(key, lambda key=key: key)
    assert cache.made(1, lambda: "made anew") == 1
    assert cache.made(2, lambda: "made anew") == "made anew"


def test_what_fails_is_not_kept():
    cache = Cache(2)

    def fail():
        raise ValueError("no")

    def work(k):
        with pytest.raises(ValueError, match="no"):
            cache.made("key", fail)

    at_once(work)
    assert len(cache) == 0
    assert cache.made("key", lambda: 1) == 1


def test_kept_properties_are_the_same_object_for_all():
    class Thing:
        @Kept
        def value(self):
            """What it is."""
            time.sleep(0.001)
            return object()

    thing = Thing()
    assert len(set(at_once(lambda k: thing.value))) == 1
    assert Thing.value.__doc__ == "What it is."


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_fork_while_another_thread_holds_the_locks():
    """The child has no thread that would give them back."""
    cache, started, done = Cache(4), threading.Event(), threading.Event()
    cache.made("kept", lambda: 1)

    def slow():
        started.set()
        done.wait(20)
        return 2

    thread = threading.Thread(target=cache.made, args=("slow", slow))
    thread.start()
    started.wait(20)
    with cache._lock:
        child = os.fork()
        if not child:
            kept = cache.made("kept", lambda: 0), cache.made("slow", lambda: 3)
            os._exit(0 if kept == (1, 3) else 1)
    done.set()
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_filters_of_warnings_are_what_they_were(tmp_path):
    """Each thread comes in while another is inside, and leaves in another order."""
    for i in range(4):
        Image.new("RGB", (2, 2)).save(tmp_path / f"{i}.png")
    net = model("f = Flatten(x) y = MatMul(f, w)", "float[N,3,2,2] x", w=(12, 3))
    explainer, before = reflrp.Explainer(net, "epsilon"), list(warnings.filters)

    def work(k):
        for _ in range(10):
            if k % 2:
                read_rules("epsilon_gamma_box(low=0, high=1)")
            else:
                list(explainer.map(tmp_path, batch_size=1))

    at_once(work)
    assert warnings.filters == before


@pytest.mark.parametrize("order", [("first", "second"), ("second", "first")])
def test_what_is_kept_quiet_and_what_is_not(order):
    before = list(warnings.filters)
    inside = {name: quiet() for name in ("first", "second")}
    for one in inside.values():
        one.__enter__()
    with pytest.warns(UserWarning, match="the caller's own"):
        warnings.warn("the caller's own", UserWarning, stacklevel=1)
    with pytest.warns(reflrp.AdviceWarning, match="advice"):
        warnings.warn("advice", reflrp.AdviceWarning, stacklevel=1)
    with warnings.catch_warnings(record=True) as heard:
        warnings.warn_explicit("odd metadata", UserWarning, "TiffImagePlugin.py", 1, module="PIL.TiffImagePlugin")
        warnings.warn_explicit("invalid escape sequence", DeprecationWarning, "<unknown>", 1)
        assert heard == []
        with pytest.raises(RuntimeWarning, match="exceeds limit"):
            warnings.warn("Image size (9 pixels) exceeds limit of 8 pixels", RuntimeWarning, stacklevel=1)
    inside[order[0]].__exit__(None, None, None)
    assert warnings.filters != before
    inside[order[1]].__exit__(None, None, None)
    assert warnings.filters == before


def test_a_fork_while_a_thread_keeps_warnings_quiet():
    before = list(warnings.filters)
    with quiet():
        child = os.fork()
        if not child:
            os._exit(0 if warnings.filters == before else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_texts_are_read_by_many_threads():
    """CPython 3.11 mistakes trees that are built at the same time for one that is too deep; other code builds some, too."""
    texts = [f"epsilon_gamma_box(low={i}, high=[{', '.join(map(str, range(40)))}])" for i in range(20)]
    threshold = gc.get_threshold()

    def others_turn(phase, info):
        time.sleep(0)

    def work(k):
        for text in texts:
            if k:
                read_rules(text)
            else:
                with suppress(SystemError):
                    ast.parse(text, mode="eval")

    gc.callbacks.append(others_turn)  # a collection amid the building of a tree lets another thread in
    gc.set_threshold(20)
    try:
        for _ in range(6):
            at_once(work)
    finally:
        gc.set_threshold(*threshold)
        gc.callbacks.remove(others_turn)
