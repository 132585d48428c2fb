"""VMFMemory with the policy "code" against a second derivation of the authors' update and answer."""

import numpy as np
import torch

from memogen.memory import VMFMemory
from memogen.memory.functional import unit
from tests.memory.test_vmf import labelled, random_memory


def numpy_write_of_the_code(memory: VMFMemory, query: np.ndarray, label: float) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The authors' update for a single query: the memory afterwards, and the slots that the query learned in (none where it overwrote one)."""
    keys, mass, values, age = (getattr(memory, name).numpy().copy() for name in ("keys", "mass", "values", "age"))
    age, similarity, chosen = age + 1, keys @ query, np.array([], dtype=int)
    if values[np.argmax(np.exp(similarity - 1) * (mass + 1e-8))] != label:
        oldest = np.argmax(age)
        keys[oldest], values[oldest], age[oldest], mass[oldest] = query, label, 0, mass.mean()
    else:
        penalised = similarity - 2 * np.abs(label - values)
        chosen = np.argsort(-np.exp(penalised - 1) * (mass + 1e-8))[: memory.top_k]
        joint = np.exp(similarity[chosen] - 1) * (0.5 * mass[chosen] + 1e-8)
        posterior = joint / joint.sum()
        mass[chosen] = 0.5 * mass[chosen] + posterior.sum()
        keys[chosen] += (posterior / mass[chosen])[:, None] * (query - keys[chosen])
        keys[chosen] /= np.linalg.norm(keys[chosen], axis=1, keepdims=True)
        age[chosen] = 0
    return {"keys": keys, "mass": mass, "values": values, "age": age}, chosen


def test_write_of_one_query_against_numpy_as_the_code_does_it() -> None:
    """A slot of the wrong class may be among the chosen ones; what its posterior is then, the penalty does not tell."""
    crossed = 0
    for seed in range(40):
        memory = random_memory(seed, real=0.7, top_k=12, concentration=1.0, policy="code")
        query, value = labelled(seed, num=1)
        expected, chosen = numpy_write_of_the_code(memory, unit(query)[0].numpy(), float(value))
        crossed += bool((memory.values.numpy()[chosen] != float(value)).any())
        memory.write(query, value)
        for name, array in expected.items():
            np.testing.assert_allclose(getattr(memory, name), array, rtol=1e-9, atol=1e-12, err_msg=name)
    assert crossed > 5


def test_answer_of_the_code_against_numpy() -> None:
    """The posterior takes alpha h in place of h; the two differ by beta alone, so the masses here are near it."""
    for seed in range(10):
        memory = random_memory(seed, top_k=24, concentration=1.0, policy="code")
        memory.mass.mul_(1e-7)
        query = unit(labelled(seed)[0]).numpy()
        keys, mass, values = (getattr(memory, name).numpy() for name in ("keys", "mass", "values"))
        joint = np.exp(query @ keys.T - 1) * (0.5 * mass + 1e-8)
        np.testing.assert_allclose(memory(torch.from_numpy(query)).value, joint @ values / joint.sum(1), rtol=1e-9)
